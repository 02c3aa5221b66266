"""The model test's driver over the kernel in memory: no socket, no loop, every chunk takes effect at once."""

from phloem.shared.clock import Clock
from phloem.shared.kernel import Kernel
from phloem.shared.server.clients import Client, Clients
from phloem.shared.server.conf import parse_text
from phloem.shared.server.definitions import definitions
from phloem.shared.server.leafnodes import LeafLinks
from phloem.shared.server.load import merge, read
from phloem.shared.server.server import Server


class StillServer(Server):
    """A server that listens nowhere and never wakes up by itself."""

    def __init__(self, config: str, clock: Clock | None = None) -> None:
        super().__init__(merge(read(parse_text(config)), {}), clock=clock, seed=7)
        self.kernel = Kernel(self, seed=7)
        self.clients = Clients(self)
        self.leafs = LeafLinks(self)
        self.crossings.begin()
        self.apply_limits()
        for name in self.options.account_names:
            self.account(name)
        self.crossings.define(definitions(self.options))

    def become(self, config: str) -> None:
        """Another configuration, as far as accounts and what crosses between them goes."""
        self.options = merge(read(parse_text(config)), {})
        self.crossings.define(definitions(self.options))

    def schedule(self) -> None:
        """Nothing is ever due: the test hands in no time."""


class KernelDriver:
    """See ``BrokerDriver``."""

    in_step = True

    def __init__(self, config: str) -> None:
        self._server = StillServer(config)
        self._open: dict[int, Client] = {}

    def open(self) -> int:
        client = self._server.clients.attach(-1, "memory", 1, "STANDARD")
        number = len(self._open) + 1
        self._open[number] = client
        return number

    def send(self, connection: int, data: bytes) -> None:
        conn = self._open[connection].conn
        if not conn.closed:
            conn.feed(data)

    def received(self, connection: int) -> bytes:
        return self._open[connection].conn.output()

    def closed(self, connection: int) -> bool:
        return self._open[connection].conn.closed

    def close_all(self) -> None:
        for client in self._open.values():
            client.conn.close(1)
        self._open.clear()
        assert self._server.kernel.totals["connections"] == 0
        assert self._server.account().stats["subscriptions"] == 1, "only the loop detection subject is left"

    def close(self) -> None:
        self._server.kernel.close()
