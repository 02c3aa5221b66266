"""Following the hub's ``desired`` keys of one device: what is asked for, and what a delivery changes here.

A copy has the sequence and the time that its value has at the hub. With the highest of them as start, the first
message that comes is that very value, if the hub is the one that was left and nothing has happened since to that key;
then only what is newer comes. If it is not, because the hub has been restored or made anew or the key has changed, the
last values of all keys are asked for, and what is here beyond them goes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

LAST_VALUES = 0


class Place(NamedTuple):
    """Sequence and time of a value at the hub, in nanoseconds since 1970."""

    seq: int
    ts: int


class Local(NamedTuple):
    """A key here; without a place if it was deleted because the hub did not have it any more."""

    place: Place | None
    gone: bool


class Store(NamedTuple):
    """Write the message that was just delivered."""

    place: Place


class Drop(NamedTuple):
    """Delete a key that the hub does not have."""

    key: str


class Again(NamedTuple):
    """Ask again, for the last values of all keys."""


Step = Store | Drop | Again


class Follow:
    """One hub, from the first question on; ``begin`` again for each consumer that is asked for."""

    def __init__(self, keys: Mapping[str, Local]) -> None:
        self._keys = dict(keys)
        self._seen: set[str] | None = None  # keys, while all of them are told
        self._check: Place | None = None  # what has to come first
        self._whole = False
        self.complete = False  # what is here was the hub's at some time since ``begin``

    def begin(self) -> int:
        """The first sequence to ask for, ``LAST_VALUES`` for the last values of all keys."""
        self.complete, self._seen = False, None
        places = [one.place for one in self._keys.values() if one.place is not None]
        self._check = max(places, default=None) if not self._whole else None
        if self._check is None:
            self._seen = set()
        return self._check.seq if self._check is not None else LAST_VALUES

    def opened(self, pending: int) -> list[Step]:
        """The consumer is there, and will deliver so many."""
        if pending:
            return []
        if self._check is not None:  # not even the last value that is here
            self._whole = True
            return [Again()]
        return self._ended()

    def delivered(self, key: str, place: Place, pending: int, *, gone: bool) -> list[Step]:
        """A message; ``pending``: how many follow by now."""
        if self._check is not None:
            known = self._keys.get(key)
            if place != self._check or known is None or known.place != place:
                self._whole = True
                return [Again()]
            self._check = None
            return self._end_if(pending)
        steps = list[Step]()
        if self._seen is not None:
            self._seen.add(key)
        here = self._keys.get(key)
        if here is None or here.place != place:
            self._keys[key] = Local(place, gone)
            steps.append(Store(place))
        return steps + self._end_if(pending)

    def _end_if(self, pending: int) -> list[Step]:
        return self._ended() if not pending and not self.complete else []

    def _ended(self) -> list[Step]:
        self.complete, self._whole = True, False
        seen, self._seen = self._seen, None
        if seen is None:
            return []
        gone = [key for key, one in self._keys.items() if not one.gone and key not in seen]
        # of what went before, nothing may be taken for a place of this hub
        for key in [key for key in self._keys if key not in seen]:
            self._keys[key] = Local(None, gone=True)
        return [Drop(key) for key in gone]


def consumer(subject: str, deliver: str, start: int, heartbeat_ns: int) -> dict[str, Any]:
    """The consumer to ask for: it goes by itself when nobody listens any more."""
    policy: dict[str, Any] = {"deliver_policy": "last_per_subject"}
    if start:
        policy = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
    return {
        **policy,
        "ack_policy": "none",
        "max_deliver": 1,
        "replay_policy": "instant",
        "filter_subject": subject,
        "deliver_subject": deliver,
        "idle_heartbeat": heartbeat_ns,
        "inactive_threshold": 30 * 1_000_000_000,
        "num_replicas": 0,
    }


def highest(keys: Iterable[Local]) -> int:
    """The latest time of all places, 0 without any."""
    return max((one.place.ts for one in keys if one.place is not None), default=0)
