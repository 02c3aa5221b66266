"""``bridge_mqtt { ... }``: MQTT brokers that are there already. phloem's own. Declared as in ``options.py``."""

from typing import Annotated

import msgspec

from phloem.shared import limits
from phloem.shared.server.declare import Duration, Kind, Opt, Size


class MqttTLS(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For ``mqtts://``."""

    ca_file: Annotated[str, Opt("Roots that vouch for the broker, as PEM; the system's when empty.")] = ""
    cert_file: Annotated[str, Opt("Certificate to show to the broker, as PEM.")] = ""
    key_file: Annotated[str, Opt("Its key, as PEM.")] = ""
    insecure: Annotated[bool, Opt("Take whoever answers, without looking at its certificate.")] = False


class MqttBroker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A broker, whose topics become subjects of this device's streams, and subjects its topics. phloem's own."""

    name: Annotated[str, Opt("The block's name.", key="")] = ""
    url: Annotated[
        str, Opt("The broker: mqtt://host:1883, or mqtts://host:8883.", example='"mqtt://127.0.0.1:1883"')
    ] = "mqtt://127.0.0.1:1883"
    protocol: Annotated[str, Kind.CHOICE, Opt("As the broker speaks it.", choices="mqtt5 mqtt3.1.1")] = (
        "mqtt5"
    )
    client_id: Annotated[
        str,
        Opt(
            "By what the broker knows this device's session; by default phloem-, server_name, - and the name."
        ),
    ] = ""
    username: Annotated[str, Opt("User of the broker.", example='"bridge"')] = ""
    password: Annotated[str, Opt("Its password; better in a file.")] = ""
    password_file: Annotated[
        str,
        Opt(
            "File with the password; a name without a slash is a credential of systemd (`LoadCredential=`).",
            example='"/etc/phloem/mqtt-password"',
        ),
    ] = ""
    tls: Annotated[MqttTLS, Opt("For mqtts://.")] = MqttTLS()
    keepalive_ns: Annotated[Duration, Opt("Silence after which the broker is asked whether it is there.")] = (
        limits.MQTT_KEEPALIVE_NS
    )
    session_expiry_ns: Annotated[
        Duration,
        Opt("MQTT 5: how long the broker keeps messages for this device while it is away."),
    ] = limits.MQTT_SESSION_EXPIRY_NS
    topics: Annotated[
        tuple[str, ...],
        Opt("Topics that become subjects; + and # as MQTT has them.", example='["zigbee2mqtt/#", "tele/#"]'),
    ] = ()
    qos: Annotated[
        int,
        Opt(
            "Of the subscriptions. 1: what is published with QoS 1 or 2 is acknowledged when it is on the disk; "
            "0: it is not.",
            least=0,
            most=2,  # which MqttSettings refuses, and says why
        ),
    ] = 1
    retained: Annotated[
        bool, Opt("Whether the broker's retained messages are taken, too; they say Mqtt-Retained.")
    ] = True
    subject: Annotated[
        str, Opt("What subjects of topics begin with; mqtt. and the name by default.", example='"mqtt.home"')
    ] = ""
    command_subject: Annotated[
        str,
        Opt(
            "What subjects begin with whose messages are published to the broker; none by default.",
            example='"mqttset.home"',
        ),
    ] = ""
    account: Annotated[str, Opt("Account of the streams; the global one by default.")] = ""
    max_bytes: Annotated[
        Size, Opt("Bound of a stream that is made for it, if none has its subjects; -1: none of its own.")
    ] = -1
    max_age_ns: Annotated[Duration, Opt("The same for the age; 0: none.", example='"720h"')] = 0
    retry_min_ns: Annotated[Duration, Opt("First pause before connecting again.")] = limits.MQTT_RETRY_MIN_NS
    retry_max_ns: Annotated[Duration, Opt("Longest pause; pauses double up to it.")] = (
        limits.MQTT_RETRY_MAX_NS
    )
