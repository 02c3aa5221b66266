"""Clocks that are set: years forward, years back, and right again. Nothing is lost by a jump that is undone, nothing is
kept for ever, and every answer is about what is there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.property.stream_walk import Client
from tests.property.stream_wires import MemoryWire
from tests.support.jetstream import head_of

import phloem.shared.server.jetstream.system as system

SECOND = 10**9
MINUTE = 60
YEARS = 10 * 365 * 24 * 3600 * SECOND
HELD_S = 11 * MINUTE  # a jump that lasts so long is believed

STORAGE = pytest.mark.parametrize("storage", ["memory", "file"])


class Rig:
    """A stream S with max_age one hour, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.wire = MemoryWire(folder)
        self.clock = self.wire.clock
        self.client = Client(self.wire)

    def make(self, storage: str, **config: Any) -> None:
        self.api("STREAM.CREATE.S", name="S", subjects=["s.>"], storage=storage, **config)

    def api(self, what: str, **body: Any) -> dict[str, Any]:
        answer = self.client.api(what, **body)
        assert "error" not in answer, answer
        return answer

    def publish(self, count: int = 1, **headers: str) -> dict[str, Any]:
        named = {f"Nats-{name.replace('_', '-')}": value for name, value in headers.items()}
        for _ in range(count):
            answer = self.client.request("s.a", b"x", head_of(named)).json
            assert "error" not in answer, answer
        return answer

    def jump(self, ns: int) -> None:
        self.clock.set_wall_ns(self.clock.wall_ns() + ns)

    def seqs(self) -> tuple[int, int, int]:
        state = self.api("STREAM.INFO.S")["state"]
        return state["messages"], state["first_seq"], state["last_seq"]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "store")
    yield rig
    rig.wire.stop()


@STORAGE
def test_a_jump_forward_that_is_undone_removes_nothing(rig: Rig, storage: str) -> None:
    rig.make(storage, max_age=3600 * SECOND, allow_msg_ttl=True)
    rig.publish(5)
    rig.publish(1, TTL="2h")
    rig.jump(YEARS)
    rig.publish(2)
    rig.wire.advance(5 * MINUTE)
    rig.jump(-YEARS)
    rig.wire.advance(5 * MINUTE)
    assert rig.seqs() == (8, 1, 8)
    rig.publish(1)
    rig.wire.advance(3600 - 5 * MINUTE)  # now the first six are an hour old, and the last is not
    assert rig.seqs()[2] == 9
    rig.wire.advance(2 * 3600)
    assert rig.seqs() == (0, 10, 9)


@STORAGE
def test_a_jump_forward_that_lasts_is_believed(rig: Rig, storage: str) -> None:
    rig.make(storage, max_age=3600 * SECOND)
    rig.publish(5)
    rig.jump(YEARS)
    rig.wire.advance(HELD_S)
    rig.publish(1)
    rig.wire.advance(3600)
    rig.wire.advance(HELD_S)
    assert rig.seqs() == (0, 7, 6)


@STORAGE
def test_dates_in_the_future_keep_nothing_behind_them(rig: Rig, storage: str) -> None:
    """More of them than are looked at in one go."""
    rig.make(storage, max_age=3600 * SECOND)
    rig.jump(YEARS)
    rig.wire.send(b"PUB s.a 1\r\nx\r\n" * 1500)
    rig.jump(-YEARS)
    rig.publish(3)
    rig.wire.advance(3 * 3600)
    assert rig.seqs() == (0, 1504, 1503)


@STORAGE
def test_a_clock_that_goes_back_and_forth(rig: Rig, storage: str) -> None:
    """Reading, consumers and times to live meanwhile."""
    rig.make(storage, max_age=3600 * SECOND, allow_msg_ttl=True)
    for ns in (0, -YEARS, YEARS, YEARS, -YEARS, 3600 * SECOND):
        rig.jump(ns)
        rig.publish(2)
        rig.publish(1, TTL="10s")
        rig.wire.advance(1)
    assert rig.seqs() == (18, 1, 18)
    rig.api("CONSUMER.CREATE.S.C", stream_name="S", config={"durable_name": "C", "ack_policy": "explicit"})
    rig.client.subscribe("P", "P")
    rig.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":18}', "P")
    rig.client.read()
    assert [message.seq for message in rig.client.received["P"]] == list(range(1, 19))
    rig.wire.advance(10)
    assert rig.seqs()[0] == 12


