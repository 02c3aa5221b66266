"""Devices that come are opened when they do, by inotify; nothing is looked for while nothing happens."""

import asyncio
from pathlib import Path
from random import Random

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo
from tests.unit.bridge.rig import WAIT_S, ManualTimers, MemoryPublisher, StandingClock, open_files

from phloem.firmware_bridge import selector, session
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.hotplug import Hotplug
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.simulate import SimulatedSensor


class Looks:
    """A callback that can be waited for."""

    def __init__(self) -> None:
        self._calls = asyncio.Queue[None]()

    def __call__(self) -> None:
        self._calls.put_nowait(None)

    async def one(self) -> None:
        await asyncio.wait_for(self._calls.get(), WAIT_S)

    @property
    def more(self) -> bool:
        return not self._calls.empty()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that somebody tried to open."""
    tried: list[str] = []
    real = session.open_line

    async def open_line(settings: SerialSettings, call_later: ManualTimers) -> object:
        tried.append(settings.device)
        return await real(settings, call_later)

    monkeypatch.setattr(session, "open_line", open_line)
    return tried


async def test_what_comes_is_told_to_who_waits_there(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, elsewhere = Looks(), Looks()
    with Hotplug() as hotplug:
        end = hotplug.watch((str(tmp_path),), here)
        assert hotplug.watch((str(tmp_path / "other"),), elsewhere) is not None
        assert end is not None
        (tmp_path / "a").touch()
        await here.one()
        (tmp_path / "a").rename(tmp_path / "b")
        await here.one()
        (tmp_path / "b").chmod(0o600)
        await here.one()
        end()
        (tmp_path / "c").touch()
        (tmp_path / "other" / "d").touch()
        await elsewhere.one()
        assert not here.more
        assert not elsewhere.more


async def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    looks, by_id = Looks(), tmp_path / "serial" / "by-id"
    with Hotplug() as hotplug:
        folders = (str(by_id), str(by_id.parent), str(tmp_path))
        assert hotplug.watch(folders, looks) is not None
        for _ in range(2):  # it goes with the last device and comes again
            by_id.parent.mkdir()
            await looks.one()
            by_id.mkdir()
            await looks.one()
            (by_id / "device").touch()
            await looks.one()
            (by_id / "device").unlink()
            by_id.rmdir()
            by_id.parent.rmdir()


async def test_nowhere_to_look(tmp_path: Path) -> None:
    with Hotplug() as hotplug:
        assert hotplug.watch((str(tmp_path / "missing"),), Looks()) is None
    assert hotplug.watch((str(tmp_path),), Looks()) is None


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = open_files()
    with Hotplug() as hotplug:
        hotplug.watch((str(tmp_path),), Looks())
    assert open_files() == before


async def test_an_absent_device_is_opened_when_it_comes(tmp_path: Path, attempts: list[str]) -> None:
    clock = StandingClock()
    timers, publisher = ManualTimers(clock), MemoryPublisher()
    (tmp_path / "x").touch()
    sensor = SimulatedSensor(tmp_path / "serial" / "by-id" / "usb-sensor", clock, Random(1))
    settings = SerialSettings(device=str(sensor.link), subject="tele.s")
    async with Bridge([settings], publisher, clock, Random(2), call_later=timers) as bridge:
        await timers.fire()  # the one pause after the first attempt; then no timer runs
        for name in range(20):
            (tmp_path / f"something-{name}").touch()  # of no interest
        sensor.link.parent.mkdir(parents=True)
        sensor.plug()
        await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
        assert len(attempts) == 2
        sensor.write(b"1\n")
        assert (await publisher.next()).payload == b"1"
        sensor.unplug()
        await asyncio.wait_for(bridge.sessions[0].wait_closed(), WAIT_S)
        await timers.fire()
        sensor.plug()
        await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
        assert len(attempts) == 3
        assert len(timers.delays_ns) == 2
    sensor.unplug()


async def test_a_usb_device_is_opened_whatever_its_path_is(
    tmp_path: Path, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StandingClock()
    timers = ManualTimers(clock)
    monkeypatch.setattr(selector, "DEV", str(tmp_path))
    sensor = SimulatedSensor(tmp_path / "ttyUSB7", clock, Random(1))

    def comports() -> list[ListPortInfo]:
        if not sensor.plugged:
            return []
        port = ListPortInfo(str(sensor.link))
        port.vid, port.pid, port.serial_number = 0x0403, 0x6001, "A"
        return [port]

    monkeypatch.setattr(list_ports, "comports", comports)
    settings = SerialSettings(device="usb:0403:6001:A", subject="tele.s")
    async with Bridge([settings], MemoryPublisher(), clock, Random(2), call_later=timers) as bridge:
        await timers.fire()
        sensor.plug()
        await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
        assert bridge.figures()[0]["path"] == str(sensor.link)
        assert len(attempts) == 2
    sensor.unplug()


async def test_a_device_that_comes_and_goes_all_the_time_is_tried_ever_more_seldom(
    tmp_path: Path, attempts: list[str]
) -> None:
    clock = StandingClock()
    timers, publisher = ManualTimers(clock), MemoryPublisher()
    sensor = SimulatedSensor(tmp_path / "tty", clock, Random(1))
    settings = SerialSettings(device=str(sensor.link), subject="tele.s")
    sensor.plug()
    async with Bridge([settings], publisher, clock, Random(2), call_later=timers) as bridge:
        for _ in range(8):
            await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
            for _ in range(10):  # ten times while the pause lasts
                sensor.unplug()
                sensor.plug()
            await asyncio.wait_for(bridge.sessions[0].wait_closed(), WAIT_S)
            await timers.fire()
        await asyncio.wait_for(bridge.sessions[0].wait_open(), WAIT_S)
        assert len(attempts) == 9
        assert timers.delays_ns[-1] > settings.retry_max_ns // 2
        assert publisher.kinds == ["opened", "lost", "opened", "lost"]  # and not eight of each
        sensor.write(b"at last\n")
        assert (await publisher.next()).payload == b"at last"
        assert publisher.kinds[4:] == ["opened"]
    sensor.unplug()
