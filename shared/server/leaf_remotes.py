"""The hubs that this server dials: one task for each remote of the configuration, which links for ever.

Dial, hand the socket to the kernel, let the handshake run on the kernel's events, wait for the end of the
link, pause, again. ``Outgoing`` is one attempt: it carries out what ``shared/leaf/solicit.py`` decides and
holds the timer for the INFO that has to come next.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

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
from phloem.shared.net.dialer import dial
from phloem.shared.net.tls_words import HandshakeFailed
from phloem.shared.server.leaf_credentials import check, prover
from phloem.shared.server.tls import failed, place
from phloem.shared.wire.info import PROTOCOL_VERSION

if TYPE_CHECKING:
    from phloem.shared.leaf.compression import Compression
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.leafnodes import LeafLinks
    from phloem.shared.server.options import Remote
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.leaf")


class Outgoing:
    """The handshake of one link that this side dialled, and its end."""

    def __init__(
        self,
        links: "LeafLinks",
        link: "Link",
        solicitor: Solicitor,
        redial: Redial,
        secure: "Callable[[Link], Awaitable[None]]",
    ) -> None:
        """``secure`` shakes hands over TLS."""
        self._links = links
        self._secure = secure
        self._shaking: asyncio.Task[None] | None = None
        self._link = link
        self._solicitor = solicitor
        self._timer: asyncio.TimerHandle | None = None
        self.redial = redial
        self.ended = asyncio.Event()

    def expect_info(self, within_ns: int) -> None:
        """INFO has to be there in time, or the link ends; 0: nothing more has to come."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(within_ns / 1e9, self._late) if within_ns else None

    def _late(self) -> None:
        self._timer = None
        self._close(self._solicitor.on_timeout())

    def shake_hands(self, then_info_within_ns: int = 0) -> None:
        """TLS, while the connection waits; after it, INFO has to come (0: it has)."""
        self.expect_info(0)
        self._link.conn.wait()
        self._shaking = self._links.spawn(
            self._shake_hands(then_info_within_ns), f"TLS handshake of {self._link}"
        )

    async def _shake_hands(self, then_info_within_ns: int) -> None:
        link = self._link
        try:
            await self._secure(link)
        except HandshakeFailed as error:
            failed(link, "leafnode ", error)
            return
        except OSError as error:
            failed(link, "leafnode ", HandshakeFailed((error.strerror or str(error)).lower()))
            return
        if link.conn.closed:
            return
        if then_info_within_ns:
            self.expect_info(then_info_within_ns)
        self._carry_out(self._solicitor.on_secured())
        link.conn.resume()
        self._links.settle()

    def on_info(self, body: bytes) -> None:
        """INFO from the hub."""
        self._carry_out(self._solicitor.on_info(body))

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
                    self._links.compress(self._link, agreed, data)
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
        link.cluster, link.spoke = step.origin, step.spoke
        self._links.bring_up(
            link, step.crossing, headers=step.headers, peer_max_payload=step.peer_max_payload
        )

    def _close(self, step: Close) -> None:
        if not step.wire:  # what goes to the peer is logged where it is sent
            log.error("%s - %s", self._link, step.text)
        self._link.conn.close(step.reason, step.text.encode() if step.wire else b"")

    def on_closed(self) -> None:
        """The link is over."""
        self.expect_info(0)
        if self._shaking is not None:
            self._shaking.cancel()
        self.ended.set()


