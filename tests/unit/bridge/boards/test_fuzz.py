"""The board in C under sanitizers: random bytes, frames nearly right, full lines, damage to the ring, resets."""

import subprocess

import pytest
from tests.unit.bridge.boards.board import LONG_WINDOW
from tests.unit.bridge.boards.building import built


def _fuzz(seed: int, count: int, *flags: str) -> dict[str, int]:
    done = subprocess.run(
        [built("el_fuzz", *flags), str(seed), str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: int(value) for name, value in (pair.split("=") for pair in done.stdout.split())}


def test_a_short_run() -> None:
    figures = _fuzz(1, 1_500)
    assert figures["frames"] > 40_000
    assert min(figures[name] for name in ("commands", "readings", "chunks")) > 100


def test_a_short_run_with_a_longer_window() -> None:
    assert _fuzz(3, 700, LONG_WINDOW)["frames"] > 15_000


@pytest.mark.slow
def test_a_long_run() -> None:
    assert _fuzz(1_000_000, 25_000)["frames"] > 600_000
