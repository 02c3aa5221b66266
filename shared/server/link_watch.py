"""Whether the peers of leaf links are still there, and what the links that we dialled carry: one look at all of them,
some times within ``dead_after``. ``shared/leaf/pulse.py`` decides about each."""

import logging
import socket
from typing import TYPE_CHECKING

from phloem.shared.kernel import Reason
from phloem.shared.leaf.pulse import LOOKS, Pulse, Sign, Verdict, due_within
from phloem.shared.leaf.tcp import Segments, segments, tuning
from phloem.shared.limits import SECOND_NS
from phloem.shared.net.tcp_settings import settle
from phloem.shared.server.alarms import whole_second
from phloem.shared.server.tls import second_socket

if TYPE_CHECKING:
    from phloem.shared.kernel.reactor import ConnectionStats
    from phloem.shared.server.alarms import Alarm
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.leaf")

QUIET_TIMES = 6  # where bytes cost, a link that has not answered is asked so many times later
LOOK_LEAST_NS = SECOND_NS // 5
SILENT = Segments(0, 0, 0, 0, 0, 0, 0, False)


class Cost:
    """What one dialled link has cost so far; it holds a descriptor of the socket to learn the last of it."""

    __slots__ = ("_payload", "_seen", "sock", "v6")

    def __init__(self, sock: socket.socket) -> None:
        """Takes ``sock``, a duplicate."""
        self.sock = sock
        self.v6 = sock.family == socket.AF_INET6
        self._seen = 0
        self._payload = 0

    def news(self, payload: int) -> tuple[int, int]:
        """Bytes on the wire and of messages since the last time; ``payload``: of messages so far."""
        text = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        seen = (segments(text) or SILENT).wire_bytes(v6=self.v6)
        wire, self._seen = max(seen - self._seen, 0), max(seen, self._seen)
        carried, self._payload = payload - self._payload, payload
        return wire, carried


class Watch:
    """Looks after all links of a server."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._links: dict[Link, Pulse] = {}
        self._settled: set[Link] = (
            set()
        )  # accepted links of a known round trip: left alone while their pulse rests
        self._costs: dict[Link, Cost] = {}
        self._alarm: Alarm | None = None

    def attach(self, sock: socket.socket, *, counted: bool) -> socket.socket | None:
        """A socket is about to become a link's: how TCP watches it; its duplicate, if its bytes are ``counted``."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        link = self._server.options.phloem.link
        try:
            settle(sock, tuning(link.dead_after_ns, quiet=link.metered))
            return sock.dup() if counted else None
        except OSError as error:  # it is over already, and its end will be told
            log.debug("a new link's socket: %s", error)
            return None

    def count(self, link: "Link", sock: socket.socket) -> None:
        """Whoever dialled this link pays for it."""
        self._costs[link] = Cost(sock)

    def begin(self, link: "Link") -> None:
        """A link is up."""
        self._links[link] = Pulse(self._sign(link, link.conn.stats))
        if link.quiet:
            self._settle(link, quiet=True)
        if self._alarm is None:
            self._set()

    def end(self, link: "Link") -> None:
        """A link is over, however far it came."""
        self._links.pop(link, None)
        self._settled.discard(link)
        cost = self._costs.pop(link, None)
        if cost is not None:
            self._server.leafs.meter.settle(*self._news(link, cost))
            cost.sock.close()
        if self._alarm is not None and not self._links and not self._costs:
            self._sleep()
            self._server.leafs.meter.look()  # nobody else does before the next link

    def _sleep(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def stop(self) -> None:
        """The server stops: the last figures are taken."""
        self._sleep()
        for link in list(self._costs):
            self.end(link)
        self._links.clear()
        self._settled.clear()

    def use(self) -> None:
        """``dead_after`` is another one (reload)."""
        for link in self._links:
            self._settle(link, quiet=link.quiet, rtt_ns=link.conn.stats["rtt_ns"])
        if self._alarm is None:
            self._set()

    def _look(self) -> None:
        self._alarm = None
        wire = payload = 0
        now_ns = self._server.clock.monotonic_ns()
        for link, pulse in list(self._links.items()):
            if link not in self._settled or link.quiet or not pulse.rests(now_ns, link.conn.out_msgs):
                self._judge(link, pulse, now_ns)
        for link, cost in self._costs.items():
            more, carried = self._news(link, cost)
            wire, payload = wire + more, payload + carried
        meter = self._server.leafs.meter
        if self._costs or meter.bounded:  # a hub that dials nobody has nothing to account for
            meter.settle(wire, payload)
            meter.look()
        self._set()

    def _set(self) -> None:
        if self._links and (self._costs or self._server.options.phloem.link.dead_after_ns):
            every_ns = self._every_ns
            due_ns = self._server.clock.monotonic_ns() + every_ns
            if every_ns >= SECOND_NS:
                due_ns = whole_second(due_ns)
            self._alarm = self._server.alarms.at(due_ns, self._look)
            self._server.schedule()

    @property
    def _every_ns(self) -> int:
        link = self._server.options.phloem.link
        every_ns = max(link.dead_after_ns // LOOKS, LOOK_LEAST_NS) if link.dead_after_ns else SECOND_NS
        return every_ns * QUIET_TIMES if link.metered else every_ns

    def _judge(self, link: "Link", pulse: Pulse, now_ns: int) -> None:
        dead_after_ns = self._server.options.phloem.link.dead_after_ns
        stats = link.conn.stats
        rtt_ns = stats["rtt_ns"]
        if link.outgoing is not None and rtt_ns:
            link.outgoing.patience.round_trip(rtt_ns)
        if dead_after_ns <= 0 or link.port == 0:  # of a Unix socket the system knows all
            return
        if 8 * rtt_ns > dead_after_ns and not link.slow:
            link.slow = True
            self._settle(link, quiet=link.quiet, rtt_ns=rtt_ns)
        ask_after_ns, patience_ns = (max(time_ns, 4 * rtt_ns) for time_ns in due_within(dead_after_ns))
        if link.quiet:
            ask_after_ns, patience_ns = ask_after_ns * QUIET_TIMES, patience_ns * QUIET_TIMES
        if link.outgoing is None and rtt_ns:
            self._settled.add(link)
        verdict = pulse.look(
            now_ns,
            self._sign(link, stats),
            ask_after_ns=ask_after_ns,
            patience_ns=patience_ns,
            strict=not link.quiet,
        )
        if verdict is Verdict.ASK:
            link.conn.ping()
        elif verdict is Verdict.DEAD:
            log.warning("%s - No sign of life from the peer since it was sent something", link)
            link.conn.close(Reason.STALE, b"Stale Connection")

    def _settle(self, link: "Link", *, quiet: bool, rtt_ns: int = 0) -> None:
        dead_after_ns = self._server.options.phloem.link.dead_after_ns
        if link.conn.closed or link.port == 0:
            return
        try:
            with second_socket(link.conn) as sock:
                settle(sock, tuning(dead_after_ns, quiet=quiet, rtt_ns=rtt_ns))
        except OSError as error:
            log.debug("%s - %s", link, error)

    @staticmethod
    def _sign(link: "Link", stats: "ConnectionStats") -> Sign:
        found = (segments(link.conn.tcp_info()) if link.quiet else None) or SILENT
        return Sign(found.bytes_in, stats["out_msgs"], stats["out_bytes"], stats["pings_out"] > 0)

    @staticmethod
    def _news(link: "Link", cost: Cost) -> tuple[int, int]:
        stats = link.conn.stats
        return cost.news(stats["in_bytes"] + stats["out_bytes"])
