"""A sample of the stories; ``make chaos`` tells as many as one likes. A failure names what repeats it."""

import pytest

from tests.chaos.story import FIRST, Story

SEED, STORIES, PART = 1, 30, 15


@pytest.mark.parametrize("first", range(0, STORIES, PART))
def test_nothing_is_lost_and_nothing_comes_twice(first: int) -> None:
    for number in range(first, first + PART):
        story = Story(SEED, number)
        try:
            story.tell()
        except AssertionError as problem:
            pytest.fail(f"python -m tests.chaos --seed {SEED} --story {number} -v: {problem}")


@pytest.mark.parametrize(("seed", "number"), [(1, 12), (1, 252), (1, 384), (4, 111), (21, 569)])
def test_stories_that_once_went_wrong(seed: int, number: int) -> None:
    """Two devices of one name that wait in step; a refusal; an offer long under way; hundreds of starts."""
    Story(seed, number, faults=FIRST).tell()
