"""How much memory streams may take where no configuration says it: of the machine, and of what its service may use.

systemd's ``MemoryHigh=`` and ``MemoryMax=`` are files of a control group, of ours and of those above it. Above the one
the kernel slows a process down, above the other it ends it; streams in memory must reach neither.
"""

import os
from pathlib import Path

OF_MACHINE = 0.75  # as nats-server
# A message of 16 bytes takes nearly three times what it counts for, and there is more than streams.
OF_SERVICE = 1 / 3
BOUNDS = ("memory.high", "memory.max")  # cgroup v2; in v1 it is memory.limit_in_bytes
ROOT = Path("/sys/fs/cgroup")


def bound_of_streams(group: Path = Path("/proc/self/cgroup"), root: Path = ROOT) -> int:
    """Bytes of messages, as streams count them."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    service = service_bound(group, root)
    of_machine = int(machine * OF_MACHINE)
    return min(of_machine, int(service * OF_SERVICE)) if 0 < service < machine else of_machine


def service_bound(group: Path, root: Path = ROOT) -> int:
    """Bytes that this process and those with it may use before the kernel does something about it; 0: any number."""
    found: list[int] = []
    for line in _text(group).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        names = ("memory.limit_in_bytes",) if controllers else BOUNDS
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            found += [int(text) for name in names if (text := _text(each / name)).isdigit()]
            if each == top:
                break
    return min(found, default=0)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
