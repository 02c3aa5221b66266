"""Fast batches: a publisher is acknowledged every so many messages instead of for each (reference 3.3).

The reply subject says it all: ``<prefix>.<batch>.<flow>.<gap mode>.<sequence>.<operation>.$FI``. Messages are visible
at once. How many messages the publisher may send for one acknowledgement depends on how many batches there are: a new
one among others begins with one, and doubles.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import Wishes, without
from phloem.shared.jetstream.times import SECOND_NS
from phloem.shared.server.jetstream.batches import ID_MAX, LEVEL
from phloem.shared.server.jetstream.direct import level_is_known
from phloem.shared.server.jetstream.staged import Duplicate, Staged

if TYPE_CHECKING:
    import asyncio

    from phloem.shared.server.jetstream.publish import Publish
    from phloem.shared.server.jetstream.stream import Stream

SUFFIX = b".$FI"
START, APPEND, COMMIT, END, PING = range(5)
FLOW_MAX = 500  # messages for one acknowledgement, of all batches of a stream together
FLOW = 10  # where the publisher asks for nothing sensible


class FastReply(NamedTuple):
    """What the reply subject says."""

    ident: bytes
    flow: int
    gap_ok: bool
    seq: int
    operation: int


def parse_reply(reply: bytes) -> FastReply | None:
    """None: it is not of this form."""
    tokens = reply[: -len(SUFFIX)].split(b".")
    if len(tokens) < 6:
        return None
    ident, flow, mode, number, operation = tokens[-5:]
    if operation not in (b"0", b"1", b"2", b"3", b"4") or mode not in (b"ok", b"fail"):
        return None
    if not number.isdigit() or len(number) > 18:
        return None
    op, seq = int(operation), int(number)
    if seq == 0 or (op == START and seq != 1) or (op in (APPEND, END) and seq == 1):
        return None
    asked = min(int(flow), 65535) if flow.isdigit() and len(flow) < 19 else 0
    return FastReply(ident, asked or FLOW, mode == b"ok", seq, op)


class FastBatch:
    """One that is open."""

    def __init__(self, asked: FastReply) -> None:
        self.gap_ok = asked.gap_ok
        self.most = asked.flow
        self.flow = min(FLOW_MAX, asked.flow)
        self.seq = 0  # the last one that came
        self.told = 0  # the last one that was acknowledged
        self.stream_seq = 0
        self.timer: asyncio.TimerHandle | None = None


class FastBatches:
    """The open fast batches of a stream."""

    def __init__(self, stream: "Stream", publish: "Publish") -> None:
        self._stream = stream
        self._publish = publish
        self._open: dict[bytes, FastBatch] = {}

    def _begin(self, asked: FastReply) -> FastBatch:
        if asked.seq != 1:
            raise error(10208)
        load = self._stream.system.batch_load
        if len(self._open) >= load.most_fast_of_stream or load.fast >= load.most_fast:
            raise error(10211)
        load.fast += 1
        batch = self._open[asked.ident] = FastBatch(asked)
        if len(self._open) > 1:
            batch.flow = 1
        return batch

    def _end(self, ident: bytes) -> None:
        batch = self._open.pop(ident)
        self._stream.system.batch_load.fast -= 1
        if batch.timer is not None:
            batch.timer.cancel()

    def _rest(self, ident: bytes, batch: FastBatch) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        seconds = self._stream.system.batch_load.idle_ns / SECOND_NS
        batch.timer = self._stream.system.server.call_later(seconds, lambda: self._end(ident))

    def close(self) -> None:
        """The stream is closed."""
        for ident in list(self._open):
            self._end(ident)

    # --- what the publisher is told --------------------------------------------------------------------

    def _tell(self, reply: bytes, kind: str, **fields: Any) -> None:
        self._publish.answer(reply, msgspec.json.encode({"type": kind, **fields}))

    def _flow(self, batch: FastBatch, reply: bytes) -> bool:
        """An acknowledgement, if one is due; the next may be for more messages or for fewer."""
        if batch.seq < batch.told + batch.flow:
            return False
        batch.told += (batch.seq - batch.told) // batch.flow * batch.flow
        most = min(max(FLOW_MAX // len(self._open), 1), batch.most)
        if batch.flow < most:
            batch.flow = min(batch.flow * 2, most)
        elif batch.flow > most:
            batch.flow = max(batch.flow // 2, most)
        self._acknowledge(batch, reply)
        return True

    def _acknowledge(self, batch: FastBatch, reply: bytes) -> None:
        self._tell(reply, "ack", seq=batch.told, msgs=batch.flow)

    def _commit(self, asked: FastReply, batch: FastBatch, reply: bytes) -> None:
        self._end(asked.ident)
        self._publish.acknowledge_batch(batch.stream_seq, reply, asked.ident, batch.seq)

    # --- a message -------------------------------------------------------------------------------------

    def take(self, subject: bytes, reply: bytes, header: bytes, payload: bytes, wishes: Wishes) -> None:
        """A message whose reply subject ends in ``$FI``. Raises ApiError."""
        config = self._stream.config
        if config.sealed:
            raise error(10109)
        self._publish.check_size(config, header, payload)
        if not config.allow_batched:
            raise error(10205)
        asked = parse_reply(reply)
        if asked is None:
            raise error(10206)
        if not 0 < len(asked.ident) <= ID_MAX:
            raise error(10207)
        batch = self._open.get(asked.ident) or self._begin(asked)
        if LEVEL in wishes:
            if not level_is_known(header):
                self._end(asked.ident)
                raise error(10185)
            header = without(header, (LEVEL + b":",))
        self._rest(asked.ident, batch)
        if asked.operation == PING:
            self._ping(asked, batch, reply)
            return
        if not self._in_order(asked, batch, reply):
            return
        if asked.operation == END:
            batch.seq -= 1
            self._commit(asked, batch, reply)
            return
        if asked.seq == 1 and asked.operation != COMMIT:
            self._tell(reply, "ack", seq=0, msgs=batch.flow)
        self._store(asked, batch, reply, (subject, header, payload), wishes)

    def _ping(self, asked: FastReply, batch: FastBatch, reply: bytes) -> None:
        if asked.seq > batch.seq:
            self._tell(reply, "gap", last_seq=batch.seq + 1, seq=asked.seq + 1)
            if not batch.gap_ok:
                self._commit(asked, batch, reply)
                return
            batch.seq = asked.seq
            if self._flow(batch, reply):
                return
        self._acknowledge(batch, reply)

    def _in_order(self, asked: FastReply, batch: FastBatch, reply: bytes) -> bool:
        """Whether the message is to be taken; a gap may be the end."""
        expected = batch.seq + 1
        if asked.seq > expected:
            self._tell(reply, "gap", last_seq=expected, seq=asked.seq)
        if asked.seq == expected or (batch.gap_ok and asked.seq > expected):
            batch.seq = asked.seq
            return True
        self._commit(asked, batch, reply)
        return False

    def _store(
        self,
        asked: FastReply,
        batch: FastBatch,
        reply: bytes,
        message: tuple[bytes, bytes, bytes],
        wishes: Wishes,
    ) -> None:
        commit = asked.operation == COMMIT
        try:
            checked = Staged(self._stream, self._publish).check(*message, wishes)
            batch.stream_seq = self._publish.keep(checked)
        except Duplicate as problem:
            self._duplicate(asked, batch, reply, problem.seq)
            return
        except ApiError as problem:
            self._failed(asked, batch, reply, problem)
            return
        if commit:
            self._commit(asked, batch, reply)
        else:
            self._flow(batch, reply)

    def _duplicate(self, asked: FastReply, batch: FastBatch, reply: bytes, seq: int) -> None:
        """It counts, and nothing is stored."""
        if asked.operation != COMMIT:
            self._flow(batch, reply)
        elif not batch.gap_ok and batch.seq == 1:
            self._end(asked.ident)
            self._publish.acknowledge_batch(seq, reply, asked.ident, asked.seq, duplicate=True)
        else:
            self._commit(asked, batch, reply)

    def _failed(self, asked: FastReply, batch: FastBatch, reply: bytes, problem: ApiError) -> None:
        if not batch.gap_ok and batch.seq == 1:
            self._end(asked.ident)
            raise problem
        self._tell(reply, "err", seq=asked.seq, error=problem.as_dict())
        if batch.gap_ok and asked.operation != COMMIT:
            return
        batch.seq -= 1
        self._commit(asked, batch, reply)
