"""The hubs that this server dials: an ``Uplink`` for each remote of the configuration, which links for ever.

``Outgoing`` is the handshake of one attempt: it carries out what ``shared/leaf/solicit.py`` decides and holds the timer
for the INFO that has to come next.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from phloem import __version__
from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.errors import ConfigError, LinkError
from phloem.shared.kernel import Permissions, Reason
from phloem.shared.leaf.reconnect import Redial
from phloem.shared.leaf.solicit import (
    Close,
    Compress,
    Discovered,
    LinkUp,
    SendConnect,
    ShakeHands,
    Solicitor,
    Step,
    Terms,
)
from phloem.shared.leaf.urls import HubURL
from phloem.shared.net.network import Network
from phloem.shared.net.tls_words import HandshakeFailed
from phloem.shared.server.leaf_compression import compress, recompress
from phloem.shared.server.leaf_credentials import check, prover
from phloem.shared.server.tls import failed, place
from phloem.shared.server.uplink import Uplink
from phloem.shared.wire.info import PROTOCOL_VERSION
from phloem.shared.wire.leaf import Extras

if TYPE_CHECKING:
    from phloem.shared.leaf.compression import Compression
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.leafnodes import LeafLinks
    from phloem.shared.server.options_leafnodes import Remote
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.leaf")


class Outgoing:
    """The handshake of one link that this side dialled, and its end."""

    def __init__(
        self,
        links: "LeafLinks",
        link: "Link",
        solicitor: Solicitor,
        uplink: Uplink,
        secure: "Callable[[Link], Awaitable[None]]",
    ) -> None:
        """``secure`` shakes hands over TLS."""
        self._uplink = uplink
        self._links = links
        self._secure = secure
        self._shaking: asyncio.Task[None] | None = None
        self._link = link
        self._solicitor = solicitor
        self._timer: asyncio.TimerHandle | None = None
        self._asked_ns = 0  # when what INFO has to answer was sent
        self.redial = uplink.redial
        self.patience = uplink.patience

    def expect_info(self, within_ns: int) -> None:
        """INFO has to be there in time, or the link ends; 0: nothing more has to come."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        within_ns = self.patience.within_ns("info", within_ns)
        self._asked_ns = self._links.now_ns() if within_ns else 0
        self._timer = loop.call_later(within_ns / 1e9, self._late) if within_ns else None

    def _late(self) -> None:
        self._timer = None
        self.patience.late("info")
        self._close(self._solicitor.on_timeout())

    def shake_hands(self, then_info_within_ns: int = 0) -> None:
        """TLS, while the connection waits; after it, INFO has to come (0: it has)."""
        self.expect_info(0)
        self._link.conn.wait()
        self._shaking = self._links.spawn(
            self._shake_hands(then_info_within_ns), f"TLS handshake of {self._link}"
        )

    async def _shake_hands(self, then_info_within_ns: int) -> None:
        link, began_ns = self._link, self._links.now_ns()
        try:
            await self._secure(link)
        except HandshakeFailed as error:
            if error.late:
                self.patience.late("tls")
            failed(link, "leafnode ", error)
            return
        except OSError as error:
            failed(link, "leafnode ", HandshakeFailed((error.strerror or str(error)).lower()))
            return
        if link.conn.closed:
            return
        self.patience.done("tls", self._links.now_ns() - began_ns)
        if then_info_within_ns:
            self.expect_info(then_info_within_ns)
        self._carry_out(self._solicitor.on_secured())
        link.conn.resume()
        self._links.settle()

    def on_info(self, body: bytes) -> None:
        """INFO from the hub."""
        steps = self._solicitor.on_info(body)
        # with compression there is a second one, and the time that the first one has is for both
        if self._asked_ns and not any(isinstance(step, Compress) for step in steps):
            self.patience.done("info", self._links.now_ns() - self._asked_ns)
            self._asked_ns = 0
        self._carry_out(steps)

    @property
    def is_shaking_hands(self) -> bool:
        """Whether a handshake is under way."""
        return self._shaking is not None and not self._shaking.done()

    def _carry_out(self, steps: "list[Step]") -> None:
        for step in steps:
            match step:
                case ShakeHands():
                    self.redial.tls = True
                    self.shake_hands()
                case Close():
                    self._close(step)
                case Compress(data, agreed):
                    compress(self._link, agreed, data)
                case Discovered(urls):
                    self.redial.discovered(urls)
                case SendConnect(data, timeout_ns):
                    self._link.agreed = self._solicitor.agreed
                    self._link.name = self._solicitor.remote_name
                    self._link.conn.send(data)
                    log.debug("%s - Remote leafnode connect msg sent", self._link)
                    self.expect_info(timeout_ns)
                case LinkUp():
                    self._up(step)

    def _up(self, step: LinkUp) -> None:
        link = self._link
        self.expect_info(0)
        if step.spoke and self._links.is_known_cluster(step.origin, link.account):
            self._links.loop(link)
            return
        if not self._links.enter(link):
            return
        link.cluster, link.spoke, link.domain = step.origin, step.spoke, step.domain
        self._links.bring_up(
            link, step.crossing, headers=step.headers, peer_max_payload=step.peer_max_payload
        )
        self._uplink.came_up(link, self._solicitor.hub)

    def _close(self, step: Close) -> None:
        if not step.wire:  # what goes to the peer is logged where it is sent
            log.error("%s - %s", self._link, step.text)
        self._link.conn.close(step.reason, step.text.encode() if step.wire else b"")

    def on_closed(self) -> None:
        """The link is over."""
        self.expect_info(0)
        if self._shaking is not None:
            self._shaking.cancel()
        self._uplink.ended(self._link)


