"""Commands of the hub, carried out by programs on the device: what ``shared/twin/ledger.py`` decides is done here.

A command is handed over as a request to ``cmd.<name>``, with its id and attempt in headers; whatever answers is its
handler. Those subjects cross no link, in either direction (``edge/twin/prepare.py``).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.edge.line import NOBODY, Line, NoAnswer, Refused
from phloem.edge.twin.bucket import Bucket
from phloem.shared.jetstream.headers import field_of
from phloem.shared.limits import SECOND_NS
from phloem.shared.twin.command import Record, State
from phloem.shared.twin.ledger import Action, Ask, Forget, Ledger, Persist, records_of
from phloem.shared.twin.names import COMMAND, LOCAL, command_id

if TYPE_CHECKING:
    from phloem.shared.store.store import Store

log = logging.getLogger("phloem.twin")

ERROR = b"Nats-Service-Error"  # as NATS services say it
CONFIRMED = b"\x02twincmd."  # store key, with a command's id: the hub has acknowledged it as new
RETRY_S = 1.0  # until a record is written again that could not be


class Commands:
    """The ledger and what carries it out. ``now``: nanoseconds since 1970, never earlier than before."""

    def __init__(self, line: Line, desired: Bucket, reported: Bucket, now: Callable[[], int]) -> None:
        self._line, self._desired, self._reported, self._now = line, desired, reported, now
        self._ledger = Ledger({})
        self._wake = asyncio.Event()
        self._inboxes: dict[str, str] = {}
        self._tasks: asyncio.TaskGroup

    def begin(self) -> list[Action]:
        """What the disk has, before anything else happens: what has to be done about it."""
        values = list(self._desired.values())
        self._ledger = Ledger(
            records_of(
                (command_id(value.key), value.body)
                for value in self._reported.values()
                if command_id(value.key) and not value.gone
            )
        )
        actions = list[Action]()
        for key, _ in self._store.scan(CONFIRMED):
            self._ledger.confirmed(key.removeprefix(CONFIRMED).decode())
        for value in values:
            if (ident := command_id(value.key)) and not value.gone:
                stamp = value.place.ts if value.place is not None else 0
                actions += self._ledger.heard(ident, value.body, stamp, self._now())
        return actions + self._ledger.begun(self._now())

    async def keep(self, first: list[Action]) -> None:
        """Carry out, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            self._carry_out(first)
            while True:
                self._carry_out(self._ledger.due(self._now(), self._is_present))
                self._wake.clear()
                next_ns = self._ledger.next_ns()
                wait_s = max((next_ns - self._now()) / SECOND_NS, 0.001) if next_ns else None
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    # --- what happens --------------------------------------------------------------------------------

    def changed(self, ident: str, body: bytes | None, stored_ns: int) -> None:
        """The hub has a command, or (None) has it no more."""
        now = self._now()
        if body is None:
            self._do(self._ledger.withdrawn(ident, now))
        else:
            self._do(self._ledger.heard(ident, body, stored_ns, now))

    def acknowledged(self, ident: str, body: bytes) -> None:
        """The hub has this record."""
        record = self._ledger.record(ident)
        if record is not None and record.state is State.DELIVERED:
            # before the report is acknowledged to this device's consumer, which would not send it again
            self._line.server.do(lambda: self._store.put(CONFIRMED + ident.encode(), b"1"))
            self._ledger.confirmed(ident)
            self._wake.set()

    def foreign(self, ident: str) -> None:
        """The hub knows more of it."""
        self._do(self._ledger.foreign(ident, self._now()))

    def is_confirmed(self, ident: str) -> bool:
        """Whether the hub has acknowledged it as new."""
        return self._ledger.is_confirmed(ident)

    # --- what is done --------------------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        self._carry_out(actions)
        self._wake.set()

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Persist(ident, record):
                    if record.state.final and ident in self._inboxes:
                        self._line.hush(self._inboxes.pop(ident))
                    self._spawn(self._persist(ident, record))
                case Ask():
                    self._ask(action)
                case Forget(ident):
                    self._spawn(self._forget(ident))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(work)

    async def _persist(self, ident: str, record: Record) -> None:
        body = msgspec.json.encode(record)
        while self._ledger.record(ident) is record:
            try:
                await self._reported.put(f"{COMMAND}.{ident}", body)
            except (NoAnswer, Refused) as problem:
                log.error("twin: the state of command %s cannot be stored: %s", ident, problem)
                await asyncio.sleep(RETRY_S)
                continue
            if record.state.final:
                self._line.server.do(lambda: self._store.delete(CONFIRMED + ident.encode()))
            self._ledger.stored(ident, record)
            self._wake.set()
            return

    async def _forget(self, ident: str) -> None:
        try:
            await self._reported.put(f"{COMMAND}.{ident}", b"", gone=True)
        except (NoAnswer, Refused) as problem:
            log.warning("twin: command %s is not forgotten: %s", ident, problem)

    def _ask(self, action: Ask) -> None:
        ident, order, attempt = action

        def heard(_subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
            self._line.hush(inbox)
            self._inboxes.pop(ident, None)
            if header.startswith(NOBODY):
                self._ledger.nobody(ident, self._now())
                self._wake.set()
                return
            error = field_of(header, ERROR).decode(errors="replace") if header else ""
            self._do(self._ledger.answered(ident, body, error, self._now()))

        inbox = self._line.listen(heard)
        header = f"NATS/1.0\r\nPhloem-Command: {ident}\r\nPhloem-Attempt: {attempt}\r\n\r\n".encode()
        self._inboxes[ident] = inbox
        if not self._line.send(f"{LOCAL}.{order.name}", order.body, header=header, reply=inbox):
            self._line.hush(self._inboxes.pop(ident))
            self._ledger.nobody(ident, self._now())

    @property
    def _store(self) -> "Store":
        jetstream = self._line.server.jetstream
        assert jetstream is not None
        return jetstream.store

    def _is_present(self, name: str) -> bool:
        return self._line.reaches(f"{LOCAL}.{name}")
