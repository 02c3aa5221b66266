"""One world of brokers for each test. ``--peers``: how many hostile ones come by."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.links import World, new_world


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peers", type=int, default=0, help="hostile peers that come by")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as made:
        yield made
