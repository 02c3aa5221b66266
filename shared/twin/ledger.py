"""The command ledger of a device: what to do with each command, so that none runs twice.

Each state is on the disk before the next step is taken: the driver carries out ``Persist``, says ``stored``, and only
then is told what follows. So whatever was going on when the device lost power is known when it starts again:

* ``delivered``: nothing has been done; it goes on.
* ``executing``: it may have been handed over, or not. An idempotent command runs again, any other has failed.
* a final state: nothing follows, also when the same command comes again, from a hub that was restored or a program
  that puts it a second time.

A command that may run once only is not begun before the hub has acknowledged that it was delivered here and to nobody
before: a device that was re-imaged does not know what it has done, but the hub does (``foreign``).

Commands of one name run one after another, in the order in which they came; ``RUNNING`` of all names at a time.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from phloem.shared.jetstream.times import SECOND_NS, rfc3339
from phloem.shared.twin.command import Order, Record, State, digest, order_of, result_fields
from phloem.shared.twin.names import DAY_NS

RUNNING = 8
ATTEMPTS = 3  # of an idempotent command that is interrupted each time
RETRY_NS = SECOND_NS  # until somebody is asked again whether there is a handler
KEPT = 1000  # final records; older ones go first
KEPT_NS = 30 * DAY_NS
NEVER = 0


class Persist(NamedTuple):
    """Store this, then say ``stored``."""

    ident: str
    record: Record


class Ask(NamedTuple):
    """Hand it to a handler; then ``answered``, or ``nobody``."""

    ident: str
    order: Order
    attempt: int


class Forget(NamedTuple):
    """Delete the record."""

    ident: str


Action = Persist | Ask | Forget


class _Entry:
    def __init__(self, record: Record) -> None:
        self.record = record  # the last one that was decided on
        self.stored = True  # and whether it is on the disk
        self.order: Order | None = None
        self.wanted = False  # it is in ``desired``
        self.confirmed = False
        self.asked = False
        self.until_ns = NEVER  # for an answer
        self.retry_ns = NEVER


class Ledger:
    """All commands of a device. ``records``: what the disk has, by id. Times are since 1970 and never run backwards."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._entries = {ident: _Entry(record) for ident, record in sorted(records.items(), key=_age)}

    def record(self, ident: str) -> Record | None:
        """What was decided last."""
        entry = self._entries.get(ident)
        return entry.record if entry is not None else None

    def is_confirmed(self, ident: str) -> bool:
        """Whether the hub has said that it knew nothing of it before."""
        entry = self._entries.get(ident)
        return entry is not None and entry.confirmed

    # --- what comes from the hub -------------------------------------------------------------------

    def heard(self, ident: str, body: bytes, stored_ns: int, now: int) -> list[Action]:
        """The hub has this command; ``stored_ns``: since when."""
        entry = self._entries.get(ident)
        if entry is not None:
            entry.wanted = True
            if entry.record.state.final:
                return []
            if entry.record.digest != digest(body):
                return self._fail(ident, "another command has the same id", now)
            if entry.order is None:
                # the deadline is the one that was told first
                entry.order = order_of(body, stored_ns)._replace(deadline_ns=entry.record.deadline_ns)
            return []
        try:
            order = order_of(body, stored_ns)
        except ValueError as problem:
            record = Record(
                State.FAILED, digest=digest(body), ended_ns=now, error=f"not a command: {problem}"
            )
            return self._add(ident, record, None)
        record = Record(
            State.DELIVERED, order.name, digest(body), deadline_ns=order.deadline_ns, delivered_ns=now
        )
        if now >= order.deadline_ns:
            record = record.to(State.EXPIRED, ended_ns=now)
        return self._add(ident, record, order)

    def _add(self, ident: str, record: Record, order: Order | None) -> list[Action]:
        entry = self._entries[ident] = _Entry(record)
        entry.order, entry.wanted = order, True
        return self._put(ident, record)

    def begun(self, now: int) -> list[Action]:
        """All that is in ``desired`` on this device has been heard, and what the disk has can be judged."""
        actions = list[Action]()
        for ident, entry in list(self._entries.items()):
            if entry.record.state.final:
                continue
            if entry.order is None:
                actions += self._fail(ident, "withdrawn", now)
            elif entry.record.state is State.EXECUTING and entry.stored and not entry.asked:
                actions += self._interrupted(ident, entry, entry.order, now)
        return actions

    def _interrupted(self, ident: str, entry: _Entry, order: Order, now: int) -> list[Action]:
        if not order.idempotent:
            return self._fail(ident, "interrupted: whether it was carried out is not known", now)
        if entry.record.attempt >= ATTEMPTS:
            return self._fail(ident, f"interrupted {ATTEMPTS} times", now)
        if now >= order.deadline_ns:
            return self._fail(ident, "interrupted, and its deadline has passed", now)
        again = msgspec.structs.replace(entry.record, attempt=entry.record.attempt + 1, started_ns=now)
        return self._put(ident, again)

    def withdrawn(self, ident: str, now: int) -> list[Action]:
        """The hub does not have it any more."""
        entry = self._entries.get(ident)
        if entry is None:
            return []
        entry.wanted = False
        return self._fail(ident, "withdrawn", now) if entry.record.state is State.DELIVERED else []

    def confirmed(self, ident: str) -> None:
        """The hub knows that it was delivered, and knew of nothing before."""
        if (entry := self._entries.get(ident)) is not None:
            entry.confirmed = True

    def foreign(self, ident: str, now: int) -> list[Action]:
        """The hub knows more of it than this device: it was here before the device lost its memory."""
        entry = self._entries.get(ident)
        if entry is None or entry.record.state is not State.DELIVERED:
            return []
        return self._fail(
            ident, "it has been here before, and this device does not know what became of it", now
        )

    # --- what comes from here ----------------------------------------------------------------------

    def stored(self, ident: str, record: Record) -> None:
        """A ``Persist`` is on the disk."""
        entry = self._entries.get(ident)
        if entry is not None and entry.record is record:
            entry.stored = True

    def nobody(self, ident: str, now: int) -> None:
        """There was no handler when it was to be handed over: nothing has been done."""
        if (entry := self._entries.get(ident)) is not None and entry.asked:
            entry.asked, entry.until_ns, entry.retry_ns = False, NEVER, now + RETRY_NS

    def answered(self, ident: str, body: bytes, error: str, now: int) -> list[Action]:
        """The handler's answer; ``error``: what it says went wrong."""
        entry = self._entries.get(ident)
        if entry is None or not entry.asked or entry.record.state is not State.EXECUTING:
            return []
        fields = result_fields(body) | ({"error": error} if error else {})
        state = State.FAILED if error else State.DONE
        return self._put(ident, entry.record.to(state, ended_ns=now, **fields))

    def due(self, now: int, present: Callable[[str], bool]) -> list[Action]:
        """What is to be done by now. ``present``: whether there is a handler for a name."""
        actions = list[Action]()
        busy = {entry.record.name for entry in self._entries.values() if _runs(entry)}
        running = sum(_runs(entry) for entry in self._entries.values())
        for ident, entry in list(self._entries.items()):
            state = entry.record.state
            if state.final or not entry.stored or entry.order is None:
                if not state.final:
                    busy.add(entry.record.name)
                continue
            if state is State.EXECUTING:
                actions += self._carry_on(ident, entry, entry.order, now)
                continue
            name = entry.order.name
            first = name not in busy  # those that came before it come first
            busy.add(name)
            if now >= entry.order.deadline_ns:
                actions += self._put(ident, entry.record.to(State.EXPIRED, ended_ns=now))
            elif first and running < RUNNING and (entry.confirmed or entry.order.idempotent):
                started = self._start(ident, entry, entry.order, now, present)
                running += bool(started)
                actions += started
        return actions + self._forget(now)

    def _start(
        self, ident: str, entry: _Entry, order: Order, now: int, present: Callable[[str], bool]
    ) -> list[Action]:
        if now < entry.retry_ns:
            return []
        if present(order.name):
            started = entry.record.to(State.EXECUTING, attempt=entry.record.attempt + 1, started_ns=now)
            return self._put(ident, started)
        if not order.waits:
            return self._fail(ident, "there is no handler", now)
        entry.retry_ns = now + RETRY_NS
        return []

    def _carry_on(self, ident: str, entry: _Entry, order: Order, now: int) -> list[Action]:
        if not entry.asked:
            if now < entry.retry_ns:
                return []
            if now >= order.deadline_ns:  # it was not handed over
                return self._put(ident, entry.record.to(State.EXPIRED, ended_ns=now))
            entry.asked, entry.until_ns = True, now + order.timeout_ns
            return [Ask(ident, order, entry.record.attempt)]
        if now >= entry.until_ns:
            return self._fail(ident, f"no answer within {order.timeout_ns / SECOND_NS:g} s", now)
        return []

    def next_ns(self) -> int:
        """When ``due`` has to be called at the latest; 0: not by itself."""
        times = list[int]()
        for entry in self._entries.values():
            if entry.record.state.final or not entry.stored or entry.order is None:
                continue
            if entry.asked:
                times.append(entry.until_ns)
            else:
                times += [entry.order.deadline_ns, *([entry.retry_ns] if entry.retry_ns else [])]
        return min(times, default=NEVER)

    def _forget(self, now: int) -> list[Action]:
        """Not what is still in ``desired``: it would be new again."""
        old = [
            ident
            for ident, entry in self._entries.items()
            if entry.record.state.final and entry.stored and not entry.wanted
        ]
        spare = max(len(old) - KEPT, 0)
        gone = [
            ident
            for number, ident in enumerate(old)
            if number < spare or now - self._entries[ident].record.ended_ns > KEPT_NS
        ]
        for ident in gone:
            del self._entries[ident]
        return [Forget(ident) for ident in gone]

    def _fail(self, ident: str, why: str, now: int) -> list[Action]:
        entry = self._entries[ident]
        return self._put(ident, entry.record.to(State.FAILED, ended_ns=now, error=why))

    def _put(self, ident: str, record: Record) -> list[Action]:
        entry = self._entries[ident]
        entry.record, entry.stored, entry.asked = record, False, False
        entry.retry_ns = NEVER
        return [Persist(ident, record)]


def _runs(entry: _Entry) -> bool:
    return entry.record.state is State.EXECUTING


def _age(item: tuple[str, Record]) -> tuple[int, str]:
    return item[1].delivered_ns, item[0]


def shown(ns: int) -> str:
    """A time of a record; empty for none."""
    return rfc3339(ns) if ns else ""


def records_of(values: Iterable[tuple[str, bytes]]) -> dict[str, Record]:
    """Records by id, of values by id. What is none, as when a program on the device has written it, is final."""
    records = dict[str, Record]()
    for ident, value in values:
        try:
            records[ident] = msgspec.json.decode(value, type=Record)
        except (ValueError, RecursionError):  # ValueError: no JSON, or no UTF-8
            records[ident] = Record(State.FAILED, error="the record cannot be read")
    return records
