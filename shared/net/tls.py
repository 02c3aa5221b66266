"""Handshakes: a socket in, an SSL object for the kernel out (wire 1.10).

pyOpenSSL shakes hands between two memory BIOs, asyncio carries the bytes, and ``Session`` is what comes of it: the
kernel goes on with the same SSL object, and what came behind the handshake is still in its BIO. Rules that hold:

* a handshake ends within its time, whatever the peer does, and costs no memory before the peer has said something
* signing takes some tenths of a millisecond, so at most one step is done in each turn of the loop (``Turns``): those
  who are connected are served between any two steps, however many knock at the same time
* ``first_byte`` looks and does not take: whoever is not spoken to in TLS finds everything still there

Nothing is imported before the first context is made (``tls_context.py``).
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from phloem.shared.clock import Clock
from phloem.shared.kernel import Connection
from phloem.shared.net.tls_context import openssl, suite_name
from phloem.shared.net.tls_words import (
    NO_CERTIFICATE,
    NOT_TLS,
    TIMEOUT,
    Finding,
    HandshakeFailed,
    openssl_words,
    verification_words,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from OpenSSL import SSL

READ_BYTES = 16 << 10  # what is read in excess of a handshake stays below what the kernel opens at once
RECORD_HANDSHAKE = 0x16
RECORD_ALERT = 0x15
LARGEST_VERSION = 0x10  # a major version from here on is no TLS
_NO_SUBJECT, _NO_PARTIAL_WILDCARDS = 0x20, 0x04  # X509_CHECK_FLAG_*: names are in SANs only, as Go has it


class Session(NamedTuple):
    """A handshake that succeeded. ``ssl`` owns the SSL object and has to live as long as anybody uses it."""

    ssl: "SSL.Connection"
    version: str  # "1.3"
    suite: str  # Go's name
    certificates: "tuple[Certificate, ...]"  # the peer's, its own first

    def hand_over(self, conn: Connection) -> None:
        """The kernel's connection, which waits, goes on with it."""
        _lend_functions()
        ssl, into, out_of = (
            int(openssl().ffi.cast("uintptr_t", pointer))
            for pointer in (self.ssl._ssl, self.ssl._into_ssl, self.ssl._from_ssl)
        )
        conn.secure(self.ssl, ssl, into, out_of)


class Peer(NamedTuple):
    """Whom a client dials. ``name`` is what the certificate has to be for: a host name or an address."""

    name: str
    verify: bool = True


class Turns:
    """Lets one go on in each turn of the loop; who comes first in a turn does not wait."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    async def take(self) -> None:
        """Until it is this one's turn."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next)
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False


class _Wire:
    """A socket during a handshake: watched from the first wait to the end, because telling the selector costs more
    than being told in vain."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()  # a number: asyncio would describe the socket to itself at each turn
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._watched = False

    async def receive(self) -> bytes:
        """What is there, at least a byte. Raises HandshakeFailed at the end."""
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                await self.readable()
                continue
            if not data:
                raise HandshakeFailed("EOF")
            return data

    async def readable(self) -> None:
        """Until there is something to read, or the end."""
        if not self._watched:
            self._loop.add_reader(self._fd, self._ready)
            self._watched = True
        self._waiter = self._loop.create_future()
        await self._waiter

    def _ready(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            self.let_go()

    async def send(self, data: bytes) -> None:
        """All of it."""
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            await self._loop.sock_sendall(self._sock, data[sent:])

    def let_go(self) -> None:
        """Nobody waits any more."""
        if self._watched:
            self._loop.remove_reader(self._fd)
            self._watched = False


async def first_byte(sock: socket.socket, timeout_s: float) -> int | None:
    """The first byte that the peer sends, left where it is; ``None`` if none comes in time, or the peer leaves."""
    wire = _Wire(sock)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                await wire.readable()
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    data = sock.recv(1, socket.MSG_PEEK)
                    return data[0] if data else None
    except (TimeoutError, OSError):
        return None
    finally:
        wire.let_go()


async def accept(
    sock: socket.socket, context: "SSL.Context", turns: Turns, clock: Clock, *, timeout_s: float, verify: bool
) -> Session:
    """The server's side of a handshake on a connected, non-blocking socket, which stays the caller's.

    Raises:
        HandshakeFailed: With nats-server's words for the log; an alert was sent if there is one.
    """

    async def shake(wire: _Wire) -> Session:
        data = await wire.receive()
        if data[0] not in (RECORD_HANDSHAKE, RECORD_ALERT) or data[1:2] >= bytes((LARGEST_VERSION,)):
            raise HandshakeFailed(NOT_TLS, probe=True)
        shaking = _Shaking(wire, context, turns, clock)
        if verify:
            shaking.ask_for_certificate()
        shaking.ssl.set_accept_state()
        shaking.ssl.bio_write(data)
        return await shaking.run()

    return await _in_time(sock, shake, timeout_s)


async def dial(
    sock: socket.socket, context: "SSL.Context", turns: Turns, clock: Clock, *, timeout_s: float, peer: Peer
) -> Session:
    """The client's side, as ``accept``."""

    async def shake(wire: _Wire) -> Session:
        shaking = _Shaking(wire, context, turns, clock)
        shaking.expect(peer)
        shaking.ssl.set_connect_state()
        return await shaking.run()

    return await _in_time(sock, shake, timeout_s)


