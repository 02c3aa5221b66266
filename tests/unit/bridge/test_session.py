"""One port's life on a pseudo-terminal: frames, headers, unplugging, commands, a device that blocks."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.unit.bridge.rig import WAIT_S, Bytes, ManualTimers, MemoryPublisher, StandingClock, open_files

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.session import Session
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.errors import ConfigError


class Rig:
    """A simulated sensor and a bridge on it, both on the same standing clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = StandingClock()
        self.timers = ManualTimers(self.clock)
        self.publisher = MemoryPublisher()
        self.received = Bytes()
        self.ask_quality: Callable[[], str] | None = None
        self.sensor = SimulatedSensor(
            folder / "sensor", self.clock, Random(1), name="temp", on_bytes=self.received
        )

    @asynccontextmanager
    async def bridge(self, **fields: Any) -> AsyncIterator[Session]:
        fields = {"command_subject": "cmd.temp"} | fields
        settings = SerialSettings(device=str(self.sensor.link), subject="tele.temp", **fields)
        bridge = Bridge(
            [settings],
            self.publisher,
            self.clock,
            Random(2),
            call_later=self.timers,
            hotplug=False,
            ask_quality=self.ask_quality,
        )
        try:
            async with bridge:
                yield bridge.sessions[0]
        finally:
            self.sensor.unplug()


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.WARNING, "phloem.bridge")
    return Rig(tmp_path)


async def opened(session: Session) -> None:
    await asyncio.wait_for(session.wait_open(), WAIT_S)


async def closed(session: Session) -> None:
    await asyncio.wait_for(session.wait_closed(), WAIT_S)


async def test_lines_become_messages_with_headers(rig: Rig) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        rig.sensor.write(b"one\r\ntwo\n")
        rig.clock.now_ns += 5
        one, two = await rig.publisher.next(), await rig.publisher.next()
    assert (one.subject, one.payload, two.payload) == ("tele.temp", b"one", b"two")
    assert one.headers == {
        "Phloem-Port": "sensor",
        "Phloem-Device": str(rig.sensor.link),
        "Phloem-Seq": "1",
        "Phloem-Time": "1800000001000000005",
        "Phloem-Mono": "1000000005",
        "Phloem-Clock": "unsynced",
        "Phloem-Boot": one.headers["Phloem-Boot"],
    }
    assert two.headers == {**one.headers, "Phloem-Seq": "2"}
    assert re.fullmatch("[0-9a-f]{16}", one.headers["Phloem-Boot"])
    assert (session.counters.frames, session.counters.bytes_read) == (2, 9)


async def test_how_far_the_clock_can_be_trusted_is_asked_now_and_then(rig: Rig) -> None:
    words = iter(("unsynced", "est", ""))
    rig.ask_quality = lambda: next(words)
    rig.sensor.plug()
    said = []
    async with rig.bridge() as session:
        await opened(session)
        for after_ns in (0, limits.QUALITY_NS - 1, 1):
            rig.clock.now_ns += after_ns
            rig.sensor.write(b"x\n")
            said.append((await rig.publisher.next()).headers)
        await rig.publisher.happened("opened")
        rig.clock.now_ns += limits.QUALITY_NS
    assert [headers["Phloem-Clock"] for headers in said] == ["unsynced", "unsynced", "est"]
    assert int(said[2]["Phloem-Mono"]) - int(said[0]["Phloem-Mono"]) == limits.QUALITY_NS
    assert [event.headers.get("Phloem-Clock") for event in rig.publisher.events] == ["unsynced", None]
    assert {event.headers["Phloem-Device"] for event in rig.publisher.events} == {str(rig.sensor.link)}


async def test_readings_go_out_by_channel(rig: Rig) -> None:
    rig.sensor.plug()
    columns = {"type": "csv", "columns": ["t:Cel", "door"]}
    async with rig.bridge(decode=columns, shape={"limits": {"t": {"possible": [-40, 85]}}}) as session:
        await opened(session)
        rig.sensor.write(b"21.5,open\n?\n?\n99,shut\n")
        messages = [await rig.publisher.next() for _ in range(4)]
    assert [(m.subject, m.payload, m.seq) for m in messages] == [
        ("tele.temp.t", b'{"v":21.5,"u":"Cel"}', 1),
        ("tele.temp.door", b'{"v":"open"}', 2),
        ("tele.temp.t", b'{"v":99,"u":"Cel","q":"bad"}', 3),
        ("tele.temp.door", b'{"v":"shut"}', 4),
    ]
    assert messages[0].headers["Phloem-Time"] == "1800000001000000000"
    counters = session.counters
    assert (counters.frames, counters.readings, counters.undecodable) == (4, 4, 2)


async def test_frames_that_say_nothing_are_one_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.sensor.plug()
    async with rig.bridge(decode="number") as session:
        await opened(session)
        rig.sensor.write(b"x\nx\n1\n")
        message = await rig.publisher.next()
    assert message.payload == b'{"v":1}'
    assert session.counters.undecodable == 2
    assert [r.message for r in caplog.records if "says nothing" in r.message] == [
        "serial port sensor: a frame says nothing: value: 'x' is no number"
    ]