@pytest.mark.parametrize("back", [-YEARS, -5 * SECOND])
def test_a_restart_with_another_date(rig: Rig, back: int) -> None:
    rig.make("file", max_age=3600 * SECOND, allow_msg_ttl=True)
    rig.publish(3)
    rig.publish(1, TTL="30s")
    rig.jump(back)
    rig.wire.restart()
    rig.client = Client(rig.wire)
    assert rig.seqs() == (4, 1, 4)
    rig.publish(1)
    rig.jump(-back)
    rig.wire.advance(HELD_S)
    rig.wire.advance(HELD_S)
    assert rig.seqs() == (4, 1, 5)


HOURS = 3600
EPOCH = 5 * SECOND


@STORAGE
def test_a_boot_in_1970_and_then_the_right_date(rig: Rig, storage: str) -> None:
    """What was stored before is as old as it is, not fifty years."""
    right = rig.clock.wall_ns()
    rig.clock.set_wall_ns(EPOCH)
    rig.wire.restart()
    rig.client = Client(rig.wire)
    rig.make(storage, max_age=2 * HOURS * SECOND)
    rig.publish(3)
    rig.wire.advance(HOURS)
    rig.publish(2)
    rig.clock.set_wall_ns(right)
    rig.publish(1)
    rig.wire.advance(HELD_S)
    assert rig.seqs() == (6, 1, 6)
    rig.wire.advance(HOURS - HELD_S + 60)
    assert rig.seqs() == (3, 4, 6)
    rig.wire.advance(HOURS)
    assert rig.seqs() == (0, 7, 6)


def test_boots_in_1970_that_ended_before_the_date_was_right(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = rig.clock.wall_ns()
    rig.make("file", max_age=3 * HOURS * SECOND)
    rig.publish(2)  # these have their date
    for boot in (11, 12, 13):
        monkeypatch.setattr(system, "boot_number", lambda boot=boot: boot)
        rig.clock.set_wall_ns(EPOCH)
        rig.wire.restart()
        rig.client = Client(rig.wire)
        rig.publish(2)
        rig.wire.advance(60)
    assert rig.seqs() == (8, 1, 8)
    rig.clock.set_wall_ns(right + HOURS * SECOND)
    rig.wire.advance(HELD_S)
    assert rig.seqs() == (8, 1, 8)
    monkeypatch.setattr(system, "boot_number", lambda: 14)
    rig.wire.restart()
    rig.client = Client(rig.wire)
    rig.publish(1)
    assert rig.seqs() == (9, 1, 9)
    rig.wire.advance(3 * HOURS + HELD_S)
    assert rig.seqs() == (0, 10, 9)


def test_a_start_years_after_the_last_known_time(rig: Rig) -> None:
    """Nothing goes for a day, in which somebody may set the clock right; then it is believed."""
    rig.make("file", max_age=HOURS * SECOND)
    rig.publish(2)
    rig.wire.server.jetstream.store.put(system.FLOOR, rig.clock.wall_ns().to_bytes(8))
    rig.jump(YEARS)
    rig.wire.restart()
    rig.client = Client(rig.wire)
    rig.wire.advance(HOURS // 2)
    assert rig.seqs() == (2, 1, 2)
    rig.jump(-YEARS)
    rig.wire.advance(HOURS // 4)
    assert rig.seqs() == (2, 1, 2)
    rig.wire.advance(HOURS)
    assert rig.seqs()[0] == 0
    rig.publish(1)
    rig.jump(YEARS)
    rig.wire.restart()
    rig.client = Client(rig.wire)
    rig.wire.advance(25 * HOURS)
    assert rig.seqs()[0] == 0


@STORAGE
def test_somebody_who_knows_the_time_is_wrong_by_years(rig: Rig, storage: str) -> None:
    rig.make(storage, max_age=HOURS * SECOND)
    rig.publish(2)
    js = rig.wire.server.jetstream
    js.know_time(js.ahead_ns + YEARS)
    rig.wire.advance(HOURS // 2)
    rig.publish(1)
    assert rig.seqs() == (3, 1, 3)
    js.know_time(js.ahead_ns)
    rig.wire.advance(HOURS // 2 + 60)
    assert rig.seqs() == (1, 3, 3)
