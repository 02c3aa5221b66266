"""Client connections: INFO, CONNECT, authentication, and what monitoring knows of them.

What a client publishes and subscribes to is the kernel's business; here is decided who it is.
"""

import asyncio
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.accounts.auth import IN_PROCESS, STANDARD, Candidate, Credentials, Identity
from phloem.shared.errors import (
    AuthorizationViolation,
    InvalidClientProtocol,
    MalformedJSON,
    MaxConnectionsExceeded,
    NoRespondersNeedsHeaders,
    ProtocolError,
)
from phloem.shared.kernel import KIND_CLIENT, Connection, Reason
from phloem.shared.server.tls import Secured, Welcome, client_user
from phloem.shared.wire.connect import Connect, decode_connect
from phloem.shared.wire.info import encode_info

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.client")

REASONS: dict[type[ProtocolError], Reason] = {
    AuthorizationViolation: Reason.AUTHENTICATION_VIOLATION,
    InvalidClientProtocol: Reason.BAD_CLIENT_PROTOCOL,
    NoRespondersNeedsHeaders: Reason.NO_RESPONDERS_REQUIRES_HEADERS,
    MaxConnectionsExceeded: Reason.MAX_CONNECTIONS,
    MalformedJSON: Reason.PARSE_ERROR,
}


class Client:
    """What Python knows of one client; the kernel has the rest."""

    __slots__ = (
        "conn",
        "connect",
        "identity",
        "ip",
        "kind",
        "port",
        "secured",
        "start_wall_ns",
    )

    def __init__(self, conn: Connection, ip: str, port: int, kind: str, start_wall_ns: int) -> None:
        self.conn = conn
        self.ip = ip
        self.port = port
        self.kind = kind
        self.start_wall_ns = start_wall_ns
        self.connect: Connect | None = None
        self.secured: Secured | None = None  # what speaks TLS has it
        self.identity = Identity()

    def __str__(self) -> str:
        """The prefix of this client's log lines."""
        where = f"{self.ip}:{self.port} - cid:{self.conn.cid}"
        c = self.connect
        if c is None or not (c.version or c.lang or c.name):
            return where
        return f'{where} - "{":".join(filter(None, (f"v{c.version}" if c.version else "", c.lang, c.name)))}"'


