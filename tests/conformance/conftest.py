"""The servers that every conformance case runs against. ``IMPLEMENTATIONS`` is the one switch."""

from collections.abc import Iterator

import pytest
from tests.support.brokers import Brokers

IMPLEMENTATIONS = ("nats-server", "phloem")


@pytest.fixture(scope="session", params=IMPLEMENTATIONS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """All servers of one implementation: ``broker.shared(config)``, ``broker.own(config)``."""
    brokers = Brokers(request.param, tmp_path_factory.mktemp(request.param))
    yield brokers
    brokers.stop()


@pytest.fixture(autouse=True)
def _own_servers_end_with_the_test(broker: Brokers) -> Iterator[None]:
    yield
    broker.stop_own()
