"""Lame duck mode: leave without every client coming back at the same moment (security_ops 1.7)."""

import asyncio
import logging
from typing import TYPE_CHECKING

from phloem.shared.kernel import Reason

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")
SPACING_MAX_S = 1.0


class LameDuck:
    """Begins when made; stops the server when the last client is gone."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        log.info("Entering lame duck mode, stop accepting new clients")
        server.events.lame_duck()
        server.stop_accepting()
        server.clients.push_info(ldm=True)
        self._task = asyncio.get_running_loop().create_task(self._leave(), name="lame duck")

    async def _leave(self) -> None:
        server, options = self._server, self._server.options
        if server.clients.open:
            await asyncio.sleep(options.lame_duck_grace_period_ns / 1e9)
            log.info("Closing existing clients")
            clients = list(server.clients.open.values())
            window = (options.lame_duck_duration_ns - options.lame_duck_grace_period_ns) / 1e9
            spacing = min(window / max(len(clients), 1), SPACING_MAX_S)
            for client in clients:
                client.conn.close(Reason.SERVER_SHUTDOWN)
                if server.clients.open:
                    await asyncio.sleep(spacing * server.rng.uniform(0.5, 1.0))
        await server.stop()

    def cancel(self) -> None:
        """The server stops for another reason."""
        if self._task is not asyncio.current_task():
            self._task.cancel()
