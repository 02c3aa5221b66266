"""What this device says of itself: its bucket ``reported``, copied to the hub's ``twin_reported`` over the link.

A durable consumer of the device's own knows what is still to be sent; a report is acknowledged to it when the hub has
acknowledged it. So nothing is asked of the hub, nothing goes over the link while nothing changes, and the hub keeps no
consumer for each of its devices.

Whether the hub still has what it has acknowledged is asked when the link comes back: the report that was acknowledged
last is sent once more, on condition that it is the key's last at the hub. A hub that was restored from a backup, or
whose bucket was made anew, refuses that, and is sent everything.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.edge.line import Line, Refused
from phloem.edge.twin.bucket import Bucket, Value, is_gone, sequence_of
from phloem.edge.twin.down import Hub
from phloem.shared import limits
from phloem.shared.limits import SECOND_NS
from phloem.shared.twin.command import Record, State
from phloem.shared.twin.names import DELETE, HUB_REPORTED, OPERATION, command_id, prefix_of

if TYPE_CHECKING:
    from phloem.shared.store.store import Store

log = logging.getLogger("phloem.twin")

CONSUMER = "twin_up"
MARK = b"\x02twin"  # store key: sequence at the hub and key of what was acknowledged last
WRONG_LAST, TOO_LARGE = 10071, 10054
NEW = b"Nats-Expected-Last-Subject-Sequence: 0"
ACK, NAK = b"+ACK", b"-NAK"
STATUS = b"NATS/1.0 4"
EXPIRES_NS = 30 * SECOND_NS
ANEW = "the hub does not have what it has acknowledged; all reports are sent again"


class Mark(NamedTuple):
    """What the hub has acknowledged last."""

    seq: int
    key: str


class Told(NamedTuple):
    """Who is told what has become of reports."""

    acknowledged: Callable[[str, bytes], None]  # key, value
    foreign: Callable[[str], None]  # a command that the hub knows more of
    is_confirmed: Callable[[str], bool]  # of a command: the hub has said already that it is new


class Up:
    """Sends for ever."""

    def __init__(self, line: Line, hub: Hub, reported: Bucket, told: Told) -> None:
        self._line, self._hub, self._reported, self._told = line, hub, reported, told
        self._subject = f"{hub.api}.{prefix_of(HUB_REPORTED)}{hub.device}."
        self._said = ""
        self._deliver = ""  # where this device's own consumer delivers to
        self._waiting = deque[tuple[bytes, bytes, bytes, bytes]]()
        self._owed = set[bytes]()  # acknowledgements
        self._came = asyncio.Event()
        self._over, self._left = True, 0  # the request that is out

    async def make(self) -> None:
        """The consumer. Raises NoAnswer, Refused."""
        config = {
            "durable_name": CONSUMER,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "max_ack_pending": 2 * limits.TWIN_WINDOW,
            "ack_wait": 2 * limits.TWIN_ANSWER_NS,
            "max_deliver": -1,
            "replay_policy": "instant",
        }
        stream = self._reported.stream.name
        await self._line.ask(
            f"$JS.API.CONSUMER.CREATE.{stream}.{CONSUMER}",
            {"stream_name": stream, "config": {**config, "name": CONSUMER}, "action": ""},
        )

    async def once(self) -> None:
        """Send for as long as the link is up: whoever sees that it is another cancels this.

        Raises:
            NoAnswer, Refused: It has to be begun again.
        """
        if not self._deliver:
            self._deliver = self._line.listen(self._heard)
        self._waiting.clear()
        for reply in list(self._owed):
            self._settle(reply, NAK)  # comes again, to the same inbox
        await self._check()
        while True:
            self._pull()
            while not self._over:
                self._came.clear()
                batch = list(self._waiting)
                self._waiting.clear()
                if batch:
                    await self._send_all(batch)
                elif not self._over:
                    await self._came.wait()

    def _heard(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        if header.startswith(STATUS):  # the request is over
            self._over = True
        else:
            reply, _, stored = reply.partition(b"@")  # as it is told to a server
            self._owed.add(reply)
            self._waiting.append((stored or subject, reply, header, body))
            self._left -= 1
            self._over = self._left <= 0
        self._came.set()

    def _pull(self) -> None:
        self._over, self._left = False, limits.TWIN_WINDOW  # before it is sent: answers may come meanwhile
        question = {"batch": limits.TWIN_WINDOW, "expires": EXPIRES_NS}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._reported.stream.name}.{CONSUMER}"
        self._line.send(subject, msgspec.json.encode(question), reply=self._deliver)

    # --- one report ------------------------------------------------------------------------------------

    async def _send_all(self, batch: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
        done = await asyncio.gather(*(self._send(*one) for one in batch), return_exceptions=True)
        problems = [one for one in done if isinstance(one, BaseException)]
        if problems:
            raise problems[0]

    async def _send(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        key = subject.decode(errors="replace").removeprefix(self._reported.prefix)
        try:
            await self._report(Value(key, 0, body, is_gone(header), None))
        except Refused as problem:
            if problem.code != TOO_LARGE:
                raise
            log.error("twin: %s is not reported: %s", key, problem)
        self._settle(reply, ACK)

    async def _report(self, value: Value) -> None:
        """Raises NoAnswer, Refused."""
        lines = [OPERATION + b": " + DELETE] if value.gone else []
        ident = command_id(value.key)
        delivered_ns = _delivered_ns(value.body) if ident and not self._told.is_confirmed(ident) else 0
        if delivered_ns:
            answer = await self._report_new(value, ident, delivered_ns)
            if answer is None:
                return
        else:
            answer = await self._line.ask(self._subject + value.key, value.body, header=_block(lines))
        self._mark(Mark(sequence_of(answer), value.key))
        self._told.acknowledged(value.key, value.body)

    async def _report_new(self, value: Value, ident: str, delivered_ns: int) -> dict[str, Any] | None:
        """A command that was delivered is run only if the hub has not heard of it, from a former life of this device.

        If it has, it may be from this very report, whose acknowledgement was lost: then its id is known there.
        """
        name = f"{self._hub.device}.{self._reported.identity}.{ident}.{delivered_ns}"
        known = b"Nats-Msg-Id: " + name.encode()
        subject = self._subject + value.key
        try:
            return await self._line.ask(subject, value.body, header=_block([known, NEW]))
        except Refused as problem:
            if problem.code != WRONG_LAST:
                raise
        answer = await self._line.ask(subject, value.body, header=_block([known]))
        if answer.get("duplicate"):
            return answer
        self._told.foreign(ident)
        return None

    def _settle(self, reply: bytes, how: bytes) -> None:
        self._owed.discard(reply)
        self._line.send(reply.decode(), how)

    # --- is it still the same hub? ---------------------------------------------------------------------

    async def _check(self) -> None:
        mark = self._marked()
        if mark is None:
            return
        value = self._reported.value(mark.key) or Value(mark.key, 0, b"", True, None)
        lines = [OPERATION + b": " + DELETE] if value.gone else []
        lines.append(b"Nats-Expected-Last-Subject-Sequence: %d" % mark.seq)
        try:
            answer = await self._line.ask(self._subject + mark.key, value.body, header=_block(lines))
        except Refused as problem:
            if problem.code != WRONG_LAST:
                raise
            log.warning("twin: %s", ANEW)
            stream = self._reported.stream.name
            await self._line.ask(f"$JS.API.CONSUMER.DELETE.{stream}.{CONSUMER}")
            await self.make()
            self._forget_mark()
            return
        self._mark(Mark(sequence_of(answer), mark.key))

    def _marked(self) -> Mark | None:
        value = self._store.get(MARK + self._identity)
        return Mark(int.from_bytes(value[:8]), value[8:].decode()) if value else None

    def _mark(self, mark: Mark) -> None:
        known = self._marked()
        if mark.seq and (known is None or mark.seq > known.seq):
            self._line.server.do(
                lambda: self._store.put(MARK + self._identity, mark.seq.to_bytes(8) + mark.key.encode())
            )

    def _forget_mark(self) -> None:
        self._line.server.do(lambda: self._store.delete(MARK + self._identity))

    @property
    def _identity(self) -> bytes:
        """A bucket that was made anew has not sent anything."""
        return self._reported.identity.encode()

    @property
    def _store(self) -> "Store":
        jetstream = self._line.server.jetstream
        assert jetstream is not None
        return jetstream.store

    def tell(self, problem: Exception) -> None:
        """Log it, once for each reason."""
        if str(problem) != self._said:
            log.warning("twin: reports cannot be sent to the hub's %s: %s", HUB_REPORTED, problem)
            self._said = str(problem)


def _block(lines: list[bytes]) -> bytes:
    return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" if lines else b""


def _delivered_ns(body: bytes) -> int:
    """When a command was delivered that nothing has happened to since; 0 for any other value."""
    try:
        record = msgspec.json.decode(body, type=Record)
    except (ValueError, RecursionError):
        return 0
    return record.delivered_ns if record.state is State.DELIVERED else 0
