"""Who waits for an answer, with one timer for all."""

from tests.unit.bridge.rig import ManualTimers, StandingClock

from phloem.firmware_bridge.waiting import Waiting


async def test_one_timer_and_each_waits_equally_long() -> None:
    clock, late = StandingClock(), list[tuple[str, int]]()
    timers = ManualTimers(clock)
    waiting = Waiting[int](100, clock, timers, lambda key, waiter: late.append((key, waiter)))
    for number in range(3):
        waiting.add(f"r{number}", number)
        clock.now_ns += 10
    assert timers.delays_ns == [100]
    assert waiting.pop("r1") == 1
    assert waiting.pop("r1") is None
    clock.now_ns -= 30
    await timers.fire()
    assert late == [("r0", 0)]
    assert (await timers.fire()).delay_ns == 20
    assert late == [("r0", 0), ("r2", 2)]
    assert timers.delays_ns == [100, 20]


async def test_who_is_late_may_wait_again() -> None:
    clock, tries = StandingClock(), list[str]()
    timers = ManualTimers(clock)

    def late(key: str, waiter: str) -> None:
        tries.append(key)
        if len(tries) < 3:
            waiting.add(key, waiter)

    waiting = Waiting[str](100, clock, timers, late)
    waiting.add("r", "who")
    for _ in range(3):
        assert (await timers.fire()).delay_ns == 100
    assert tries == ["r"] * 3
    assert timers.delays_ns == [100] * 3


async def test_at_the_end_nobody_waits() -> None:
    clock = StandingClock()
    timers = ManualTimers(clock)
    waiting = Waiting[int](100, clock, timers, lambda key, waiter: None)
    waiting.add("a", 1)
    waiting.add("b", 2)
    timer = await timers.waiting()
    assert waiting.clear() == {"a": 1, "b": 2}
    assert timer.cancelled
    waiting.add("c", 3)
    assert timers.delays_ns == [100, 100]
