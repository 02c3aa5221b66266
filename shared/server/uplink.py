"""One hub that this server dials, for as long as it is configured: the driver of ``shared/leaf/life.py``.

Dial, hand the socket to the kernel, let the handshake run on the kernel's events, wait for the end of the link, pause,
again. Whatever happens in there, a bug included, the next attempt follows: ``keep`` ends by being cancelled only.

For whoever forwards over the link: ``Uplink.up``, ``on_up`` and ``on_down``, ``hub`` (who is there), ``bounce`` (close
it and dial again now) and ``meter`` (may this be sent, what has it cost).
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.clock import doubt
from phloem.shared.errors import LinkError
from phloem.shared.kernel import Reason
from phloem.shared.leaf.life import Life, State
from phloem.shared.leaf.patience import Patience
from phloem.shared.limits import SECOND_NS
from phloem.shared.net.dialer import TookTooLong, dial
from phloem.shared.server.monitor.records import UplinkFigures

if TYPE_CHECKING:
    from phloem.shared.leaf.reconnect import Redial
    from phloem.shared.leaf.solicit import Hub
    from phloem.shared.leaf.urls import HubURL
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.leaf_remotes import Remotes
    from phloem.shared.server.link_meter import LinkMeter
    from phloem.shared.server.options_leafnodes import Remote
    from phloem.shared.server.options_link import LinkOptions
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.leaf")

SYN_BYTES = 60  # one that is not answered, IPv4 with options
QUIET_NS = SECOND_NS  # a moment without messages, to change hubs in
QUIET_LOOKS = 30
GREETING = b"INFO "


class Uplink:
    """One remote of the configuration."""

    def __init__(self, server: "Server", remotes: "Remotes", remote: "Remote", redial: "Redial") -> None:
        self.remote = remote
        self.redial = redial
        self.account = remote.account or GLOBAL_ACCOUNT
        self.name = remote.urls[0].rpartition("@")[2].rpartition("//")[2].rstrip("/")
        self.hub: Hub | None = None  # the last that was met
        self.link: Link | None = None  # the last that was made
        self.on_up: list[Callable[[], None]] = []
        self.on_down: list[Callable[[], None]] = []
        self.patience = Patience(server.options.phloem.link.timeout_max_ns)
        self._server = server
        self._remotes = remotes
        self._life = Life(server.clock.monotonic_ns())
        self._woken = asyncio.Event()
        self._settled = asyncio.Event()  # the handshake is over, well or not
        self._ended = asyncio.Event()
        self._dialling: asyncio.Timeout | None = None
        self._began_ns = 0
        self._bounced = False
        self._returning: asyncio.Task[None] | None = None
        self.bounces = 0
        self.ups = 0

    # --- what others ask and say -------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether the link is up."""
        return self._life.is_up

    @property
    def state(self) -> State:
        """Where it is."""
        return self._life.state

    @property
    def since_ns(self) -> int:
        """Since when it has been up, or has not: the server's monotonic clock."""
        return self._life.since_ns

    @property
    def due_ns(self) -> int | None:
        """When its next step is due by the server's monotonic clock; None while it is up."""
        return self._life.due_ns

    @property
    def rtt_ns(self) -> int:
        """The last measured round trip; 0: none yet, or no link."""
        return self.link.conn.stats["rtt_ns"] if self.up and self.link is not None else 0

    @property
    def meter(self) -> "LinkMeter":
        """The account of all links to hubs."""
        return self._server.leafs.meter

    def bounce(self, reason: str) -> None:
        """Close the link, if there is one, and dial again at once: something is wrong that no time-out tells."""
        log.warning("Link to %s: dialling again: %s", self.name, reason)
        self.bounces += 1
        self._bounced = True
        if self.link is not None and not self.link.conn.closed:
            self.link.conn.close(Reason.CLIENT_CLOSED)
            self._server.schedule()
        self.hurry(0)

    def hurry(self, within_ns: int = limits.LINK_HURRY_NS) -> None:
        """There is reason to hope: the next attempt is soon, and one that hangs is given up for it."""
        now_ns = self._server.clock.monotonic_ns()
        self.redial.pauses.fresh(now_ns)
        if self._life.hurry(now_ns, self._server.rng.randrange(within_ns + 1)):
            self._woken.set()
        elif self._dialling is not None and now_ns - self._began_ns > SECOND_NS:
            self._bounced = True
            self._dialling.reschedule(asyncio.get_running_loop().time())

    def shown(self) -> UplinkFigures:
        """For monitoring."""
        now_ns, due_ns, hub = self._server.clock.monotonic_ns(), self._life.due_ns, self.hub
        waits = due_ns is not None and self.state is State.WAITING
        return UplinkFigures(
            name=self.name,
            account=self.account,
            state=self.state.value,
            for_ms=(now_ns - self.since_ns) // 1_000_000,
            next_ms=max((due_ns or 0) - now_ns, 0) // 1_000_000 if waits else 0,
            attempts=self.redial.attempts,
            ups=self.ups,
            bounces=self.bounces,
            rtt_ns=self.rtt_ns,
            hub="" if hub is None else hub.name,
            hub_version="" if hub is None else hub.version,
            hub_is_phloem=hub is not None and hub.is_phloem,
        )

    # --- what the handshake tells --------------------------------------------------------------------

    def came_up(self, link: "Link", hub: "Hub") -> None:
        """The handshake is over and interest goes out."""
        if link is not self.link:
            return
        now_ns = self._server.clock.monotonic_ns()
        down_ns = now_ns - self._life.since_ns
        if not self._life.up(self._life.attempt, now_ns):
            return
        self.hub = hub
        self.ups += 1
        self.redial.pauses.up(now_ns)
        kind = f"phloem {hub.version}" if hub.is_phloem else f"nats-server {hub.version}"
        log.info("Link to %s: up after %.1f s (%s, %s)", self.name, down_ns / 1e9, hub.name, kind)
        self._settled.set()
        self._call(self.on_up)
        self._look_for_first_again()

    def use_link(self, options: "LinkOptions", reconnect_ns: int) -> None:
        """Other pauses and time-outs (reload)."""
        self.redial.pauses.use(reconnect_ns, options.reconnect_max_ns)
        self.patience.use(options.timeout_max_ns)
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        self._look_for_first_again()

    def _look_for_first_again(self) -> None:
        """From now on, if it is wanted and there is a link to another one."""
        if self.up and self._goes_back and not self.redial.at_first and self._returning is None:
            self._returning = self._server.spawn(self._look_for_first(), f"first hub of {self.name}")

    def ended(self, link: "Link") -> None:
        """The kernel's connection is gone."""
        if link is self.link:
            self._settled.set()
            self._ended.set()

    # --- the task ------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Links, again and again, until cancelled."""
        try:
            while True:
                try:
                    await self._wait()
                    await self._attempt()
                except Exception:  # whatever it was, the next attempt must follow
                    log.exception("Link to %s: a bug ended the attempt; the next one follows", self.name)
                    self._life.crashed(self._server.clock.monotonic_ns(), limits.LINK_BUG_PAUSE_NS)
                    self._drop()
        finally:
            self._life.end()
            if self._returning is not None:
                self._returning.cancel()

    async def _wait(self) -> None:
        """Until the next attempt is due, or there is reason to make it sooner."""
        while True:
            self._woken.clear()
            due_ns = self._life.due_ns
            left_s = 0.0 if due_ns is None else (due_ns - self._server.clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._woken.wait()
            except TimeoutError:
                return

    async def _attempt(self) -> None:
        """One link from dialling to its end, or one attempt that fails."""
        url = self.redial.next_url()
        clock, life = self._server.clock, self._life
        log.debug('Trying to connect as leafnode to remote server on "%s"', url.address)
        self._began_ns = clock.monotonic_ns()
        self._bounced = False
        self._settled.clear()
        self._ended.clear()
        attempt = life.begin(self._began_ns, self._guard_ns)
        try:
            sock, ip, port = await self._dial(url)
        except LinkError as error:
            self._report(url, error)
            self.meter.overhead(SYN_BYTES)
            now_ns = clock.monotonic_ns()
            life.over(attempt, now_ns, 0 if self._bounced else self.redial.failed(now_ns))
            return
        life.connected(attempt)
        self.redial.connected()
        try:
            self.link = self._remotes.begin(self, url, sock, ip, port)
        except BaseException:
            sock.close()
            raise
        try:
            async with asyncio.timeout(self._guard_ns / 1e9):
                await self._settled.wait()
        except TimeoutError:
            log.error("Link to %s: the handshake does not end", self.name)
            self._drop()
        await self._end(attempt)

    async def _end(self, attempt: int) -> None:
        if self.up:
            await self._ended.wait()
        else:  # what the kernel still has to say is said within its own deadline
            try:
                async with asyncio.timeout(self._guard_ns / 1e9):
                    await self._ended.wait()
            except TimeoutError:
                log.error("Link to %s: the connection does not end", self.name)
        self._over(attempt)

    def _over(self, attempt: int) -> None:
        was_up, now_ns = self.up, self._server.clock.monotonic_ns()
        if was_up and self._goes_back:
            self.redial.prefer_first()
        pause_ns = self.redial.lost(now_ns)
        up_ns = now_ns - self._life.since_ns
        if not self._life.over(attempt, now_ns, 0 if self._bounced else pause_ns):
            return
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        if was_up:
            log.info("Link to %s: down after %.1f s", self.name, up_ns / 1e9)
            self._call(self.on_down)

    async def _dial(self, url: "HubURL") -> tuple[socket.socket, str, int]:
        options, clock = self._server.options, self._server.clock
        within_ns = self.patience.within_ns(
            "dial", self.remote.dial_timeout_ns or options.leafnodes.dial_timeout_ns
        )
        try:
            async with asyncio.timeout(self._guard_ns / 1e9) as self._dialling:
                dialled = await dial(url, within_ns)
        except TookTooLong:
            self.patience.late("dial")
            raise
        except TimeoutError:
            raise LinkError("given up: the network has changed, or nothing happens") from None
        finally:
            self._dialling = None
        self.patience.done("dial", clock.monotonic_ns() - self._began_ns)
        return dialled

    def _report(self, url: "HubURL", error: LinkError) -> None:
        """Logs a failed attempt, which counts in ``_attempt`` only afterwards."""
        options, redial = self._server.options, self.redial
        attempts = redial.attempts + 1
        loud = redial.worth_reporting(
            options.connect_error_reports, options.reconnect_error_reports, attempts
        )
        log.log(
            logging.ERROR if loud else logging.DEBUG,
            'Error trying to connect as leafnode to remote server "%s" (attempt %d): %s%s',
            url.address,
            attempts,
            error,
            doubt(self._server.clock.wall_ns()),
        )

    def _drop(self) -> None:
        """Ends what is left of an attempt."""
        if self.link is not None and not self.link.conn.closed:
            self.link.conn.close(Reason.STALE)
            self._server.schedule()

    def _call(self, callbacks: list[Callable[[], None]]) -> None:
        """A callback that fails must not cost the others, or the link."""
        for callback in list(callbacks):
            try:
                callback()
            except Exception:  # theirs
                log.exception("Link to %s: a bug of whoever is told of it", self.name)

    @property
    def _guard_ns(self) -> int:
        """What no attempt takes, with all its steps: name, every address, TLS, two INFOs."""
        options, remote = self._server.options, self.remote
        own_ns = max(
            options.phloem.link.timeout_max_ns,
            remote.dial_timeout_ns or options.leafnodes.dial_timeout_ns,
            remote.first_info_timeout_ns,
            remote.tls.timeout_ns if remote.tls else 0,
        )
        return max(limits.LINK_GUARD_NS, 6 * own_ns)

    # --- going back to the first hub -----------------------------------------------------------------

    @property
    def _goes_back(self) -> bool:
        wanted = self._server.options.phloem.link.return_to_first_ns > 0
        return wanted and self.remote.no_randomize and self.redial.has_order

    async def _look_for_first(self) -> None:
        """Asks for the first hub now and then, less often while it is away, and goes back in a quiet moment."""
        every_ns = pause_ns = self._server.options.phloem.link.return_to_first_ns
        while True:
            await asyncio.sleep((pause_ns + self._server.rng.randrange(pause_ns // 4 + 1)) / 1e9)
            if await self._first_answers():
                break
            pause_ns = min(pause_ns * 2, 8 * every_ns)
        for _ in range(QUIET_LOOKS):
            before = self._carried()
            await asyncio.sleep(QUIET_NS / 1e9)
            if self._carried() == before:
                break
        self._returning = None
        self.redial.prefer_first()
        self.bounce("the first hub is there again")

    async def _first_answers(self) -> bool:
        """Whether somebody is there who says INFO, or would after TLS."""
        within_ns = self.patience.within_ns("dial", self._server.options.leafnodes.dial_timeout_ns)
        try:
            sock, _, _ = await dial(self.redial.first, within_ns)
        except LinkError:
            self.meter.overhead(SYN_BYTES)
            return False
        try:
            if self.remote.tls is not None and self.remote.tls.handshake_first:
                return True
            async with asyncio.timeout(within_ns / 1e9):
                greeting = await asyncio.get_running_loop().sock_recv(sock, 1024)
            self.meter.overhead(SYN_BYTES * 8 + len(greeting))
            return greeting.startswith(GREETING)
        except (OSError, TimeoutError):
            return False
        finally:
            sock.close()

    def _carried(self) -> int:
        stats = self.link.conn.stats if self.link is not None else None
        return 0 if stats is None else stats["in_msgs"] + stats["out_msgs"]
