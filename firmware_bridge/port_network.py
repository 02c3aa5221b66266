"""Opening a serial line that is at the other end of a TCP connection.

A peer that is silent is asked by keepalives whether it is still there, so that a device server that lost its
power is noticed within half a minute; what was written and is not acknowledged ends the connection as soon.
"""

import asyncio
import os
import socket
from contextlib import suppress

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.port import LineErrors, PlainLine
from phloem.firmware_bridge.port_errors import PortAbsent, PortError, PortRefused
from phloem.firmware_bridge.rfc2217 import Rfc2217, Settings
from phloem.firmware_bridge.selector import Network
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import CallLater, within

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.NETWORK_IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.NETWORK_PROBE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, limits.NETWORK_PROBES),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.NETWORK_UNACKNOWLEDGED_MS),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class SocketLine(PlainLine):
    """Bytes over TCP."""

    def __init__(self, connection: socket.socket, device: str) -> None:
        super().__init__(device)
        self._connection = connection

    def fileno(self) -> int:
        """The socket's."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close; what was written and not sent yet is still sent by the kernel."""
        self._connection.close()


class RemoteLine(SocketLine):
    """A serial port with its settings, over TCP."""

    def __init__(self, connection: socket.socket, device: str, telnet: Rfc2217) -> None:
        super().__init__(connection, device)
        self._telnet = telnet

    @property
    def suspended(self) -> bool:  # type: ignore[override]  # a constant of plain lines
        """As the server says."""
        return self._telnet.suspended

    def decode(self, data: bytes) -> bytes:
        """Without Telnet."""
        return self._telnet.decode(data)

    def encode(self, data: bytes) -> bytes:
        """With Telnet."""
        return self._telnet.encode(data)

    def take_reply(self) -> bytes:
        """Telnet's."""
        return self._telnet.take_reply()

    def errors(self) -> LineErrors | None:
        """As the server tells."""
        return self._telnet.errors


async def open_network(settings: SerialSettings, selector: Network, call_later: CallLater) -> SocketLine:
    """Connect, and for RFC 2217 agree on the settings.

    Raises:
        PortAbsent: Nobody answers there, or not in time.
        PortRefused: It is no such server, or does not do these settings.
    """
    place = f"{selector.host}:{selector.port}"
    try:
        work = _open(settings, selector, place)
        return await within(limits.NETWORK_OPEN_NS, call_later, work, SocketLine.close)
    except TimeoutError:
        raise PortAbsent(place, reason="no answer") from None
    except PortError:
        raise
    except OSError as error:  # also what a name that nobody knows becomes
        raise PortAbsent(place, reason=_words_of(error)) from error


def _words_of(error: OSError) -> str:
    """asyncio puts the address into the text of what the system says; of a name there is only text."""
    code = error.errno or 0
    return os.strerror(code) if code > 0 else error.strerror or str(error)


async def _open(settings: SerialSettings, selector: Network, place: str) -> SocketLine:
    connection = await _connect(selector)
    try:
        if not selector.rfc2217:
            return SocketLine(connection, place)
        telnet = Rfc2217(
            Settings(
                settings.baud,
                settings.bytesize,
                settings.parity,
                settings.stopbits,
                settings.flow_control,
                settings.dtr,
                settings.rts,
            )
        )
        await _agree(connection, telnet, place)
        return RemoteLine(connection, place, telnet)
    except BaseException:
        connection.close()
        raise


async def _connect(selector: Network) -> socket.socket:
    """A connection to the first of the host's addresses that takes one."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(selector.host, selector.port, type=socket.SOCK_STREAM)
    last: OSError = OSError("no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, address)
            for level, option, value in _KEEPALIVE:
                with suppress(OSError):  # not of every kernel
                    connection.setsockopt(level, option, value)
            return connection
        except OSError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
    raise last


async def _agree(connection: socket.socket, telnet: Rfc2217, place: str) -> None:
    """Until the port has its settings; bytes of the device that come before are discarded."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, telnet.start())
    while not telnet.ready:
        data = await loop.sock_recv(connection, limits.READ_BYTES_MAX)
        telnet.decode(data)
        if not data or telnet.trouble:
            raise PortRefused(place, reason=telnet.trouble or "the other end closed the connection")
        if reply := telnet.take_reply():
            await loop.sock_sendall(connection, reply)