async def test_a_window_ends_without_a_frame(rig: Rig) -> None:
    rig.sensor.plug()
    shape = {"window": "10s", "numbers": ["mean"]}
    async with rig.bridge(decode="number", shape=shape) as session:
        await opened(session)
        rig.sensor.write(b"1\n2\n")
        timer = await rig.timers.fire()
        message = await rig.publisher.next()
    assert timer.delay_ns == 10 * 10**9
    assert (message.subject, message.payload) == ("tele.temp.value", b'{"v":1.5}')
    assert message.headers["Phloem-Time"] == "1800000011000000000"


async def test_every_byte_value_passes_in_both_directions(rig: Rig) -> None:
    """The tty layer must not translate, echo or swallow anything."""
    everything = bytes(range(256))
    rig.sensor.plug()
    async with rig.bridge(framing="raw") as session:
        await opened(session)
        rig.publisher.callbacks["cmd.temp"](everything)
        assert await rig.received.read(256) == everything
        rig.sensor.write(everything)
        got = b""
        while len(got) < 256:
            got += (await rig.publisher.next()).payload
        assert got == everything
    assert rig.publisher.quiet


async def test_an_idle_gap_ends_a_raw_frame(rig: Rig) -> None:
    rig.sensor.plug()
    async with rig.bridge(framing="raw", idle_gap_ns=20_000_000) as session:
        await opened(session)
        rig.sensor.write(b"\x01\x03\x02")
        timer = await rig.timers.fire()
        message = await rig.publisher.next()
    assert timer.delay_ns == 20_000_000
    assert message.payload == b"\x01\x03\x02"


async def test_one_timer_serves_all_chunks(rig: Rig) -> None:
    gap_ns = 20_000_000
    rig.sensor.plug()
    async with rig.bridge(framing="raw", idle_gap_ns=gap_ns, max_frame_bytes=4) as session:
        await opened(session)
        rig.sensor.write(b"1")
        await rig.timers.waiting()
        rig.clock.now_ns += 5_000_000
        rig.sensor.write(b"2345")
        assert (await rig.publisher.next()).payload == b"1234"
        assert rig.timers.delays_ns == [gap_ns]
        await rig.timers.fire(after_ns=15_000_000)  # silence since "1", not since "5"
        assert rig.publisher.quiet
        assert (await rig.timers.fire()).delay_ns == 5_000_000
        assert (await rig.publisher.next()).payload == b"5"
        assert rig.timers.delays_ns == [gap_ns, 5_000_000]


