"""The simulated sensor: same seed, same bytes; no torn lines; a link that comes and goes."""

import os
import re
from pathlib import Path
from random import Random

import pytest
from tests.unit.bridge.rig import Bytes, ManualTimers, StandingClock

from phloem.firmware_bridge.simulate import SimulatedSensor


def read_all(fd: int) -> bytes:
    got = b""
    os.set_blocking(fd, False)
    while True:
        try:
            got += os.read(fd, 1 << 16)
        except BlockingIOError:
            return got


def host(sensor: SimulatedSensor) -> int:
    return os.open(sensor.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)


async def test_same_seed_same_bytes(tmp_path: Path) -> None:
    said = []
    for run in ("a", "b"):
        async with SimulatedSensor(tmp_path / run, StandingClock(), Random(7), name="temp") as sensor:
            fd = host(sensor)
            assert [sensor.emit() for _ in range(3)] == [1, 2, 3]
            said.append(read_all(fd))
            os.close(fd)
    assert said[0] == said[1]
    lines = said[0].decode().splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"temp seq=\d t=1800000001000000000 v=\d+\.\d{3}", line) for line in lines)


async def test_it_sends_at_its_interval_and_stops_when_unplugged(tmp_path: Path) -> None:
    timers = ManualTimers()
    sensor = SimulatedSensor(tmp_path / "s", StandingClock(), Random(1), interval_ns=250, call_later=timers)
    async with sensor:
        assert (await timers.fire()).delay_ns == 250
        last = await timers.fire()
        assert sensor.sent == 2
    assert len(timers.delays_ns) == 3
    assert last.delay_ns == 250
    assert not sensor.plugged


async def test_a_host_that_does_not_read_loses_whole_lines(tmp_path: Path) -> None:
    async with SimulatedSensor(tmp_path / "s", StandingClock(), Random(1)) as sensor:
        fd = host(sensor)
        while not sensor.lost:
            sensor.emit()
        for _ in range(5):
            sensor.emit()
        got = read_all(fd)
        last = sensor.emit()
        got += read_all(fd)
        os.close(fd)
    seqs = [int(number) for number in re.findall(rb"^sensor seq=(\d+) t=\d+ v=[\d.]+$", got, re.M)]
    assert got.count(b"\n") == len(seqs) == sensor.sent
    assert seqs[-1] == last == sensor.sent + sensor.lost
    assert sensor.lost >= 6


async def test_the_link_is_there_only_while_plugged_and_seq_runs_on(tmp_path: Path) -> None:
    link = tmp_path / "s"
    link.symlink_to("/nonexistent")  # left over from a run that was killed
    async with SimulatedSensor(link, StandingClock(), Random(1)) as sensor:
        assert link.exists()
        sensor.emit()
        sensor.unplug()
        assert not link.is_symlink()
        assert not sensor.write(b"nobody hears this")
        sensor.plug()
        assert sensor.emit() == 2
    assert os.listdir(tmp_path) == []


async def test_a_real_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(FileExistsError):
        SimulatedSensor(tmp_path / "s", StandingClock(), Random(1)).plug()
    assert (tmp_path / "s").read_text() == "precious"


async def test_the_line_is_raw_before_any_host_sets_it_up(tmp_path: Path) -> None:
    received = Bytes()
    async with SimulatedSensor(tmp_path / "s", StandingClock(), Random(1), on_bytes=received) as sensor:
        sensor.emit()  # a terminal that echoes would send this back to the device
        fd = host(sensor)
        os.write(fd, b"a\r\n\x03b")
        assert await received.read(5) == b"a\r\n\x03b"
        os.close(fd)
