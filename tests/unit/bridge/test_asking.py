"""Requests to a device, and whose turn it is to write to it."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.unit.bridge.rig import WAIT_S, ManualTimers
from tests.unit.bridge.test_session import Rig, closed, opened

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.turns import Turn, Turns
from phloem.shared.errors import ConfigError


class Asked:
    """A request to the port, as the publisher hands it in."""

    def __init__(self, rig: Rig, payload: bytes) -> None:
        self.answers: asyncio.Queue[tuple[bytes, Mapping[str, str]]] = asyncio.Queue()
        rig.publisher.requests["ask.temp"](
            payload, lambda data, headers: self.answers.put_nowait((data, headers))
        )

    async def answer(self) -> bytes:
        payload, headers = await asyncio.wait_for(self.answers.get(), WAIT_S)
        assert "Phloem-Error" not in headers
        return payload

    async def error(self) -> str:
        payload, headers = await asyncio.wait_for(self.answers.get(), WAIT_S)
        assert payload == b""
        assert headers["Phloem-Port"] == "sensor"
        return headers["Phloem-Error"]


@pytest.fixture
async def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    rig = Rig(tmp_path)
    rig.sensor.plug()
    return rig


async def test_the_next_frame_is_the_answer_and_goes_out_as_well(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp") as session:
        await opened(session)
        asked = Asked(rig, b"t?\r")
        assert await rig.received.read(3) == b"t?\r"
        rig.sensor.write(b"21.5\n")
        payload, headers = await asyncio.wait_for(asked.answers.get(), WAIT_S)
        published = await rig.publisher.next()
    assert (payload, headers) == (published.payload, published.headers)
    assert (published.payload, published.seq) == (b"21.5", 1)
    assert (session.counters.requests, session.counters.requests_failed) == (1, 0)
    assert "ask.temp" not in rig.publisher.requests


async def test_what_does_not_match_is_no_answer(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp", request_match=r"^T=\d+\x21") as session:
        await opened(session)
        asked = Asked(rig, b"t?")
        rig.sensor.write(b"hello\nT=x\nT=21!\n")
        assert await asked.answer() == b"T=21!"


async def test_one_at_a_time_and_commands_wait(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp") as session:
        await opened(session)
        first = Asked(rig, b"1")
        rig.publisher.callbacks["cmd.temp"](b"c")
        second = Asked(rig, b"2")
        assert await rig.received.read(1) == b"1"
        assert session.counters.commands == 0
        rig.sensor.write(b"one\n")
        assert await first.answer() == b"one"
        assert await rig.received.read(2) == b"c2"
        rig.sensor.write(b"two\n")
        assert await second.answer() == b"two"
        assert session.counters.commands == 1


async def test_no_answer_in_time_and_no_turn_in_time(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp", request_timeout_ns=500_000_000) as session:
        await opened(session)
        first, second = Asked(rig, b"1"), Asked(rig, b"2")
        rig.publisher.callbacks["cmd.temp"](b"c")
        timers = [await rig.timers.fire(0)]
        assert await first.error() == "no answer within 0.5 s"
        assert await rig.received.read(2) == b"12"
        third = Asked(rig, b"3")
        timers.append(await rig.timers.fire(0))  # the command's
        timers.append(await rig.timers.fire(0))  # the second's answer
        assert await second.error() == "no answer within 0.5 s"
        rig.sensor.write(b"three\n")
        assert await third.answer() == b"three"
        assert session.counters.commands_dropped == 1
    assert [timer.delay_ns for timer in timers] == [500_000_000, limits.COMMAND_WAIT_NS, 500_000_000]
    assert (session.counters.requests, session.counters.requests_failed) == (3, 2)


async def test_a_device_that_goes_answers_nobody(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp") as session:
        await opened(session)
        first, second = Asked(rig, b"1"), Asked(rig, b"2")
        rig.sensor.unplug()
        await closed(session)
        assert {await first.error(), await second.error()} == {"the device is gone"}
        assert await Asked(rig, b"3").error() == "the device is not there"


async def test_too_many_and_too_much(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp") as session:
        await opened(session)
        assert (
            await Asked(rig, b"x" * (limits.WRITE_QUEUE_BYTES_MAX + 1)).error()
            == "the device takes no more bytes"
        )
        asked = [Asked(rig, b"x") for _ in range(limits.TURNS_WAITING_MAX + 2)]
        assert await asked[-1].error() == "too many wait for the port"
        assert asked[-2].answers.empty()


async def test_a_pattern_that_backtracks_is_no_answer(rig: Rig) -> None:
    async with rig.bridge(request_subject="ask.temp", request_match=r"(x+x+)+y") as session:
        await opened(session)
        asked = Asked(rig, b"?")
        rig.sensor.write(b"x" * 200 + b"\n")
        await rig.publisher.next()
        rig.sensor.write(b"xxy\n")
        assert await asked.answer() == b"xxy"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"request_subject": "a..b"}, "not a valid subject"),
        ({"request_subject": "tele.*"}, "request_subject 'tele.*' includes subject"),
        ({"request_subject": "cmd.a", "command_subject": "cmd.*"}, "written twice"),
        ({"request_subject": "ask.a", "request_match": "("}, "request_match"),
        ({"request_match": "x"}, "needs a request_subject"),
        ({"request_subject": "ask.a", "request_timeout_ns": 0}, "request_timeout"),
        ({"request_subject": "ask.a", "protocol": "edgelink"}, "request_subject means nothing with protocol"),
    ],
)
def test_settings_that_cannot_work(fields: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error.replace("*", r"\*")):
        SerialSettings(**{"device": "/dev/x", "subject": "tele.a", **fields})  # type: ignore[arg-type]


async def test_turns_that_end_while_they_begin_or_wait() -> None:
    timers = ManualTimers()
    turns, log = Turns(timers), list[str]()

    def writer(name: str, keeps: bool = False) -> Turn:
        def begin(turn: Turn) -> None:
            log.append(name)
            if not keeps:
                turn.end()

        return turns.take(begin, lambda reason: log.append(f"{name}: {reason}"), 1)

    first = writer("a", keeps=True)
    waits = [writer(name) for name in "bcd"]
    waits[1].end()
    assert log == ["a"]
    first.end()
    first.end()
    assert log == ["a", "b", "d"]
    kept = writer("e", keeps=True)
    writer("f")
    turns.clear("gone")
    kept.end()
    assert log[3:] == ["e", "f: gone"]
    writer("g")
    assert log[5:] == ["g"]
    assert not turns.waited_for
