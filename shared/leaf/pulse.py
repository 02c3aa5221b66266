"""Whether the peer of a link is still there: when to ask, and when to give it up. Pure.

TCP notices most: what is not acknowledged in time ends the connection (``TCP_USER_TIMEOUT``), and an idle one is
probed by the system. Both see as far as the next proxy, and satellite links have some. So a link over which messages
went is asked with a PING, long before the next one is due. Control traffic does not count: two ends that watch each
other's PONGs would never be still.

Only a PONG is an answer: a link that has died in one direction goes on bringing what the peer has to say. Where bytes
cost, anything that comes in will do (not ``strict``), and such a link is left to whoever waits for acknowledgements.

A PONG waits behind whatever was sent before it, and a proxy may have taken megabytes at once. Each ``RATE`` bytes
that have not been answered are worth a second of patience: a slow link with a long queue is not a dead one.
"""

import enum
from typing import NamedTuple

from phloem.shared.limits import SECOND_NS

RATE = 16 << 10  # bytes a second that even a bad link carries
PATIENCE_MOST_NS = 300 * SECOND_NS
LOOKS = 10  # within the time in which a dead link has to be noticed


def due_within(dead_after_ns: int) -> tuple[int, int]:
    """After how long a silent peer is asked, and how long an answer may take, if a dead one has to be noticed in time.

    Up to a look may pass before a message is noticed, and another before an answer is missed: 4 and 3 looks, and 1 to
    spare. Half a look less, because one that comes a moment early must not leave it to the next.
    """
    return dead_after_ns * 7 // (2 * LOOKS), dead_after_ns * 5 // (2 * LOOKS)


class Sign(NamedTuple):
    """What is known of a connection at one moment."""

    in_bytes: int  # received so far, of whatever kind
    out_msgs: int  # messages sent so far
    out_bytes: int  # and their payload
    asked: bool = False  # a PING has not been answered


class Verdict(enum.Enum):
    """What to do."""

    WELL = enum.auto()
    ASK = enum.auto()
    DEAD = enum.auto()


class Pulse:
    """One link."""

    __slots__ = ("_ask_after_ns", "_asked_ns", "_base", "_patient_ns", "_silent_ns")

    def __init__(self, sign: Sign) -> None:
        self._base = sign  # as it was when the peer was known to be there
        self._silent_ns: int | None = None  # since when something sent is known
        self._patient_ns = 0  # when it is asked about
        self._ask_after_ns = 0  # as the last look had it
        self._asked_ns: int | None = None

    def rests(self, now_ns: int, out_msgs: int) -> bool:
        """Whether a strict ``look`` has nothing to say yet: a hub has thousands of links, most of which rest. That
        something was sent is noted here as well, with the last look's ``ask_after_ns``."""
        if self._asked_ns is not None:
            return False
        if self._silent_ns is None:
            if out_msgs == self._base.out_msgs:
                return True
            if not self._ask_after_ns:
                return False
            self._silent_ns, self._patient_ns = now_ns, now_ns + self._ask_after_ns
        return now_ns < self._patient_ns

    def look(
        self, now_ns: int, sign: Sign, *, ask_after_ns: int, patience_ns: int, strict: bool = True
    ) -> Verdict:
        """What to do now. Whoever is told to ask sends a PING, unless one is on its way."""
        self._ask_after_ns = ask_after_ns
        answered = self._asked_ns is not None and not sign.asked
        if answered or (not strict and sign.in_bytes > self._base.in_bytes):
            self._base = sign
            self._silent_ns = self._asked_ns = None
            return Verdict.WELL
        if self._asked_ns is not None:
            late = now_ns - self._asked_ns >= self._wait_ns(sign, patience_ns)
            return Verdict.DEAD if late else Verdict.WELL
        if sign.out_msgs == self._base.out_msgs:
            return Verdict.WELL
        if self._silent_ns is None:
            self._silent_ns = now_ns
        self._patient_ns = self._silent_ns + ask_after_ns
        if now_ns < self._patient_ns:
            return Verdict.WELL
        self._asked_ns = now_ns
        return Verdict.ASK

    def _wait_ns(self, sign: Sign, patience_ns: int) -> int:
        queued_ns = (sign.out_bytes - self._base.out_bytes) * SECOND_NS // RATE
        return min(patience_ns + queued_ns, max(PATIENCE_MOST_NS, patience_ns))
