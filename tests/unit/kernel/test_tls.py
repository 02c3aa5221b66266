"""TLS in the kernel: records in any pieces, sockets that are full, ends of all kinds, over real sockets."""

import contextlib
import ctypes
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from OpenSSL import SSL

from phloem.shared.kernel import KIND_CLIENT, Connection, Reason
from phloem.shared.net.tls import Session
from phloem.shared.net.tls_context import Terms, load_pair, server_context
from tests.support.certificates import Certificates
from tests.unit.kernel.rig import SECOND, Rig

BIG = bytes(range(256)) * 4_000  # a million bytes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def context(certificates: Certificates) -> SSL.Context:
    made = certificates.server
    return server_context(Terms(pairs=(load_pair(str(made.cert_file), str(made.key_file)),), verify=False))


class Client(NamedTuple):
    """The peer of a kernel's connection: a socket, and TLS between two memory BIOs."""

    conn: Connection
    sock: socket.socket
    tls: ssl.SSLObject
    into: ssl.MemoryBIO
    out_of: ssl.MemoryBIO

    def seal(self, data: bytes) -> bytes:
        """Records of ``data``, not sent yet."""
        self.tls.write(data)
        return self.out_of.read()

    def say(self, data: bytes) -> None:
        self.sock.sendall(self.seal(data))

    def read(self) -> bytes:
        """Plaintext of whatever is there."""
        while select.select([self.sock], [], [], 0)[0]:
            data = self.sock.recv(1 << 20)
            if not data:
                self.into.write_eof()
                break
            self.into.write(data)
        plain = bytearray()
        while True:
            try:
                piece = self.tls.read(1 << 20)
            except ssl.SSLWantReadError:
                return bytes(plain)
            if not piece:
                return bytes(plain)
            plain += piece

    @property
    def ended_well(self) -> bool:
        """Whether close_notify came."""
        try:
            return self.tls.read(1) == b""
        except ssl.SSLWantReadError:
            return False


class World:
    """A kernel whose connections speak TLS."""

    def __init__(self, context: SSL.Context) -> None:
        self.rig = Rig()
        self._context = context
        self._sockets: list[socket.socket] = []
        self.early: bytes = b""

    def client(self, *, version: ssl.TLSVersion | None = None, early: bytes = b"", buffer: int = 0) -> Client:
        """A connection after its handshake; ``early`` was sent together with the last flight of it."""
        ours, theirs = socket.socketpair()
        self._sockets.append(theirs)
        for sock in (ours, theirs):
            sock.setblocking(False)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        rig = self.rig
        rig._cids += 1
        conn = rig.kernel.attach(ours.detach(), KIND_CLIENT, rig._cids, rig.account, rig.now)
        conn.configure(headers=True)
        conn.wait()
        server = SSL.Connection(self._context, None)
        server.set_accept_state()
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
        if version is not None:
            plain.maximum_version = version
        into, out_of = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = Client(conn, theirs, plain.wrap_bio(into, out_of, server_hostname="localhost"), into, out_of)
        self._shake(client, server, early)
        Session(server, "", "", ()).hand_over(conn)
        return client

    @staticmethod
    def _shake(client: Client, server: SSL.Connection, early: bytes) -> None:
        done = [False, False]
        while not all(done):
            for side, step in enumerate((client.tls.do_handshake, server.do_handshake)):
                try:
                    step()
                    done[side] = True
                except (ssl.SSLWantReadError, SSL.WantReadError):
                    pass
            if done[0] and early:
                client.tls.write(early)
                early = b""
            if data := client.out_of.read():
                server.bio_write(data)
            with contextlib.suppress(SSL.WantReadError):
                client.into.write(server.bio_read(1 << 20))

    def tick(self) -> None:
        self.rig.kernel.tick(self.rig.now)

    def carry(self, *clients: Client) -> list[bytearray]:
        """Ticks and reads until nothing moves any more; what each client received."""
        got = [bytearray() for _ in clients]
        quiet = 0
        while quiet < 3:
            self.tick()
            before = sum(map(len, got))
            for client, data in zip(clients, got, strict=True):
                data += client.read()
            quiet = quiet + 1 if sum(map(len, got)) == before else 0
        return got

    def close(self) -> None:
        self.rig.kernel.close()
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def world(context: SSL.Context) -> Iterator[World]:
    made = World(context)
    yield made
    made.close()