async def test_unplugged_and_plugged_in_again(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        rig.sensor.write(b"one\ntwo\nthree\nhalf a li")
        before = [await rig.publisher.next() for _ in range(3)]
        rig.sensor.unplug()
        await closed(session)
        for _ in range(4):  # attempts that find nothing
            await rig.timers.fire()
        await rig.timers.waiting()
        rig.sensor.plug()
        await rig.timers.fire()
        await opened(session)
        rig.sensor.emit()
        after = await rig.publisher.next()
    assert [message.seq for message in before] == [1, 2, 3]
    assert after.seq == 4
    assert after.headers["Phloem-Boot"] == before[0].headers["Phloem-Boot"]
    assert after.payload.startswith(b"temp seq=1 ")  # and not with the half line
    assert session.counters.opens == 2
    assert (session.counters.resyncs, session.counters.dropped_bytes) == (1, 9)
    [warning] = [record.getMessage() for record in caplog.records]
    assert "unplugged" in warning


async def test_each_outage_of_a_working_port_is_one_warning(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge() as session:
        for outage in range(3):
            await rig.timers.waiting()
            rig.sensor.plug()
            await rig.timers.fire()
            await opened(session)
            assert len(caplog.records) == 1 + outage
            rig.sensor.emit()
            await rig.publisher.next()
            rig.sensor.unplug()
            await closed(session)
        await rig.timers.waiting()
    assert len(caplog.records) == 4


async def test_a_port_that_fails_at_once_over_and_over_is_one_outage(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        for _ in range(6):
            await opened(session)
            rig.sensor.unplug()
            await closed(session)
            await rig.timers.waiting()
            rig.sensor.plug()
            await rig.timers.fire()
    assert len(caplog.records) == 1
    assert rig.timers.delays_ns[5] > limits.RETRY_MAX_NS // 2


async def test_a_silent_port_that_was_open_for_long_is_news_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge() as session:
        await rig.timers.fire()
        await rig.timers.waiting()
        rig.sensor.plug()
        await rig.timers.fire()
        await opened(session)
        rig.clock.now_ns += limits.RETRY_MAX_NS
        rig.sensor.unplug()
        await closed(session)
        assert (await rig.timers.fire()).delay_ns == limits.RETRY_MIN_NS
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_missing_device_warns_once_and_is_waited_for(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.bridge() as session:
        for _ in range(10):
            await rig.timers.fire()
        await rig.timers.waiting()
        assert not session.is_open
        rig.sensor.plug()
        await rig.timers.fire()
        await opened(session)
        rig.sensor.emit()
        assert (await rig.publisher.next()).seq == 1
    [warning] = [record.getMessage() for record in caplog.records]
    assert "no such device" in warning
    assert str(rig.sensor.link) in warning
    assert all(limits.RETRY_MIN_NS <= wait <= limits.RETRY_MAX_NS for wait in rig.timers.delays_ns)
    assert rig.timers.delays_ns[9] > rig.timers.delays_ns[0]


async def test_there_but_not_usable_is_a_second_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig.bridge():
        await rig.timers.waiting()
        rig.sensor.link.write_text("not a device")
        for _ in range(3):
            await rig.timers.fire()
        await rig.timers.waiting()
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert "no such device" in texts[0]
    assert "not a serial port" in texts[1]


async def test_commands_are_written_as_they_are(rig: Rig) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        rig.publisher.callbacks["cmd.temp"](b"led on\n")
        rig.publisher.callbacks["cmd.temp"](b"\x00\xff")
        assert await rig.received.read(9) == b"led on\n\x00\xff"
    assert (session.counters.commands, session.counters.commands_dropped) == (2, 0)
    assert rig.publisher.callbacks == {}


async def test_a_command_for_an_absent_device_is_dropped_not_kept(rig: Rig) -> None:
    async with rig.bridge() as session:
        await rig.timers.waiting()
        rig.publisher.callbacks["cmd.temp"](b"old\n")
        rig.sensor.plug()
        await rig.timers.fire()
        await opened(session)
        rig.publisher.callbacks["cmd.temp"](b"new\n")
        assert await rig.received.read(4) == b"new\n"
    assert (session.counters.commands, session.counters.commands_dropped) == (1, 1)


async def test_a_device_that_does_not_read_blocks_nobody(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Commands fill the kernel's buffer, then the queue, then are refused whole; reading goes on."""
    loop = asyncio.get_running_loop()
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        device = rig.sensor._ends[0] if rig.sensor._ends else -1
        loop.remove_reader(device)  # the device is busy with something else
        command, count = b"x" * 1023 + b"\n", 200
        for _ in range(count):
            rig.publisher.callbacks["cmd.temp"](command)
        taken = session.counters.commands
        assert limits.WRITE_QUEUE_BYTES_MAX // 1024 <= taken < count
        assert session.counters.commands_dropped == count - taken
        rig.sensor.emit()
        assert (await rig.publisher.next()).seq == 1
        loop.add_reader(device, rig.sensor._readable)  # it reads again and finds whole commands only
        assert await rig.received.read(taken * 1024) == command * taken
    assert ["no more bytes" in record.getMessage() for record in caplog.records] == [True]


async def test_a_second_bridge_on_the_same_device_is_told_who_holds_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        async with rig.bridge() as second:
            await rig.timers.fire()
            assert not second.is_open
            rig.sensor.emit()
            assert (await rig.publisher.next()).seq == 1
    assert "in use by another port of this very process" in caplog.text


async def test_nothing_is_left_behind(rig: Rig) -> None:
    await asyncio.to_thread(os.getpid)  # the executor's first thread is the loop's, not ours
    files, tasks = open_files(), asyncio.all_tasks()
    for _ in range(3):
        rig.sensor.plug()
        async with rig.bridge() as session:
            await opened(session)
            rig.sensor.unplug()
            await closed(session)
            await rig.timers.waiting()
            rig.sensor.plug()
            await rig.timers.fire()
            await opened(session)
        assert not session.is_open
    assert asyncio.all_tasks() == tasks
    assert open_files() == files


async def test_one_port_in_trouble_leaves_the_others_alone(rig: Rig, tmp_path: Path) -> None:
    rig.sensor.plug()
    ports = [
        SerialSettings(device=str(tmp_path / "nowhere"), subject="tele.nowhere"),
        SerialSettings(device=str(rig.sensor.link), subject="tele.temp"),
    ]
    async with Bridge(
        ports, rig.publisher, rig.clock, Random(3), call_later=rig.timers, hotplug=False
    ) as bridge:
        await opened(bridge.sessions[1])
        await rig.timers.fire()
        rig.sensor.emit()
        assert (await rig.publisher.next()).subject == "tele.temp"
        assert not bridge.sessions[0].is_open
    rig.sensor.unplug()


async def test_a_bug_ends_the_block_with_its_error(rig: Rig) -> None:
    class Broken(MemoryPublisher):
        def subscribe(self, *_: Any) -> Any:
            raise ZeroDivisionError

    rig.publisher = Broken()
    with pytest.raises(ExceptionGroup) as caught:
        async with rig.bridge():
            await asyncio.wait_for(asyncio.Event().wait(), WAIT_S)
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


@pytest.mark.parametrize("same", ["device", "name"])
def test_two_ports_are_two_devices_with_two_names(rig: Rig, same: str) -> None:
    names = {"device": ("/dev/a", "/dev/b"), "name": ("a", "b")}
    names[same] = (names[same][0],) * 2
    ports = [SerialSettings(device=names["device"][at], name=names["name"][at], subject="x") for at in (0, 1)]
    with pytest.raises(ConfigError, match=f"two serial ports have the {same}"):
        Bridge(ports, rig.publisher, rig.clock, Random(1))
