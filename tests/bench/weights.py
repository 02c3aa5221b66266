"""What a server weighs: memory and device writes of its processes, and bytes of its store.

All figures are the kernel's own, from ``/proc`` and ``stat``. Device writes are what processes have dirtied
in files less what was dropped before it was written: the journal of the file system itself is not in them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own blocks are


def _pairs(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _family(pid: int, proc: Path) -> Mapping[int, dict[str, str]]:
    """The status of a process and of all below it."""
    found: dict[int, dict[str, str]] = {}
    for path in proc.glob("[0-9]*/status"):
        try:
            status = _pairs(path)
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        found[int(status["Pid"])] = status
    family = {pid}
    while grown := {each for each, status in found.items() if int(status["PPid"]) in family} - family:
        family |= grown
    return {member: found[member] for member in family}


def _memory_bytes(pid: int, key: str, proc: Path) -> int:
    family = _family(pid, proc)
    return sum(int(status.get(key, "0 kB").split()[0]) * 1024 for status in family.values())


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """VmRSS: all resident pages, those of mapped files too, which the kernel takes back when it wants."""
    return _memory_bytes(pid, "VmRSS", proc)


def anonymous_bytes(pid: int, proc: Path = PROC) -> int:
    """RssAnon: the pages that the kernel cannot take back."""
    return _memory_bytes(pid, "RssAnon", proc)


def written_bytes(pid: int, proc: Path = PROC) -> int:
    """What the process and all below it have caused to be written to devices so far."""
    total = 0
    for member in _family(pid, proc):
        counts = _pairs(proc / str(member) / "io")
        total += int(counts["write_bytes"]) - int(counts["cancelled_write_bytes"])
    return total


def disk_bytes(directory: Path) -> int:
    """What a folder takes of the disk: allocated blocks, so that holes in files are free."""
    files = (Path(base) / name for base, _, names in os.walk(directory) for name in names)
    return sum(path.stat().st_blocks * BLOCK_BYTES for path in files)
