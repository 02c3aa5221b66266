"""Commands out of a stream of this server, by a durable pull consumer.

A pull consumer: a push consumer would hand out to anybody who listens to its subject, and an edge's hub may listen to
everything. One request asks for the next message; it stays until there is one, so that nothing is done while nothing
happens.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from phloem.edge.line import Line, NoAnswer, Refused
from phloem.firmware_bridge import limits
from phloem.firmware_bridge.mqtt.durable import Command, Verdict
from phloem.firmware_bridge.timers import CallLater, Timer, loop_call_later
from phloem.shared.jetstream.origin import delivery
from phloem.shared.limits import SECOND_NS

log = logging.getLogger("phloem.mqtt")

ACK_WAIT_NS = 60 * SECOND_NS  # beyond what a connection may be silent before it is given up
ASK_AGAIN_NS = (
    2 * SECOND_NS
)  # after a request that JetStream has ended, and if the consumer cannot be made again
STATUS = b"NATS/1.0 "
VERDICTS = {
    Verdict.DONE: b"+ACK",
    Verdict.AGAIN: b"-NAK",
    Verdict.LATER: b"-NAK %s" % msgspec.json.encode({"delay": limits.MQTT_COMMAND_PAUSE_NS}),
    Verdict.NEVER: b"+TERM",
}


class StreamCommands:
    """Messages of ``stream`` on ``subject``, which ends with ``.>``. ``make`` first."""

    def __init__(
        self, line: Line, stream: str, subject: str, name: str, *, call_later: CallLater = loop_call_later
    ) -> None:
        self._line, self._stream, self._subject, self._name = line, stream, subject, name
        self._call_later = call_later
        self._heard: Callable[[Command], None] | None = None
        self._inbox = ""
        self._asked = 0  # messages that were asked for and have not come
        self._timer: Timer | None = None
        self._making: asyncio.Task[None] | None = None
        self._said = ""

    async def make(self) -> None:
        """The consumer. It keeps its place; of a stream that keeps what was done it begins with what is new.

        Raises:
            NoAnswer, Refused: JetStream does not let us.
        """
        found = await self._line.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        is_queue = found["config"].get("retention") == "workqueue"
        config = {
            "durable_name": self._name,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT_NS,
            "max_ack_pending": limits.MQTT_COMMANDS,
            "filter_subject": self._subject,
            "deliver_policy": "all" if is_queue else "new",
        }
        await self._line.ask(
            f"$JS.API.CONSUMER.DURABLE.CREATE.{self._stream}.{self._name}",
            {"stream_name": self._stream, "config": config},
        )

    def begin(self, heard: Callable[[Command], None]) -> None:
        """As ``CommandSource`` has it."""
        assert self._heard is None
        self._heard = heard
        self._inbox = self._line.listen_alone(self._came)
        self._ask()

    def end(self) -> None:
        """As ``CommandSource`` has it. A request whose answers nobody listens to is over."""
        if self._heard is None:
            return
        self._heard = None
        self._line.hush(self._inbox)
        self._asked = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._making is not None:
            self._making.cancel()
            self._making = None

    def _ask(self) -> None:
        wanted: dict[str, Any] = {"batch": limits.MQTT_COMMANDS}
        self._asked = limits.MQTT_COMMANDS
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        self._line.send(subject, msgspec.json.encode(wanted), reply=self._inbox)

    def _came(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        if self._heard is None:
            return
        place = delivery(subject, reply)
        if place is None:
            self._ended(header)
            return
        answer = reply.partition(b"@")[0].decode()  # inside the server the subject stands behind it
        command = Command(
            place.subject.decode(errors="replace"),
            body,
            _lines(header),
            f"{self._stream}:{place.seq}",
            place.deliveries,
            lambda verdict: self._settle(answer, verdict),
        )
        self._asked -= 1
        self._heard(command)
        if self._asked == 0 and self._heard is not None:
            self._ask()

    def _ended(self, header: bytes) -> None:
        """JetStream has ended the request: the consumer was deleted, or this server's JetStream began anew."""
        if self._timer is None and self._making is None:
            self._say(header.split(b"\r\n")[0].removeprefix(STATUS).decode(errors="replace"))
            self._later()

    def _later(self) -> None:
        self._timer = self._call_later(ASK_AGAIN_NS, self._begin_again)

    def _begin_again(self) -> None:
        self._timer = None
        self._making = asyncio.create_task(self._make_again(), name=f"mqtt commands of {self._stream}")

    async def _make_again(self) -> None:
        try:
            await self.make()
        except (NoAnswer, Refused) as problem:
            self._making = None
            self._say(str(problem))
            self._later()
            return
        self._making, self._said = None, ""
        self._ask()

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            log.warning("commands of %s are interrupted: %s; it is tried again for ever", self._stream, why)

    def _settle(self, answer: str, verdict: Verdict) -> None:
        self._line.send(answer, VERDICTS[verdict])


def _lines(header: bytes) -> list[tuple[str, str]]:
    pairs = (line.partition(b":") for line in header.split(b"\r\n")[1:] if line)
    return [
        (name.decode(errors="replace"), value.strip().decode(errors="replace")) for name, _, value in pairs
    ]
