"""The driver: a recorded workload, many power cuts, and for each the question whether all promises still hold.

A cut is named by its point in the trace and a seed; the same two give the same disk. Points are uniform, and all that
lie around a sync or a mark, where promises begin.
"""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.durability.disk import Choice, Disk, build
from tests.durability.recording import ROOT, Faults, environment
from tests.durability.trace import Event, Op, read_trace

Verify = Callable[[Path, list[bytes]], None]
AROUND = (Op.SYNC_BEGIN, Op.SYNC_END, Op.SYNC_FAILED, Op.MARK)


@dataclass(frozen=True)
class Failure:
    """A cut after which a promise was broken."""

    point: int
    seed: str
    style: str
    what: str

    def __str__(self) -> str:
        return f"cut at event {self.point}, seed {self.seed!r} ({self.style}): {self.what}"


def record(
    module: str, folder: Path, trace: Path, *arguments: str, faults: Faults | None = None
) -> list[Event]:
    """Runs ``python -m module folder trace arguments`` under the recorder, to its end."""
    env = environment(folder, trace, faults)
    command = [sys.executable, "-m", module, str(folder), str(trace), *arguments]
    subprocess.run(command, env=env, cwd=ROOT, check=True, timeout=100)
    return read_trace(trace)


def complete(events: Sequence[Event], folder: Path) -> None:
    """The trace explains every byte of the folder: nothing was written that the recorder did not see."""
    disk = Disk()
    for event in events:
        disk.follow(event)
    seen = disk.contents()
    real = {
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.endswith("lock")
    }
    assert {name for name, data in seen.items() if data is not None} == real
    for name in real:
        assert seen[name] == (folder / name).read_bytes(), name


def points(events: Sequence[Event], count: int, seed: int) -> list[int]:
    """``count`` cut points at most: half of them around syncs and marks, the rest anywhere."""
    rng = random.Random(seed)
    near = {i + d for i, e in enumerate(events) if e.op in AROUND for d in (0, 1) if 0 < i + d <= len(events)}
    chosen = sorted(near) if len(near) <= count // 2 else rng.sample(sorted(near), count // 2)
    chosen += [rng.randrange(1, len(events) + 1) for _ in range(count - len(chosen))]
    return sorted(chosen)


def cut(
    events: Sequence[Event],
    at: Iterable[int],
    verify: Verify,
    work: Path,
    seed: int,
    *,
    failed_syncs_lose: bool = False,
    progress: Callable[[], None] | None = None,
    failures_max: int = 5,
) -> list[Failure]:
    """Every cut in order; the failures, the first of them the earliest."""
    disk = Disk(failed_syncs_lose=failed_syncs_lose)
    done, failures = 0, []
    for turn, point in enumerate(at):
        while done < point:
            disk.follow(events[done])
            done += 1
        name = f"{seed}/{turn}/{point}"
        choice = Choice(name)
        build(work, disk.crash(choice))
        try:
            verify(work, list(disk.marks))
        except Exception as error:
            failures.append(Failure(point, name, choice.style, f"{type(error).__name__}: {error}"))
        shutil.rmtree(work)
        if progress is not None:
            progress()
        if len(failures) >= failures_max:
            break
    return failures


def rebuild(events: Sequence[Event], failure: Failure, folder: Path) -> list[bytes]:
    """The disk of a failure again, to look at; the marks."""
    disk = Disk()
    for event in events[: failure.point]:
        disk.follow(event)
    build(folder, disk.crash(Choice(failure.seed)))
    return disk.marks
