"""Boards of both languages, ended with their test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.bridge.boards.board import COUNT, Board, CBoard, Channel, PyBoard

Make = Callable[..., Board]


@pytest.fixture(params=[CBoard, PyBoard], ids=["c", "micropython"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes boards of one language."""
    made: list[Board] = []

    def one(channels: tuple[Channel, ...] = COUNT, **options: Any) -> Board:
        made.append(request.param(channels, **options))
        return made[-1]

    yield one
    for board in made:
        board.close()


@pytest.fixture
def make_c() -> Iterator[Callable[..., CBoard]]:
    """Makes boards in C."""
    made: list[CBoard] = []

    def one(channels: tuple[Channel, ...] = COUNT, **options: Any) -> CBoard:
        made.append(CBoard(channels, **options))
        return made[-1]

    yield one
    for board in made:
        board.close()
