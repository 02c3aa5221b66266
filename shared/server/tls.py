"""TLS of a server: from accepting a connection, or dialling a hub, to a kernel connection that speaks it.

The kernel has every connection from the first moment, so that it is counted, listed, and ended with the server like
any other; while hands are shaken it waits, and the handshake goes over a second descriptor of the same socket. Then
``Session.hand_over`` gives the kernel the SSL object, and ``resume`` serves what came behind the handshake.

``Entrance`` is one listener's order of things (wire 1.10): wait for who shakes hands first, INFO, look whether TLS is
wanted at all, rate limit, handshake, pinned certificates. Contexts are made when options are read or reloaded; those
who are connected keep what they have. Log lines are nats-server's.
"""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import LEAFNODE, STANDARD, Credentials
from phloem.shared.kernel import Connection, Reason
from phloem.shared.leaf.compression import DEFAULT
from phloem.shared.net.tls import Peer, Session, Turns, accept, dial, first_byte
from phloem.shared.net.tls_context import client_context, server_context
from phloem.shared.net.tls_words import NOT_PINNED, HandshakeFailed
from phloem.shared.security.certificate_identity import Match, match, subject_text
from phloem.shared.server.load_tls import https_context, material
from phloem.shared.server.monitor.records import PeerCertificate
from phloem.shared.server.options_tls import TLS

if TYPE_CHECKING:
    import ssl

    from OpenSSL.SSL import Context

    from phloem.shared.server.options import Options
    from phloem.shared.server.options_leafnodes import Remote
    from phloem.shared.server.server import Server

RECORD_HANDSHAKE = 0x16
THROTTLED = b"Connection throttling is active. Please try again later."
FIRST_ONLY = 'Clients that are not using "TLS Handshake First" option will fail to connect'

log = logging.getLogger("phloem.server")


class Guest(Protocol):
    """A client or a link; ``str`` is the prefix of its log lines."""

    conn: Connection
    secured: "Secured | None"
    shown: Credentials


class Secured(NamedTuple):
    """What is known of a connection that speaks TLS."""

    version: str  # "1.3"
    suite: str  # Go's name
    first: bool  # hands were shaken before INFO
    certificates: tuple[Any, ...]  # of the peer, its own first

    @property
    def peer_certificates(self) -> tuple[PeerCertificate, ...]:
        """The same, for monitoring."""
        return tuple(map(_described, self.certificates))


class Welcome(NamedTuple):
    """What is done with a guest: INFO (is it TLS first?), and the beginning of its life."""

    greet: Callable[[bool], None]
    begin: Callable[[], None]


