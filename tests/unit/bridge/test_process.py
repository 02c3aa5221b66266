"""A user's function in a process of its own: what it makes of frames and readings, and how it goes wrong."""

import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.bridge.rig import WAIT_S, ManualTimers, open_files
from tests.unit.bridge.test_session import Rig, opened

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.process.child import call, load
from phloem.firmware_bridge.process.messages import Done, Said, Task
from phloem.firmware_bridge.process.settings import Process, process_of
from phloem.firmware_bridge.process.worker import Item, Worker
from phloem.firmware_bridge.reading import Quality, Reading
from phloem.shared.errors import ConfigError

CODE = """
import os, sys, threading
from phloem.firmware_bridge.reading import Reading

def doubled(reading):
    if reading.channel == "t":
        return Reading("double", reading.value * 2, reading.unit)

def frames(frame):
    match frame.split():
        case [b"die"]: os._exit(3)
        case [b"kill"]: os.kill(os.getpid(), 9)
        case [b"hang"]: threading.Event().wait()
        case [b"bad"]: raise ValueError("no\\nsense")
        case [b"odd"]: return 7
        case [b"pid"]: return "pid", os.getpid()
        case words: return [("word", word.decode()) for word in words]
"""


@pytest.fixture
async def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    (tmp_path / "users_code.py").write_text(CODE)
    rig = Rig(tmp_path)
    rig.sensor.plug()
    return rig


def process(tmp_path: Path, function: str, **more: Any) -> dict[str, Any]:
    return {"function": f"users_code:{function}", "path": str(tmp_path), **more}


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_function_makes_readings_of_readings(rig: Rig, tmp_path: Path) -> None:
    before = open_files()
    decode = {"type": "csv", "columns": ["t:Cel", "h"]}
    limited = {"limits": {"double": {"possible": [0, 50]}}}
    async with rig.bridge(decode=decode, process=process(tmp_path, "doubled"), shape=limited) as session:
        await opened(session)
        rig.sensor.write(b"21,40\n30,41\n")
        first, second = await rig.publisher.next(), await rig.publisher.next()
    assert (first.subject, first.payload, first.seq) == ("tele.temp.double", b'{"v":42,"u":"Cel"}', 1)
    assert (second.payload, second.seq) == (b'{"v":60,"u":"Cel","q":"bad"}', 2)
    assert first.headers["Phloem-Time"] == "1800000001000000000"
    counters = session.counters
    assert (counters.processed, counters.unprocessed, counters.frames) == (4, 0, 2)
    assert (rig.publisher.kinds, rig.publisher.quiet) == (["opened", "closed"], True)
    assert session.figures()["process_waiting"] == 0
    assert open_files() <= before


async def test_a_function_makes_readings_of_frames_and_is_not_started_before(
    rig: Rig, tmp_path: Path
) -> None:
    async with rig.bridge(process=process(tmp_path, "frames"), raw_subject="raw.temp") as session:
        await opened(session)
        assert rig.timers.delays_ns == []
        rig.sensor.write(b"a b\n")
        raw, *readings = [await rig.publisher.next() for _ in range(3)]
    assert (raw.subject, raw.payload) == ("raw.temp", b"a b")
    assert [(each.subject, each.payload) for each in readings] == [
        ("tele.temp.word", b'{"v":"a"}'),
        ("tele.temp.word", b'{"v":"b"}'),
    ]


@pytest.mark.parametrize(
    ("frame", "why", "reason"),
    [
        (b"die", "died", "it died (exit code 3) in frame 2, b'die'"),
        (b"kill", "died", "it died (SIGKILL) in frame 2, b'kill'"),
        (b"bad", "raised", "it raised ValueError: no sense for frame 2, b'bad'"),
        (b"odd", "raised", "it raised TypeError: neither None nor readings: 7 for frame 2, b'odd'"),
    ],
)
async def test_what_it_fails_with_goes_out_as_it_is_and_is_named(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture, frame: bytes, why: str, reason: str
) -> None:
    async with rig.bridge(process=process(tmp_path, "frames")) as session:
        await opened(session)
        rig.sensor.write(b"a\n" + frame + b"\nb\nc\n")
        assert (await rig.publisher.next()).payload == b'{"v":"a"}'
        failed = await rig.publisher.next()
        if why == "died":
            await rig.publisher.happened("process_failed")
            await rig.timers.fire()  # the pause before the next process
        after = [(await rig.publisher.next()).payload for _ in range(2)]
    assert (failed.subject, failed.payload, failed.seq) == ("tele.temp", frame, 2)
    assert failed.headers["Phloem-Unprocessed"] == why
    assert after == [b'{"v":"b"}', b'{"v":"c"}']
    assert json.loads(rig.publisher.events[1].payload)["reason"] == f"users_code:frames: {reason}"
    assert [record.message for record in caplog.records] == [
        f"serial port sensor: users_code:frames: {reason}"
    ]
    counters = session.counters
    assert (counters.processed, counters.unprocessed, counters.process_ends) == (3, 1, why == "died")


