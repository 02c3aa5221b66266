"""A story with processes; ``make chaos`` tells more."""

from pathlib import Path

import pytest

from tests.chaos.processes import Fault, RealStory


async def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    """The hub is killed, and then both ends."""
    await RealStory(1, 2, tmp_path, print, faults=3).tell()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(RealStory.kill_hub, id="hub", marks=pytest.mark.slow),
        pytest.param(RealStory.kill_edge, id="edge", marks=pytest.mark.slow),
        pytest.param(RealStory.kill_both, id="both", marks=pytest.mark.slow),
    ],
)
async def test_one_end_or_both_are_killed(fault: Fault, tmp_path: Path) -> None:
    await RealStory(2, 1, tmp_path, print, faults=2, of=[fault]).tell()