class RateLimit:
    """Counts handshakes as nats-server does: so many in each second that begins with one."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._count = 0
        self._end_ns = 0
        self.rejected = 0  # since they were last told

    def allows(self, now_ns: int) -> bool:
        """Whether one more may begin."""
        if not self._per_second:
            return True
        if now_ns > self._end_ns:
            self._count, self._end_ns = 0, now_ns + limits.SECOND_NS
        else:
            self._count += 1
        allowed = self._count < self._per_second
        self.rejected += not allowed
        return allowed


class Entrance:
    """TLS of one listener."""

    def __init__(self, server: "Server", kind: str, block: TLS, *, plain_too: bool) -> None:
        """``kind`` is how log lines call it: "leafnode", or "" for clients.

        Raises:
            ConfigError: The files cannot be used.
        """
        self._server = server
        self._label = f"{kind} " if kind else ""
        self.block = block
        self.verify = block.verify or block.verify_and_map
        self.plain_too = plain_too
        self.context: Context = server_context(material(block))
        self._rate = RateLimit(block.connection_rate_limit)
        self._crowded = 0
        self._telling = False
        self._under_way: dict[int, asyncio.Task[None]] = {}

    @property
    def first_only(self) -> bool:
        """Whether nobody gets in who waits for INFO."""
        return self.block.handshake_first and not self.block.fallback_ns

    def take_over(self, older: "Entrance") -> None:
        """Reload: the handshakes that are under way, and the count, go on."""
        self._under_way, self._rate = older._under_way, older._rate

    def admit(self, guest: Guest, welcome: Welcome) -> None:
        """A connection that has just been attached: it waits until it speaks TLS, or has shown that it does not want
        to, and then begins."""
        conn = guest.conn
        conn.wait()
        if len(self._under_way) >= limits.TLS_HANDSHAKES:
            self._crowded += 1
            self._tell_later()
            conn.close(Reason.MAX_CONNECTIONS)
            return
        if not self.block.handshake_first:
            welcome.greet(False)
        try:
            sock = second_socket(conn)
        except OSError as error:
            log.error("%s - TLS %shandshake error: %s", guest, self._label, error.strerror)
            conn.close(Reason.TLS_HANDSHAKE)
            return
        task = self._server.spawn(self._open(guest, welcome, sock), f"TLS handshake of {guest}")
        self._under_way[conn.cid] = task

        def over(task: "asyncio.Task[None]") -> None:
            sock.close()
            del self._under_way[conn.cid]
            if not task.cancelled() and (error := task.exception()) is not None:
                conn.close(Reason.TLS_HANDSHAKE)
                loop = task.get_loop()
                loop.call_exception_handler({"message": "error in " + task.get_name(), "exception": error})

        task.add_done_callback(over)

    def gone(self, conn: Connection) -> None:
        """The kernel has closed a connection, perhaps in the middle of a handshake."""
        if (task := self._under_way.get(conn.cid)) is not None:
            task.cancel()

    async def _open(self, guest: Guest, welcome: Welcome, sock: socket.socket) -> None:
        conn, block = guest.conn, self.block
        first = block.handshake_first
        if first and block.fallback_ns:
            first = await first_byte(sock, block.fallback_ns / 1e9) is not None
            if not first:
                welcome.greet(False)
        timeout_s = block.timeout_ns / 1e9
        plain = False
        if not first and self.plain_too:
            plain = await first_byte(sock, timeout_s) != RECORD_HANDSHAKE
        if not plain:
            session = await self._shake(guest, sock, timeout_s)
            if session is None or conn.closed:
                return
            guest.secured = Secured(session.version, session.suite, first, session.certificates)
            session.hand_over(conn)
            if first:
                welcome.greet(True)
            log.debug("%s - TLS handshake complete", guest)
            log.debug("%s - TLS version %s, cipher suite %s", guest, session.version, session.suite)
        self._server.kernel.set_now(self._server.clock.monotonic_ns())
        welcome.begin()
        conn.resume()
        self._server.schedule()

    async def _shake(self, guest: Guest, sock: socket.socket, timeout_s: float) -> Session | None:
        server = self._server
        if not self._rate.allows(server.clock.monotonic_ns()):
            self._tell_later()
            guest.conn.close(Reason.MAX_CONNECTIONS, THROTTLED)
            return None
        role = f"{self._label}server" if self._label else "client connection"
        log.debug("%s - Starting TLS %s handshake", guest, role)
        try:
            session = await accept(
                sock, self.context, server.tls.turns, server.clock, timeout_s=timeout_s, verify=self.verify
            )
            check_pinned(session, self.block.pinned_certs)
        except HandshakeFailed as error:
            failed(guest, self._label, error)
            return None
        return session

    def _tell_later(self) -> None:
        if not self._telling:
            self._telling = True
            self._server.call_later(1.0, self._tell)

    def _tell(self) -> None:
        self._telling = False
        if self._rate.rejected:
            log.warning("Rejected %d connections due to TLS rate limiting", self._rate.rejected)
        if self._crowded:
            log.warning(
                "Rejected %d connections, because %d TLS handshakes are under way",
                self._crowded,
                limits.TLS_HANDSHAKES,
            )
        self._rate.rejected = self._crowded = 0


class Contexts(NamedTuple):
    """What one set of options needs; made before anything is changed."""

    clients: Entrance | None
    leafs: Entrance | None
    remotes: "dict[Remote, tuple[Context, TLS | None]]"  # by ``place``
    resolver: "ssl.SSLContext | None" = None


class TlsState:
    """TLS of one server; empty, and nothing imported, without a ``tls`` block and without hubs to dial."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.turns = Turns()
        self.contexts = Contexts(None, None, {})
        self._monitoring: tuple[TLS, ssl.SSLContext] | None = None

    def prepare(self, options: "Options") -> Contexts:
        """What these options need.

        Raises:
            ConfigError: Certificates cannot be used; nothing has changed.
        """
        server, leaf = self._server, options.leafnodes
        return Contexts(
            clients=Entrance(server, "", options.tls, plain_too=options.allow_non_tls)
            if options.tls
            else None,
            leafs=Entrance(server, "leafnode", leaf.tls, plain_too=False) if leaf.tls and leaf.port else None,
            remotes={
                place(remote): (client_context(material(remote.tls)), remote.tls)
                for remote in leaf.remotes
                if remote.tls
            },
            resolver=https_context(options.resolver_tls) if options.resolver_tls else None,
        )

    def use(self, contexts: Contexts) -> None:
        """From now on, for new connections."""
        for new, old in ((contexts.clients, self.clients), (contexts.leafs, self.leafs)):
            if new is not None and old is not None and new is not old:
                new.take_over(old)
        self.contexts = contexts

    @property
    def clients(self) -> Entrance | None:
        """TLS of the listener for clients."""
        return self.contexts.clients

    @property
    def leafs(self) -> Entrance | None:
        """TLS of the listener for leafnodes."""
        return self.contexts.leafs

    def in_info(self, port_used: int, *, tls_first: bool) -> dict[str, Any]:
        """What INFO says to a client; without a ``port_used`` it came from this machine, where there is no TLS."""
        entrance = self.clients
        if entrance is None or not port_used:
            return {}
        return {
            "tls_required": tls_first or not entrance.plain_too,
            "tls_verify": entrance.verify,
            "tls_available": entrance.plain_too,
        }

    def monitoring(self) -> "ssl.SSLContext":
        """Python's own context for https, with the certificate of the block for clients, and asking for none."""
        import ssl  # noqa: PLC0415  (a library of its own, for https alone)

        block = self._server.options.tls
        assert block is not None
        if self._monitoring is None or self._monitoring[0] != block:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = (
                ssl.TLSVersion.TLSv1_3 if block.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
            )
            context.load_cert_chain(*block.pairs[0])
            self._monitoring = (block, context)
        return self._monitoring[1]

    def gone(self, conn: Connection) -> None:
        """A connection has ended."""
        for entrance in (self.clients, self.leafs):
            if entrance is not None:
                entrance.gone(conn)

    async def dial(
        self, guest: Guest, remote: "Remote", name: str, within_ns: Callable[[int], int] = lambda ns: ns
    ) -> None:
        """The client's side of a link's handshake; the connection waits and goes on waiting. ``within_ns`` says what
        becomes of the configured time.

        Raises:
            HandshakeFailed: With the words for the log.
        """
        conn, server = guest.conn, self._server
        found = self.contexts.remotes.get(place(remote))
        # a hub may ask for TLS although no block says how: then the system's roots vouch for it
        context, block = found or (client_context(material(TLS())), None)
        own = server.options.leafnodes.tls
        peer = Peer(name, verify=not (block and block.insecure))
        timeout_ns = block.timeout_ns if block else limits.TLS_TIMEOUT_NS
        log.debug("%s - Starting TLS leafnode client handshake", guest)
        with second_socket(conn) as sock:
            session = await dial(
                sock, context, self.turns, server.clock, timeout_s=within_ns(timeout_ns) / 1e9, peer=peer
            )
        check_pinned(session, own.pinned_certs if own else ())
        check_pinned(session, block.pinned_certs if block else ())
        guest.secured = Secured(
            session.version, session.suite, bool(block and block.handshake_first), session.certificates
        )
        session.hand_over(conn)


