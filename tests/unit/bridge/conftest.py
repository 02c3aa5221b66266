"""Fixtures that own a process."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.bridge.rig import NatsServer


@pytest.fixture
async def nats_server() -> AsyncIterator[NatsServer]:
    """A running nats-server."""
    server = NatsServer()
    await server.start()
    yield server
    await server.stop()
