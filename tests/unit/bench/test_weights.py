"""What the kernel's texts say a server weighs."""

import os
from pathlib import Path

from tests.bench import weights


def _processes(proc: Path) -> None:
    for pid, parent, kilobytes in ((10, 1, 100), (11, 10, 20), (12, 11, 3), (13, 1, 5000)):
        (proc / str(pid)).mkdir()
        text = f"Name:\tx\nPid:\t{pid}\nPPid:\t{parent}\nVmRSS:\t    {kilobytes} kB\nRssAnon:\t{pid} kB\n"
        (proc / str(pid) / "status").write_text(text)
        text = f"wchar: 99\nwrite_bytes: {kilobytes * 4096}\ncancelled_write_bytes: 4096\n"
        (proc / str(pid) / "io").write_text(text)


def test_memory_is_the_sum_over_the_process_and_all_below_it(tmp_path: Path) -> None:
    _processes(tmp_path)
    assert weights.resident_bytes(10, tmp_path) == 123 * 1024
    assert weights.resident_bytes(12, tmp_path) == 3 * 1024
    assert weights.anonymous_bytes(10, tmp_path) == 33 * 1024


def test_device_writes_are_less_what_was_never_written(tmp_path: Path) -> None:
    _processes(tmp_path)
    assert weights.written_bytes(10, tmp_path) == (123 - 3) * 4096
    assert weights.written_bytes(12, tmp_path) == 2 * 4096


def test_own_figures_can_be_read() -> None:
    assert weights.resident_bytes(os.getpid()) > weights.anonymous_bytes(os.getpid()) > 1_000_000
    assert weights.written_bytes(os.getpid()) >= 0


def test_holes_in_files_take_no_disk(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    with (tmp_path / "below" / "file").open("wb") as file:
        file.truncate(100_000_000)
        file.write(b"x" * 8192)
        os.fsync(file.fileno())
    assert 8192 <= weights.disk_bytes(tmp_path) < 1_000_000
