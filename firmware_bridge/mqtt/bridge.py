"""A broker and the streams of this device: connects for ever, and does what ``intake.py`` and ``outgo.py`` decide.

The session at the broker outlives connections and processes: the broker keeps subscriptions, and what comes meanwhile,
under the client's id. So a subscription that is not wanted any more has to be taken back, and one that is there is not
asked for again, because with MQTT 3.1.1 all retained messages would come again: what the session has is remembered.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backoff import Backoff
from phloem.firmware_bridge.mqtt import headers
from phloem.firmware_bridge.mqtt.client import LOST, BrokerClient
from phloem.firmware_bridge.mqtt.durable import (
    Command,
    CommandSource,
    DurablePublisher,
    Memory,
    Refused,
    Stored,
)
from phloem.firmware_bridge.mqtt.intake import Ack, Arrival, Cut, Effect, Intake, Put
from phloem.firmware_bridge.mqtt.outgo import Outgo
from phloem.firmware_bridge.mqtt.settings import FIVE, THREE, MqttSettings
from phloem.firmware_bridge.mqtt.topics import subject_of, topic_of
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later, pause
from phloem.shared.clock import Clock
from phloem.shared.errors import ConfigError

logger = logging.getLogger("phloem.mqtt")

_IDS = "Nats-Msg-Id"  # what is offered again after a time-out is stored once


class _Session(msgspec.Struct):
    """What the broker's session is known to have: filters with their QoS."""

    broker: str = ""
    topics: dict[str, int] = {}


