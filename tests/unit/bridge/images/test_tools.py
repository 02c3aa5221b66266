"""Programs that flash."""

import asyncio
import os
import sys

import pytest

from phloem.firmware_bridge.images import tools
from phloem.firmware_bridge.images.tools import NotStarted, check_words, filled, run
from phloem.shared.errors import ConfigError

SECOND = 10**9


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", program]


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    places = {"port": "/dev/{file}", "file": "/x", "version": "1 2"}
    assert filled(["a", "{port}", "--f={file}:{version}"], places) == ["a", "/dev/{file}", "--f=/x:1 2"]


@pytest.mark.parametrize("words", [["esptool", "{prot}"], ["{}"], [""]])
def test_words_that_cannot_work(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        check_words("tool", words)


async def test_its_output_is_in_the_log_and_the_end_of_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "phloem.bridge")
    assert await run("x", python("print('one\\rtwo'); print('three', end='')"), 60 * SECOND) == ""
    assert caplog.messages == ["x: one", "x: two", "x: three"]
    why = await run("x", python("[print(i) for i in range(9)]; raise SystemExit(3)"), 60 * SECOND)
    assert why == f"{sys.executable} ended with 3: 4; 5; 6; 7; 8"


async def test_one_that_is_not_there() -> None:
    with pytest.raises(NotStarted, match="No such file"):
        await run("x", ["/nonexistent/esptool"], SECOND)


CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(600)
"""


async def test_too_long_and_what_it_left_behind_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.limits, "KILL_S", 0.05)
    why = await run("x", python(CHILD), SECOND // 2)
    text, _, child = why.rpartition(": ")
    assert text == f"{sys.executable} took longer than 0.5 s"
    while _is_alive(int(child)):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_cancelled_it_is_ended() -> None:
    task = asyncio.ensure_future(run("x", python("import time; time.sleep(600)"), 600 * SECOND))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_number_of_a_process_that_is_there() -> None:
    assert _is_alive(os.getpid())
