"""Commands to one board: one is under way, the others wait. Pure.

* A command is repeated until it has its REPLY or its time is over; ``within_ms`` in each repetition is what is left of
  it, so that none is begun after its sender has given up.
* A board that began anew has forgotten what it did: the command under way ends as unknown and is not sent again, as
  it may have been done.
"""

from collections import deque
from typing import NamedTuple

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.effects import Effect, Outcome, Send
from phloem.firmware_bridge.edgelink.frame import wrap
from phloem.firmware_bridge.edgelink.messages import Cmd, Reply, Status, encode
from phloem.firmware_bridge.edgelink.repeating import Repeating

_WITHIN_MOST_MS = 0xFFFF
_HEAD_BYTES = 1 + 4 + 2 + 2 + 1 + limits.CRC_BYTES


class _Waiting(NamedTuple):
    ticket: int
    name: str
    argument: bytes
    deadline_ns: int | None


class Commands:
    """The queue of one session; ``ticket`` is the caller's, to tell outcomes apart."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._id = 0
        self._queue: deque[_Waiting] = deque()
        self._under_way = False
        self._repeating = Repeating(limits.COMMAND_MIN_NS, limits.COMMAND_MAX_NS, 0)

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called, while a board is welcomed."""
        times = [waiting.deadline_ns for waiting in self._queue if waiting.deadline_ns is not None]
        if self._queue:
            times.append(self._repeating.due_ns if self._under_way else 0)
        return min(times, default=None)

    def put(
        self, ticket: int, name: str, argument: bytes, within_ns: int, now_ns: int, max_frame: int
    ) -> list[Effect]:
        """Take a command; ``within_ns`` 0: until it is cancelled."""
        if len(name.encode()) > 255 or _HEAD_BYTES + len(name.encode()) + len(argument) > max_frame:
            return [Outcome(ticket, None, why="too long for the board")]
        if len(self._queue) >= limits.COMMANDS_MAX:
            return [Outcome(ticket, None, why="too many commands wait")]
        self._queue.append(_Waiting(ticket, name, argument, now_ns + within_ns if within_ns else None))
        return self.expire(now_ns)

    def cancel(self, ticket: int, now_ns: int) -> list[Effect]:
        """The caller gives up; no outcome follows."""
        if self._queue and self._queue[0].ticket == ticket:
            self._under_way = False
        self._queue = deque(waiting for waiting in self._queue if waiting.ticket != ticket)
        return self.expire(now_ns)

    def expire(self, now_ns: int) -> list[Effect]:
        """End what is over, send what is due."""
        effects: list[Effect] = []
        for waiting in [w for w in self._queue if w.deadline_ns is not None and w.deadline_ns <= now_ns]:
            if waiting is self._queue[0]:
                self._under_way = False
            self._queue.remove(waiting)
            effects.append(Outcome(waiting.ticket, None, why="no answer in time"))
        if self._queue and not self._under_way:
            self._under_way = True
            self._id = (self._id + 1) & 0xFFFF
            self._repeating.again(now_ns)
        if self._queue and self._repeating.due_ns <= now_ns:
            self._repeating.said(now_ns)
            effects.append(Send(wrap(encode(self._command(self._queue[0], now_ns)))))
        return effects

    def replied(self, reply: Reply, now_ns: int) -> list[Effect]:
        """What a board says of a command; one that is not under way is ignored."""
        if not self._under_way or (reply.session, reply.id) != (self._session, self._id):
            return []
        if reply.status == Status.BUSY:
            return []
        self._under_way = False
        ended = self._queue.popleft()
        return [Outcome(ended.ticket, reply.status, reply.result), *self.expire(now_ns)]

    def restarted(self) -> list[Effect]:
        """The board began anew."""
        if not self._under_way:
            return []
        self._under_way = False
        return [Outcome(self._queue.popleft().ticket, None, why="the board restarted, it may have been done")]

    def end(self, why: str) -> list[Effect]:
        """The board is gone for good."""
        ended = [Outcome(waiting.ticket, None, why=why) for waiting in self._queue]
        self._queue.clear()
        self._under_way = False
        return list(ended)

    def _command(self, waiting: _Waiting, now_ns: int) -> Cmd:
        within_ms = 0
        if waiting.deadline_ns is not None:
            left_ms = (waiting.deadline_ns - now_ns) // limits.MILLISECOND_NS
            within_ms = min(max(1, left_ms), _WITHIN_MOST_MS)
        return Cmd(self._session, self._id, within_ms, waiting.name, waiting.argument)
