"""Where a server listens for clients, over TCP and a Unix socket, and for leafnodes.

systemd may listen already (``Server.inherited``): a socket at an address of the options is used instead of one of our
own, one at any other address is for clients as well. So whoever connects while the server starts anew waits and is not
refused.
"""

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.errors import PortInUse
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
        self._more: list[Listener] = []  # of systemd's, for clients

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
        theirs, server.inherited = server.inherited, []
        if o.leafnodes.port:
            self._leafs = Listener(server.leafs.accept)
            _listen(self._leafs, theirs, o.leafnodes.host, o.leafnodes.port)
            log.info("Listening for leafnode connections on %s:%d", o.leafnodes.host, self.leaf_port)
        if o.phloem.unix_socket:
            self._unix = Listener(server.clients.accept)
            given = _taken(theirs, lambda sock: sock.getsockname() == o.phloem.unix_socket)
            if given is not None:
                self._unix.adopt(given)
            else:
                self._unix.listen_unix(o.phloem.unix_socket, o.phloem.unix_socket_mode)
            log.info("Listening for client connections on %s", o.phloem.unix_socket)
        self._clients = Listener(server.clients.accept)
        _listen(self._clients, theirs, o.host, o.port)
        log.info("Listening for client connections on %s:%d", o.host, self.port)
        for sock in theirs:
            log.info("Listening for client connections on %s, as systemd has it", _shown(sock))
            self._more.append(Listener(server.clients.accept))
            self._more[-1].adopt(sock)
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
        for listener in (self._clients, self._unix, *self._more):
            if listener is not None:
                listener.close()
        self._clients = self._unix = None
        self._more = []

    def close(self) -> None:
        """Nobody new at all."""
        self.close_to_clients()
        if self._leafs is not None:
            self._leafs.close()


def _listen(listener: Listener, theirs: list[socket.socket], host: str, port: int) -> None:
    """On a socket of systemd's with this port, or one of our own. Raises PortInUse."""
    given = _taken(theirs, lambda sock: sock.family != socket.AF_UNIX and sock.getsockname()[1] == port)
    if given is None:
        listener.listen_tcp(host, port)
        return
    if not _same(given.getsockname()[0], host):
        shown = _shown(given)
        given.close()
        raise PortInUse(
            f"listen on {host}:{port}: a socket unit of systemd has {shown}; "
            "change its ListenStream= or the configuration, so that both say the same"
        )
    listener.adopt(given)


def _same(theirs: str, ours: str) -> bool:
    """Whether two hosts are one; a name is resolved."""
    if {theirs, ours} <= {"", "0.0.0.0", "::"}:
        return True
    try:
        return theirs in {info[4][0] for info in socket.getaddrinfo(ours, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False


def _taken(theirs: list[socket.socket], fits: Callable[[socket.socket], bool]) -> socket.socket | None:
    """The first one that fits, which is then nobody else's."""
    for sock in theirs:
        if fits(sock):
            theirs.remove(sock)
            return sock
    return None


def _shown(sock: socket.socket) -> str:
    name = sock.getsockname()
    return str(name) if isinstance(name, str) else f"{name[0]}:{name[1]}"
