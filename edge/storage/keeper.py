"""Keeps a device's streams within their disk budget (``budget.py`` decides, ``victims.py`` says whose messages go).

Every second it is measured what there is; while messages are being shed, in steps of bounded work. Everything that goes
is counted by class, stream and reason, told in the log and as an advisory, and the hub gets a gap for it.

What has been removed is free in LMDB's file only after the next move of the journal, and what has come is in it only
then. So between two moves the pages in use are estimated: as at the last move, and in proportion to what streams hold
now and held then.
"""

import contextlib
import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from phloem.edge.storage.budget import Budget, Limits, Reading, limits_of
from phloem.edge.storage.reserve import Reserve
from phloem.edge.storage.streams import Shelf
from phloem.edge.storage.victims import next_victim
from phloem.shared.forward.entries import Class
from phloem.shared.limits import SECOND_NS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from phloem.edge.forward.log_stream import LogStream
    from phloem.shared.server.options_disk import Disk
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.disk")

LOOK_S = 1.0
SOON_S = 0.1  # the same when it is nearly full
SLACK_GENERATIONS = (
    4  # what LMDB's file takes more than what is on its pages, and what comes between two looks
)
STEP_S = 0.02  # between two steps, in which clients are served
STEP_MESSAGES = 2048  # some 5 ms on a small device's processor
TELL_NS = 60 * SECOND_NS  # what goes is told at once the first time, then so often
NO_SPACE = 1 | 2  # bits of the store's ``full``: not that the mover is behind
RATIO_MOST = 3.0  # pages for what streams count; more is something else that is on them
SEVERAL = 1 << 20  # bytes from which the ratio says something


def space_of(folder: str) -> tuple[int, int]:
    """Bytes of a folder's file system, and of them those that are free for this process."""
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize


class Shed(NamedTuple):
    """What messages were, and why they went."""

    cls: str
    account: str
    stream: str
    reason: str