async def test_one_that_hangs_is_ended_and_the_reader_does_not_wait(rig: Rig, tmp_path: Path) -> None:
    settings = process(tmp_path, "frames", timeout="250ms", on_failure="drop")
    async with rig.bridge(process=settings, raw_subject="raw.temp") as session:
        await opened(session)
        rig.sensor.write(b"pid\n")
        assert (await rig.publisher.next()).subject == "raw.temp"
        pid = json.loads((await rig.publisher.next()).payload)["v"]
        rig.sensor.write(b"hang\nb\n")
        assert [(await rig.publisher.next()).payload for _ in range(2)] == [b"hang", b"b"]
        await rig.timers.fire()  # the time limit
        await rig.publisher.happened("process_failed")
        await rig.timers.fire()
        assert (await rig.publisher.next()).payload == b'{"v":"b"}'
        assert not is_alive(pid)
    reason = json.loads(rig.publisher.events[1].payload)["reason"]
    assert reason == "users_code:frames: it did not return within 0.25 s in frame 2, b'hang'"
    assert (session.counters.processed, session.counters.unprocessed) == (2, 1)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("absent", "AttributeError: module 'users_code' has no attribute 'absent'"),
        ("CODE.x", "AttributeError: module 'users_code' has no attribute 'CODE'"),
        ("os", "TypeError: users_code:os is no function"),
    ],
)
async def test_one_that_cannot_be_loaded(rig: Rig, tmp_path: Path, function: str, reason: str) -> None:
    async with rig.bridge(process=process(tmp_path, function)) as session:
        await opened(session)
        rig.sensor.write(b"a\nb\n")
        both = [await rig.publisher.next() for _ in range(2)]
        rig.sensor.write(b"c\n")  # nothing waits while there is no process
        third = await rig.publisher.next()
        pause = await rig.timers.fire()
        rig.sensor.write(b"d\n")
        fourth = await rig.publisher.next()
    messages = [*both, third, fourth]
    assert [(m.subject, m.payload, m.headers["Phloem-Unprocessed"]) for m in messages] == [
        ("tele.temp", payload, "down") for payload in (b"a", b"b", b"c", b"d")
    ]
    assert rig.publisher.kinds == ["opened", "process_failed", "closed"]
    assert json.loads(rig.publisher.events[1].payload)["reason"].endswith(f"it cannot be loaded: {reason}")
    assert limits.PROCESS_RETRY_MIN_NS // 2 <= pause.delay_ns <= limits.PROCESS_RETRY_MIN_NS


