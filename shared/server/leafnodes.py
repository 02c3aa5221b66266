"""Leaf links of a server: those it accepts, and the kernel's events for all of them (wire 2).

``LeafLinks`` decides with the pure machines of ``shared/leaf`` and carries out what they say, always in this
order: configure the connection, send INFO, bring the link up, let parsing go on. Interest therefore goes out
behind the INFO that a real leaf waits for. What this server dials is in ``leaf_remotes.py``.
"""

import logging
import socket
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import (
    GLOBAL_ACCOUNT,
    LEAFNODE,
    REDACTED,
    Credentials,
    Identity,
    permission_lists,
)
from phloem.shared.errors import AuthorizationViolation, MalformedJSON
from phloem.shared.kernel import KIND_LEAF, Connection, Permissions, Reason
from phloem.shared.leaf import permits, solicit
from phloem.shared.leaf.accept import DUPLICATE, LinkKey, judge, link_key, loop_text
from phloem.shared.leaf.compression import Agreed
from phloem.shared.leaf.names import Origins
from phloem.shared.server.leaf_compression import answer, recompress
from phloem.shared.server.leaf_greeting import first_info, leaf_info
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.leaf_logins import LeafLogins
from phloem.shared.server.leaf_remotes import Remotes
from phloem.shared.server.link_meter import LinkMeter
from phloem.shared.server.link_watch import Watch
from phloem.shared.server.login import Verdict, Visitor
from phloem.shared.server.tls import Welcome, mapping, pem
from phloem.shared.wire.leaf import (
    LeafConnect,
    decode_leaf_connect,
    encode_leaf_info,
)

if TYPE_CHECKING:
    from asyncio import Task

    from phloem.shared.server.options_leafnodes import LeafNodes
    from phloem.shared.server.options_link import LinkOptions
    from phloem.shared.server.server import Server
    from phloem.shared.server.tls import Entrance

log = logging.getLogger("phloem.leaf")