class Keeper:
    """The budget of one server at work."""

    def __init__(self, server: "Server", options: "Disk", lanes: "Sequence[LogStream]") -> None:
        assert server.jetstream is not None
        self._server = server
        self._js = server.jetstream
        self._lanes: dict[int, list[LogStream]] = {}
        self._wish(options, lanes)
        self._folder = str(self._js.folder)
        self._reserve = Reserve(os.path.join(os.path.dirname(self._folder), "phloem-reserve"))
        self._moves = {
            self._js.store.stats["flushes"]: self._bytes()
        }  # what streams held, by number of the move
        self._journal = 0
        self.budget = Budget(self._limits(options))
        self.reading = self._measure()
        self.shed: dict[Shed, tuple[int, int]] = {}  # messages and bytes, since the start
        self.refused: Counter[str] = Counter()  # by class
        self._refused_of: dict[int, int] = {}
        self._untold: dict[Shed, list[int]] = {}
        self._told_ns = 0
        self._js.before_move.append(self._frozen)
        self._timer: asyncio.TimerHandle | None = None
        self._reserve.take(self.budget.limits.reserve if self._may_take() else 0)
        self._tick()

    def _wish(self, options: "Disk", lanes: "Sequence[LogStream]") -> None:
        self._options, self._default = options, Class[options.class_.upper()]
        self._lanes = {}
        for lane in lanes:
            self._lanes.setdefault(lane.stream.record.ident, []).append(lane)

    def use(self, options: "Disk", lanes: "Sequence[LogStream]") -> None:
        """Other options, other streams that are forwarded (reload)."""
        before = self._options
        self._wish(options, lanes)
        bounds = [(one.budget, one.free_floor, one.reserve) for one in (before, options)]
        if bounds[0] != bounds[1]:
            self.budget.limits = self._limits(options)
            if 0 < self.budget.limits.reserve < self._reserve.size or not self.budget.limits.reserve:
                self._reserve.give_back()
            self._reserve.take(self.budget.limits.reserve if self._may_take() else 0)

    def _limits(self, options: "Disk") -> Limits:
        total, free = space_of(self._folder)
        own = self._js.store.space[0] + self._journal_bytes() + self._reserve.size
        return limits_of(
            options.budget,
            options.free_floor,
            options.reserve,
            total=total,
            free=free,
            own=own,
            slack=SLACK_GENERATIONS * self._server.generation_bytes,
        )

    def _may_take(self) -> bool:
        limits = self.budget.limits
        return self._reserve.size > 0 or self.reading.free >= limits.floor + limits.reserve

    # --- measuring -------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        return sum(stream.log.bytes for stream in self._js.file_streams())

    def _journal_bytes(self) -> int:
        size = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith("journal-"):
                    with contextlib.suppress(FileNotFoundError):  # it has just been given its next name
                        size += entry.stat().st_size
        return size

    def _frozen(self) -> None:
        """A generation ends: this is what will be in LMDB when it has been moved."""
        move = self._js.store.stats["flushes"] + 1  # one is over before the next generation ends
        self._moves[move] = self._bytes()
        self._moves.pop(move - 2, None)

    def _live(self) -> int:
        used, now = self._js.store.space[1], self._bytes()
        then = self._moves.get(self._js.store.stats["flushes"], now)
        ratio = min(used / then, RATIO_MOST) if then >= SEVERAL else 1.0
        return max(int(used + (now - then) * ratio), 0)

    def _measure(self) -> Reading:
        store = self._js.store
        return Reading(
            file=store.space[0],
            live=self._live(),
            journal=self._journal,
            reserve=self._reserve.size,
            free=space_of(self._folder)[1],
            full=bool(store.stats["full"] & NO_SPACE),
        )

    def shelves(self) -> "Iterator[Shelf]":
        """All streams that are on the disk."""
        for stream in self._js.file_streams():
            yield Shelf(stream, self._lanes.get(stream.record.ident, ()), self._default)

    # --- acting ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._journal = self._journal_bytes()
        if self.look():
            self._timer = self._server.call_later(STEP_S, self._tick)
        else:
            self._tell_seldom()
            soon = self.reading.used > self.budget.low
            later = self._server.call_later if soon else self._server.call_about
            self._timer = later(SOON_S if soon else LOOK_S, self._tick)

    def look(self) -> bool:
        """Measure and do one step; whether there is more to do at once."""
        self.reading = self._measure()
        held = self.budget.held
        plan = self.budget.look(self.reading)
        if plan.give:
            self._reserve.give_back()
            log.error("the disk is full: the reserve of %d bytes is given back", self.budget.limits.reserve)
        elif plan.take:
            self._reserve.take(self.budget.limits.reserve)
        more = plan.shed > 0 and self._step(plan.shed, desperate=plan.desperate)
        self._hold(held)
        return more

    def _step(self, wanted: int, *, desperate: bool) -> bool:
        """One part of what is to be shed; whether something went."""
        left, gone = STEP_MESSAGES, 0
        shelves = list(self.shelves())
        while left > 0 and wanted > 0:
            victim = next_victim(shelves, desperate=desperate)
            if victim is None:
                break
            shelf, spare = victim
            each = max(shelf.stream.log.bytes // shelf.messages, 1)
            removed, size = self._shed(shelf, min(wanted // each + 1, left), spare=spare)
            left -= max(removed, 1)
            wanted -= size
            gone += removed
        return gone > 0

    def _shed(self, shelf: Shelf, most: int, *, spare: bool) -> tuple[int, int]:
        """Messages of one stream; how many went, and their bytes."""
        why = "its disk is full" if self.reading.full or self._scarce() else "its disk budget is used up"
        cls = shelf.worth.name.lower()
        reason = f"shed on the device: {why} (class {cls})"
        removed, lost, size = shelf.shed(most, reason, spare=spare)
        if not lost and shelf.lanes:
            reason = f"the hub has it: {why}"
        key = Shed(cls, shelf.stream.account.name, shelf.stream.name, reason)
        messages, total = self.shed.get(key, (0, 0))
        self.shed[key] = messages + removed, total + size
        untold = self._untold.setdefault(key, [0, 0])
        untold[0] += removed
        untold[1] += size
        return removed, size

    def _scarce(self) -> bool:
        """Whether it is the file system that has no more, and not the budget."""
        return self.budget.allowed < self.budget.limits.budget

    def _hold(self, before: str) -> None:
        why = self.budget.held
        if why and not before:
            log.error("%s: only messages of class alarm are taken now", why)
        elif before and not why:
            log.warning("there is space on the disk again: everything is taken")
        text = f"{why}, and only messages of class alarm are taken" if why else ""
        for shelf in self.shelves():
            shelf.stream.hold("" if shelf.worth == Class.ALARM else text)
        self._count_refused()

    def _count_refused(self) -> None:
        for shelf in self.shelves():
            ident, now = shelf.stream.record.ident, shelf.stream.held_messages
            if new := now - self._refused_of.get(ident, 0):
                self.refused[shelf.worth.name.lower()] += new
                self._refused_of[ident] = now

    def _tell_seldom(self) -> None:
        now = self._server.clock.monotonic_ns()
        if self._untold and (not self._told_ns or now - self._told_ns >= TELL_NS):
            self._told_ns = now
            self.tell()

    def tell(self) -> None:
        """What has gone since this was called last, in the log and as advisories."""
        for what, (messages, size) in self._untold.items():
            log.warning(
                "Stream '%s > %s': %d messages, %d bytes: %s",
                what.account,
                what.stream,
                messages,
                size,
                what.reason,
            )
            account = self._js.accounts.get(what.account)
            if account is not None:
                fields = {**what._asdict(), "messages": messages, "bytes": size, "class": what.cls}
                del fields["cls"], fields["account"]
                self._js.api.advise(
                    account, f"ADVISORY.STREAM.SHED.{what.stream}", "advisory.v1.stream_shed", fields
                )
        self._untold = {}

    def stop(self) -> None:
        """Nothing more is shed."""
        if self._timer is not None:
            self._timer.cancel()
        self._js.before_move.remove(self._frozen)
        self.tell()

    def end(self) -> None:
        """Nothing is refused any more, or set aside."""
        for shelf in self.shelves():
            shelf.stream.hold("")
        self._reserve.give_back()

    # --- what others ask -------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """How full it is, and what went. Bytes."""
        now, budget = self.reading, self.budget
        self._count_refused()
        shed: Counter[str] = Counter()
        for what, (messages, _) in self.shed.items():
            shed[what.cls] += messages
        return {
            "budget": budget.limits.budget,
            "allowed": budget.allowed,
            "used": now.used,
            "live": now.live,
            "file": now.file,
            "journal": now.journal,
            "reserve": now.reserve,
            "free": now.free,
            "shedding": budget.shedding,
            "held": budget.held,
            "shed": dict(shed),
            "shed_from": [
                {
                    "class": what.cls,
                    "account": what.account,
                    "stream": what.stream,
                    "reason": what.reason,
                    "messages": messages,
                    "bytes": size,
                }
                for what, (messages, size) in self.shed.items()
            ],
            "refused": dict(self.refused),
        }
