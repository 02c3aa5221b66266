"""Running a process under the recorder (recorder.c): compiled once into ``build``, loaded before everything else."""

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(__file__).with_name("recorder.c")
FAULTS_SIZE, NAME_AT = 128, 40
FIELDS = {"syncs_until_error": 0, "room": 1, "short_every": 2, "sync_ns": 3, "writes_until_error": 4}


def library() -> Path:
    """The recorder, compiled if it has changed."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler")
    made = ROOT / "build" / f"recorder-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not made.exists():
        made.parent.mkdir(exist_ok=True)
        mine = made.with_suffix(f".{os.getpid()}")
        flags = [
            "-std=gnu11",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-parameter",
            "-shared",
            "-fPIC",
        ]
        subprocess.run([compiler, *flags, "-o", str(mine), str(SOURCE), "-ldl", "-lpthread"], check=True)
        mine.rename(made)
    return made


class Faults:
    """The faults that a recorded process meets; they can be changed while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(FAULTS_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), FAULTS_SIZE)
        self["room"] = -1

    def __setitem__(self, field: str, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * FIELDS[field], value)

    def __getitem__(self, field: str) -> int:
        value: int = struct.unpack_from("<q", self._map, 8 * FIELDS[field])[0]
        return value

    def only(self, name: str) -> Self:
        """Only files with ``name`` in theirs are concerned."""
        self._map[NAME_AT:] = name.encode().ljust(FAULTS_SIZE - NAME_AT, b"\0")
        return self


def environment(folder: Path, trace: Path, faults: Faults | None = None) -> dict[str, str]:
    """What a process needs in its environment so that what it does below ``folder`` goes to ``trace``."""
    env = {
        **os.environ,
        "LD_PRELOAD": str(library()),
        "PHLOEM_TRACE_ROOT": str(folder),
        "PHLOEM_TRACE_FILE": str(trace),
    }
    if faults is not None:
        env["PHLOEM_TRACE_FAULTS"] = str(faults.path)
    return env
