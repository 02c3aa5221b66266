"""Listening sockets: TCP over IPv4 and IPv6, and Unix sockets.

A Listener hands each accepted, non-blocking socket to a callback at once; nothing is awaited per connection. When
the process is out of descriptors it pauses instead of spinning, and says so once.
"""

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from phloem.shared.errors import PortInUse

Accept = Callable[[socket.socket, str, int], None]
"""Called with the socket, the peer's address and its port (0 for a Unix socket)."""

BACKLOG = 4096
ACCEPTS_PER_TURN = 256  # then other work of the loop gets its turn
PAUSE_S = 0.25  # without descriptors

log = logging.getLogger("phloem.net")


def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of ``host``; an unspecified IPv6 address takes IPv4 as well."""
    port = max(port, 0)
    both = host in ("", "0.0.0.0", "::") and socket.has_dualstack_ipv6()
    if both:
        addresses = [(socket.AF_INET6, ("::", port))]
    else:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list({(info[0], info[4][:2]): None for info in found})  # type: ignore[misc]
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
            sock.bind((address[0], sockets[0].getsockname()[1] if len(sockets) > 1 else address[1]))
            sock.listen(BACKLOG)
            sock.setblocking(False)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


class Listener:
    """Accepts connections on one address until ``close``."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._sockets: list[socket.socket] = []
        self._path: Path | None = None  # that is removed at the end
        self._unix = False
        self._loop = asyncio.get_running_loop()
        self._timers: dict[socket.socket, asyncio.TimerHandle] = {}
        self._told = False

    def listen_tcp(self, host: str, port: int) -> None:
        """Listen on ``host`` (a name, an address, or everything for 0.0.0.0 and ::); port -1 is any free one.

        Raises:
            PortInUse: With one line that says which address and why.
        """
        try:
            self._sockets = _bind_tcp(host, port)
        except OSError as error:
            raise PortInUse(f"listen on {host}:{port}: {_reason(error)}") from error
        self._watch()

    def listen_unix(self, path: str, mode: int) -> None:
        """Listen on a Unix socket; one left behind by a dead process is replaced.

        Raises:
            PortInUse: Somebody listens there, or the path cannot be used.
        """
        target = Path(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(target)
            sock.bind(path)
            target.chmod(mode)
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as error:
            sock.close()
            raise PortInUse(f"listen on {path}: {_reason(error)}") from error
        self._path, self._unix = target, True
        self._sockets = [sock]
        self._watch()

    def adopt(self, sock: socket.socket) -> None:
        """Accept on a socket that somebody else has made and listens on; its path stays when this one closes."""
        self._unix = sock.family == socket.AF_UNIX
        self._sockets = [sock]
        self._watch()

    @property
    def port(self) -> int:
        """The TCP port that was bound; 0 for a Unix socket."""
        return 0 if self._unix or not self._sockets else int(self._sockets[0].getsockname()[1])

    def _watch(self) -> None:
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._ready, sock)

    def _ready(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            sock.setblocking(False)
            if self._unix:
                self._accept(sock, "unix", 0)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host = address[0]
            self._accept(sock, host.removeprefix("::ffff:"), address[1])

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        if not self._told:
            log.warning("accepting connections is paused: %s", error.strerror or error)
            self._told = True
        self._loop.remove_reader(listening.fileno())
        self._timers[listening] = self._loop.call_later(PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._timers[listening]
        self._loop.add_reader(listening.fileno(), self._ready, listening)

    def close(self) -> None:
        """Stop accepting; connections that were accepted stay."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EADDRINUSE, "a file that is no socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _reason(error: OSError) -> str:
    """What went wrong, as a person would say it."""
    if error.errno == errno.EADDRINUSE:
        return "address already in use"
    if error.errno == errno.EACCES:
        return "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)"
    return error.strerror or str(error)
