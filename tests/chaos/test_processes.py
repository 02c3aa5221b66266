"""Two stories with processes; ``make chaos`` tells more."""

from pathlib import Path

import pytest

from tests.chaos.processes import RealStory


@pytest.mark.parametrize("number", [0, 2])
async def test_nothing_is_lost_and_nothing_comes_twice(number: int, tmp_path: Path) -> None:
    await RealStory(1, number, tmp_path, print, faults=5).tell()