class Remotes:
    """The remotes of the configuration, each with the task that keeps it linked."""

    def __init__(self, server: "Server", links: "LeafLinks") -> None:
        self._server = server
        self._links = links
        self._tasks: dict[Remote, asyncio.Task[None]] = {}
        self._uplinks: dict[Remote, Uplink] = {}
        self._network: Network | None = None
        self._changed: asyncio.TimerHandle | None = None
        self._compression: dict[Remote, Compression] = {}

    def apply(self, remotes: "Iterable[Remote]") -> None:
        """Link to these and no others.

        Raises:
            ConfigError: A URL that cannot be used; nothing has changed then.
        """
        remotes = [remote for remote in remotes if not remote.disabled]
        wanted = {place(remote): self._redial(remote) for remote in remotes}
        before, self._compression = self._compression, {place(each): each.compression for each in remotes}
        for remote in list(self._tasks):
            if remote not in wanted:
                self._tasks.pop(remote).cancel()
                link = self._uplinks.pop(remote).link
                if link is not None:
                    link.conn.close(Reason.CLIENT_CLOSED)
        for remote, redial in wanted.items():
            uplink, new = self._uplinks.get(remote), self._compression[remote]
            link = uplink.link if uplink is not None else None
            if remote in self._tasks and link is not None and before.get(remote) != new:
                recompress(link, new)
            if remote not in self._tasks:
                account = remote.account or GLOBAL_ACCOUNT
                check(remote, account, system=self._server.is_system(account))
                uplink = self._uplinks[remote] = Uplink(self._server, self, remote, redial)
                self._tasks[remote] = self._server.spawn(uplink.keep(), f"leafnode remote {uplink.name}")
        self._listen()

    def use_link(self) -> None:
        """Pauses and time-outs as ``phloem { link }`` has them now."""
        options = self._server.options
        for uplink in self._uplinks.values():
            uplink.use_link(options.phloem.link, options.leafnodes.reconnect_ns)
        self._listen()

    @property
    def uplinks(self) -> list[Uplink]:
        """The remotes that are dialled, in the order in which they were configured."""
        return list(self._uplinks.values())

    def is_up(self, remote: "Remote") -> bool:
        """Whether the link to this remote is up."""
        uplink = self._uplinks.get(place(remote))
        return uplink is not None and uplink.link is not None and uplink.link.up

    async def stop(self) -> None:
        """End all tasks; links stay for the kernel to close."""
        if self._network is not None:
            self._network.close()
            self._network = None
        if self._changed is not None:
            self._changed.cancel()
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _redial(self, remote: "Remote") -> Redial:
        options = self._server.options
        try:
            return Redial(
                remote.urls,
                self._server.rng,
                reconnect_ns=options.leafnodes.reconnect_ns,
                reconnect_max_ns=options.phloem.link.reconnect_max_ns,
                no_randomize=remote.no_randomize,
                ignore_discovered=remote.ignore_discovered_servers,
            )
        except LinkError as error:
            raise ConfigError(str(error)) from error

    def _listen(self) -> None:
        """Be told of new addresses and routes as long as there is something to dial."""
        wanted = bool(self._uplinks) and self._server.options.phloem.link.watch_network
        if wanted and self._network is None:
            self._network = Network(self._on_network)
            self._network.open()
        elif not wanted and self._network is not None:
            self._network.close()
            self._network = None

    def _on_network(self) -> None:
        """One look for a swarm of changes."""
        if self._changed is None:
            loop = asyncio.get_running_loop()
            self._changed = loop.call_later(limits.LINK_NETWORK_SETTLES_NS / 1e9, self._network_changed)
            self._hurry()  # the first may be all

    def _network_changed(self) -> None:
        self._changed = None
        self._hurry()

    def _hurry(self) -> None:
        for uplink in self._uplinks.values():
            if not uplink.up:
                uplink.hurry()

    def begin(self, uplink: Uplink, url: HubURL, sock: socket.socket, ip: str, port: int) -> "Link":
        """A connection to a hub: it speaks first. Until it has said what is allowed nothing is."""
        server = self._server
        link = self._links.attach(sock, ip, port, uplink.account, dialled=True)
        try:
            self._introduce(uplink, url, link)
        except BaseException:
            link.conn.close(Reason.CLIENT_CLOSED)
            server.schedule()
            raise
        return link

    def _introduce(self, uplink: Uplink, url: HubURL, link: "Link") -> None:
        server, remote, redial = self._server, uplink.remote, uplink.redial
        log.info("%s - Leafnode connection created for account: %s", link, link.account)
        link.spoke = not remote.hub
        link.isolated = server.options.leafnodes.isolate or remote.isolate
        link.quiet = server.options.phloem.link.metered
        nothing = Permissions(server.kernel, pub_allow=(), sub_allow=())
        link.conn.configure(permissions=nothing, echo=False, spoke=True)
        solicitor = Solicitor(
            self._terms(remote, tls=redial.tls or remote.tls is not None),
            url,
            prover(remote),
            lambda: self._links.since_start_ns(link),
        )

        async def secure(link: "Link") -> None:
            name = redial.name_in_certificate(url)
            try:
                await server.tls.dial(
                    link, remote, name, lambda base_ns: uplink.patience.within_ns("tls", base_ns)
                )
            except HandshakeFailed as error:
                if error.wrong_name and name != url.host:
                    redial.tls_name = ""
                raise

        outgoing = Outgoing(self._links, link, solicitor, uplink, secure)
        link.outgoing = outgoing
        if remote.tls is not None and remote.tls.handshake_first:
            outgoing.shake_hands(remote.first_info_timeout_ns)
        else:
            outgoing.expect_info(remote.first_info_timeout_ns)

    def _terms(self, remote: "Remote", *, tls: bool) -> Terms:
        server, own = self._server, self._server.options.phloem.link
        account = remote.account or GLOBAL_ACCOUNT
        return Terms(
            server_id=server.server_id,
            name=server.name,
            cluster=self._links.own_cluster,
            version=PROTOCOL_VERSION,
            account=account,
            headers=not server.options.no_header_support,
            hub=remote.hub,
            jetstream=server.jetstream is not None and account in server.jetstream.accounts,
            domain=self._links.domain,
            deny_imports=remote.deny_imports,
            deny_exports=remote.deny_exports,
            request_isolation=remote.request_isolation,
            tls=tls,
            extras=Extras(version=__version__, ping_interval_ns=own.idle_ping_ns, metered=own.metered),
            compression=self._compression.get(remote, remote.compression),
        )
