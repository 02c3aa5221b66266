"""``--walks``, ``--graphs``: how many walks over streams, graphs of accounts; ``--big``: sizes that take minutes."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--walks", type=int, default=0, help="walks over streams for each kind of storage")
    parser.addoption("--graphs", type=int, default=0, help="graphs of accounts that are looked at")
    parser.addoption("--big", action="store_true", help="streams with as much as they are made for")


@pytest.fixture
def big(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--big", default=False))
