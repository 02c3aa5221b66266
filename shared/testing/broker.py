"""A broker for other people's tests: on the loopback interface, on a port that nobody else has."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from phloem.shared.server.server import Server
from phloem.shared.testing.manual_clock import ManualClock

ADDRESS_KEYS = ("listen", "host", "net", "port")


@asynccontextmanager
async def server(
    config: Mapping[str, Any] | None = None, *, clock: ManualClock | None = None, seed: int | None = None
) -> AsyncIterator[Server]:
    """A running broker that is gone, with all it opened, when the block ends.

    Args:
        config: Keys of the configuration file. Without an address among them it is 127.0.0.1 and any free port;
            ``broker.client_url`` and ``broker.connect()`` know it.
        clock: The broker's time. PINGs, deadlines, the authentication timeout and refused logins, 10 ms after
            CONNECT, happen inside ``clock.advance``.
        seed: Makes server id and choice among queue members the same in each run. Two brokers that are linked
            need different ones: the seed is in their loop detection subjects.

    Raises:
        ConfigError: The configuration cannot be used.
        PortInUse: The address in ``config`` is taken.
    """
    wanted = dict(config or {})
    if not wanted.keys() & set(ADDRESS_KEYS):
        wanted |= {"host": "127.0.0.1", "port": -1}
    async with Server(wanted, clock=clock, seed=seed) as running:
        if clock is None:
            yield running
            return
        by_hand = clock

        def look() -> None:
            running.sweep()
            running.schedule()

        unwatch = by_hand.watch(look)
        try:
            yield running
        finally:
            unwatch()