def pub(subject: bytes, body: bytes) -> bytes:
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body)


def msg(subject: bytes, body: bytes, sid: bytes = b"1") -> bytes:
    return b"MSG %b %b %d\r\n%b\r\n" % (subject, sid, len(body), body)


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2])
def test_messages_of_all_sizes(world: World, version: ssl.TLSVersion | None) -> None:
    client = world.client(version=version)
    client.conn.resume()
    bodies = [BIG[:size] for size in (0, 1, 100, 16_383, 16_384, 16_385, 100_000, 1_000_000)]
    client.say(b"SUB a 1\r\n")
    received = bytearray()
    for body in bodies:
        data = client.seal(pub(b"a", body))
        while data:
            data = data[client.sock.send(data[:65_536]) :]
            received += world.carry(client)[0]
    received += world.carry(client)[0]
    assert bytes(received) == b"".join(msg(b"a", body) for body in bodies)


def test_bytes_one_by_one(world: World) -> None:
    client = world.client()
    client.conn.resume()
    for at in client.seal(b"SUB a 1\r\n" + pub(b"a", b"hello")):
        client.sock.sendall(bytes((at,)))
        world.tick()
    assert client.read() == msg(b"a", b"hello")


def test_what_came_behind_the_handshake(world: World) -> None:
    client = world.client(early=b"SUB a 1\r\n" + pub(b"a", b"early"))
    assert client.read() == b""
    client.conn.resume()  # nothing more arrives: epoll has nothing to tell
    assert client.read() == msg(b"a", b"early")


def test_who_waits_is_not_read(world: World) -> None:
    client = world.client()
    client.say(b"SUB a 1\r\n" + pub(b"a", b"x"))
    world.tick()
    assert client.read() == b""
    client.conn.resume()
    world.tick()
    assert client.read() == msg(b"a", b"x")


def test_a_slow_reader_gets_everything(world: World) -> None:
    reader, writer = world.client(buffer=8192), world.client()
    for client in (reader, writer):
        client.conn.resume()
    reader.say(b"SUB a 1\r\n")
    world.tick()
    expected = bytearray()
    for number in range(40):
        body = bytes((number,)) * 20_000
        writer.say(pub(b"a", body))
        world.tick()
        expected += msg(b"a", body)
    assert reader.conn.stats["pending_bytes"] > 500_000  # plaintext, sealed or not
    assert world.carry(reader)[0] == expected
    assert reader.conn.stats["pending_bytes"] == 0


def test_pending_counts_plaintext(world: World) -> None:
    reader, writer = world.client(buffer=8192), world.client()
    world.rig.kernel.set_limits(max_pending=300_000, stall=False)
    for client in (reader, writer):
        client.conn.resume()
    reader.say(b"SUB a 1\r\n")
    world.tick()
    for _ in range(30):
        writer.say(pub(b"a", bytes(20_000)))
        world.tick()
    assert world.rig.events.closed == [(1, Reason.SLOW_CONSUMER_PENDING)]


def test_write_deadline(world: World) -> None:
    reader, writer = world.client(buffer=8192), world.client()
    for client in (reader, writer):
        client.conn.resume()
    reader.say(b"SUB a 1\r\n")
    world.tick()
    for _ in range(20):
        writer.say(pub(b"a", bytes(20_000)))
        world.tick()
    world.rig.kernel.sweep(world.rig.now + 11 * SECOND)
    assert world.rig.events.closed == [(1, Reason.SLOW_CONSUMER_DEADLINE)]


def test_an_error_and_then_close_notify(world: World) -> None:
    client = world.client()
    client.conn.resume()
    client.say(b"NONSENSE\r\n")
    world.tick()
    assert client.read() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert client.ended_well
    assert world.rig.events.closed == [(1, Reason.PARSE_ERROR)]


def test_close_notify_of_the_peer(world: World) -> None:
    watcher, client = world.client(), world.client()
    for each in (watcher, client):
        each.conn.resume()
    watcher.say(b"SUB a 1\r\n")
    world.tick()
    last = client.seal(pub(b"a", b"last words"))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.sock.sendall(last + client.out_of.read())
    world.tick()
    assert watcher.read() == msg(b"a", b"last words")
    assert world.rig.events.closed == [(2, Reason.CLIENT_CLOSED)]


