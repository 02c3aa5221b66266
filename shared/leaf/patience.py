"""How long a step of linking may take, and how long to pause before the next attempt. Pure: clock and dice are
handed in.

A first attempt has nats-server's times. A step that ran out of time gets half as much again the next time, up to a
bound; what a step really took, and the round trip, say what it needs from then on. So a link of 3 s that a second is
not enough for comes up after a few attempts, and comes up at once the next time.

Pauses: nats-server's do not grow. Ours, if they may, are at most an eighth of the time that the hub has not been
reachable, at random: who comes back after 10 s is noticed within 1.25 s, after an hour within ``most_ns``, and a
thousand edges that lost their hub in the same instant do not come back in the same instant.
"""

from typing import Protocol

from phloem.shared import limits

STEPS = ("dial", "tls", "info")
ROUNDS = {
    "dial": 1,
    "tls": 3,
    "info": 2,
}  # round trips that a step takes on a good day; compression has a second INFO
SPARE = 3  # times what a step took last, before it is late


class Dice(Protocol):
    """What of ``random.Random`` is used."""

    def randrange(self, stop: int, /) -> int: ...  # noqa: D102


class Patience:
    """The times that the steps of one remote's handshake get, in nanoseconds. ``most_ns`` 0: nothing adapts."""

    def __init__(self, most_ns: int) -> None:
        self._most_ns = most_ns
        self._late = dict.fromkeys(STEPS, 0)  # times in a row
        self._took_ns = dict.fromkeys(STEPS, 0)
        self._rtt_ns = 0

    def use(self, most_ns: int) -> None:
        """Another bound; what is known of the link stays."""
        self._most_ns = most_ns

    def within_ns(self, step: str, base_ns: int) -> int:
        """How long this step may take now; never less than ``base_ns``, which is the configured time."""
        if base_ns <= 0 or self._most_ns <= base_ns:
            return base_ns
        need_ns = max(base_ns, SPARE * self._took_ns[step], SPARE * ROUNDS[step] * self._rtt_ns)
        for _ in range(min(self._late[step], 64)):
            if need_ns >= self._most_ns:
                break
            need_ns += need_ns // 2
        return min(need_ns, self._most_ns)

    def late(self, step: str) -> None:
        """The time was not enough."""
        self._late[step] += 1

    def done(self, step: str, took_ns: int) -> None:
        """The step went well, in this time."""
        self._late[step] = 0
        self._took_ns[step] = max(took_ns, 0)

    def round_trip(self, rtt_ns: int) -> None:
        """A PONG came so long after its PING."""
        self._rtt_ns = max(rtt_ns, 0)


class Pauses:
    """The pauses of one remote. Every answer is in nanoseconds and not negative."""

    def __init__(self, least_ns: int, most_ns: int, dice: Dice) -> None:
        """``least_ns`` is ``leafnodes.reconnect``; with a ``most_ns`` of it or less pauses do not grow."""
        self._least_ns = max(least_ns, 0)
        self._most_ns = most_ns
        self._dice = dice
        self._trouble_ns: int | None = None  # since when there has been no link worth the name
        self._up_ns: int | None = None

    def use(self, least_ns: int, most_ns: int) -> None:
        """Other bounds, from the next pause on."""
        self._least_ns, self._most_ns = max(least_ns, 0), most_ns

    @property
    def grow(self) -> bool:
        """Whether pauses grow."""
        return self._most_ns > self._least_ns

    def up(self, now_ns: int) -> None:
        """The link is up."""
        self._up_ns = now_ns

    def fresh(self, now_ns: int) -> None:
        """There is reason to hope: short pauses again."""
        self._trouble_ns = now_ns

    def failed(self, now_ns: int) -> int:
        """An attempt has failed."""
        if self.grow:
            return self._grown(now_ns)
        return self._least_ns + self._dice.randrange(max(self._least_ns, 1))

    def lost(self, now_ns: int) -> int:
        """A connection has ended."""
        return self._grown(now_ns) if self.grow else self._least_ns

    def _grown(self, now_ns: int) -> int:
        up_ns, self._up_ns = self._up_ns, None
        if up_ns is not None and now_ns - up_ns >= limits.LINK_STEADY_NS:
            self._trouble_ns = None  # what ended now had been well
        if self._trouble_ns is None:
            self._trouble_ns = now_ns
        eighth_ns = (now_ns - self._trouble_ns) // 8
        return self._dice.randrange(min(max(eighth_ns, self._least_ns), self._most_ns) + 1)