class MqttBridge:
    """One broker. ``password`` is asked at each attempt, so that a file may change; it may raise ConfigError."""

    def __init__(
        self,
        settings: MqttSettings,
        publisher: DurablePublisher,
        commands: CommandSource | None,
        memory: Memory,
        clock: Clock,
        rng: Random,
        *,
        password: Callable[[], str],
        payload_max: int,
        call_later: CallLater = loop_call_later,
    ) -> None:
        self.settings = settings
        self.intake = Intake(
            Backoff(limits.MQTT_STORE_RETRY_MIN_NS, limits.MQTT_STORE_RETRY_MAX_NS, rng),
            messages_max=limits.MQTT_WAITING_MAX,
            bytes_max=max(limits.MQTT_WAITING_BYTES_MAX, 2 * payload_max),
        )
        self.outgo = Outgo()
        self.connects = self.sessions_lost = 0
        self._publisher, self._commands, self._memory = publisher, commands, memory
        self._clock, self._call_later = clock, call_later
        self._password, self._payload_max = password, payload_max
        self._ident = f"{rng.getrandbits(64):016x}"
        self._backoff = Backoff(settings.retry_min_ns, settings.retry_max_ns, rng)
        self._client: BrokerClient | None = None  # of the connection there is
        self._resumed = False
        self._is_up = asyncio.Event()
        self._cut: asyncio.Future[None] | None = None
        self._timer: Timer | None = None
        self._drained = asyncio.Event()
        self._said: dict[str, int] = {}
        self._warned_away = ""
        self._short = 0  # connections in a row that came up and did not last

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there and has all subscriptions."""
        return self._is_up.is_set()

    async def wait_connected(self) -> None:
        """Return when it is."""
        await self._is_up.wait()

    async def run(self) -> None:
        """Until cancelled. What is on its way to the disk then is still told, and the broker is not."""
        try:
            while True:
                began_ns = self._now()
                try:
                    await self._connection()
                except (*LOST, ConfigError) as error:
                    self._away(str(error) or type(error).__name__)
                if self._now() - began_ns >= limits.MQTT_STEADY_NS:
                    self._backoff.reset()
                    self._short = 0
                await pause(self._backoff.next_ns(), self._call_later)
                await self._room()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _connection(self) -> None:
        """From dialling to the end of it, which raises one of ``LOST``."""
        client = BrokerClient(self.settings, self._password(), self._payload_max, self._up, self._heard)
        self._client, self._cut = client, asyncio.get_running_loop().create_future()
        try:
            await client.open()
            await self._subscribe(client)
            self._works()
            if self._commands is not None:
                self._commands.begin(self._command)
            await self._end_of(client, self._cut)
        finally:
            self._is_up.clear()
            if self._commands is not None:
                self._commands.end()
            self._client, self._cut = None, None
            self.intake.lost()
            self.outgo.lost()
            await client.close()

    async def _end_of(self, client: BrokerClient, cut: "asyncio.Future[None]") -> None:
        ended = asyncio.ensure_future(client.ended())
        try:
            await asyncio.wait({ended, cut}, return_when=asyncio.FIRST_COMPLETED)
            (ended if ended.done() else cut).result()
        finally:
            ended.cancel()
            await asyncio.wait({ended})

    async def _room(self) -> None:
        """Return when half of what may wait is on the disk: else the broker would be cut off at once."""
        while self.intake.unstored * 2 > limits.MQTT_WAITING_MAX:
            self._drained.clear()
            await self._drained.wait()

    # --- subscriptions ---------------------------------------------------------------------------------

    async def _subscribe(self, client: BrokerClient) -> None:
        settings = self.settings
        broker = f"{settings.url} {settings.client_id}"
        had = self._remembered(broker)
        if had and not self._resumed:
            self.sessions_lost += 1
            logger.warning(
                "%s has forgotten the session of %s: what was published there meanwhile did not come; see that "
                "the broker keeps sessions (mosquitto: persistence true) and no other client has this client_id",
                settings.url,
                settings.client_id,
            )
        if not self._resumed:
            had = {}
        wanted = dict.fromkeys(settings.topics, settings.qos)
        refused = await client.take({topic: qos for topic, qos in wanted.items() if had.get(topic) != qos})
        for topic, why in refused.items():
            logger.error("%s does not let us subscribe to %s: %s", settings.url, topic, why)
        await client.leave([topic for topic in had if topic not in wanted])
        has = {topic: qos for topic, qos in wanted.items() if topic not in refused}
        if has != had:
            self._memory.write(msgspec.msgpack.encode(_Session(broker, has)))

    def _remembered(self, broker: str) -> dict[str, int]:
        content = self._memory.read()
        session = msgspec.msgpack.decode(content, type=_Session) if content else _Session()
        return session.topics if session.broker == broker else {}

    # --- from the broker -------------------------------------------------------------------------------

    def _up(self, resumed: bool) -> None:
        self._resumed = resumed
        self.intake.connected(resumed=resumed)

    def _heard(self, arrival: Arrival) -> None:
        if arrival.retained and not self.settings.retained:  # MQTT 3.1.1 sends them whether one asks or not
            if arrival.qos and self._client is not None:
                self._client.acknowledge(arrival.mid)
            return
        self._do(self.intake.received(arrival))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Put(number, arrival):
                    self._put(number, arrival)
                case Ack(mid):
                    if self._client is not None:
                        self._client.acknowledge(mid)
                case Cut(why):
                    if self._cut is not None and not self._cut.done():
                        self._cut.set_exception(ConnectionError(f"cut off: {why}; the broker sends again"))
        if (due_ns := self.intake.due_ns) and self._timer is None:
            self._timer = self._call_later(due_ns - self._now(), self._due)
        self._drained.set()

    def _due(self) -> None:
        self._timer = None
        self._do(self.intake.work(self._now()))

    def _put(self, number: int, arrival: Arrival) -> None:
        lines = [
            (_IDS, f"{self._ident}-{number}"),
            (headers.TOPIC, headers.shielded(arrival.topic)),
            (headers.QOS, str(arrival.qos)),
        ]
        if arrival.retained:
            lines.append((headers.RETAINED, "1"))
        if arrival.dup:
            lines.append((headers.DUP, "1"))
        subject = f"{self.settings.subject}.{subject_of(arrival.topic)}"

        def done(outcome: Stored | Refused) -> None:
            match outcome:
                case Stored():
                    self._do(self.intake.stored(number))
                case Refused(why, final):
                    self._refused(number, subject, why, final)

        self._publisher.publish(subject, arrival.payload, [*lines, *arrival.headers], done)

    def _refused(self, number: int, subject: str, why: str, final: bool) -> None:
        if final:
            self._say(logging.ERROR, f"{subject} is dropped, and the broker told that it was taken: {why}")
            self._do(self.intake.given_up(number))
        else:
            self._say(logging.WARNING, f"{subject} is not stored, the broker waits: {why}; it is tried again")
            self.intake.refused(number, self._now())
            self._do([])

    # --- to the broker ---------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        client, outgo = self._client, self.outgo
        number = outgo.begun(command)
        if client is None:
            return  # what is under way is given back when the connection's end is seen
        try:
            topic = topic_of(command.subject.removeprefix(f"{self.settings.command_subject}."))
            wish = headers.wish_of(command.headers)
            client.send(topic, command.payload, wish, command.ident, lambda why: self._answered(number, why))
        except ValueError as error:
            self._say(logging.ERROR, f"{command.subject} ({command.ident}) cannot be published: {error}")
            outgo.hopeless(number)

    def _answered(self, number: int, why: str) -> None:
        if why:
            self._say(
                logging.ERROR, f"the broker refuses a command: {why}; see what this user may publish there"
            )
        self.outgo.answered(number, why)

    # --- what is said ----------------------------------------------------------------------------------

    def _works(self) -> None:
        self.connects += 1
        self._short += 1
        self._warned_away = ""
        self._is_up.set()
        settings = self.settings
        logger.info(
            "connected to %s as %s, %s session; %d of its messages wait for the disk",
            settings.url,
            settings.client_id,
            "the former" if self._resumed else "a new",
            self.intake.unstored,
        )

    def _away(self, reason: str) -> None:
        hint = ""
        if "protocol version" in reason.lower():
            other = THREE if self.settings.protocol == FIVE else FIVE
            hint = f"; if it does not speak {self.settings.protocol}, set protocol to {other}"
        elif "taken over" in reason.lower() or self._short >= limits.MQTT_SHORT_MAX:
            hint = f"; if another client has the client_id {self.settings.client_id}, give this one another"
        if self._warned_away != reason:
            self._warned_away = reason
            logger.warning(
                "no connection to %s: %s%s; trying again for ever", self.settings.url, reason, hint
            )

    def _say(self, level: int, text: str) -> None:
        """What may be true of each message is logged once a minute, by the first words of it."""
        kind, now = text.rpartition(": ")[2][:64], self._now()
        if now >= self._said.get(kind, 0):
            if len(self._said) >= 64:
                self._said.clear()
            self._said[kind] = now + limits.MQTT_ERRORS_LOGGED_NS
            logger.log(level, "bridge_mqtt %s: %s", self.settings.name, text)

    def _now(self) -> int:
        return self._clock.monotonic_ns()

    def figures(self) -> dict[str, Any]:
        """For monitoring: counts since the start, and what is now."""
        counts, outgo = self.intake.counts, self.outgo
        return {
            "connected": self.is_connected,
            "connects": self.connects,
            "sessions_lost": self.sessions_lost,
            "received": counts.received,
            "stored": counts.stored,
            "retried": counts.retried,
            "duplicates": counts.duplicates,
            "unsure": counts.unsure,
            "lost": counts.lost,
            "given_up": counts.given_up,
            "waiting": self.intake.unstored,
            "commands": outgo.sent,
            "commands_again": outgo.again,
            "commands_refused": outgo.refused,
            "commands_impossible": outgo.impossible,
            "commands_waiting": len(outgo),
        }
