"""Figures of the process."""

import resource
from pathlib import Path

from tests.unit.monitor.fake import SECOND_NS, FakeClock, FakeProcess

from phloem.shared.server.monitor.process import CpuMeter, LinuxProcess


def test_resident_memory_is_the_second_number_in_pages(tmp_path: Path) -> None:
    (tmp_path / "statm").write_text("5000 321 100 1 0 400 0\n")
    assert LinuxProcess(tmp_path).memory_bytes() == 321 * resource.getpagesize()


def test_memory_is_zero_where_proc_is_hidden(tmp_path: Path) -> None:
    assert LinuxProcess(tmp_path).memory_bytes() == 0


def test_this_process_has_used_memory_and_time() -> None:
    process = LinuxProcess()
    assert process.memory_bytes() > 1 << 20
    assert process.cpu_ns() > 0
    assert process.cores() >= 1


def test_the_percentage_is_of_the_time_since_the_last_figure() -> None:
    clock, process = FakeClock(), FakeProcess(cpu=SECOND_NS)
    meter = CpuMeter(process, clock)
    assert meter.percent() == 0
    clock.now_ns += 2 * SECOND_NS
    process.cpu += SECOND_NS // 2
    assert meter.percent() == 25.0
    clock.now_ns += 4 * SECOND_NS
    assert meter.percent() == 0


def test_who_polls_too_soon_gets_the_last_figure() -> None:
    clock, process = FakeClock(), FakeProcess()
    meter = CpuMeter(process, clock)
    clock.now_ns += 3 * SECOND_NS
    process.cpu += SECOND_NS
    assert meter.percent() == 33.3
    clock.now_ns += SECOND_NS // 2
    process.cpu += SECOND_NS // 2
    assert meter.percent() == 33.3
