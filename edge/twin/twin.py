"""The twin as a whole: its parts, in what order they begin, and what keeps them going.

Nothing of it delays the server: it starts when the server is ready, in a task of its own, and begins anew after an
error.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from phloem.edge.line import Line, NoAnswer, Refused
from phloem.edge.twin.bucket import Bucket
from phloem.edge.twin.commands import Commands
from phloem.edge.twin.down import EXPECTED, Down, Hub
from phloem.edge.twin.overlay import kept_path
from phloem.edge.twin.prepare import device_of
from phloem.edge.twin.remote_config import RemoteConfig
from phloem.edge.twin.up import Told, Up
from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.options import Options
from phloem.shared.twin.floor import Floor
from phloem.shared.twin.names import CONFIG, DESIRED, REPORTED, command_id

if TYPE_CHECKING:
    from phloem.shared.server.options_phloem import Twin as Settings
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.twin")

LOOK_S = limits.TWIN_LOOK_NS / SECOND_NS


class Twin:
    """One device's. ``finish``: the product's own part of making options, for those that the hub sets."""

    def __init__(
        self, server: "Server", settings: "Settings", line: Line, finish: Callable[[Options], Options]
    ) -> None:
        self._server = server
        account, device = settings.account or GLOBAL_ACCOUNT, device_of(server.options, settings)
        hub = Hub(f"$JS.{settings.hub_domain}.API", device)
        self._account = account
        self._floor, self._latest_ns = Floor(), 0
        self._desired = Bucket(line, account, DESIRED, owned=False)
        self._reported = Bucket(line, account, REPORTED, owned=True)
        self._commands = Commands(line, self._desired, self._reported, self.now)
        path = kept_path(server.options)
        assert path is not None
        self._config = RemoteConfig(server, path, self._reported, settings.config_trial_ns, finish)
        self._down = Down(line, hub, self._desired, settings.heartbeat_ns, self._changed)
        told = Told(self._acknowledged, self._commands.foreign, self._commands.is_confirmed)
        self._up = Up(line, hub, self._reported, told)

    def now(self) -> int:
        """Nanoseconds since 1970, at least what the hub has said, and never earlier than before."""
        clock = self._server.clock
        now = self._floor.now(clock.wall_ns(), clock.monotonic_ns())
        self._latest_ns = max(self._latest_ns, now)
        return self._latest_ns

    async def keep(self) -> None:
        """All of it, until cancelled. Raises NoAnswer, Refused, OSError: it has to be begun anew."""
        await self._desired.make()
        await self._reported.make()
        await self._up.make()
        self._down.begin()
        self._seen(self._down.stamp_ns)
        first = self._commands.begin()
        await self._config.begin()
        wanted = self._desired.value(CONFIG)
        if wanted is not None:
            self._config.changed(
                None if wanted.gone else wanted.body, wanted.place.seq if wanted.place is not None else 0
            )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commands.keep(first), name="twin: commands")
            group.create_task(self._config.keep(self._down.complete), name="twin: configuration")
            group.create_task(self._again(self._down.once, self._down.tell), name="twin: desired")
            group.create_task(self._again(self._up.once, self._up.tell), name="twin: reported")

    async def _again(self, once: Callable[[], Awaitable[None]], tell: Callable[[Exception], None]) -> None:
        """``once`` for each link; soon after a refusal, then less often."""
        pause_ns = 0
        while True:
            links = self._links()
            if not links:
                await asyncio.sleep(LOOK_S)
                continue
            began_ns = self._server.clock.monotonic_ns()
            problem = await self._while(links, once)
            if problem is None:
                pause_ns = 0
                continue
            if not isinstance(problem, EXPECTED):
                raise problem
            tell(problem)
            if self._server.clock.monotonic_ns() - began_ns > limits.TWIN_RETRY_MAX_NS:
                pause_ns = 0
            await self._while(links, lambda: asyncio.sleep(pause_ns / SECOND_NS))  # noqa: B023  (awaited at once)
            pause_ns = min(max(2 * pause_ns, limits.TWIN_RETRY_NS), limits.TWIN_RETRY_MAX_NS)

    async def _while(
        self, links: tuple[int, ...], once: Callable[[], Awaitable[None]]
    ) -> BaseException | None:
        """Work until the links are others, or it ends by itself; its error."""
        work = asyncio.ensure_future(once())
        try:
            while not work.done() and self._links() == links:
                await asyncio.wait({work}, timeout=LOOK_S)
        finally:
            work.cancel()
            await asyncio.wait({work})
        return None if work.cancelled() else work.exception()

    def _links(self) -> tuple[int, ...]:
        """The links to hubs that are up."""
        links = self._server.leafs.up
        return tuple(
            link.conn.cid for link in links if link.outgoing is not None and link.account == self._account
        )

    def _seen(self, stamp_ns: int) -> None:
        self._floor.seen(stamp_ns, self._server.clock.monotonic_ns())

    def _changed(self, key: str, body: bytes | None, stamp_ns: int, seq: int) -> None:
        self._seen(stamp_ns)
        if ident := command_id(key):
            self._commands.changed(ident, body, stamp_ns)
        elif key == CONFIG:
            self._config.changed(body, seq)

    def _acknowledged(self, key: str, body: bytes) -> None:
        if ident := command_id(key):
            self._commands.acknowledged(ident, body)
        elif key == CONFIG:
            self._config.acknowledged(body)


UNREADY = (NoAnswer, Refused, OSError)
