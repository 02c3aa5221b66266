"""``--for``: how long a soak runs. Without it the run is as short as its assertions allow."""

import pytest

from phloem.shared.server.durations import parse_duration

DEFAULT = "1m"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--for", dest="soak_for", default=DEFAULT, metavar="TIME", help="how long, as 90s or 2h")


@pytest.fixture
def duration_ns(request: pytest.FixtureRequest) -> int:
    """Nanoseconds of ``--for``."""
    found = parse_duration(request.config.getoption("soak_for", DEFAULT))
    if found <= 0:
        raise pytest.UsageError("--for wants a time such as 90s or 2h")
    return found
