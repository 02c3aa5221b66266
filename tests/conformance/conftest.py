"""The servers that every conformance case runs against. ``IMPLEMENTATIONS`` is the one switch.

``NOT_YET`` is the one place that names what phloem does not have yet. Its cases are expected to fail on phloem
and are listed at the end of a run with the feature that is missing; one that passes is an error, so that
whoever builds the feature deletes its rows.
"""

from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatchcase

import pytest
from tests.support.brokers import Brokers
from tests.support.certificates import Certificates
from tests.support.forking import nursery
from tests.support.jetstream import JsClient, JsWorld, js_world

IMPLEMENTATIONS = ("nats-server", "phloem")
# nats-server may lose what it sends while it deletes a stream (the loop that sends is ended at the same time), and has
# more such races. Its cases check the expectation; one that fails is run again and shown with an R. Ours never are.
REAL_SERVER_AGAIN = 2
NOT_YET: dict[
    str, str
] = {}  # case, as shell patterns know it, but brackets stand for themselves: what is missing


def missing_feature(case: str) -> str | None:
    """What phloem would need for this case; ``None``: it has everything."""
    patterns = ((pattern.replace("[", "[[]"), feature) for pattern, feature in NOT_YET.items())
    return next((feature for pattern, feature in patterns if fnmatchcase(case, pattern)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.partition("[")[2].startswith("nats-server"):
            item.add_marker(pytest.mark.flaky(reruns=REAL_SERVER_AGAIN))
        if feature := missing_feature(item.name):
            item.add_marker(pytest.mark.xfail(strict=True, reason=f"not in phloem yet: {feature}"))


@pytest.fixture(scope="session", params=IMPLEMENTATIONS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """All servers of one implementation: ``broker.shared(config)``, ``broker.own(config)``."""
    if request.param == "phloem":
        nursery().wait_ready()  # some seconds, which are nobody's in particular
    brokers = Brokers(request.param, tmp_path_factory.mktemp(request.param))
    yield brokers
    brokers.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and what it has made."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _own_servers_end_with_the_test(broker: Brokers) -> Iterator[None]:
    yield
    broker.kill_own()


@pytest.fixture
async def world(broker: Brokers) -> AsyncIterator[JsWorld]:
    """An account with JetStream, for this test alone."""
    world = js_world(broker)
    yield world
    world.close()


@pytest.fixture
async def js(world: JsWorld) -> JsClient:
    """A client of an account that has JetStream and nothing in it."""
    return await world.client()
