"""When the number of an account's connections is told: at once while they are few, paced when they are many."""

from collections.abc import Callable
from typing import Any

import pytest

from phloem.shared.limits import ACCOUNT_HEARTBEAT_NS as HEARTBEAT_NS
from phloem.shared.limits import ACCOUNT_PACE_NS as PACE_NS
from phloem.shared.server.monitor.accountz import AccountStat, DataStats, MsgBytes
from phloem.shared.server.system.heartbeat import Heartbeats
from phloem.shared.server.system.numbers import Numbers

NONE = MsgBytes()
DATA = DataStats(msgs=0, bytes=0, gateways=NONE, routes=NONE, leafs=NONE)


class Timer:
    def __init__(self, due_ns: int, work: Callable[[], None]) -> None:
        self.due_ns, self.work, self.cancelled = due_ns, work, False

    def cancel(self) -> None:
        self.cancelled = True


class FakeServer:
    """Time that only moves when told, and timers."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.timers: list[Timer] = []
        self.clock = self

    def monotonic_ns(self) -> int:
        return self.now_ns

    def call_later(self, seconds: float, work: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now_ns + round(seconds * 1e9), work))
        return self.timers[-1]

    def pass_ns(self, ns: int) -> None:
        end = self.now_ns + ns
        while due := [timer for timer in self.timers if not timer.cancelled and timer.due_ns <= end]:
            first = min(due, key=lambda timer: timer.due_ns)
            self.timers.remove(first)
            self.now_ns = first.due_ns
            first.work()
        self.now_ns = end


class FakeVoice:
    def __init__(self) -> None:
        self.listening = True
        self.said: list[tuple[str, int]] = []

    def heard(self, _subject: str) -> bool:
        return self.listening

    def info(self) -> object:
        return {}

    def event(self, _kind: str, fields: Any) -> dict[str, Any]:
        return dict(fields)

    def say(self, subject: str, event: dict[str, Any]) -> None:
        if subject.startswith("$SYS.ACCOUNT."):
            self.said.append((subject.split(".")[2], event["conns"]))


class Rig(Numbers):
    """Numbers of accounts whose connections are what ``connections`` says."""

    def __init__(self) -> None:
        self.server, self.voice = FakeServer(), FakeVoice()
        super().__init__(self.server, self.voice)  # type: ignore[arg-type]
        self.connections: dict[str, int] = {}

    def _stat(self, account: str) -> AccountStat | None:
        count = self.connections.get(account)
        if count is None:
            return None
        return AccountStat(
            acc=account,
            name=account,
            conns=count,
            leafnodes=0,
            total_conns=count,
            num_subscriptions=0,
            sent=DATA,
            received=DATA,
            slow_consumers=0,
        )

    def set(self, account: str, count: int) -> None:
        self.connections[account] = count
        self.changed(account)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_each_change_of_a_small_account_is_told_at_once(rig: Rig) -> None:
    for count in (1, 2, 3, 2):
        rig.set("A", count)
    assert rig.voice.said == [("A", 1), ("A", 2), ("A", 3), ("A", 2)]


def test_nothing_of_the_global_account(rig: Rig) -> None:
    rig.set("$G", 1)
    rig.server.pass_ns(2 * HEARTBEAT_NS)
    assert rig.voice.said == []


def test_a_large_account_is_told_of_less_often_and_the_last_change_is_never_left_out(rig: Rig) -> None:
    for count in range(1000, 1010):
        rig.set("A", count)
    assert rig.voice.said == [("A", 1000)]
    rig.server.pass_ns(1000 * PACE_NS - 1)
    assert rig.voice.said == [("A", 1000)]
    rig.server.pass_ns(1)
    assert rig.voice.said == [("A", 1000), ("A", 1009)]
    rig.server.pass_ns(2000 * PACE_NS)
    rig.set("A", 5)
    rig.set("A", 4)
    assert rig.voice.said[2:] == [("A", 5), ("A", 4)]


def test_accounts_do_not_wait_for_each_other(rig: Rig) -> None:
    rig.set("A", 1000)
    rig.set("B", 1)
    rig.set("A", 1001)
    rig.set("B", 2)
    assert rig.voice.said == [("A", 1000), ("B", 1), ("B", 2)]


def test_it_is_told_again_as_long_as_there_are_any(rig: Rig) -> None:
    rig.set("A", 1)
    rig.server.pass_ns(HEARTBEAT_NS)
    assert rig.voice.said == [("A", 1), ("A", 1)]
    rig.server.pass_ns(HEARTBEAT_NS // 2)
    rig.set("A", 2)
    rig.server.pass_ns(HEARTBEAT_NS - 1)
    assert rig.voice.said == [("A", 1), ("A", 1), ("A", 2)]
    rig.server.pass_ns(1)
    assert rig.voice.said[3:] == [("A", 2)]
    rig.set("A", 0)
    rig.server.pass_ns(10 * HEARTBEAT_NS)
    assert rig.voice.said[4:] == [("A", 0)]


def test_whoever_listens_later_hears_the_next_one(rig: Rig) -> None:
    rig.voice.listening = False
    rig.set("A", 1000)
    rig.server.pass_ns(3 * HEARTBEAT_NS + 5)
    assert rig.voice.said == []
    rig.voice.listening = True
    rig.server.pass_ns(HEARTBEAT_NS)
    assert rig.voice.said == [("A", 1000)]


def test_nothing_is_told_after_the_end(rig: Rig) -> None:
    rig.set("A", 1000)
    rig.set("A", 1001)
    rig.stop()
    rig.server.pass_ns(2 * HEARTBEAT_NS)
    assert rig.voice.said == [("A", 1000)]


def test_an_account_that_is_gone(rig: Rig) -> None:
    rig.changed("A")
    assert rig.voice.said == []
    assert rig.event("A") is None


def test_one_timer_for_all_heartbeats() -> None:
    server, beats = FakeServer(), []
    heartbeats = Heartbeats(server, 100, beats.append)  # type: ignore[arg-type]
    for account in ("A", "B", "C"):
        heartbeats.restart(account)
        server.pass_ns(10)
    heartbeats.drop("B")
    assert len(server.timers) == 1
    server.pass_ns(70)
    assert beats == ["A"]
    server.pass_ns(20)
    assert beats == ["A", "C"]
    assert len(server.timers) == 1
    heartbeats.stop()
    server.pass_ns(1000)
    assert beats == ["A", "C"]
