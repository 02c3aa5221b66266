"""Carries out Steps on a device whose hub says anything, without a socket.

``phloem``: a hub of phloem's listens; ``hear`` is what it says (with a ``number``, in the session that the device has),
and messages that the device makes of it can be read. ``jetstream``: a hub that only has JetStream; ``answer`` is what
it answers to something that it was asked, with MINE for the device's own store and epoch. ``publish``: so many messages
are stored on the device.

Whatever is said: no exception, nothing is let go that was not confirmed, and what the hub is said to have is no more
than there is.
"""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec

from phloem.edge.app import Edge
from phloem.edge.forward.log_stream import LogStream
from phloem.shared.forward.entries import Class
from phloem.shared.forward.hub_stream import identity_text
from phloem.shared.forward.lanes import Ask, Effect, Post, Remember
from phloem.shared.forward.messages import down_subject, up_subject
from phloem.shared.forward.publisher import Publisher
from phloem.shared.forward.sender import Confirmed
from phloem.shared.testing.manual_clock import ManualClock
from tests.fuzz import served
from tests.fuzz.frames import Nonsense
from tests.fuzz.steps import Step, Steps

DEVICE = "dev1"
FORWARD = {
    "tele": {"subjects": ["tele.>"], "keep": 0},
    "alarm": {"subjects": ["alarm.>"], "class": "alarm", "keep": -1},
}
STORED_MAX = 1_000  # messages of one input
TOKENS = 40  # of questions that are remembered


class _Free:
    """A link that costs nothing."""

    def wait_ns(self, _cls: Class, _now_ns: int) -> int:
        return 0

    def room(self, _cls: Class, most: int) -> int:
        return most


class Forwarded(served.Served):
    """One device; the first connection is its hub's, the second a program's."""

    server: Edge

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        super().__init__(folder, clock)
        self.machine: Publisher | None = None
        self.asked: list[bytes] = []
        self.published = 0

    def make(self, folder: Path, clock: ManualClock) -> Edge:
        config: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": -1,
            "server_name": DEVICE,
            "jetstream": {"store_dir": str(folder), "max_file_store": 1 << 30},
            "phloem": {"forward_to": "phloem"},
            "forward": FORWARD,
        }
        return Edge(config, clock=clock, seed=7)

    @property
    def lanes(self) -> dict[str, LogStream]:
        assert self.server._forwarding is not None
        return {lane.entry.name: lane for lane in self.server._forwarding.lanes}

    async def start(self) -> None:
        await super().start()
        for conn in self.conns:
            conn.feed(b'CONNECT {"headers":true}\r\n')

    def carry_out(self, step: Step) -> None:
        hub, program = self.conns
        match step.verb:
            case "time":
                self.clock.advance(step.number % 100_000 * 1_000_000)
                self.server.sweep()
                self._work()
            case "publish":
                count = min(step.number, STORED_MAX - self.published)
                self.published += count
                subject = b"alarm.x" if step.who & 1 else b"tele.x"
                program.feed(b"".join(b"PUB %b 6\r\n%06d\r\n" % (subject, i) for i in range(count)))
            case "phloem":
                hub.feed(b"SUB %b 1\r\n" % up_subject(DEVICE))
            case "hear" if not hub.closed:
                data = self._in_session(step.data) if step.number else step.data
                hub.feed(b"PUB %b %d\r\n%b\r\n" % (down_subject(DEVICE), len(data), data))
            case "jetstream":
                lane = self.lanes["tele"]
                entry = msgspec.structs.replace(lane.entry, to="FLEET_tele")
                self.machine = Publisher(DEVICE, [entry], {entry.name: lane}, {}, allowance=_Free())
                self.machine.link_up(5, self._now(), self.clock.wall_ns(), blind=step.number == 0)
                self._work()
            case "answer" if self.machine is not None and self.asked:
                self._answer(step)

    def _now(self) -> int:
        return self.clock.monotonic_ns()

    def _work(self) -> None:
        for forwarder in self.server.forwarders:
            forwarder.work()
        if self.machine is not None:
            self._do(self.machine.work(self._now(), self.clock.wall_ns(), None))

    def _in_session(self, data: bytes) -> bytes:
        """The same with the device's session where there is a 0."""
        session = self.server.forwarders[0].sender._session
        try:
            value = msgspec.msgpack.decode(data[1:])
        except (ValueError, RecursionError):
            return data
        at = 1 if data[:1] == b"W" else 0
        if not isinstance(value, list) or len(value) <= at:
            return data
        value[at] = session if value[at] == 0 else value[at]
        for one in value:
            for pause in one if isinstance(one, list) else ():
                if data[:1] == b"A" and isinstance(pause, list) and pause and pause[0] == 0:
                    pause[0] = session
        return data[:1] + msgspec.msgpack.encode(value)

    def _answer(self, step: Step) -> None:
        assert self.machine is not None
        token = self.asked[-1 - step.who % min(4, len(self.asked))]
        if step.number == 1:
            token = token.rpartition(b".")[0] + b".%d" % step.who
        header, _, data = step.data.partition(b"|")
        lane = self.lanes["tele"]
        mine = identity_text(lane.store), identity_text(lane.epochs[-1].ident)
        try:
            document = json.loads(data)
            lines = document["message"]["hdrs"].replace("MINE", mine[0], 1).replace("MINE", mine[1], 1)
            document["message"]["hdrs"] = base64.b64encode(lines.encode()).decode()
            data = json.dumps(document).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        self._do(self.machine.received(token, header, data, self._now()))
        self._work()

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask(_, token, body):
                    self.asked.append(token)
                    json.loads(body or b"{}")
                case Post(messages):
                    self.asked += [token for _, token, _, _ in messages if token]
                    if any(b"\n" in subject or len(header) > 65_535 for subject, _, header, _ in messages):
                        raise Nonsense("a message that cannot be published")
                case Remember(_, note):
                    msgspec.msgpack.encode(note)
                case Confirmed(name, seq):
                    self.lanes[name].confirm(seq)
        del self.asked[:-TOKENS]

    async def stop(self) -> dict[str, tuple[int, ...]]:
        """What was confirmed is given back with the end, so nothing stays as it was."""
        await super().stop()
        return {}

    def look(self) -> None:
        super().look()
        for name, lane in self.lanes.items():
            log = lane.stream.log
            if lane.confirmed > log.last_seq:
                raise Nonsense(f"{name}: {lane.confirmed} are said to be confirmed, {log.last_seq} there are")
            if log.first_seq > lane.confirmed + 1:
                raise Nonsense(
                    f"{name}: messages before {log.first_seq} are gone, {lane.confirmed} confirmed"
                )


def run(steps: Steps) -> None:
    served.carry_out(steps, Forwarded)
