"""A flipped bit anywhere in a store: named or harmless, never served as good data, and the server lives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.durability.cuts import record
from tests.durability.recording import ROOT


def in_process(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.durability.flips", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, timeout=100, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.parametrize("ending", ["close", "leave"])
def test_flipped_bits(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    record("tests.durability.store_load", folder, tmp_path / "trace", "flips", "0", "60", ending)
    in_process(str(folder), "remember")
    outcomes = json.loads(in_process(str(folder), "30", "1"))["flips"]
    bad = {kind: flips for kind, flips in outcomes.items() if kind not in ("served", "named", "refused")}
    assert not bad
    assert outcomes["named"]
