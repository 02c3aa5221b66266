"""Client connections: INFO, CONNECT, authentication, and what monitoring knows of them.

What a client publishes and subscribes to is the kernel's business; here is decided who it is.
"""

import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.accounts.auth import IN_PROCESS, REDACTED, STANDARD, Credentials, Identity
from phloem.shared.errors import (
    AuthorizationViolation,
    InvalidClientProtocol,
    MalformedJSON,
    MaxConnectionsExceeded,
    NoRespondersNeedsHeaders,
    ProtocolError,
)
from phloem.shared.kernel import KIND_CLIENT, Connection, Permissions, Reason
from phloem.shared.server.login import Verdict, Visitor
from phloem.shared.server.tls import Secured, Welcome, mapping, pem
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
        "nonce",
        "port",
        "secured",
        "shown",
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
        self.nonce = ""  # that of INFO, for whoever has to sign it
        self.shown = Credentials()  # what CONNECT showed, without secrets

    def changed(self, permissions: Permissions | None) -> None:
        """``identity`` may do other things than before."""
        self.conn.set_permissions(permissions)

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
            must_auth=server.login.configured and server.login.stand_in(kind) is None,
            max_payload=options.max_payload,
            max_subs=options.max_subscriptions or -1,
            trace=options.trace,
        )
        client = Client(conn, ip, port, kind, server.clock.wall_ns())
        conn.owner = client
        self.open[conn.cid] = client
        self.total += 1
        if server.login.challenges:
            client.nonce = server.login.nonce()
        log.debug("%s - Client connection created", client)
        if 0 < options.max_connections < len(self.open):
            if entrance is None or not entrance.block.handshake_first:
                self._greet(client)
            self._refuse(client, MaxConnectionsExceeded())
        elif entrance is None:
            self._greet(client)
            self._begin(client)
        else:
            entrance.admit(client, Welcome(partial(self._greet, client), partial(self._begin, client)))
        server.schedule()
        return client

    def _greet(self, client: Client, tls_first: bool = False) -> None:
        """The first INFO."""
        greeting = self._server.client_info(
            tls_first=tls_first,
            port_used=client.port,
            client_id=client.conn.cid,
            client_ip=client.ip if client.port else "",
            nonce=client.nonce,
        )
        client.conn.send(encode_info(greeting))

    def _begin(self, client: Client) -> None:
        """From now on it may speak, and has to log in within its time."""
        server = self._server
        now, stand_in = server.clock.monotonic_ns(), server.login.stand_in(client.kind)
        if server.login.configured:
            client.conn.set_deadline(now + server.options.auth_timeout_ns)
        else:
            client.conn.set_deadline(0, ping_due_ns=now + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS))
        if stand_in is not None:
            self._prepare(client, stand_in)
        elif not server.login.configured:
            server.members.enter(client)

    def _prepare(self, client: Client, stand_in: Identity) -> None:
        """CONNECT may be left out: whoever speaks without it is the user that stands in for those without a name."""
        server = self._server
        client.identity = stand_in
        if not server.members.enter(client):
            return
        max_payload, max_subs = server.members.bounds(stand_in)
        client.conn.configure(
            account=server.account(stand_in.account),
            permissions=server.members.permissions(stand_in),
            verbose=True,
            pedantic=True,
            max_subs=max_subs,
            max_payload=max_payload,
            ping_due_ns=server.clock.monotonic_ns() + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS),
            stand_in=True,
        )

    def adopt(self, sock: socket.socket) -> None:
        """One end of a socket pair becomes a client of this very process."""
        self.attach(sock.detach(), "in-process", 0, IN_PROCESS)

    def _refuse(self, client: Client, error: ProtocolError) -> None:
        client.conn.close(REASONS.get(type(error), Reason.PROTOCOL_VIOLATION), error.wire_text.encode())

    def _turn_away(self, client: Client, verdict: Verdict) -> None:
        """Whatever was wrong, the peer hears the same."""
        if verdict.why:
            log.debug("%s - %s", client, verdict.why)
        self._server.events.refused(client, verdict)
        client.conn.close(verdict.reason, AuthorizationViolation.wire_text.encode())

    # --- the kernel's events ---------------------------------------------------------------------

    def on_connect(self, conn: Connection, body: bytes) -> None:
        """CONNECT: who is it, and what may it do."""
        client = _client(conn)
        before = client.connect
        try:
            c = client.connect = decode_connect(body, before)
        except MalformedJSON as error:
            self._refuse(client, error)
            return
        shown = Credentials(c.user, c.password, c.auth_token, c.nkey, c.sig, c.jwt, c.proxy_sig)
        again = before is not None and client.shown._replace(token="") == shown
        if again and not (c.password or c.auth_token):
            # a second CONNECT without secrets: these were shown before
            self._decide(client, Verdict(client.identity))
            return
        client.shown = shown._replace(password="", token=REDACTED if c.auth_token else "")
        visitor = Visitor(
            conn,
            client,
            "Client",
            client.kind,
            client.ip,
            client.nonce,
            shown,
            name=c.name,
            lang=c.lang,
            version=c.version,
            protocol=c.protocol,
            mapped=mapping(client, self._server.tls.clients if client.port else None),
            certificates=pem(client.secured),
        )
        self._server.login.begin(visitor, lambda verdict: self._decide(client, verdict))

    def label(self, conn: Connection) -> str:
        """Whom somebody claimed to be, for the log."""
        client = _client(conn)
        return client.shown.label if client.connect is not None else ""

    def _decide(self, client: Client, verdict: Verdict) -> None:
        c, conn, server = client.connect, client.conn, self._server
        assert c is not None
        identity = verdict.identity
        if identity is None:
            self._turn_away(client, verdict)
            return
        client.identity = identity
        if not server.members.enter(client):
            return
        if c.account or c.new_account:
            self._turn_away(client, verdict)
            return
        try:
            c.check()
        except ProtocolError as error:
            self._refuse(client, error)
            return
        self._configure(client, c, identity)
        c.password = c.auth_token = ""  # not needed again, so not kept
        if c.verbose:
            conn.send(b"+OK\r\n")
        server.events.connected(client)
        server.members.check_subscriptions(client)
        conn.resume()

    def _configure(self, client: Client, c: Connect, identity: Identity) -> None:
        server = self._server
        headers = c.headers and not server.options.no_header_support
        now = server.clock.monotonic_ns()
        max_payload, max_subs = server.members.bounds(identity)
        first_info = None
        if c.protocol >= 1:
            first_info = encode_info(
                server.client_info(
                    port_used=client.port,
                    client_id=client.conn.cid,
                    client_ip=client.ip if client.port else "",
                    connect_info=True,
                    remote_account=identity.account,
                    acc_is_sys=server.is_system(identity.account),
                    max_payload=max_payload,
                )
            )
        client.conn.configure(
            account=server.account(identity.account),
            permissions=server.members.permissions(identity),
            verbose=c.verbose,
            pedantic=c.pedantic,
            echo=c.echo,
            headers=headers,
            no_responders=c.no_responders and headers,
            max_subs=max_subs,
            max_payload=max_payload,
            first_info=first_info,
            ping_due_ns=now + server.first_ping_ns(limits.FIRST_PING_CLIENT_NS),
        )

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        """The connection is over: into the ring of closed ones."""
        client = _client(conn)
        del self.open[conn.cid]
        self._server.login.forget(conn)
        self._server.members.leave(conn)
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
            identity = server.login.renew(client.identity, client.kind)
            if identity is None and server.auth.moved(client.identity):
                client.conn.close(Reason.CLIENT_CLOSED)  # as nats-server does it, without a word
            elif identity is None:
                self._turn_away(client, Verdict(None, "the configuration has changed"))
            else:
                client.identity = identity
                client.changed(server.members.permissions(identity))

    def relimit(self) -> None:
        """New limits and log wishes (reload) for those that are connected."""
        for client in self.open.values():
            self._server.members.apply_limits(client)


def _client(conn: Connection) -> Client:
    client = conn.owner
    assert isinstance(client, Client)
    return client
