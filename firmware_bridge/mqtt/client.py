"""A connection to a broker: aiomqtt, with what durability needs of paho-mqtt below it.

aiomqtt hands out messages that paho has acknowledged already, tells of neither a message's DUP flag nor whether the
broker resumed the session, and takes a PUBACK that says no for a yes. paho has all of that, in callbacks that aiomqtt
occupies; they are methods of aiomqtt's client, so this is a subclass that looks first. Nothing else here knows paho.

* ``manual_ack`` of paho: a PUBACK goes out when ``acknowledge`` is called.
* **Subscriptions have QoS 1 at most.** With QoS 2 paho sends PUBREC, by which the broker forgets the message, before
  anybody has seen it, and keeps it in memory until PUBREL: a process that ends in between has lost it. A broker
  delivers what was published with QoS 2 to such a subscription with QoS 1, and waits for the PUBACK.
* A client is used for one connection. What was under way on it belongs to its session at the broker; identifiers of one
  connection mean nothing on the next.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.mqtt.headers import Properties, Wish, headers_of
from phloem.firmware_bridge.mqtt.intake import Arrival
from phloem.firmware_bridge.mqtt.settings import FIVE, MqttSettings
from phloem.shared.limits import SECOND_NS

logger = logging.getLogger("phloem.mqtt")
wire_logger = logging.getLogger("phloem.mqtt.paho")
wire_logger.setLevel(
    logging.ERROR
)  # warnings are of what is told here as well; below them paho logs each packet

LOST = (aiomqtt.MqttError, OSError)  # how a connection ends, or does not come about; bugs are other errors

_UNSPECIFIED = 128
_RETAINED_IF_NEW, _RETAINED_NEVER = 1, 2  # MQTT 5, 3.8.3.1


class BrokerClient(aiomqtt.Client):
    """``up(resumed)`` is called with the CONNACK, ``heard`` for each message, maybe before ``open`` returns.

    What ``open``, ``subscribe`` and ``ended`` raise is in ``LOST``; anything else is a bug.
    """

    def __init__(
        self,
        settings: MqttSettings,
        password: str,
        payload_max: int,
        up: Callable[[bool], None],
        heard: Callable[[Arrival], None],
    ) -> None:
        self._settings, self._up, self._heard = settings, up, heard
        self._is_five = settings.protocol == FIVE
        self._sent: dict[int, Callable[[str], None]] = {}
        self._has_dialled = self._is_open = False
        five: dict[str, Any] = {"clean_session": False}
        if self._is_five:
            five = {"clean_start": False, "properties": _connect_properties(settings, payload_max)}
        super().__init__(
            settings.host,
            settings.port,
            username=settings.username or None,
            password=password or None,
            logger=wire_logger,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if self._is_five else aiomqtt.ProtocolVersion.V311,
            timeout=limits.MQTT_TIMEOUT_S,
            keepalive=settings.keepalive_s,
            max_inflight_messages=limits.MQTT_COMMANDS,
            tls_context=_tls_context(settings) if settings.uses_tls else None,
            **five,
        )
        self._client.connect_timeout = limits.MQTT_TIMEOUT_S
        self._client.manual_ack_set(True)

    # --- what the bridge does --------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect; the broker has taken this client when it returns."""
        entering = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(entering)
        except BaseException:
            if self._has_dialled:
                entering.cancel()
            await asyncio.wait({entering})  # a thread dials, and cannot be stopped; it has its own time-out
            if not entering.cancelled():
                entering.exception()  # seen
            self._drop()
            raise
        self._is_open = True

    async def close(self) -> None:
        """Say goodbye, if there is still somebody; the session stays at the broker."""
        if not self._is_open:
            return
        try:
            await self.__aexit__(None, None, None)
        except LOST as error:
            logger.debug("%s did not say goodbye: %s", self._settings.url, error)
        finally:
            self._drop()

    async def ended(self) -> None:
        """Return never; raises when the connection is over."""
        try:
            await asyncio.shield(self._disconnected)
        except aiomqtt.MqttCodeError as error:
            if isinstance(error.rc, ReasonCode) and error.rc.value == _UNSPECIFIED:  # paho's word for a reset
                raise aiomqtt.MqttError("the connection was lost") from None
            raise
        raise aiomqtt.MqttError("the broker has closed the connection")

    async def take(self, topics: Mapping[str, int]) -> dict[str, str]:
        """Subscribe to filters with their QoS; those that the broker refuses, with its reason."""
        if not topics:
            return {}
        wanted = [(topic, self._subscribe_options(qos)) for topic, qos in topics.items()]
        granted: Sequence[Any] = await super().subscribe(wanted)
        found = dict[str, str]()
        for (topic, qos), code in zip(topics.items(), granted, strict=False):
            if code.is_failure:
                found[topic] = str(code)
            elif code.value < qos:
                found[topic] = f"granted with QoS {code.value} only"
        return found

    async def leave(self, topics: Sequence[str]) -> None:
        """Take subscriptions back that the session has."""
        if topics:
            await super().unsubscribe(list(topics))

    def acknowledge(self, mid: int) -> None:
        """The broker may forget this message."""
        self._client.ack(mid, 1)

    def send(self, topic: str, payload: bytes, wish: Wish, ident: str, done: Callable[[str], None]) -> None:
        """Publish. ``done`` gets why the broker refused it, empty when it has it; it is never called when the
        connection ends before. Raises ValueError for what MQTT cannot carry."""
        properties = _publish_properties(wish.properties, ident) if self._is_five else None
        info = self._client.publish(topic, payload, wish.qos, wish.retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return  # the connection is over, or about to be
        if wish.qos == 0:
            done("")
        else:
            self._sent[info.mid] = done

    # --- what paho tells -------------------------------------------------------------------------------

    def _client_connect(self) -> None:
        try:
            super()._client_connect()
        finally:
            self._has_dialled = True

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: PahoProperties | None = None,
    ) -> None:
        if not reason_code.is_failure and not self._connected.done():
            self._up(flags.session_present)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: PahoProperties | None = None,
    ) -> None:
        if not self._connected.done():  # aiomqtt would wait for CONNACK all the same
            why = "it ended the connection instead of answering; it may not speak this protocol version"
            self._connected.set_exception(aiomqtt.MqttError(why))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker that lets this pass would send it for ever
            logger.error("%s: a message whose topic is not UTF-8 is dropped", self._settings.name)
            self._client.ack(message.mid, message.qos)
            return
        properties = headers_of(_heard_properties(message)) if self._is_five else ()
        self._heard(
            Arrival(
                topic,
                bytes(message.payload),
                message.qos,
                message.mid if message.qos else 0,
                bool(message.dup),
                bool(message.retain),
                properties,
            )
        )

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: PahoProperties,
    ) -> None:
        done = self._sent.pop(mid, None)
        if done is not None:
            done(str(reason_code) if reason_code is not None and reason_code.is_failure else "")
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def _misc_loop(self) -> None:
        """paho's keepalive. aiomqtt looks every second; the broker waits for one and a half times the keepalive."""
        while self._client.loop_misc() == paho.MQTT_ERR_SUCCESS:  # noqa: ASYNC110  (as in aiomqtt)
            await asyncio.sleep(max(self._settings.keepalive_s / 4, 0.25))

    # --- within ----------------------------------------------------------------------------------------

    def _subscribe_options(self, qos: int) -> Any:
        if not self._is_five:
            return qos
        retained = _RETAINED_IF_NEW if self._settings.retained else _RETAINED_NEVER
        return SubscribeOptions(qos=qos, noLocal=True, retainHandling=retained)

    def _drop(self) -> None:
        """Whatever became of it: no socket, no timer, no reader of it is left."""
        self._sent.clear()
        self._client._sock_close()
        if self._misc_task is not None:
            self._misc_task.cancel()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # seen


