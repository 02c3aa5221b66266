"""Carries out Steps on a hub that devices forward to, without a socket, and looks at what it has made of it.

``hear`` is what a device publishes, ``away`` the end of its link, ``time`` and ``again`` are as in ``served``. Whatever
is said: no exception, sound streams whose messages are the device's own, a ledger that can be read, and after a restart
the hub has what it had.
"""

from pathlib import Path

from phloem.hub.app import Hub
from phloem.shared.forward import ledger
from phloem.shared.forward.messages import down_subject, up_subject
from phloem.shared.kernel import Connection
from phloem.shared.testing.manual_clock import ManualClock
from tests.fuzz import served
from tests.fuzz.frames import Nonsense, Received
from tests.fuzz.saying import DEVICES
from tests.fuzz.steps import Step, Steps


class Collected(served.Served):
    """One hub, and a connection for each device."""

    server: Hub

    def make(self, folder: Path, clock: ManualClock) -> Hub:
        jetstream = {"store_dir": str(folder), "max_file_store": 1 << 30}
        here = {"host": "127.0.0.1", "port": -1}
        return Hub({**here, "leafnodes": here, "jetstream": jetstream}, clock=clock, seed=7)

    async def start(self) -> None:
        await self.server.start()
        for _ in DEVICES:
            self.conns.append(self._attach())
            self.received.append(Received(False))
        for at, conn in enumerate(self.conns):
            conn.feed(b'CONNECT {"headers":true}\r\n')
            self._subscribe(at)

    def _attach(self) -> Connection:
        return self.server.clients.attach(-1, "127.0.0.1", 0, "STANDARD").conn

    def _subscribe(self, at: int) -> None:
        self.conns[at].feed(b"SUB %b 1\r\n" % down_subject(DEVICES[at]))

    def carry_out(self, step: Step) -> None:
        at = step.who % len(DEVICES)
        if step.verb == "time":
            self.clock.advance(step.number % 100_000 * 1_000_000)
            self.server.sweep()
            for collector in self.server.collectors:
                collector.tick()
        elif self.conns[at].closed:
            return
        elif step.verb == "away":
            self.conns[at].feed(b"UNSUB 1\r\n")
            for collector in self.server.collectors:
                collector.tick()
            self._subscribe(at)
        else:
            self.conns[at].feed(b"PUB %b %d\r\n%b\r\n" % (up_subject(DEVICES[at]), len(step.data), step.data))

    def examine(self) -> None:
        """What the streams have, and the ledger."""
        assert self.server.jetstream is not None
        for collector in self.server.collectors:
            collector.take()
        for stream in self.server.jetstream.accounts["$G"].streams.values():
            at = 1
            while (message := stream.log.next((), at)) is not None:
                at = message.seq + 1
                tokens = message.subject.split(b".")
                if stream.name == ledger.STREAM:
                    if ledger.decode(message.payload) is None:
                        raise Nonsense(f"a document that cannot be read: {message.payload[:200]!r}")
                elif tokens[0] != b"fleet" or tokens[2].decode() not in DEVICES or b"" in tokens:
                    raise Nonsense(f"{message.subject!r} in {stream.name}")
                if set(message.subject) & set(b" \t\r\n"):
                    raise Nonsense(f"a subject that is more than one: {message.subject!r}")
        for figures in self.server.fleet():
            if len(figures.devices) > len(DEVICES):
                raise Nonsense(f"{len(figures.devices)} devices")

    async def stop(self) -> dict[str, tuple[int, ...]]:
        self.examine()
        kept = await super().stop()
        kept.pop(ledger.STREAM, None)  # the hub's end is in there
        return kept


def run(steps: Steps) -> None:
    served.carry_out(steps, Collected)
