"""Whether what waits for the hub moves, and what is done when it does not. Pure: told what happened, and when.

A try is in vain when the hub says nothing for longer than it may, when it ends the session, or when a connection goes
before anything moved. A silence is followed by another session, because what was lost may have been one message; the
second one on a connection by another connection, because a link may be up in name only; and when three tries in a row
were in vain while messages wait, people are told, once. All of it begins again when something moves: with an
acknowledgement, or a hub that says why it takes nothing. WELCOME alone is no such thing unless nothing waits: a link
that lets small messages through, and none of those that matter, would be asked anew for ever.
"""

from enum import Flag, auto

from phloem.shared.limits import SECOND_NS

SILENCES_MAX = 2  # on one connection
ALARM_TRIES = 3
ALARM_NS = 30 * SECOND_NS  # since the first of them: links that come and go within seconds are no alarm


class Step(Flag):
    """What is due after a try."""

    NONE = 0
    SESSION = auto()  # the hub is asked anew
    CONNECTION = auto()  # the same, over another connection
    ALARM = auto()  # people are told


class Watchdog:
    """Of one sender. Times are nanoseconds of the monotonic clock; ``waits``: there is something that the hub does
    not have."""

    def __init__(self) -> None:
        self.alarmed = False
        self._tries = 0  # in vain, in a row
        self._first_ns = 0  # the first of them
        self._silences = 0  # in a row, on this connection
        self._idle = True  # nothing has happened on this connection, neither good nor bad

    def connected(self) -> None:
        """There is another connection."""
        self._silences, self._idle = 0, True

    def disconnected(self, now_ns: int, *, waits: bool) -> Step:
        """It is over; if it was silent, that has been counted."""
        return self._in_vain(now_ns, waits=waits) if self._idle and waits else Step.NONE

    def sent_away(self, now_ns: int, *, waits: bool) -> Step:
        """The hub has ended the session; another one begins anyhow."""
        return self._in_vain(now_ns, waits=waits)

    def silent(self, now_ns: int, *, waits: bool) -> Step:
        """For longer than may be."""
        self._silences += 1
        step = Step.SESSION
        if self._silences == SILENCES_MAX:  # one that cannot be ended is given the same time again
            self._silences, step = 0, Step.CONNECTION
        return step | self._in_vain(now_ns, waits=waits)

    def _in_vain(self, now_ns: int, *, waits: bool) -> Step:
        self._idle = False
        self._tries += 1
        if self._tries == 1:
            self._first_ns = now_ns
        long = self._tries >= ALARM_TRIES and now_ns - self._first_ns >= ALARM_NS
        if self.alarmed or not waits or not long:
            return Step.NONE
        self.alarmed = True
        return Step.ALARM

    def moved(self) -> bool:
        """Something does; whether people have to be told, because they were told of the contrary."""
        over, self.alarmed = self.alarmed, False
        self._tries = self._silences = 0
        self._idle = False
        return over
