"""The load generator as Python sees it: compiled on demand, run, read.

One rule: a run that did not end well raises ``LoadFailed`` with the generator's own words. There is no
figure without an exact count behind it.
"""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent.parent / "build" / "bench"
RUN_SECONDS_MAX = 600  # with a slow disk; the generator's own watchdog (20 s without progress) comes first

Figures = dict[str, float]


class LoadFailed(Exception):
    """The generator could not finish: lost messages, a refusal, a stall, a server that is gone."""


def compiled(build: Path = BUILD) -> Path:
    """The generator's executable, compiled anew where a source is younger than it."""
    target = build / "load"
    sources = sorted(SOURCES.glob("*.c"))
    youngest = max(path.stat().st_mtime_ns for path in (*sources, *SOURCES.glob("*.h")))
    if target.exists() and target.stat().st_mtime_ns > youngest:
        return target
    build.mkdir(parents=True, exist_ok=True)
    # Compiled beside the target and moved: test processes that build at the same time see whole files only.
    with tempfile.TemporaryDirectory(dir=build) as scratch:
        output = Path(scratch) / "load"
        flags = ("-O2", "-pthread", "-Wall", "-Wextra", "-o", str(output))
        command = (*shlex.split(os.environ.get("CC", "cc")), *flags, *map(str, sources), "-ldl")
        subprocess.run(command, check=True)
        output.replace(target)
    return target


def figures(line: str) -> Figures:
    """The numbers of a result line; texts such as the mode are left out."""
    return {key: float(value) for key, value in json.loads(line).items() if isinstance(value, int | float)}


def run(arguments: Sequence[str]) -> Figures:
    """One run to its end. Raises LoadFailed."""
    try:
        done = subprocess.run(
            (str(compiled()), *arguments), capture_output=True, text=True, timeout=RUN_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"no end after {RUN_SECONDS_MAX} s: {' '.join(arguments)}") from error
    if done.returncode != 0:
        raise LoadFailed(done.stderr.strip() or f"exit code {done.returncode}")
    return figures(done.stdout)


@contextmanager
def held(arguments: Sequence[str]) -> Iterator[Figures]:
    """A run of mode ``idle``: its connections stay open inside the block. Raises LoadFailed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        (str(compiled()), *arguments), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, errors = process.communicate()
            raise LoadFailed(errors.strip() or f"exit code {process.returncode}")
        yield figures(line)
        _, errors = process.communicate()  # closes standard input, which ends the run
        if process.returncode != 0:
            raise LoadFailed(errors.strip() or f"exit code {process.returncode}")
