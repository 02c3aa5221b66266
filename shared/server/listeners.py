"""Where a server listens for clients, over TCP and a Unix socket, and for leafnodes."""

import logging
from typing import TYPE_CHECKING

from phloem.shared.net.listener import Listener
from phloem.shared.server.tls import FIRST_ONLY

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")


class Listeners:
    """All of one server's."""

    def __init__(self) -> None:
        self._clients: Listener | None = None
        self._unix: Listener | None = None
        self._leafs: Listener | None = None

    @property
    def port(self) -> int:
        """The port for clients that was really bound; 0 when nobody listens."""
        return self._clients.port if self._clients else 0

    @property
    def leaf_port(self) -> int:
        """The port for leafnodes; 0 without a listener."""
        return self._leafs.port if self._leafs else 0

    def open(self, server: "Server") -> None:
        """Listen as the options say; whoever listens for clients comes last.

        Raises:
            PortInUse: An address is taken; what is open already stays so until ``close``.
        """
        o = server.options
        if o.leafnodes.port:
            self._leafs = Listener(server.leafs.accept)
            self._leafs.listen_tcp(o.leafnodes.host, o.leafnodes.port)
            log.info("Listening for leafnode connections on %s:%d", o.leafnodes.host, self.leaf_port)
        if o.phloem.unix_socket:
            self._unix = Listener(server.clients.accept)
            self._unix.listen_unix(o.phloem.unix_socket, o.phloem.unix_socket_mode)
            log.info("Listening for client connections on %s", o.phloem.unix_socket)
        self._clients = Listener(server.clients.accept)
        self._clients.listen_tcp(o.host, o.port)
        log.info("Listening for client connections on %s:%d", o.host, self.port)
        entrance = server.tls.clients
        if entrance is not None:
            first = entrance.first_only
            log.info(
                "TLS %s for client connections", "available" if o.allow_non_tls and not first else "required"
            )
            if first:
                log.warning("%s", FIRST_ONLY)

    def close_to_clients(self) -> None:
        """No new clients."""
        for listener in (self._clients, self._unix):
            if listener is not None:
                listener.close()
        self._clients = self._unix = None

    def close(self) -> None:
        """Nobody new at all."""
        self.close_to_clients()
        if self._leafs is not None:
            self._leafs.close()
