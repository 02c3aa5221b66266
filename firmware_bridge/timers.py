"""Timers as the bridge sees them: one function, handed in, so that tests fire them by hand."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from phloem.shared.limits import SECOND_NS


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """It will not happen; harmless afterwards."""
        ...


class CallLater(Protocol):
    """Calls ``callback`` once, ``delay_ns`` from now, on the event loop."""

    def __call__(self, delay_ns: int, callback: Callable[[], None]) -> Timer:
        """Zero and less mean as soon as possible."""
        ...


def loop_call_later(delay_ns: int, callback: Callable[[], None]) -> Timer:
    """The running event loop's timers."""
    return asyncio.get_running_loop().call_later(max(0, delay_ns) / SECOND_NS, callback)


async def pause(delay_ns: int, call_later: CallLater) -> None:
    """Return after ``delay_ns``; leaves no timer behind when cancelled."""
    over = asyncio.Event()
    timer = call_later(delay_ns, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


Result = TypeVar("Result")


async def within(
    delay_ns: int, call_later: CallLater, work: Coroutine[Any, Any, Result], discard: Callable[[Result], None]
) -> Result:
    """What ``work`` returns, if it does in time; ``discard`` gets what it returned when nobody wants it any more.

    Raises:
        TimeoutError: It was cancelled after ``delay_ns``.
    """
    task = asyncio.ensure_future(work)
    late = False

    def cancel() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = call_later(delay_ns, cancel)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            discard(task.result())
        raise
    finally:
        timer.cancel()
    if late and task.cancelled():
        raise TimeoutError
    return task.result()
