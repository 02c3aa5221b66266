"""The disk of a device in one place: its budget, what its card had to write, and the figures of both."""

from typing import TYPE_CHECKING, Any

import msgspec

from phloem.edge.storage.keeper import Keeper
from phloem.edge.storage.wear import DAY_NS, History, Wear
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from phloem.edge.forward.log_stream import LogStream
    from phloem.shared.server.options_disk import Disk
    from phloem.shared.server.server import Server

KEY = b"fw/wear"  # of the store
COUNT_S = 10.0
KEEP_NS = 3600 * SECOND_NS  # what was written is itself written down so seldom


class Storage:
    """Of a server with JetStream. ``lanes``: what of it is forwarded."""

    def __init__(self, server: "Server", options: "Disk", lanes: "Sequence[LogStream]") -> None:
        assert server.jetstream is not None
        self._server = server
        self._js = server.jetstream
        self.keeper = Keeper(server, options, lanes)
        data = self._js.store.get(KEY)
        history = msgspec.msgpack.decode(data, type=History) if data else None
        self.wear = Wear(history, options.card.endurance_bytes)
        self._journalled: dict[int, int] = {}
        self._kept_ns = self._now()
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def use(self, options: "Disk", lanes: "Sequence[LogStream]") -> None:
        """Other options, other streams that are forwarded (reload). What was counted stays."""
        self.keeper.use(options, lanes)
        self.wear.endurance = options.card.endurance_bytes

    def _now(self) -> int:
        return self._server.clock.monotonic_ns()

    def _day(self) -> int:
        return self._server.clock.wall_ns() // DAY_NS

    def _tick(self) -> None:
        self._count()
        if self.wear.changed and self._now() - self._kept_ns >= KEEP_NS:
            self._keep()
        self._timer = self._server.call_about(COUNT_S, self._tick)

    def _count(self) -> None:
        new: dict[str, int] = {}
        for shelf in self.keeper.shelves():
            ident, now = shelf.stream.record.ident, shelf.stream.log.journalled
            cls = shelf.worth.name.lower()
            new[cls] = new.get(cls, 0) + now - self._journalled.get(ident, 0)
            self._journalled[ident] = now
        stats = self._js.store.stats
        self.wear.written(
            {cls: size for cls, size in new.items() if size > 0},
            stats["device_bytes"],
            stats["lmdb_bytes"],
            self._day(),
            self._now(),
        )

    def _keep(self) -> None:
        self._kept_ns, self.wear.changed = self._now(), False
        self._js.store.put(KEY, msgspec.msgpack.encode(self.wear.history))

    def end(self) -> None:
        """There is no budget any more (reload): everything is taken, and the reserve given back."""
        self.stop()
        self.keeper.end()

    def stop(self) -> None:
        """Nothing more is shed or counted."""
        if self._timer is not None:
            self._timer.cancel()
        self.keeper.stop()
        self._count()
        if self.wear.changed and not self._js.out_of_space:
            self._keep()

    def figures(self) -> dict[str, Any]:
        """For the hub's ledger, /varz and whoever asks; bytes and days."""
        self._count()
        return {
            "disk": self.keeper.figures(),
            "wear": self.wear.figures(self._day(), self._now()),
        }
