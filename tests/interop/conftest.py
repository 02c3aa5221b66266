"""One world of brokers for each test, and pairs that tests share.

``--peers``: how many hostile ones come by. ``--cuts``: how often links of pairs fail.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.interop.links import World, new_world
from tests.interop.pairs import Pair

Pairs = dict[tuple[str, str], Pair]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", type=int, default=0, help="hostile peers that come by")
    parser.addoption("--cuts", type=int, default=1, help="how often links of pairs fail")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all pairs of a worker keep is in here."""
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="session")
def pairs() -> Iterator[Pairs]:
    made: Pairs = {}
    yield made
    for pair in made.values():
        pair.stop()


@pytest.fixture
async def pair(request: pytest.FixtureRequest, pairs: Pairs, pairs_folder: Path) -> AsyncIterator[Pair]:
    """The pairing of the parameter, (hub, leaf), linked."""
    kinds: tuple[str, str] = request.param
    if kinds not in pairs:
        pairs[kinds] = Pair(*kinds, pairs_folder)
    pair = pairs[kinds]
    try:
        await pair.linked()
        yield pair
    finally:
        for side in (pair.hub, pair.leaf):
            await side.hang_up()


@pytest.fixture
def cuts(request: pytest.FixtureRequest) -> int:
    """How often links fail in one test."""
    return int(request.config.getoption("cuts"))
