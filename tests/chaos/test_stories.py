"""A sample of the stories; ``make chaos`` tells as many as one likes. A failure names what repeats it."""

import pytest

from tests.chaos.story import Story

SEED, STORIES, PART = 1, 150, 50


@pytest.mark.parametrize("first", range(0, STORIES, PART))
def test_nothing_is_lost_and_nothing_comes_twice(first: int) -> None:
    for number in range(first, first + PART):
        story = Story(SEED, number)
        try:
            story.tell()
        except AssertionError as problem:
            pytest.fail(f"python -m tests.chaos --seed {SEED} --story {number} -v: {problem}")
