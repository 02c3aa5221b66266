"""A pseudo-terminal behind which a port is shared: the link is there as long as the port is configured.

Nobody's end is kept open but the program's, so that the kernel says whether there is one: for nobody nothing is
written, and whoever comes does not read what was on the line an hour ago. While nobody is there the descriptor is hung
up, which a loop would be told again and again; an epoll of its own, triggered by edges, is told once.
"""

import asyncio
import os
import select

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.port_pty import link_pty, unlink_pty
from phloem.firmware_bridge.sharing.guest import Guest
from phloem.firmware_bridge.sharing.host import Host


class SharedPty:
    """One link. ``start`` raises PortRefused if it cannot be made."""

    def __init__(self, name: str, host: Host) -> None:
        self._name, self._host = name, host
        self._guest = Guest(host.turns, host.clock, host.call_later, host.write, self._read)

    def start(self) -> str:
        """Make it; where it is."""
        self._ours, theirs, self._link = link_pty(self._name)
        self._tty = os.ttyname(theirs)
        os.close(theirs)
        self._edges = select.epoll()
        self._edges.register(self._ours, select.EPOLLIN | select.EPOLLET)
        self._hangup = select.poll()
        self._hangup.register(self._ours, 0)
        asyncio.get_running_loop().add_reader(self._edges.fileno(), self._ready)
        return str(self._link)

    def stop(self) -> None:
        """The link goes."""
        self._guest.gone()
        asyncio.get_running_loop().remove_reader(self._edges.fileno())
        self._edges.close()
        unlink_pty(self._link, self._tty)
        os.close(self._ours)

    def received(self, data: bytes) -> None:
        """The device has said ``data``. A program that does not read it goes without."""
        if self._hangup.poll(0):
            return
        try:
            taken = os.write(self._ours, data)
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError:  # it has just gone
            return
        self._host.counters.guest_dropped_bytes += len(data) - taken

    def lost(self) -> None:
        """The device is gone; so is what was to be written to it."""
        self._guest.gone()
        self._read()

    def _ready(self) -> None:
        self._edges.poll(0)
        self._read()

    def _read(self) -> None:
        """One piece, and the next one in another turn of the loop, as nothing tells of it again."""
        if self._guest.waits or self._edges.closed:
            return
        try:
            data = os.read(self._ours, limits.READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # nobody has it open
            data = b""
        if not data:
            self._guest.gone()
            return
        asyncio.get_running_loop().call_soon(self._read)
        self._guest.heard(data)