async def _in_time(
    sock: socket.socket, shake: Callable[[_Wire], Awaitable[Session]], timeout_s: float
) -> Session:
    wire = _Wire(sock)
    try:
        async with asyncio.timeout(timeout_s):
            return await shake(wire)
    except TimeoutError:
        raise HandshakeFailed(TIMEOUT, probe=True, late=True) from None
    except OSError as error:
        raise HandshakeFailed((error.strerror or str(error)).lower()) from None
    finally:
        wire.let_go()


class _Shaking:
    """One handshake under way."""

    def __init__(self, wire: _Wire, context: "SSL.Context", turns: Turns, clock: Clock) -> None:
        from OpenSSL import SSL  # noqa: PLC0415  (imported already)

        self._errors = SSL
        self._wire = wire
        self._turns = turns
        self._clock = clock
        self._finding: Finding | None = None
        self._wanted = ""
        self.ssl = SSL.Connection(context, None)

    def ask_for_certificate(self) -> None:
        """The peer has to show a certificate that leads to a root."""
        wanted = self._errors.VERIFY_PEER | self._errors.VERIFY_FAIL_IF_NO_PEER_CERT
        self.ssl.set_verify(wanted, self._verified)

    def expect(self, peer: Peer) -> None:
        """The peer has to be this one."""
        self._wanted = peer.name
        lib, ssl = openssl().lib, self.ssl._ssl
        address = _address(peer.name)
        if address is None:
            self.ssl.set_tlsext_host_name(peer.name.rstrip(".").encode("idna"))
        if not peer.verify:
            self.ssl.set_verify(self._errors.VERIFY_NONE, None)
            return
        parameters = lib.SSL_get0_param(ssl)
        lib.X509_VERIFY_PARAM_set_hostflags(parameters, _NO_SUBJECT | _NO_PARTIAL_WILDCARDS)
        if address is None:
            name = peer.name.rstrip(".").encode("idna")
            lib.X509_VERIFY_PARAM_set1_host(parameters, name, len(name))
        else:
            lib.X509_VERIFY_PARAM_set1_ip(parameters, address, len(address))
        self.ssl.set_verify(self._errors.VERIFY_PEER, self._verified)

    def _verified(self, _ssl: "SSL.Connection", found: Any, code: int, _depth: int, ok: int) -> bool:
        if not ok and self._finding is None:
            lib, ffi = openssl().lib, openssl().ffi
            words = ffi.string(lib.X509_verify_cert_error_string(code)).decode()
            self._finding = Finding(code, words, found.to_cryptography())
        return bool(ok)

    async def run(self) -> Session:
        """Until both sides are done."""
        while True:
            await self._turns.take()
            try:
                self.ssl.do_handshake()
            except self._errors.WantReadError:
                await self._send()
            except self._errors.Error as error:
                with contextlib.suppress(OSError):
                    await self._send()  # the alert
                wrong_name = self._finding is not None and self._finding.is_wrong_name
                raise HandshakeFailed(self._words(error), wrong_name=wrong_name) from None
            else:
                await self._send()
                return self._session()
            self.ssl.bio_write(await self._wire.receive())

    async def _send(self) -> None:
        while True:
            try:
                data = self.ssl.bio_read(READ_BYTES)
            except self._errors.WantReadError:
                return
            await self._wire.send(data)

    def _words(self, error: Exception) -> str:
        if self._finding is not None:
            return verification_words(self._finding, self._wanted, self._clock)
        queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
        return openssl_words(queue)

    def _session(self) -> Session:
        version = self.ssl.get_protocol_version_name().removeprefix("TLSv")
        suite = suite_name(self.ssl.get_cipher_name() or "")
        own = self.ssl.get_peer_certificate(as_cryptography=True)
        chain = () if own is None else (own, *(self.ssl.get_peer_cert_chain(as_cryptography=True) or ()))
        certificates = tuple(dict.fromkeys(chain))  # a client's view of the chain begins with the peer's own
        return Session(self.ssl, version, suite, certificates)


def _address(name: str) -> bytes | None:
    """``name`` as the bytes of an IP address, if it is one."""
    try:
        return ipaddress.ip_address(name).packed
    except ValueError:
        return None


def _lend_functions() -> None:
    """Gives the kernel the addresses of OpenSSL's functions, once."""
    global _lent
    if _lent:
        return
    from phloem.shared.kernel import tls  # noqa: PLC0415  (only with TLS)

    ffi, lib = openssl().ffi, openssl().lib
    tls.use({name: int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in tls.FUNCTIONS})
    _lent = True


_lent = False
__all__ = ["NO_CERTIFICATE", "HandshakeFailed", "Peer", "Session", "Turns", "accept", "dial", "first_byte"]