class Alone:
    """A worker without a port."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.rig = Rig(folder)
        (folder / "users_code.py").write_text(CODE)
        self.counters = Counters()
        self.failed: list[tuple[int, str]] = []
        self.told: list[str] = []
        self.results: asyncio.Queue[tuple[int, list[Any]]] = asyncio.Queue()
        self.timers: ManualTimers = self.rig.timers
        self.worker = Worker(
            process_of(process(folder, "frames", **more)),
            self.rig.clock,
            Random(3),
            self.counters,
            self.timers,
            lambda item, readings: self.results.put_nowait((item.seq, [each.value for each in readings])),
            lambda item, why: self.failed.append((item.seq, why)),
            lambda kind, _text: self.told.append(kind),
        )

    def offer(self, seq: int, frame: bytes) -> None:
        self.worker.offer(Item(seq, 0, 5, frame))

    async def result(self) -> tuple[int, list[Any]]:
        return await asyncio.wait_for(self.results.get(), WAIT_S)


async def test_the_queue_is_bounded_and_the_oldest_are_let_go(tmp_path: Path) -> None:
    alone = Alone(tmp_path, queue=3)
    for seq in range(1, 7):
        alone.offer(seq, b"x")
    assert alone.failed == [(1, "full"), (2, "full"), (3, "full")]
    assert alone.told == ["process_failed"]
    assert [await alone.result() for _ in range(3)] == [(4, ["x"]), (5, ["x"]), (6, ["x"])]
    for seq in range(7, 7 + limits.PROCESS_GOOD):
        alone.offer(seq, b"x")
        await alone.result()
    assert alone.told == ["process_failed", "process_works"]
    alone.offer(50, b"pid")
    _, (pid,) = await alone.result()
    alone.offer(51, b"hang")
    closing = asyncio.create_task(alone.worker.close())
    for _ in range(2):  # the limit of the call, and that of the end
        await alone.timers.fire(0)
    await asyncio.wait_for(closing, WAIT_S)
    assert alone.failed[3:] == [(51, "closed")]
    assert not is_alive(pid)
    alone.offer(52, b"x")
    assert alone.failed[4:] == [(52, "down")]


async def test_bytes_that_wait_are_bounded_as_well(tmp_path: Path) -> None:
    alone = Alone(tmp_path, queue=limits.PROCESS_QUEUE_MAX)
    size = 60_000
    for seq in range(limits.PROCESS_QUEUE_BYTES_MAX // size + 3):
        alone.offer(seq, b"x" * size)
    assert alone.failed[0] == (0, "full")
    assert (alone.worker.waiting - 1) * size < limits.PROCESS_QUEUE_BYTES_MAX
    waiting = alone.worker.waiting
    assert [len((await alone.result())[1][0]) for _ in range(waiting)] == [size] * waiting
    await alone.worker.close()


async def test_pauses_grow_and_what_kills_is_not_tried_again(tmp_path: Path) -> None:
    alone = Alone(tmp_path)
    pauses = []
    for seq, frame in enumerate([b"die", b"die", b"die", b"x"]):
        alone.offer(seq, frame)
    for _ in range(3):
        while (timer := await alone.timers.fire(0)).delay_ns in (limits.PROCESS_START_NS, 10**9):
            pass
        pauses.append(timer.delay_ns)
    assert await alone.result() == (3, ["x"])
    assert alone.failed == [(0, "died"), (1, "died"), (2, "died")]
    assert pauses == sorted(pauses)
    assert limits.PROCESS_RETRY_MIN_NS < pauses[2] <= 4 * limits.PROCESS_RETRY_MIN_NS
    assert alone.counters.process_ends == 3
    await alone.worker.close()


async def test_a_process_ends_with_its_bridge(tmp_path: Path) -> None:
    """Even one that does not come back, and even if the bridge has no moment to say so; signals are not for it."""
    alone = Alone(tmp_path)
    alone.offer(1, b"pid")
    _, (pid,) = await alone.result()
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    alone.offer(2, b"pid")
    assert await alone.result() == (2, [pid])
    alone.offer(3, b"hang")
    watched = os.pidfd_open(pid)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    assert alone.worker._connection is not None
    alone.worker._connection.shutdown(2)
    await asyncio.wait_for(ended.wait(), WAIT_S)
    asyncio.get_running_loop().remove_reader(watched)
    os.close(watched)
    await alone.worker.close()


@pytest.mark.parametrize(
    ("result", "readings"),
    [
        (None, []),
        ([], []),
        (Reading("a", 1.5, "Cel", Quality.BAD), [Reading("a", 1.5, "Cel", Quality.BAD)]),
        (("a", True), [Reading("a", True)]),
        ([("a", 1), ("b", "x", "V")], [Reading("a", 1), Reading("b", "x", "V")]),
        ((("a", 1), ("b", b"x")), [Reading("a", 1), Reading("b", b"x")]),
    ],
)
def test_what_a_function_may_return(result: Any, readings: list[Reading]) -> None:
    said = [Said(*reading) for reading in readings]
    assert call(lambda _: result, Task(1, b"", None)) == Done(1, said)
    if not readings or len(readings) > 1:
        assert call(lambda _: (each for each in result or ()), Task(1, b"", None)) == Done(1, said)


BAD_TAILS = [("a", 1, 2), ("a", 1, "", "so-so"), ("a", 1, "", "good", "now"), ("a", 1, "", "good", 0, 0)]


@pytest.mark.parametrize(
    "result",
    [
        7,
        "x",
        {"a": 1},
        [1],
        ("a.b", 1),
        ("", 1),
        ("a", None),
        ("a", float("nan")),
        *BAD_TAILS,
        [("a", 1)] * 300,
    ],
)
def test_what_it_may_not(result: Any) -> None:
    done = call(lambda _: result, Task(1, b"", None))
    assert done.error
    assert not done.readings


def test_loading() -> None:
    assert load("os.path:join") is os.path.join
    assert load("asyncio:Event.set") is asyncio.Event.set


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("dew_point", "'dew_point' is not like module:function"),
        ({"function": "a:b", "timeout": "0s"}, "timeout is not between"),
        ({"function": "a:b", "timeout": 3}, "timeout must be a duration"),
        ({"function": "a:b", "queue": 0}, "queue 0 is not"),
        ({"function": "a:b", "on_failure": "shrug"}, "on_failure 'shrug' is none of pass, drop"),
        ({"function": "a:b", "retries": 3}, "unknown field"),
        ({"path": "/x"}, "function"),
    ],
)
def test_settings_that_cannot_work(value: Any, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        process_of(value)


def test_settings() -> None:
    assert process_of("a.b:c.d") == Process(function="a.b:c.d")
    assert process_of({"function": "a:b", "timeout": "2s"}).timeout_ns == 2_000_000_000
