"""When the machine's network changes: a hint, from rtnetlink(7), that it may be worth dialling again.

Only what gets better counts: an address or a route that is new. Where the system does not let us listen (a service that
may not use AF_NETLINK, another system) there are no hints, and nothing else is different.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable

log = logging.getLogger("phloem.net")

GROUPS = 0x10 | 0x40 | 0x100 | 0x400  # RTMGRP_IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE
NEW_ADDRESS, NEW_ROUTE = 20, 24  # RTM_NEWADDR, RTM_NEWROUTE
_HEADER = struct.Struct("=IHHII")
READ = 1 << 16


class Network:
    """Calls ``changed`` for each swarm of changes, until ``close``."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._sock: socket.socket | None = None

    def open(self) -> bool:
        """Begin to listen; whether the system allows it."""
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except (OSError, AttributeError) as error:
            log.debug("changes of the network are not told: %s", error)
            return False
        try:
            sock.bind((0, GROUPS))
        except OSError as error:
            sock.close()
            log.debug("changes of the network are not told: %s", error)
            return False
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)
        return True

    def close(self) -> None:
        """No more calls."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def _read(self) -> None:
        better = False
        while self._sock is not None:
            try:
                data = self._sock.recv(READ)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # ENOBUFS: more changes than fit; something has changed, then
                better = True
                break
            better = better or gets_better(data)
        if better:
            self._changed()


def gets_better(data: bytes) -> bool:
    """Whether one of these messages is about a new address or route."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind in (NEW_ADDRESS, NEW_ROUTE):
            return True
        if length < _HEADER.size:
            return False
        at += (length + 3) & ~3
    return False