class Clients:
    """All clients of a server; the kernel's events for connections of kind client."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.open: dict[int, Client] = {}
        self.total = 0
        self._checks: set[asyncio.Task[None]] = set()

    def accept(self, sock: socket.socket, ip: str, port: int) -> None:
        """A connection from the listener: greeted with INFO, or refused when there are too many."""
        self.attach(sock.detach(), ip, port, STANDARD)

    def attach(self, fd: int, ip: str, port: int, kind: str) -> Client:
        """A new client on ``fd`` (-1: none, see ``Kernel.attach``); ``kind`` is its connection type."""
        server, options = self._server, self._server.options
        entrance = server.tls.clients if kind == STANDARD and port else None
        conn = server.kernel.attach(
            fd,
            KIND_CLIENT,
            server.next_cid(),
            server.account(),
            server.clock.monotonic_ns(),
            must_auth=server.auth.configured and server.auth.stand_in(kind) is None,
            max_payload=options.max_payload,
            max_subs=max(options.max_subscriptions, 0),
            trace=options.trace,
        )
        client = Client(conn, ip, port, kind, server.clock.wall_ns())
        conn.owner = client
        self.open[conn.cid] = client
        self.total += 1
        log.debug("%s - Client connection created", client)
        if 0 < options.max_connections < len(self.open):
            if entrance is None or not entrance.block.handshake_first:
                self._greet(client)
            self._refuse(client, MaxConnectionsExceeded())
        elif entrance is None:
            self._begin(client)
            self._greet(client)
        else:
            entrance.admit(client, Welcome(partial(self._greet, client), partial(self._begin, client)))
        server.schedule()
        return client

    def _greet(self, client: Client, tls_first: bool = False) -> None:
        """The first INFO."""
        where = {"client_id": client.conn.cid, "client_ip": client.ip if client.port else ""}
        client.conn.send(
            encode_info(self._server.client_info(tls_first=tls_first, port_used=client.port, **where))
        )

    def _begin(self, client: Client) -> None:
        """From now on it may speak, and has to log in within its time."""
        server = self._server
        now, stand_in = server.clock.monotonic_ns(), server.auth.stand_in(client.kind)
        if stand_in is not None:
            self._prepare(client, stand_in)
        if server.auth.configured:
            client.conn.set_deadline(now + server.options.auth_timeout_ns)
        else:
            client.conn.set_deadline(0, ping_due_ns=now + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS))

    def _prepare(self, client: Client, stand_in: Identity) -> None:
        """CONNECT may be left out: whoever speaks without it is the user that stands in for those without a name."""
        server = self._server
        client.identity = stand_in
        client.conn.configure(
            account=server.account(stand_in.account),
            permissions=server.permissions(stand_in.permissions),
            verbose=True,
            pedantic=True,
            max_subs=max(server.options.max_subscriptions, 0),
            ping_due_ns=server.clock.monotonic_ns() + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS),
            stand_in=True,
        )

    def adopt(self, sock: socket.socket) -> None:
        """One end of a socket pair becomes a client of this very process."""
        self.attach(sock.detach(), "in-process", 0, IN_PROCESS)

    def _refuse(self, client: Client, error: ProtocolError) -> None:
        if isinstance(error, AuthorizationViolation):
            name = client.connect.user if client.connect else ""
            log.error("%s - authentication error%s", client, f' - User "{name}"' if name else "")
        client.conn.close(REASONS.get(type(error), Reason.PROTOCOL_VIOLATION), error.wire_text.encode())

    # --- the kernel's events ---------------------------------------------------------------------

    def on_connect(self, conn: Connection, body: bytes) -> None:
        """CONNECT: who is it, and what may it do."""
        client = conn.owner
        assert isinstance(client, Client)
        before = client.connect
        try:
            c = client.connect = decode_connect(body, before)
        except MalformedJSON as error:
            self._refuse(client, error)
            return
        if before is not None and c.user == before.user and not (c.password or c.auth_token):
            self._decide(client, client.identity)  # a second CONNECT without secrets: these were shown before
            return
        shown = self._mapped(client, Credentials(c.user, c.password, c.auth_token))
        found = self._server.auth.find(shown, client.kind) if shown is not None else None
        if isinstance(found, Candidate) and found.slow:
            conn.wait()
            task = self._server.spawn(self._check_slowly(client, found), f"bcrypt cid:{conn.cid}")
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)
        elif isinstance(found, Candidate):
            self._decide(client, found.identity if found.matches() else None)
        else:
            self._decide(client, found)

    def _mapped(self, client: Client, shown: Credentials) -> Credentials | None:
        """With ``verify_and_map`` the user is the one of the certificate; ``None``: it names nobody."""
        server, entrance = self._server, self._server.tls.clients
        if entrance is None or not entrance.block.verify_and_map or not client.port:
            return shown
        if not server.auth.has_users:
            return shown
        found = client_user(client, server.auth.names(client.kind))
        if found is None:
            return None
        if shown.user:
            log.warning('User "%s" found in connect proto, but user required from cert', shown.user)
        return shown._replace(user=found.user, certified=True)

    async def _check_slowly(self, client: Client, candidate: Candidate) -> None:
        """bcrypt on another thread; the connection stands still meanwhile, the server does not."""
        right = await asyncio.get_running_loop().run_in_executor(None, candidate.matches)
        if not client.conn.closed:
            self._decide(client, candidate.identity if right else None)
            self._server.schedule()

    def _decide(self, client: Client, identity: Identity | None) -> None:
        c, conn, server = client.connect, client.conn, self._server
        assert c is not None
        try:
            if identity is None or c.account or c.new_account:
                raise AuthorizationViolation
            client.identity = identity
            c.check()
        except ProtocolError as error:
            self._refuse(client, error)
            return
        headers = c.headers and not server.options.no_header_support
        now = server.clock.monotonic_ns()
        first_info = None
        if c.protocol >= 1:
            first_info = encode_info(
                server.client_info(
                    port_used=client.port,
                    client_id=conn.cid,
                    client_ip=client.ip if client.port else "",
                    connect_info=True,
                    remote_account=identity.account,
                    acc_is_sys=server.is_system(identity.account),
                )
            )
        conn.configure(
            account=server.account(identity.account),
            permissions=server.permissions(identity.permissions),
            verbose=c.verbose,
            pedantic=c.pedantic,
            echo=c.echo,
            headers=headers,
            no_responders=c.no_responders and headers,
            max_subs=max(server.options.max_subscriptions, 0),
            max_payload=server.options.max_payload,
            first_info=first_info,
            ping_due_ns=now + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS),
        )
        c.password = c.auth_token = ""  # not needed again, so not kept
        if c.verbose:
            conn.send(b"+OK\r\n")
        conn.resume()

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        """The connection is over: into the ring of closed ones."""
        client = conn.owner
        assert isinstance(client, Client)
        del self.open[conn.cid]
        if reason in (Reason.SLOW_CONSUMER_PENDING, Reason.SLOW_CONSUMER_DEADLINE):
            log.warning("%s - Slow Consumer Detected: %s", client, reason.text)
        elif reason is Reason.AUTHENTICATION_TIMEOUT:
            log.error("%s - Authentication Timeout", client)
        log.debug("%s - Client connection closed: %s", client, reason.text)

    def push_info(self, *, ldm: bool = False) -> None:
        """INFO to every client that understands it (``protocol`` 1) and has had its first PONG."""
        for client in self.open.values():
            if client.connect is not None and client.connect.protocol >= 1:
                info = self._server.client_info(port_used=client.port, client_id=client.conn.cid, ldm=ldm)
                client.conn.send(encode_info(info))

    def recheck(self) -> None:
        """The users have changed (reload): who is no longer known goes, the others get their permissions of now."""
        server = self._server
        for client in list(self.open.values()):
            identity = server.auth.renew(client.identity)
            if identity is None:
                self._refuse(client, AuthorizationViolation())
            else:
                client.identity = identity
                client.conn.set_permissions(server.permissions(identity.permissions))

    def relimit(self) -> None:
        """New limits and log wishes (reload) for those that are connected."""
        options = self._server.options
        for client in self.open.values():
            client.conn.limit(max_payload=options.max_payload, trace=options.trace)