class Remotes:
    """The remotes of the configuration, each with the task that keeps it linked."""

    def __init__(self, server: "Server", links: "LeafLinks") -> None:
        self._server = server
        self._links = links
        self._tasks: dict[Remote, asyncio.Task[None]] = {}
        self._current: dict[Remote, Link] = {}
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
                if (link := self._current.pop(remote, None)) is not None:
                    link.conn.close(Reason.CLIENT_CLOSED)
        for remote, redial in wanted.items():
            link, new = self._current.get(remote), self._compression[remote]
            if remote in self._tasks and link is not None and before.get(remote) != new:
                self._links.recompress(link, new)
            if remote not in self._tasks:
                account = remote.account or GLOBAL_ACCOUNT
                check(remote, account, system=self._server.is_system(account))
                name = f"leafnode remote {remote.urls[0].rpartition('@')[2]}"
                self._tasks[remote] = self._server.spawn(self._keep(remote, redial), name)

    def is_up(self, remote: "Remote") -> bool:
        """Whether the link to this remote is up."""
        link = self._current.get(place(remote))
        return link is not None and link.up

    async def stop(self) -> None:
        """End all tasks; links stay for the kernel to close."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _redial(self, remote: "Remote") -> Redial:
        try:
            return Redial(
                remote.urls,
                self._server.rng,
                reconnect_ns=self._server.options.leafnodes.reconnect_ns,
                no_randomize=remote.no_randomize,
                ignore_discovered=remote.ignore_discovered_servers,
            )
        except LinkError as error:
            raise ConfigError(str(error)) from error

    async def _keep(self, remote: "Remote", redial: Redial) -> None:
        """Links, again and again, until cancelled."""
        while True:
            pause_ns = await self._once(remote, redial)
            await asyncio.sleep(pause_ns / 1e9)

    async def _once(self, remote: "Remote", redial: Redial) -> int:
        """One link from dialling to its end, or one attempt; how long to pause after it."""
        options, url = self._server.options, redial.next_url()
        log.debug('Trying to connect as leafnode to remote server on "%s"', url.address)
        try:
            sock, ip, port = await dial(url, remote.dial_timeout_ns or options.leafnodes.dial_timeout_ns)
        except LinkError as error:
            pause_ns = redial.failed()
            loud = redial.worth_reporting(options.connect_error_reports, options.reconnect_error_reports)
            log.log(
                logging.ERROR if loud else logging.DEBUG,
                'Error trying to connect as leafnode to remote server "%s" (attempt %d): %s',
                url.address,
                redial.attempts,
                error,
            )
            return pause_ns
        redial.connected()
        link = self._links.attach(sock, ip, port, remote.account or GLOBAL_ACCOUNT)
        outgoing = self._begin(remote, redial, link, url)
        self._current[remote] = link
        await outgoing.ended.wait()
        return redial.lost()

    def _begin(self, remote: "Remote", redial: Redial, link: "Link", url: HubURL) -> Outgoing:
        """The hub speaks first. Until it has said what is allowed nothing is."""
        server = self._server
        log.info("%s - Leafnode connection created for account: %s", link, link.account)
        link.spoke = not remote.hub
        link.isolated = server.options.leafnodes.isolate or remote.isolate
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
                await server.tls.dial(link, remote, name)
            except HandshakeFailed as error:
                if error.wrong_name and name != url.host:
                    redial.tls_name = ""
                raise

        outgoing = Outgoing(self._links, link, solicitor, redial, secure)
        link.outgoing = outgoing
        if remote.tls is not None and remote.tls.handshake_first:
            outgoing.shake_hands(remote.first_info_timeout_ns)
        else:
            outgoing.expect_info(remote.first_info_timeout_ns)
        return outgoing

    def _terms(self, remote: "Remote", *, tls: bool) -> Terms:
        server = self._server
        account = remote.account or GLOBAL_ACCOUNT
        return Terms(
            server_id=server.server_id,
            name=server.name,
            cluster=self._links.own_cluster,
            version=PROTOCOL_VERSION,
            account=account,
            headers=not server.options.no_header_support,
            hub=remote.hub,
            system=server.is_system(account),
            deny_imports=remote.deny_imports,
            deny_exports=remote.deny_exports,
            request_isolation=remote.request_isolation,
            tls=tls,
            compression=self._compression.get(remote, remote.compression),
        )
