"""A server of RFC 2217 at which a port is shared, for one program at a time.

pyserial's ``PortManager`` speaks Telnet and RFC 2217; what it cannot bear of a peer ends that connection. A program
that does not read what the device says is disconnected when ``GUEST_BUFFER_BYTES_MAX`` wait for it.
"""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.port_errors import PortRefused
from phloem.firmware_bridge.sharing.guest import Guest
from phloem.firmware_bridge.sharing.host import Host
from phloem.firmware_bridge.sharing.places import Served

logger = logging.getLogger("phloem.bridge")

_IAC = b"\xff"
_SUBOPTION_BYTES_MAX = 64


class SharedServer:
    """One listening socket. ``start`` raises PortRefused if it cannot listen there."""

    def __init__(self, place: Served, host: Host) -> None:
        self._place, self._host = place, host
        self._listening: socket.socket | None = None
        self._connection: Connection | None = None
        self._turned_away = False  # said so

    def start(self) -> str:
        """Listen; where."""
        host, port = self._place
        self._listening = listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind((host, port))
            listening.listen(4)
        except OSError as error:
            listening.close()
            raise PortRefused(f"rfc2217://{host}:{port}", error.errno or 0, error.strerror or "") from error
        asyncio.get_running_loop().add_reader(listening.fileno(), self._accept)
        return f"rfc2217://{host}:{listening.getsockname()[1]}"

    def stop(self) -> None:
        """Nobody is served any more."""
        assert self._listening is not None
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._listening.close()
        if self._connection is not None:
            self._connection.close()

    def received(self, data: bytes) -> None:
        """The device has said ``data``."""
        if self._connection is not None:
            self._connection.received(data)

    def lost(self) -> None:
        """The device is gone; the program stays, and what it wrote is dropped."""
        if self._connection is not None:
            self._connection.lost()

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            connection, address = self._listening.accept()
        except OSError:  # it has gone before we came
            return
        connection.setblocking(False)
        if self._connection is not None:
            if not self._turned_away:
                self._turned_away = True
                logger.warning("%s is turned away: another program has the shared port", address[0])
            connection.close()
            return
        self._turned_away = False
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection = Connection(connection, self._host, self._gone)

    def _gone(self) -> None:
        self._connection = None
        self._host.controls.restore()


class Connection:
    """A program. ``on_gone`` is called once, when it is not there any more."""

    def __init__(self, connection: socket.socket, host: Host, on_gone: Any) -> None:
        from serial import rfc2217  # noqa: PLC0415  (only who shares a port pays for it)

        manager: Any = rfc2217.PortManager
        self._connection, self._host, self._on_gone = connection, host, on_gone
        self._out = bytearray()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._guest = Guest(host.turns, host.clock, host.call_later, self._carry_out, self._resume)
        self._manager = manager(host.controls, self)
        if not self._closed:
            self._resume()

    def received(self, data: bytes) -> None:
        """The device has said ``data``."""
        self.write(data.replace(_IAC, _IAC + _IAC))

    def lost(self) -> None:
        """The device is gone."""
        self._guest.gone()
        if not self._closed:
            self._resume()

    def write(self, data: bytes) -> None:
        """To the program. Also what ``PortManager`` calls."""
        if self._closed:
            return
        self._out += data
        if len(self._out) > limits.GUEST_BUFFER_BYTES_MAX:
            logger.warning("a program at a shared port does not read; it is disconnected")
            self.close()
        else:
            self._flush()

    def close(self) -> None:
        """Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        self._guest.gone()
        self._on_gone()

    def _flush(self) -> None:
        try:
            del self._out[: self._connection.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if self._out:
            self._loop.add_writer(self._connection.fileno(), self._flush)
        else:
            self._loop.remove_writer(self._connection.fileno())

    def _resume(self) -> None:
        self._loop.add_reader(self._connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(limits.READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._guest.heard(data)
        if self._guest.waits:
            self._loop.remove_reader(self._connection.fileno())

    def _carry_out(self, data: bytes) -> None:
        manager = self._manager
        if manager.mode != 0 or manager.suboption is not None or _IAC in data:
            try:
                data = b"".join(manager.filter(data))
            except Exception as error:  # whatever PortManager makes of a peer that knows no RFC 2217
                logger.info("a program at a shared port says what makes no sense: %r", error)
                self.close()
                return
            if len(manager.suboption or b"") > _SUBOPTION_BYTES_MAX:
                self.close()
                return
        self._host.write(data)