def place(remote: "Remote") -> "Remote":
    """What makes a remote another one: everything but what its files have in them, and compression. A link stays when
    certificates change, and is made with the new ones the next time."""
    if remote.compression != DEFAULT:
        remote = msgspec.structs.replace(remote, compression=DEFAULT)
    if remote.tls is None:
        return remote
    same = msgspec.structs.replace(remote.tls, digest="", not_after_s=0)
    return msgspec.structs.replace(remote, tls=same)


def mapping(
    guest: Guest, entrance: Entrance | None, *, by_name_only: bool = False
) -> Callable[[Iterable[str]], str | None] | None:
    """With ``verify_and_map``: which of some users the certificate of a guest names."""
    if entrance is None or not entrance.block.verify_and_map:
        return None

    def chosen(users: Iterable[str]) -> str | None:
        found = client_user(guest, users, by_name_only=by_name_only)
        if found is not None and guest.shown.user:
            log.warning('User "%s" found in connect proto, but user required from cert', guest.shown.user)
        return found.user if found is not None else None

    return chosen


def pem(secured: "Secured | None") -> tuple[str, ...]:
    """The peer's certificates as text."""
    if secured is None or not secured.certificates:
        return ()
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  (only with TLS)

    return tuple(certificate.public_bytes(Encoding.PEM).decode() for certificate in secured.certificates)


