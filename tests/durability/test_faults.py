"""What the store does when the disk refuses: no acknowledgement that is not true, nothing that was durable is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.durability.cuts import cut, points
from tests.durability.recording import ROOT, Faults, environment
from tests.durability.store_load import verify
from tests.durability.trace import Event, read_trace

FAULTS = {
    "sync": ("journal", "syncs_until_error", 12),
    "write": ("journal", "writes_until_error", 12),
    "no space": ("", "room", 150_000),
    "LMDB cannot sync": ("data.mdb", "syncs_until_error", 4),
    "LMDB cannot write": ("data.mdb", "writes_until_error", 9),
    "short writes": ("journal", "short_every", 3),
}


def life(tmp_path: Path, kind: str) -> tuple[list[Event], int]:
    """One life with a fault: its trace and its exit code (1: the store said that it failed)."""
    faults = Faults(tmp_path / "faults")
    name, field, value = FAULTS[kind]
    faults.only(name)[field] = value
    folder, trace = tmp_path / "store", tmp_path / "trace"
    command = [sys.executable, "-m", "tests.durability.store_load", str(folder), str(trace)]
    more = ["fault", "0", "80", "leave", "faulty"]
    done = subprocess.run([*command, *more], env=environment(folder, trace, faults), cwd=ROOT, timeout=60)
    return read_trace(trace), done.returncode


def refusing(tmp_path: Path, kind: str, cuts: int, seed: int) -> list[str]:
    """What a life with this fault and so many cuts afterwards has broken, with failed pages lost and kept."""
    events, code = life(tmp_path, kind)
    assert code == (0 if kind == "short writes" else 3), "whether the store noticed"
    at = [*points(events, cuts, seed), *[len(events)] * 2]
    return [
        f"{kind}, {failure}"
        for lost in (True, False)
        for failure in cut(events, at, verify, tmp_path / f"cut-{lost}", seed, failed_syncs_lose=lost)
    ]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_disk_that_refuses(kind: str, tmp_path: Path) -> None:
    failures = refusing(tmp_path, kind, 3, 1)
    assert not failures, "\n".join(failures)
