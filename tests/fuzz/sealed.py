"""Comes to a listener with TLS: handshakes, records and what is in them, whole, cut, damaged and out of place.

Steps, for one connection at a time: ``begin`` (``who``: version), ``flight`` (the client's next part of a handshake),
``say`` (plaintext, sealed when the handshake is done), ``raw`` (bytes as they are), ``again`` (renegotiation),
``farewell`` (close_notify) and ``leave``. ``number`` says what becomes of the bytes on their way: a multiple of
``WAYS`` nothing. Whatever comes: no exception, nothing is kept when the peer has left, others are still served; and
what arrived whole is answered as it would be without TLS.
"""

import asyncio
import atexit
import contextlib
import datetime
import functools
import logging
import socket
import tempfile
from pathlib import Path
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from phloem.shared.kernel import Connection
from phloem.shared.server.server import Server
from phloem.shared.testing.manual_clock import ManualClock
from tests.fuzz import making
from tests.fuzz.frames import Nonsense
from tests.fuzz.served import FAULTS, _loop
from tests.fuzz.steps import Step, Steps

TURNS = 8  # of the loop behind each Step
WAYS = 8  # what becomes of bytes: see ``_Peer.send``
WHOLE = (0, 1)  # of those, the ways on which all arrives
RECORDS = (  # heads of records, and some that are whole
    *(
        b"\x16\x03\x01",
        b"\x16\x03\x03\x00\x00",
        b"\x17\x03\x03\x00\x00",
        b"\x17\x03\x03\x40\x00",
        b"\x17\x03\x03\xff\xff",
    ),
    *(
        b"\x14\x03\x03\x00\x01\x01",
        b"\x15\x03\x03\x00\x02\x01\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x15\x03\x01\x00\x00",
    ),
    *(
        b"\x18\x03\x03\x00\x03\x01\x40\x00",
        b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x03\x00\x04\x00\x00\x00\x00",
    ),
    *(b"\x80\x2e\x01\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"PING\r\n", b"\x00", b"\xff" * 300),
)


# --- making ------------------------------------------------------------------------------------------------


def _way(r: Random) -> int:
    chosen = r.choice(WHOLE) if r.random() < 0.85 else r.randrange(WAYS)
    return chosen + WAYS * r.randrange(4096)


def make(r: Random) -> Steps:
    steps: list[Step] = []
    for _ in range(r.choice((1, 1, 2))):
        steps.append(Step("begin", r.randrange(2)))
        steps += [Step("flight", 0, _way(r)) for _ in range(r.choice((0, 1, 2, 3, 4, 4, 4, 4)))]
        data = making.stream(r, False, r.randint(1, 10))
        for piece in making.pieces(r, data)[:40]:
            steps.append(Step("say", 0, _way(r) if r.random() < 0.1 else r.choice(WHOLE), piece))
            if r.random() < 0.03:
                steps.append(Step("again", 0, _way(r)))
            if r.random() < 0.03:
                steps.append(Step("raw", 0, 0, r.choice(RECORDS)))
        if r.random() < 0.2:
            steps.insert(
                r.randrange(1, len(steps) + 1),
                Step("raw", 0, 0, r.choice(RECORDS) + r.randbytes(r.randrange(40))),
            )
        steps += [Step("farewell", 0, _way(r))] if r.random() < 0.3 else []
        steps += [Step("leave", 0, r.randrange(2))] if r.random() < 0.4 else []
    return tuple(steps)


# --- carrying out ------------------------------------------------------------------------------------------


def _certificate(folder: Path) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2120))
    files = {"cert_file": folder / "cert.pem", "key_file": folder / "key.pem"}
    files["cert_file"].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files["key_file"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {key: str(path) for key, path in files.items()}


@functools.cache
def _contexts() -> tuple[SSL.Context, ...]:
    found = []
    for version in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        found.append(context)
    return tuple(found)


class _Peer:
    """One client, and what it has said and heard. ``clean``: all that it sent has arrived as it was, in its place."""

    def __init__(self, server: Server, version: int) -> None:
        self.server = server
        self.sock, other = socket.socketpair()
        self.sock.setblocking(False)
        self.conn = server.clients.attach(other.detach(), "127.0.0.1", 1, "STANDARD").conn
        self.ssl = SSL.Connection(_contexts()[version], None)
        self.ssl.set_connect_state()
        self.greeting, self.said, self.heard = b"", b"", b""
        self.done = self.left = self.over = False  # hands shaken; gone; the server has ended it
        self.clean = True

    async def step(self, step: Step) -> None:
        if self.over and step.verb != "leave":
            return
        try:
            self._do(step)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.clean = False
        for piece in self._on_its_way(self._sealed(), step.number):
            if self.left:
                self.clean = False
                break
            try:
                self.sock.sendall(piece)
            except OSError:
                self.clean = self.clean and self.conn.closed
            await self.turns()
        await self.turns()

    def _do(self, step: Step) -> None:
        match step.verb:
            case "flight" if not self.done:
                self.ssl.do_handshake()
                self.done = True
            case "say" if self.done:
                for at in range(0, len(step.data), 1 << 14):
                    self.ssl.send(step.data[at : at + (1 << 14)])
                self.said += step.data
            case "say" | "raw":
                self.clean = False
                if not self.left:
                    with contextlib.suppress(OSError):
                        self.sock.sendall(step.data)
            case "again":
                self.clean = False
                self.ssl.renegotiate()
                self.ssl.do_handshake()
            case "farewell":
                self.clean = False
                self.ssl.shutdown()
            case "leave":
                self.left = True
                if step.number % 2:
                    with contextlib.suppress(OSError):  # it has left already
                        self.sock.shutdown(socket.SHUT_WR)
                else:
                    self.sock.close()

    def _sealed(self) -> bytes:
        found = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                found += self.ssl.bio_read(1 << 16)
        return found

    def _on_its_way(self, data: bytes, number: int) -> list[bytes]:
        """What arrives of ``data``, in its pieces."""
        way, more = number % WAYS, number // WAYS
        at = more % (len(data) + 1)
        if way not in WHOLE and data:
            self.clean = False
        match way:
            case 0:
                return [data]
            case 1:
                return [data[:at], data[at:]]
            case 2:
                return [data[:at]]
            case 3:
                return [data[at:]]
            case 4:
                return [
                    data[:at] + bytes((data[at] ^ (1 << more % 8),)) + data[at + 1 :]
                    if at < len(data)
                    else data
                ]
            case 5:
                return [data, data]
            case 6:
                return [data[:at] + RECORDS[more % len(RECORDS)] + data[at:]]
            case _:
                return [data[:at] + data[at + 1 :]]

    async def turns(self) -> None:
        for _ in range(TURNS):
            self.server._tick()
            await asyncio.sleep(0)
            self._hear()

    def _hear(self) -> None:
        data = b""
        if self.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                data = self.sock.recv(1 << 18)
        if not self.greeting:
            self.greeting, _, data = data.partition(b"\r\n")
            if self.greeting and not self.greeting.startswith(b"INFO {"):
                raise Nonsense(f"the greeting is {self.greeting[:100]!r}")
        if data:
            self.ssl.bio_write(data)
        if not self.done or self.over:
            return
        try:
            while True:
                self.heard += self.ssl.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.over = True

    async def end(self) -> None:
        await self.turns()
        clean = self.clean and not self.left
        self.sock.close()
        await self.turns()
        if not self.conn.closed:
            raise Nonsense("the connection stays when the peer has left")
        entrance = self.server.tls.clients
        assert entrance is not None
        if self.server.clients.open or entrance._under_way:
            raise Nonsense(f"something is left: {self.server.clients.open} {entrance._under_way}")
        if clean and self.said:
            plain = await self._plainly(self.said)
            if plain != self.heard:
                raise Nonsense(f"with TLS {self.heard[:600]!r}, without {plain[:600]!r}")

    async def _plainly(self, said: bytes) -> bytes:
        conn: Connection = self.server.clients.attach(-1, "127.0.0.1", 0, "STANDARD").conn
        conn.output()
        conn.feed(said)
        self.server._tick()
        await asyncio.sleep(0)
        found = conn.output()
        conn.close(1)
        self.server._tick()
        return found


class _World:
    """A server that stays for all inputs, since what one leaves behind is what matters."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="fuzz-tls-")
        atexit.register(folder.cleanup)
        tls = {**_certificate(Path(folder.name)), "timeout": 60}
        config = {"host": "127.0.0.1", "port": -1, "ping_interval": "100h", "tls": tls, "allow_non_tls": True}
        config["max_closed_clients"] = 1  # who has left is shown, and would look like a leak
        self.server = Server(config, clock=ManualClock(), seed=3)

    async def run(self, steps: Steps) -> None:
        peer: _Peer | None = None
        for step in steps:
            if step.verb == "begin" or peer is None:
                if peer is not None:
                    await peer.end()
                peer = _Peer(self.server, step.who % 2)
                await peer.turns()
            if step.verb != "begin":
                await peer.step(step)
        if peer is not None:
            await peer.end()
            if await peer._plainly(b"CONNECT {}\r\nPING\r\n") != b"+OK\r\nPONG\r\n":
                raise Nonsense("others are not served any more")


@functools.cache
def _world() -> _World:
    world = _World()
    _loop().run_until_complete(world.server.start())
    return world


async def _run(world: _World, steps: Steps) -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: faults.append(repr(context.get("exception") or context["message"]))
    )
    await world.run(steps)
    if faults:
        raise Nonsense(f"an exception: {faults[0]}")


def run(steps: Steps) -> None:
    world = _world()
    log = logging.getLogger("phloem")
    FAULTS.found.clear()
    log.addHandler(FAULTS)
    try:
        _loop().run_until_complete(_run(world, steps))
    finally:
        log.removeHandler(FAULTS)
    if FAULTS.found:
        raise Nonsense(FAULTS.found[0])