def _connect_properties(settings: MqttSettings, payload_max: int) -> PahoProperties:
    properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = settings.session_expiry_ns // SECOND_NS
    properties.ReceiveMaximum = limits.MQTT_WINDOW
    properties.MaximumPacketSize = payload_max  # what no stream can take the broker keeps to itself
    return properties


def _publish_properties(wish: Properties, ident: str) -> PahoProperties:
    properties = PahoProperties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if wish.content_type:
        properties.ContentType = wish.content_type
    if wish.response_topic:
        properties.ResponseTopic = wish.response_topic
    if wish.correlation:
        properties.CorrelationData = wish.correlation
    properties.UserProperty = [*wish.user, ("phloem-id", ident)]
    return properties


def _heard_properties(message: paho.MQTTMessage) -> Properties:
    found = message.properties
    return Properties(
        getattr(found, "ContentType", ""),
        getattr(found, "ResponseTopic", ""),
        getattr(found, "CorrelationData", b""),
        tuple(getattr(found, "UserProperty", ())),
    )


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Raises OSError (``ssl.SSLError`` is one) for files that cannot be used."""
    tls = settings.tls
    context = ssl.create_default_context(cafile=tls.ca_file or None)
    # Python 3.13 sets it: then it would refuse what older authorities of one's own have signed
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
