"""Descriptors that systemd hands to a service: sockets it listens on, and what the service gave it to keep
(sd_listen_fds(3)).
"""

import os
import socket
from collections.abc import Iterator, MutableMapping
from typing import NamedTuple

FIRST = 3
NAMES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Descriptor(NamedTuple):
    """One of them, open, and under its name: that of the socket unit, or what it was kept under."""

    name: str
    number: int


def take(environ: MutableMapping[str, str], pid: int, first: int = FIRST) -> list[Descriptor]:
    """All that are meant for this process, from now on closed on exec. The environment is taken away, so that nobody
    takes them twice. ``first``: the number of the first one, other than systemd's in tests."""
    meant, count, names = (environ.pop(name, "") for name in NAMES)
    if meant != str(pid) or not (count.isascii() and count.isdecimal()):
        return []
    called = names.split(":") if names else []
    found = []
    for index in range(int(count)):
        number = first + index
        os.set_inheritable(number, False)
        found.append(Descriptor(called[index] if index < len(called) else "", number))
    return found


def listening(descriptors: list[Descriptor]) -> Iterator[socket.socket]:
    """Those that are stream sockets somebody listens on, as sockets that own their descriptor."""
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor.number)
        except OSError:  # no socket
            continue
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setblocking(False)
            yield sock
        else:
            sock.detach()