def test_last_words_of_one_who_waits(world: World) -> None:
    """CONNECT is decided later than the peer leaves; what it published in between is not lost."""
    watcher, client = world.client(), world.client()
    watcher.conn.resume()
    watcher.say(b"SUB a 1\r\n")
    world.tick()
    world.rig.events.connect = lambda conn, _: None
    client.conn.resume()
    last = client.seal(b"CONNECT {}\r\n" + pub(b"a", b"last words"))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.sock.sendall(last + client.out_of.read())
    world.tick()
    assert watcher.read() == b""
    assert not world.rig.events.closed
    client.conn.configure(headers=True)
    client.conn.resume()
    assert watcher.read() == msg(b"a", b"last words")
    assert world.rig.events.closed == [(2, Reason.CLIENT_CLOSED)]


def test_a_cable_that_is_cut(world: World) -> None:
    client = world.client()
    client.conn.resume()
    client.sock.close()
    world.tick()
    assert world.rig.events.closed == [(1, Reason.CLIENT_CLOSED)]


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1] + bytes((data[-1] ^ 1,)), lambda data: b"\x00" * len(data)]
)
def test_a_damaged_record_ends_it(world: World, change: Callable[[bytes], bytes]) -> None:
    client = world.client()
    client.conn.resume()
    client.sock.sendall(client.seal(b"PING\r\n") + change(client.seal(b"PING\r\n")))
    world.tick()
    assert world.rig.events.closed == [(1, Reason.READ_ERROR)]
    with pytest.raises(ssl.SSLError, match=r"(?i)alert|record|version"):
        client.read()


def test_end_of_the_kernel(world: World) -> None:
    client = world.client()
    client.conn.resume()
    world.rig.kernel.close()
    client.read()
    assert client.ended_well


def test_idle_buffers_are_given_back(world: World) -> None:
    """After an idle ping interval the BIOs are new ones, and the connection goes on."""
    client = world.client()
    client.conn.configure(headers=True, ping_due_ns=world.rig.now + 200 * SECOND)
    client.conn.resume()
    client.say(b"SUB a 1\r\n" + pub(b"a", BIG[:200_000]))
    world.carry(client)
    half = client.seal(pub(b"a", b"in two"))
    client.sock.sendall(half[:10])
    world.tick()
    world.rig.now += 300 * SECOND
    world.rig.kernel.sweep(world.rig.now)
    client.sock.sendall(half[10:])
    world.tick()
    assert client.read() == b"PING\r\n" + msg(b"a", b"in two")


def test_only_who_waits_can_begin(world: World) -> None:
    conn = world.client().conn
    conn.resume()
    with pytest.raises(ValueError, match="TLS cannot begin here"):
        conn.secure(object(), 1, 2, 3)


class Raw:
    """OpenSSL of the system, below Python's ``ssl``, for what that does not offer."""

    def __init__(self) -> None:
        import _ssl

        self.lib = ctypes.CDLL(_ssl.__file__)
        self.lib.SSL_key_update  # noqa: B018  (AttributeError if Python has it inside and hidden)

    def key_update(self, tls: ssl.SSLObject) -> None:
        """Asks for new keys in both directions."""
        # of a PySSLSocket: the head of an object, a weak reference, and the SSL
        inner = tls._sslobj  # type: ignore[attr-defined]
        pointer = ctypes.c_void_p.from_address(
            id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
        )
        self.lib.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
        assert self.lib.SSL_key_update(pointer.value, 1) == 1


def test_key_update(world: World) -> None:
    try:
        raw = Raw()
    except (AttributeError, OSError):
        pytest.skip("this Python's OpenSSL cannot be reached")
    client = world.client()
    client.conn.resume()
    client.say(b"SUB a 1\r\n")
    for number in range(5):
        raw.key_update(client.tls)
        client.say(pub(b"a", b"%d" % number))
        world.tick()
        assert client.read() == msg(b"a", b"%d" % number)


def test_nothing_grows(world: World) -> None:
    """Connections that come, speak and go leave no descriptor."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(200):
        client = world.client()
        client.conn.resume()
        client.say(b"PING\r\n")
        world.tick()
        assert client.read() == b"PONG\r\n"
        client.sock.close()
        world.tick()
    assert len(world.rig.events.closed) == 200
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
