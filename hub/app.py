"""The hub: a server that edges link to, with the defaults for a fleet."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from phloem.hub.profile import PLAN_BYTES, for_fleet
from phloem.shared.clock import Clock
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.server import Server

if TYPE_CHECKING:
    from phloem.hub.collect.collector import Collector


class Hub(Server):
    """A server with the defaults of a hub; use it like ``Server``."""

    plan_bytes_max: ClassVar[int] = PLAN_BYTES

    def __init__(
        self,
        config: Options | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        options = config if isinstance(config, Options) else as_options(config)
        super().__init__(for_fleet(options), clock=clock, seed=seed)
        self.collectors: list[Collector] = []

    async def start(self) -> None:
        """Open the server, and receive what devices forward, in every account that has JetStream."""
        await super().start()
        if self.jetstream is not None:
            from phloem.hub.collect.collector import Collector  # noqa: PLC0415  (needs JetStream)

            self.collectors = [Collector(self, home) for home in self.jetstream.accounts.values()]

    async def stop(self) -> None:
        """Receive nothing more, then close the server."""
        for collector in self.collectors:
            collector.stop()
        self.collectors = []
        await super().stop()
