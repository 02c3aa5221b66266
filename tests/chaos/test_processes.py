"""A story with processes; ``make chaos`` tells more."""

from pathlib import Path

from tests.chaos.processes import RealStory


async def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path) -> None:
    await RealStory(1, 2, tmp_path, print, faults=3).tell()
