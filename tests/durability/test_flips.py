"""A flipped bit anywhere in a store: named or harmless, never served as good data, and the server lives."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.durability.cuts import record
from tests.durability.recording import ROOT
from tests.support.sampling import few_of


def in_process(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.durability.flips", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, timeout=100, stdout=subprocess.PIPE, text=True
    ).stdout


def flipped(tmp_path: Path, ending: str, count: int, seed: int) -> dict[str, Any]:
    """So many flips in a store that ended so ("open": that is open), by what came of them."""
    folder = tmp_path / "store"
    record(
        "tests.durability.store_load",
        folder,
        tmp_path / "trace",
        "flips",
        "0",
        "60",
        "close" if ending == "open" else ending,
    )
    in_process(str(folder), "remember")
    return dict(json.loads(in_process(str(folder), str(count), str(seed), ending))["flips"])


def bad(outcomes: dict[str, Any]) -> dict[str, Any]:
    return {kind: flips for kind, flips in outcomes.items() if kind not in ("served", "named", "refused")}


CASES = [(ending, cipher) for ending in ("close", "leave", "open") for cipher in ("", "chacha")]


@pytest.mark.parametrize(
    ("ending", "cipher"), few_of(CASES, ("close", ""), ("leave", "chacha"), ("open", ""))
)
def test_flipped_bits(ending: str, cipher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLOEM_TEST_CIPHER", cipher)
    outcomes = flipped(tmp_path, ending, 12, 3)
    assert not bad(outcomes)
    assert outcomes["named"]
