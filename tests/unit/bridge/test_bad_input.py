"""Devices that misbehave: memory stays bounded, what happens is counted and said, other ports do not notice."""

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.bridge.framings import WIRES
from tests.unit.bridge.rig import WAIT_S, ManualTimers, MemoryPublisher, StandingClock

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.limits import SECOND_NS

CHUNK = 4096
SECOND_OF_LINE = 92_160  # bytes of 921,600 baud


class Rig:
    """A port that misbehaves and one that works, under one bridge."""

    def __init__(self, folder: Path) -> None:
        self.clock = StandingClock()
        self.timers, self.publisher = ManualTimers(self.clock), MemoryPublisher()
        self.bad = SimulatedSensor(folder / "bad", self.clock, Random(1), name="bad")
        self.good = SimulatedSensor(folder / "good", self.clock, Random(2), name="good")

    @asynccontextmanager
    async def bridge(self, **fields: Any) -> AsyncIterator[tuple[Session, Session]]:
        ports = [
            SerialSettings(device=str(self.bad.link), subject="tele.bad", **fields),
            SerialSettings(device=str(self.good.link), subject="tele.good"),
        ]
        self.bad.plug()
        self.good.plug()
        async with Bridge(ports, self.publisher, self.clock, Random(3), call_later=self.timers) as bridge:
            bad, good = bridge.sessions
            for session in (bad, good):
                await asyncio.wait_for(session.wait_open(), WAIT_S)
            yield bad, good
        self.bad.unplug()
        self.good.unplug()

    async def pour(self, session: Session, data: bytes) -> None:
        """The bad device says ``data`` as fast as it is read, its clock at the pace of the line."""
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            want = session.counters.bytes_read + len(piece)
            self.clock.now_ns += len(piece) * SECOND_NS // SECOND_OF_LINE
            assert self.bad.write(piece)
            while session.counters.bytes_read < want:  # noqa: ASYNC110  (the kernel's buffer tells nobody)
                await asyncio.sleep(0)

    def forget(self) -> None:
        """What only these tests keep: messages that nobody took, and a timer for every read that waits for a gap."""
        drain(self.publisher)
        self.timers.forget()

    async def good_is_undisturbed(self) -> None:
        seq = self.good.emit()
        while (message := await self.publisher.next()).subject != "tele.good":
            pass
        assert f"seq={seq} ".encode() in message.payload


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    return Rig(tmp_path)


def drain(publisher: MemoryPublisher) -> None:
    while not publisher.quiet:
        publisher._published.get_nowait()


@pytest.mark.parametrize("framing", [*WIRES, "modbus_rtu"])
async def test_garbage_at_full_line_rate(rig: Rig, framing: str, caplog: pytest.LogCaptureFixture) -> None:
    garbage = Random(framing).randbytes(2 * SECOND_OF_LINE)
    async with rig.bridge(framing=WIRES[framing].framing if framing in WIRES else framing) as (bad, _):
        await rig.pour(bad, garbage[:SECOND_OF_LINE])
        rig.forget()
        tracemalloc.start()
        try:
            await rig.pour(bad, garbage[SECOND_OF_LINE:])
            rig.forget()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < 64 << 10  # the ring, half a frame, and nothing that goes on growing
        await rig.good_is_undisturbed()
        figures = bad.figures()
        assert figures["bytes_read"] == len(garbage)
        assert figures["garbled"]
        assert "garbled" in rig.publisher.kinds
        assert len(rig.publisher.events) <= 4  # opened twice, garbled, and perhaps clear for a moment
    assert len(caplog.records) == 1


@pytest.mark.parametrize("framing", ["line", "json_lines", "nmea", "cobs", "slip", "hdlc"])
async def test_a_frame_without_an_end(rig: Rig, framing: str) -> None:
    async with rig.bridge(framing=framing) as (bad, _):
        await rig.pour(bad, b"x" * SECOND_OF_LINE)
        figures = bad.figures()
        assert figures["frames"] == 0
        assert figures["resyncs"] >= 1
        assert figures["dropped_bytes"] >= SECOND_OF_LINE - 2 * (limits.FRAME_BYTES + CHUNK)
        assert len(bad._intake._framer._buffer) <= 2 * limits.FRAME_BYTES + 16
        assert "garbled" in rig.publisher.kinds
        await rig.good_is_undisturbed()


async def test_a_device_that_comes_and_goes_ten_times_a_second_for_a_minute(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge() as (bad, _):
        waited_ns = 0
        while waited_ns < 60 * SECOND_NS:
            for _ in range(10):
                rig.bad.unplug()
                rig.bad.plug()
            await asyncio.wait_for(bad.wait_closed(), WAIT_S)
            waited_ns += (await rig.timers.fire()).delay_ns
            await asyncio.wait_for(bad.wait_open(), WAIT_S)
            await rig.good_is_undisturbed()
        assert bad.counters.opens < 60 * SECOND_NS // (limits.RETRY_MAX_NS // 2) + 10
        assert bad.counters.losses == bad.counters.opens - 1
        mine = [event for event in rig.publisher.events if "tele.bad" in event.subject]
        assert [event.subject.rpartition(".")[2] for event in mine] == ["opened", "lost", "opened", "lost"]
    assert len(caplog.records) == 1


async def test_a_silent_device_costs_nothing(rig: Rig) -> None:
    """No timer, no attempt and no message while a device without ``silent_after`` says nothing."""
    async with rig.bridge() as (bad, _):
        made, said = len(rig.timers.delays_ns), len(rig.publisher.events)
        rig.clock.now_ns += 3600 * SECOND_NS
        await rig.good_is_undisturbed()
        assert bad.figures()["frame_age_s"] == -1
        assert (len(rig.timers.delays_ns), len(rig.publisher.events)) == (made, said)
        assert bad.is_open


async def test_a_publisher_that_keeps_nobody_waiting_gets_every_frame_of_a_flood(rig: Rig) -> None:
    line = b"0123456789" * 9 + b"\n"
    async with rig.bridge() as (bad, _):
        await rig.pour(bad, line * (SECOND_OF_LINE // len(line)))
        assert bad.counters.frames == SECOND_OF_LINE // len(line)
        assert (bad.counters.resyncs, bad.figures()["garbled"]) == (0, False)
        await rig.good_is_undisturbed()