def second_socket(conn: Connection) -> socket.socket:
    """Another descriptor of a connection's socket. Raises OSError."""
    sock = socket.socket(fileno=conn.duplicate())
    sock.setblocking(False)
    return sock


def client_user(guest: Guest, users: Iterable[str], *, by_name_only: bool = False) -> Match | None:
    """The user whom the certificate of a guest names (``verify_and_map``)."""
    if guest.secured is None:
        log.debug("%s - User required in cert, no TLS connection state", guest)
        return None
    if not guest.secured.certificates:
        log.debug("%s - User required in cert, no peer certificates found", guest)
        return None
    certificate = guest.secured.certificates[0]
    found = match(certificate, users, by_name_only=by_name_only)
    if found is None:
        log.debug('%s - User in cert ["%s"], not found', guest, subject_text(certificate.subject))
    else:
        log.debug("%s - %s", guest, found.how)
    return found


def recheck_pinned(server: "Server", old: "Options") -> None:
    """Reload: ends those whose certificate is not pinned any more."""
    new = server.options
    ended = 0
    for before, after, guests in (
        (old.tls, new.tls, server.clients.open),
        (old.leafnodes.tls, new.leafnodes.tls, server.leafs.open),
    ):
        pins = after.pinned_certs if after else ()
        if not pins or (before is not None and before.pinned_certs == pins):
            continue
        for guest in list[Guest](guests.values()):
            if not (guest.secured and is_pinned(guest.secured.certificates, pins)):
                guest.conn.close(Reason.TLS_HANDSHAKE)
                ended += 1
    if ended:
        log.info("Disconnect %d clients due to pinned certs reload", ended)


def mapped_types(options: "Options") -> tuple[str, ...]:
    """Connection types whose users a certificate may name."""
    leaf = options.leafnodes
    own = leaf.authorization.user or leaf.authorization.nkey or leaf.authorization.users
    clients = options.tls is not None and options.tls.verify_and_map
    leafs = leaf.tls is not None and leaf.tls.verify_and_map and leaf.port and not own
    return (*((STANDARD,) if clients else ()), *((LEAFNODE,) if leafs else ()))


def failed(guest: Guest, label: str, error: HandshakeFailed) -> None:
    """A handshake came to nothing: said in the log, and the end."""
    log.log(
        logging.DEBUG if error.probe else logging.ERROR,
        "%s - TLS %shandshake error: %s",
        guest,
        label,
        error.text,
    )
    guest.conn.close(Reason.TLS_HANDSHAKE)


def check_pinned(session: Session, pins: tuple[str, ...]) -> None:
    """Raises HandshakeFailed if there are pins and the peer's key is not one of them."""
    if pins and not is_pinned(session.certificates, pins):
        raise HandshakeFailed(NOT_PINNED)


def is_pinned(certificates: tuple[Any, ...], pins: tuple[str, ...]) -> bool:
    """Whether the first certificate's key is one of ``pins``."""
    return bool(certificates) and _key_digest(certificates[0]) in pins


def _key_digest(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415  (only with TLS)

    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def _described(certificate: Any) -> PeerCertificate:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  (only with TLS)

    whole = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    return PeerCertificate(subject_text(certificate.subject), _key_digest(certificate), whole)
