"""A kernel in memory: connections without sockets, bytes in and bytes out, time and seed given by the test.

``Peer.say`` feeds whole bytes and ``Peer.take`` gives what waits for that peer; nothing happens in between that the
test did not cause. ``Rig.pair`` attaches one end of a real socket pair where the operating system matters.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared.kernel import KIND_CLIENT, KIND_LEAF, Account, Connection, Kernel, Permissions, Reason

if TYPE_CHECKING:
    from phloem.shared.kernel import Served

MS = 1_000_000
SECOND = 1_000 * MS


class Recorder:
    """The events of a kernel, kept in order. CONNECT and INFO are answered by ``connect`` and ``info``."""

    def __init__(self) -> None:
        self.connect: Callable[[Connection, bytes], None] = lambda conn, _: conn.resume()
        self.info: Callable[[Connection, bytes], None] = lambda conn, _: conn.resume()
        self.closed: list[tuple[int, Reason]] = []
        self.complaints: list[bytes] = []
        self.errors: list[bytes] = []
        self.loops: list[int] = []
        self.traces: list[tuple[str, bytes]] = []
        self.served: list[Served] = []

    def on_connect(self, conn: Connection, body: bytes) -> None:
        self.connect(conn, body)

    def on_info(self, conn: Connection, body: bytes) -> None:
        self.info(conn, body)

    def on_err(self, conn: Connection, text: bytes) -> None:
        self.errors.append(text)
        conn.resume()

    def on_loop(self, conn: Connection) -> None:
        self.loops.append(conn.cid)
        conn.resume()

    def on_complaint(self, conn: Connection, text: bytes) -> None:
        self.complaints.append(text)

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        self.closed.append((conn.cid, reason))

    def on_served(self, served: "Served") -> None:
        self.served.append(served)

    def on_trace(self, conn: Connection, direction: str, data: bytes) -> None:
        self.traces.append((direction, data))


class Peer:
    """The other end of a connection."""

    def __init__(self, conn: Connection, sock: socket.socket | None = None) -> None:
        self.conn = conn
        self.sock = sock

    def say(self, *data: bytes) -> None:
        """Each piece on its own, in order."""
        for piece in data:
            if not self.conn.closed:
                self.conn.feed(piece)

    def take(self) -> bytes:
        return self.conn.output()

    def pub(self, subject: bytes, body: bytes = b"", reply: bytes = b"") -> None:
        middle = b" " + reply if reply else b""
        self.say(b"PUB %b%b %d\r\n%b\r\n" % (subject, middle, len(body), body))


class Rig:
    """A kernel, its events and the peers that a test asks for."""

    def __init__(self, seed: int = 7) -> None:
        self.events = Recorder()
        self.kernel = Kernel(self.events, seed=seed)
        self.now = SECOND
        self.kernel.set_now(self.now)
        self._cids = 0
        self._sockets: list[socket.socket] = []

    @property
    def account(self) -> Account:
        return self.kernel.account("A")

    def attach(
        self, kind: int = KIND_CLIENT, *, fd: int = -1, must_auth: bool = False, max_payload: int = 1 << 20
    ) -> Peer:
        """A connection that has not said CONNECT yet."""
        self._cids += 1
        conn = self.kernel.attach(
            fd, kind, self._cids, self.account, self.now, must_auth=must_auth, max_payload=max_payload
        )
        return Peer(conn)

    def client(
        self,
        permissions: Permissions | None = None,
        *,
        verbose: bool = False,
        pedantic: bool = False,
        echo: bool = True,
        headers: bool = True,
        no_responders: bool = False,
        max_subs: int = -1,
        account: Account | None = None,
    ) -> Peer:
        peer = self.attach()
        peer.conn.configure(
            account=account,
            permissions=permissions,
            verbose=verbose,
            pedantic=pedantic,
            echo=echo,
            headers=headers,
            no_responders=no_responders,
            max_subs=max_subs,
        )
        return peer

    def leaf(
        self,
        permissions: Permissions | None = None,
        *,
        headers: bool = True,
        origin: int = 0,
        spoke: bool = False,
        isolated: bool = False,
        up: bool = True,
        peer_max_payload: int = 0,
        account: Account | None = None,
    ) -> Peer:
        """A leaf link; ``up``: the handshake is over."""
        peer = self.attach(KIND_LEAF)
        peer.conn.configure(
            account=account,
            permissions=permissions,
            headers=headers,
            origin=origin,
            spoke=spoke,
            isolated=isolated,
            peer_max_payload=peer_max_payload,
        )
        if up:
            peer.conn.link_up()
        return peer

    def pair(self, kind: int = KIND_CLIENT, *, send_buffer: int = 0, configured: bool = True) -> Peer:
        """A connection over a socket pair; ``send_buffer``: bytes that the kernel's end holds at most."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self._sockets.append(theirs)
        peer = self.attach(kind, fd=ours.detach())
        peer.sock = theirs
        if configured:
            peer.conn.configure(headers=True)
        return peer

    def tick(self, advance_ns: int = 0) -> None:
        self.now += advance_ns
        self.kernel.tick(self.now)

    def sweep(self, advance_ns: int = 0) -> int:
        self.now += advance_ns
        return self.kernel.sweep(self.now)

    def permissions(
        self,
        *,
        pub_allow: list[bytes] | None = None,
        pub_deny: list[bytes] | None = None,
        sub_allow: list[bytes] | None = None,
        sub_deny: list[bytes] | None = None,
        response_max: int = 0,
        response_ttl_ns: int = 0,
    ) -> Permissions:
        return Permissions(
            self.kernel,
            pub_allow=pub_allow,
            pub_deny=pub_deny or [],
            sub_allow=sub_allow,
            sub_deny=sub_deny or [],
            response_max=response_max,
            response_ttl_ns=response_ttl_ns,
        )

    def close(self) -> None:
        self.kernel.close()
        for sock in self._sockets:
            sock.close()


def drain(sock: socket.socket) -> bytes:
    """What has arrived at a non-blocking socket; empty at its end, too."""
    data = bytearray()
    while True:
        try:
            more = sock.recv(1 << 20)
        except (BlockingIOError, ConnectionResetError):
            return bytes(data)
        if not more:
            return bytes(data)
        data += more