class LeafLinks:
    """All leaf links of a server."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._logins = LeafLogins(server.options.leafnodes.authorization)
        self._keys: dict[LinkKey, Link] = {}
        self._origins = Origins()
        self.open: dict[int, Link] = {}
        self.total = 0
        self.remotes = Remotes(server, self)
        self.meter = LinkMeter(server)
        self.watch = Watch(server)

    def now_ns(self) -> int:
        """The server's monotonic clock."""
        return self._server.clock.monotonic_ns()

    def start(self) -> None:
        """Dial the remotes of the options.

        Raises:
            ConfigError: A URL that cannot be used.
        """
        self.meter.open()
        self.remotes.apply(self._server.options.leafnodes.remotes)

    def reload(self, old: "LeafNodes") -> None:
        """The server's options are new: dial what is new in them, end what is gone or disabled."""
        new = self._server.options.leafnodes
        if new.remotes != old.remotes:
            self.remotes.apply(new.remotes)
        if new.compression != old.compression:
            for link in list(self.open.values()):
                if link.outgoing is None:
                    recompress(link, new.compression)

    def use_link(self, old: "LinkOptions") -> None:
        """Other ``phloem { link }`` (reload). What was agreed with the peer holds for a link's life, so that makes a
        new one."""
        new = self._server.options.phloem.link
        self.meter.use(new)
        self.remotes.use_link()
        self.watch.use()
        if (old.metered, old.idle_ping_ns) != (new.metered, new.idle_ping_ns):
            for uplink in self.remotes.uplinks:
                uplink.bounce("the configuration of links has changed")

    def relimit(self) -> None:
        """New limits and log wishes (reload) for the links that are there."""
        for link in self.open.values():
            self._server.members.apply_limits(link)

    def recheck(self) -> None:
        """The server's users have changed (reload): a link whose user is gone or may do other things ends; a peer that
        is still welcome links again, under the terms of now."""
        for link in list(self.open.values()):
            if link.by_server and self._server.login.renew(link.identity) != link.identity:
                link.conn.close(Reason.AUTHENTICATION_VIOLATION, b"Authorization Violation")

    def spawn(self, work: "Coroutine[Any, Any, None]", name: str) -> "Task[None]":
        """A task that ends with the server."""
        return self._server.spawn(work, name)

    def settle(self) -> None:
        """What was caused outside of the kernel's events takes effect."""
        self._server.schedule()

    async def stop(self) -> None:
        """No more dialling; the kernel ends the links."""
        await self.remotes.stop()
        self.watch.stop()
        self.meter.look(closing=True)

    @property
    def own_cluster(self) -> str:
        """What this server calls its cluster: like nats-server, its configured name if it dials any hub."""
        options = self._server.options
        return options.server_name if options.leafnodes.remotes else ""

    @property
    def domain(self) -> str:
        """Of this server's JetStream; empty if it has none."""
        jetstream = self._server.jetstream
        return jetstream.options.domain if jetstream is not None else ""

    @property
    def up(self) -> list[Link]:
        """The links whose handshake is over, oldest first."""
        return [link for link in self.open.values() if link.up]

    # --- links come up and go --------------------------------------------------------------------

    def accept(self, sock: socket.socket, ip: str, port: int) -> None:
        """A connection from the listener for leafnodes."""
        reached = sock.getsockname()[0].removeprefix("::ffff:") if port else ""
        link = self.attach(sock, ip, port, GLOBAL_ACCOUNT, must_connect=True)
        link.reached = reached
        log.info("%s - Leafnode connection created", link)
        entrance = self._server.tls.leafs
        if entrance is None:
            self._begin(link)
            self._greet(link)
        else:
            entrance.admit(link, Welcome(partial(self._greet, link), partial(self._begin, link)))
        self._server.schedule()

    def _greet(self, link: Link, _tls_first: bool = False) -> None:
        """The first INFO."""
        # also where nobody has a key: a leaf that logs in with one would not know what else to sign
        link.nonce = self._server.login.nonce()
        link.conn.send(first_info(self._server, link, self._server.options.leafnodes.compression.in_info))

    def _begin(self, link: Link) -> None:
        """From now on it may speak, and has to log in within its time."""
        now = self._server.clock.monotonic_ns()
        link.conn.set_deadline(now + self._server.options.leafnodes.auth_timeout_ns)

    def attach(
        self,
        sock: socket.socket,
        ip: str,
        port: int,
        account: str,
        *,
        must_connect: bool = False,
        dialled: bool = False,
    ) -> Link:
        """Hand the socket to the kernel; with ``must_connect``, CONNECT has to come first; ``dialled``: by us."""
        server, options = self._server, self._server.options
        twin = self.watch.attach(sock, counted=dialled)
        conn = server.kernel.attach(
            sock.detach(),
            KIND_LEAF,
            server.next_cid(),
            server.account(account),
            server.clock.monotonic_ns(),
            must_auth=must_connect,
            max_payload=options.max_payload,
            max_subs=options.max_subscriptions or -1,
            trace=options.trace,
            may_agree=must_connect and options.leafnodes.compression.negotiates,
        )
        link = Link(conn, ip, port, account, server.clock.wall_ns())
        conn.owner = link
        if twin is not None:
            self.watch.count(link, twin)
        self.open[conn.cid] = link
        self.total += 1
        return link

    def bring_up(
        self,
        link: Link,
        crossing: permits.Crossing,
        *,
        headers: bool,
        peer_max_payload: int = 0,
        info: bytes = b"",
    ) -> None:
        """The handshake is over: permissions first, then the last INFO, then interest."""
        server, options, conn = self._server, self._server.options, link.conn
        max_payload, max_subs = server.members.bounds(link.identity)
        conn.configure(
            account=server.account(link.account),
            permissions=Permissions(server.kernel, **self._apart(link, crossing)),
            echo=False,
            headers=headers and not options.no_header_support,
            max_subs=max_subs,
            max_payload=max_payload,
            peer_max_payload=peer_max_payload,
            ping_due_ns=server.clock.monotonic_ns() + server.first_ping_ns(limits.FIRST_PING_LEAF_NS),
            origin=self._origins.take(link.cluster),
            spoke=link.spoke,
            isolated=link.isolated,
        )
        link.up, link.peer_max_payload = True, peer_max_payload
        self._pace(link)
        conn.send(info)
        conn.link_up()
        link.admitted = True
        self.watch.begin(link)
        server.events.connected(link)
        server.members.check_subscriptions(link)
        if server.jetstream is not None:
            server.jetstream.linked(link.account)
        server.schedule()

    def _pace(self, link: Link) -> None:
        """PINGs of this link alone, if its ends want few. Who asked for it is the one that asks: the other waits for so
        much longer that it hears something first."""
        own_ns = self._server.options.phloem.link.idle_ping_ns
        if link.outgoing is not None:
            link.conn.set_ping_interval(own_ns)
        elif link.ping_interval_ns:
            theirs_ns = min(link.ping_interval_ns, limits.LINK_PING_MOST_NS)
            link.conn.set_ping_interval(max(own_ns, theirs_ns + theirs_ns // 4))

    def _apart(self, link: Link, crossing: permits.Crossing) -> permits.Crossing:
        """The JetStream of either side keeps to itself, except for an account whose default domain is the empty one:
        without a domain that is the only way to the other side's."""
        if self._server.options.default_js_domain.get(link.account) == "":
            return crossing
        log.info("%s - JetStream using domains: local %r, remote %r", link, self.domain, link.domain)
        system = self._server.is_system(link.account)
        return permits.apart(crossing, system=system, domain=self.domain, remote=link.domain)

    def enter(self, link: Link) -> bool:
        """A link joins its account; whether there was room."""
        return self._server.members.enter(link)

    def is_known_cluster(self, cluster: str, account: str) -> bool:
        """Whether a leaf of this cluster has linked to us: a hub of the same name would close a loop."""
        return bool(cluster) and any(
            link.up and link.outgoing is None and not link.spoke
            for link in self.open.values()
            if link.cluster == cluster and link.account == account
        )

    def loop(self, link: Link) -> None:
        """End a link that leads back to this server."""
        self._punish(link, limits.LEAF_LOOP_DELAY_NS)
        text = loop_text(link.account, limits.LEAF_LOOP_DELAY_NS)
        link.conn.close(Reason.LOOP_DETECTED, text.encode())

    @staticmethod
    def _punish(link: Link, delay_ns: int) -> None:
        if link.outgoing is not None:
            link.outgoing.redial.penalty(delay_ns)

    def since_start_ns(self, link: Link) -> int:
        """The first guess at the round trip."""
        return max(self._server.clock.monotonic_ns() - link.conn.stats["start_ns"], 1)

    # --- the hub's side of the handshake ---------------------------------------------------------

    def on_connect(self, conn: Connection, body: bytes) -> None:
        """CONNECT: who is it, and what may it do."""
        link = _link(conn)
        if link.outgoing is not None or link.greeted:
            conn.close(Reason.PARSE_ERROR, b"Unknown Protocol Operation")
            return
        link.greeted = True
        try:
            c = decode_leaf_connect(body)
        except MalformedJSON:
            conn.close(Reason.PARSE_ERROR)
            return
        shown = Credentials(c.user, c.password, c.auth_token, c.nkey, c.sig, c.jwt, c.proxy_sig)
        link.shown = shown._replace(password="", token=REDACTED if c.auth_token else "")
        if link.agreed is None and c.compress_mode:
            link.agreed = Agreed(c.compress_mode[: limits.LEAF_COMPRESS_MODE_MAX])
        link.name, link.version = c.name, c.version
        if c.phloem is not None:
            link.quiet, link.ping_interval_ns = c.phloem.metered, c.phloem.ping_interval_ns
        visitor = Visitor(
            conn,
            link,
            "Leafnode",
            LEAFNODE,
            link.ip,
            link.nonce,
            shown,
            name=c.name,
            version=c.version,
            protocol=c.protocol,
            mapped=mapping(link, self._mapping_entrance, by_name_only=self._logins.configured),
            certificates=pem(link.secured),
        )
        among = self._logins.authenticator if self._logins.configured else None
        link.by_server = among is None
        if link.by_server and not self._server.login.configured:
            account = self._server.options.leafnodes.authorization.account or GLOBAL_ACCOUNT
            self._decide(link, c, Verdict(Identity(account=account)))
            return
        self._server.login.begin(visitor, lambda verdict: self._decide(link, c, verdict), among)

    @property
    def _mapping_entrance(self) -> "Entrance | None":
        """TLS of the listener, unless there is a single user, whom no certificate names."""
        own = self._server.options.leafnodes.authorization
        return None if own.user or own.nkey else self._server.tls.leafs

    def label(self, conn: Connection) -> str:
        """Whom somebody claimed to be, for the log."""
        return _link(conn).shown.label

    def _turn_away(self, link: Link, verdict: Verdict) -> None:
        if verdict.why:
            log.debug("%s - %s", link, verdict.why)
        self._server.events.refused(link, verdict)
        link.conn.close(verdict.reason, AuthorizationViolation.wire_text.encode())

    def _decide(self, link: Link, c: LeafConnect, verdict: Verdict) -> None:
        options, identity, members = self._server.options.leafnodes, verdict.identity, self._server.members
        if identity is None or c.account:
            self._turn_away(link, verdict)
            return
        link.identity = identity
        if not members.enter(link):
            return
        user = permission_lists(members.rules(identity))
        import_, export = permits.told_to_leaf(user)
        info = msgspec.structs.replace(
            leaf_info(self._server, link),
            connect_info=True,
            remote_account=identity.account,
            acc_is_sys=self._server.is_system(identity.account),
            import_=import_,
            export=export,
        )
        refusal = judge(c, own_cluster=self.own_cluster, min_version=options.min_version)
        if refusal is not None:
            if refusal.info_first:
                link.conn.send(encode_leaf_info(info))
            link.conn.close(refusal.reason, refusal.text.encode())
            return
        self._replace(link, link_key(c, identity.account))
        link.cluster, link.spoke, link.isolated = c.cluster, c.is_hub, options.isolate or c.isolate
        link.domain = c.domain
        crossing = permits.accepted(user, deny_pub=c.deny_pub)
        self.bring_up(link, crossing, headers=c.headers, info=encode_leaf_info(info))
        link.conn.resume()

    def _replace(self, link: Link, key: LinkKey | None) -> None:
        """A peer that comes back before the end of its old link was noticed takes that one's place."""
        link.key = key
        if key is None:
            return
        old = self._keys.get(key)
        self._keys[key] = link
        if old is not None:
            old.conn.close(Reason.DUPLICATE_REMOTE_LEAFNODE, DUPLICATE.encode())
            log.warning("%s - Replacing connection from same server", link)

    # --- the kernel's other events ---------------------------------------------------------------

    def on_info(self, conn: Connection, body: bytes) -> None:
        """INFO; one from a leaf says nothing that matters but the first, before CONNECT."""
        link = _link(conn)
        if link.outgoing is not None:
            link.outgoing.on_info(body)
            if link.outgoing.is_shaking_hands:
                return
        elif not link.greeted and link.agreed is None:
            answer(self._server, link, body)
        conn.resume()

    def on_err(self, conn: Connection, text: bytes) -> None:
        """-ERR from the peer: it closes the link if it wants to, but a loop is ended from both ends."""
        link = _link(conn)
        words = text.decode(errors="replace")
        log.error("%s - Leafnode Error %s", link, words)
        verdict = solicit.on_err(words)
        self._punish(link, verdict.delay_ns)
        if verdict.ends_link:
            conn.close(Reason.LOOP_DETECTED)
        else:
            conn.resume()

    def on_loop(self, conn: Connection) -> None:
        """Our own loop detection subject came back."""
        self.loop(_link(conn))

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        """The end of a link, however far it came."""
        link = _link(conn)
        del self.open[conn.cid]
        self.watch.end(link)
        self._server.login.forget(conn)
        self._server.members.leave(conn)
        if link.up:
            link.up = False
            self._origins.give_back(link.cluster)
        if link.key is not None and self._keys.get(link.key) is link:
            del self._keys[link.key]
        if reason is Reason.PROTOCOL_VIOLATION and not link.spoke:
            self._punish(link, limits.LEAF_LOOP_DELAY_NS)  # the peer broke our permissions and would again
        if reason is Reason.AUTHENTICATION_TIMEOUT:
            log.error("%s - Authentication Timeout", link)
        log.info("%s - %s", link, link.ending(reason))
        if link.outgoing is not None:
            link.outgoing.on_closed()


def _link(conn: Connection) -> Link:
    link = conn.owner
    assert isinstance(link, Link)
    return link
