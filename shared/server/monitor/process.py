"""What the process takes from the machine: memory, processor time, cores."""

import os
import resource
from pathlib import Path
from typing import Protocol

from phloem.shared.clock import Clock
from phloem.shared.server.monitor.render import SECOND_NS


class Process(Protocol):
    """Figures of this process."""

    def memory_bytes(self) -> int:
        """Resident memory; 0 if the system does not say."""
        ...

    def cpu_ns(self) -> int:
        """Processor time since the start, user and system, all threads."""
        ...

    def cores(self) -> int:
        """Cores that this process may run on."""
        ...


class LinuxProcess:
    """Figures from /proc and the kernel."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._statm = proc / "statm"

    def memory_bytes(self) -> int:
        """The second number of statm, in pages (proc(5)); 0 where /proc is hidden from services."""
        try:
            return int(self._statm.read_text().split()[1]) * resource.getpagesize()
        except OSError:
            return 0

    def cpu_ns(self) -> int:
        """From getrusage(2), which counts finer than /proc's ticks."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return round((usage.ru_utime + usage.ru_stime) * SECOND_NS)

    def cores(self) -> int:
        """As limited by taskset or a cgroup's cpuset."""
        return len(os.sched_getaffinity(0))


class CpuMeter:
    """Processor time as a percentage of one core, over the time since it was last worked out.

    A figure is good for a second, so that two who poll at the same time do not spoil each other's.
    """

    def __init__(self, process: Process, clock: Clock) -> None:
        self._process, self._clock = process, clock
        self._since_ns, self._cpu_ns = clock.monotonic_ns(), process.cpu_ns()
        self._percent = 0.0

    def percent(self) -> float:
        """With one digit behind the point; 0 in the first second."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._since_ns >= SECOND_NS:
            cpu_ns = self._process.cpu_ns()
            self._percent = round(100 * (cpu_ns - self._cpu_ns) / (now_ns - self._since_ns), 1)
            self._since_ns, self._cpu_ns = now_ns, cpu_ns
        return self._percent
