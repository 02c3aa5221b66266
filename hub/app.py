"""The hub: a server that edges link to, with the defaults for a fleet.

Every account that has JetStream has a collector, which receives what its devices forward: those of the configuration,
and those that come later with a JWT or a reload.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from phloem.hub.profile import PLAN_BYTES, for_fleet
from phloem.shared.clock import Clock
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.server import Server

if TYPE_CHECKING:
    from phloem.hub.collect.collector import Collector
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.monitor.records import FleetFigures


class Hub(Server):
    """A server with the defaults of a hub; use it like ``Server``."""

    plan_bytes_max: ClassVar[int] = PLAN_BYTES
    collects: ClassVar[bool] = True

    def __init__(
        self,
        config: Options | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        options = config if isinstance(config, Options) else as_options(config)
        super().__init__(for_fleet(options), clock=clock, seed=seed)
        self._collectors: dict[str, tuple[AccountJetStream, Collector]] = {}

    @property
    def collectors(self) -> "list[Collector]":
        """One for each account that has JetStream."""
        return [collector for _, collector in self._collectors.values()]

    def use_jetstream(self) -> None:
        """As of any server; who may forward is heard, in every account that has JetStream now."""
        before = self.jetstream
        super().use_jetstream()
        if self.jetstream is not None and self.jetstream is not before:
            self.jetstream.on_accounts.append(self._collect)
        self._collect()

    def _collect(self) -> None:
        homes = self.jetstream.accounts if self.jetstream is not None else {}
        for name, (home, collector) in list(self._collectors.items()):
            if homes.get(name) is not home:
                del self._collectors[name]
                collector.stop()
        for name, home in homes.items():
            if name not in self._collectors:
                from phloem.hub.collect.collector import Collector  # noqa: PLC0415  (needs JetStream)

                self._collectors[name] = (home, Collector(self, home))

    def fleet(self) -> "Sequence[FleetFigures]":
        """Who forwards to this server, by account."""
        return [collector.figures() for collector in self.collectors if collector.ledger.known]

    async def stop(self) -> None:
        """Receive nothing more, then close the server."""
        for collector in self.collectors:
            collector.stop()
        self._collectors = {}
        await super().stop()
