"""What a device does when its hub does not deliver what it said it would."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from phloem.edge.twin.bucket import Value
from phloem.edge.twin.down import Down, Hub, Lost
from phloem.shared import limits
from phloem.shared.clock import SystemClock
from phloem.shared.twin.names import HUB_DESIRED, prefix_of

MILLISECOND_NS = 1_000_000
SUBJECT = f"{prefix_of(HUB_DESIRED)}dev.rate".encode()


class HubLine:
    """A line to a hub that says ``pending`` and delivers what ``deliver`` makes of the consumer's name."""

    def __init__(self, pending: int, deliver: Callable[[str], list[bytes]]) -> None:
        self.bounced: list[str] = []
        uplink = SimpleNamespace(bounce=self.bounced.append)
        self.server = SimpleNamespace(clock=SystemClock(), rng=random.Random(1), uplinks=[uplink])
        self._pending, self._deliver = pending, deliver
        self._heard: Any = None
        self.hushed = 0

    def listen_alone(self, heard: Any) -> str:
        self._heard = heard
        return "here"

    def hush(self, _subject: str) -> None:
        self.hushed += 1

    async def ask(self, subject: str, _question: Any) -> dict[str, Any]:
        for reply in self._deliver(subject.split(".")[6]):
            self._heard(SUBJECT, reply, b"", b"5")
        return {"num_pending": self._pending}


class Empty:
    """A bucket without anything."""

    def values(self) -> list[Value]:
        return []

    def copy(self, *_: object, **__: object) -> None:
        return


def nothing(_name: str) -> list[bytes]:
    return []


def twice(name: str) -> list[bytes]:
    """The only value, counted twice."""
    return [f"$JS.ACK.{'KV_twin_desired'}.{name}.1.1.{n}.7.{2 - n}".encode() for n in (1, 2)]


def down(line: HubLine) -> Down:
    bucket: Any = Empty()
    made: Any = line
    found = Down(made, Hub("$JS.hub.API", "dev"), bucket, limits.TWIN_HEARTBEAT_NS, lambda *_: None)
    found.begin()
    return found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TWIN_ANSWER_NS", MILLISECOND_NS)


async def test_a_message_that_does_not_come_is_asked_for_again() -> None:
    line = HubLine(1, nothing)
    follows = down(line)
    for number in (1, 2, 3, 4):
        with pytest.raises(Lost):
            await follows.once()
        assert (line.hushed, len(line.bounced)) == (number, number // 2)
    assert not follows.complete.is_set()


async def test_one_that_is_counted_twice_does_not_hold_it_up_for_ever() -> None:
    line = HubLine(2, twice)
    with pytest.raises(Lost):
        await down(line).once()
    assert line.bounced == []
