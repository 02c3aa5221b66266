"""Boards of each language, ended with their test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.bridge.boards.board import COUNT, MICROPYTHON, Board, Channel

Make = Callable[..., Board]
LANGUAGES = ("c", "python", *(["micropython"] if MICROPYTHON else []))


@pytest.fixture(params=LANGUAGES)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes boards of one language, or of the one that is asked for."""
    made: list[Board] = []

    def one(channels: tuple[Channel, ...] = COUNT, **options: Any) -> Board:
        made.append(Board(channels, **{"language": request.param, **options}))
        return made[-1]

    yield one
    for board in made:
        board.close()


@pytest.fixture
def make_c() -> Iterator[Make]:
    """Makes boards in C, which alone have rings that survive resets."""
    made: list[Board] = []

    def one(channels: tuple[Channel, ...] = COUNT, **options: Any) -> Board:
        made.append(Board(channels, **options))
        return made[-1]

    yield one
    for board in made:
        board.close()
