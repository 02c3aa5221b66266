"""Asks whoever may know the time, and tells whoever has to: the eras of what is forwarded, the hub, and the date by
which messages expire. ``clock.py`` judges.
"""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.edge.forward.clock import Clockwork, Fix, Known
from phloem.shared.clock import SystemClock
from phloem.shared.clock_quality import SystemSays, system_says
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.jetstream.system import FLOOR

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from phloem.edge.forward.forwarder import Forwarder
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.clock")

KEY = b"fc/known"
ASK_S = 10.0


class TimeKeeper:
    """Of one server with JetStream."""

    def __init__(self, server: "Server", ask: "Callable[[], SystemSays] | None" = None) -> None:
        """``ask``: the system; nobody, where the clock is not the system's."""
        assert server.jetstream is not None
        self._server = server
        self._js = server.jetstream
        self._forwarders: list[Forwarder] = []
        self._ask = ask or (system_says if isinstance(server.clock, SystemClock) else SystemSays)
        data = self._js.store.get(KEY)
        known = msgspec.msgpack.decode(data, type=Known) if data else None
        self.clock = Clockwork(known, self._js.boot, self._now())
        self._contradicted = False
        self._js.steppers.append(self._stepped)
        self._js.before_move.append(self._keep)
        self._timer: asyncio.TimerHandle | None = None
        if self.clock.fix is not None:  # of an earlier run in this boot
            self._js.know_time(self.clock.fix.ahead_ns)

    def begin(self, forwarders: "list[Forwarder]") -> None:
        """What is forwarded is there now."""
        self._server.leafs.meter.wall_ns = self.wall_ns
        self.use(forwarders)
        self._tick()

    def use(self, forwarders: "list[Forwarder]") -> None:
        """This is forwarded from now on: streams that are new learn what is known."""
        self._forwarders = forwarders
        for forwarder in forwarders:
            forwarder.hears_time = self.hub_says
        for boot in self.clock.known.boots:
            if boot.fix is not None:
                self._teach({boot.number: boot.fix})

    def _now(self) -> int:
        return self._server.clock.monotonic_ns()

    def _tick(self) -> None:
        self._js.look_at_clock()
        self.judge()
        self._timer = self._server.call_about(ASK_S, self._tick)

    def judge(self) -> None:
        """Ask, and pass on what is new."""
        wall = self._server.clock.wall_ns()
        fixes = self.clock.judge(self._now(), wall, self._ask())
        if self.clock.contradicted and not self._contradicted:
            log.warning("the system's clock and the hub's do not agree; the time is a range of both")
        self._contradicted = self.clock.contradicted
        if not fixes:
            return
        fix = self.clock.fix
        assert fix is not None
        off = self._js.ahead_ns - fix.ahead_ns
        if abs(off) > max(SECOND_NS, fix.error_ns):
            log.warning("the clock says %s, and it is %s", rfc3339(wall), rfc3339(self._now() + fix.ahead_ns))
        self._js.know_time(fix.ahead_ns)
        self._teach(fixes)
        self._keep()

    def hub_says(self, wall_ns: int, at_ns: int, error_ns: int) -> None:
        """The hub has told its time; its parcels come after what becomes known by that."""
        self.clock.hub_says(wall_ns, at_ns, error_ns)
        self.judge()

    def _stepped(self, before_ns: int, after_ns: int) -> None:
        self.clock.steps += 1
        moved = (after_ns - before_ns) / SECOND_NS
        log.warning("the clock was set by %+.3f s and says %s", moved, rfc3339(self._server.clock.wall_ns()))
        self.judge()
        for forwarder in self._forwarders:
            for stream in forwarder.streams.values():
                stream.stepped(after_ns, self.clock.fix)
            forwarder.stepped(after_ns - before_ns)

    def _teach(self, fixes: dict[int, Fix]) -> None:
        for forwarder in self._forwarders:
            for name, stream in forwarder.streams.items():
                changed = [stream.learn(boot, fix) for boot, fix in fixes.items()]
                if any(changed):
                    forwarder.tell_clocks(name)

    def _keep(self) -> None:
        """With what is written anyhow: when something has become known, when a generation ends, and at the end."""
        self.clock.goes_on(self._now())
        self._js.store.put(KEY, msgspec.msgpack.encode(self.clock.known))
        if floor := max(self.clock.known.floor_ns, 0):
            self._js.store.put(FLOOR, floor.to_bytes(8))

    def wall_ns(self) -> int:
        """The true time; while nobody knows it what the system's clock says."""
        true = self.clock.now_ns(self._now())
        return self._server.clock.wall_ns() if true is None else true

    def stop(self) -> None:
        """What is known is written down."""
        if self._timer is not None:
            self._timer.cancel()
        self._js.steppers.remove(self._stepped)
        self._js.before_move.remove(self._keep)
        if not self._js.out_of_space:
            self._keep()

    def quality(self) -> str:
        """How far a time by the system's clock can be trusted: ``synced``, ``est`` or ``unsynced``."""
        return self.clock.quality(self._now(), self._server.clock.wall_ns(), self._ask())

    def figures(self) -> dict[str, Any]:
        """Seconds; -1 where nothing is known."""
        fix = self.clock.fix
        return {
            "known": fix is not None,
            "error_s": fix.error_ns / SECOND_NS if fix is not None else -1,
            "off_s": (self._js.ahead_ns - fix.ahead_ns) / SECOND_NS if fix is not None else 0,
            "steps": self.clock.steps,
        }
