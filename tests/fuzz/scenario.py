"""Carries out Steps on a kernel of its own and looks at everything that comes out.

Numbers in Steps are sets of bits (options of a connection, of CONNECT) or indexes into short lists, taken modulo what
there is. A CONNECT names its options as ``{"n":<number>}``; with the bit LATER the decision comes with a later Step.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from phloem.shared.kernel import KIND_CLIENT, KIND_LEAF, Connection, Kernel, Permissions, Reason
from phloem.shared.kernel.imports import Destination, Mapping, ServiceImport, StreamImport
from phloem.shared.kernel.imports import Step as Made
from tests.fuzz.frames import Nonsense, Received
from tests.fuzz.steps import Step, Steps

if TYPE_CHECKING:
    from phloem.shared.kernel import Served

MS = 1_000_000
CONNECTIONS_MAX = 16
(
    ATTACH_LEAF,
    ATTACH_AUTH,
    ATTACH_PAIR,
    ATTACH_TRACE,
    ATTACH_DEADLINE,
    ATTACH_PING,
    ATTACH_SMALL,
    ATTACH_FEW,
) = (1 << n for n in range(8))
(
    VERBOSE,
    PEDANTIC,
    NO_ECHO,
    HEADERS,
    NO_RESPONDERS,
    SPOKE,
    ISOLATED,
    FIRST_INFO,
    PEER_MAX,
    PINGS,
    LATER,
    FEW,
) = (1 << n for n in range(12))
ACCOUNT, ORIGIN, PERMITS = 12, 14, 16  # where two, two and three bits of a number begin

RIGHTS: tuple[dict[str, list[bytes]], ...] = (
    {},
    {"pub_allow": [b"a.>", b"b", b"r.*"], "sub_allow": [b"a.b", b"b", b"a.c.>", b"r.>", b"c q"]},
    {"pub_deny": [b"a.b", b"*.c"], "sub_deny": [b"a.b", b"c.>"]},
    {"pub_allow": [b"a.*"], "pub_deny": [b"a.c"], "sub_allow": [b">"], "sub_deny": [b"b", b"b.a", b"a.* q*"]},
    {"sub_allow": [b"> q", b"a"], "sub_deny": [b"a.b"]},
    {"pub_allow": [], "sub_allow": []},
)
LIMITS: tuple[dict[str, int], ...] = (
    {},
    {"stall_bytes": 300_000, "stall_ns": 1, "max_pending": 1 << 20},
    {"max_pending": 1_000, "plan_bytes_max": 1},
    {"max_control_line": 20, "max_sub_tokens": 2, "plan_bytes_max": 3_000},
    {"stall": 0, "max_pending": 1 << 18, "ping_interval_ns": MS, "ping_max": 1, "write_deadline_ns": MS},
    {"max_control_line": 65_000, "stall_bytes": 1, "max_pending": 1 << 30},
)
LOOP_SUBJECT = b"$LDS.mine"
WILD = Made("wildcard", (1,))
STREAMS: tuple[tuple[Any, ...], ...] = (
    (b"a.>", b"a.>"),
    (b"a.*", b"b.*", b"b.$1", [Made("literal", text=b"b"), WILD], [Made("literal", text=b"a"), WILD]),
    (b">", b"c.>", b"c.>", [Made("literal", text=b"c"), Made("rest", (0,))], [Made("rest", (1,))]),
    (b"c", b"a"),
    (
        *(b"*.*", b"*.*", b"$2.$1"),
        [WILD, Made("wildcard", (0,))],
        [WILD, Made("wildcard", (0,))],
    ),
    (b"b", b"b"),
)
SERVICES: tuple[tuple[Any, ...], ...] = (
    (b"a.>", b"a.>"),
    (b"b", b"c"),
    (b"a.*", b"c.*", b"c.$1", [Made("literal", text=b"a"), WILD]),
    (b"_R_.>", b"a.>", b"a.>", [Made("literal", text=b"_R_"), Made("rest", (1,))]),
    (b"r.1", b"b"),
    (b">", b">"),
)
MAPPINGS = (
    Mapping(b"a.b", [Destination([Made("literal", text=b"c")], 100)]),
    Mapping(b"a.*", [Destination([WILD, WILD, Made("slicefromleft", (1,), 1)], 30), Destination(None, 60)]),
    Mapping(b"b", [Destination([Made("partition", (), 3), Made("random", (), 2)], 100)]),
    Mapping(b">", [Destination([Made("split", (0,)), Made("rest", (0,))], 100)]),
    Mapping(b"c", []),
)
HOARD: list[bytearray] = []


class Scenario:
    """One kernel and the peers of one input; ``run`` raises what went wrong."""

    def __init__(self) -> None:
        self.kernel = Kernel(self, seed=11)
        self.now = 1_000 * MS
        self.kernel.set_now(self.now)
        self.conns: list[Connection] = []
        self.socks: list[socket.socket | None] = []
        self.paired: list[bool] = []
        self.received: list[Received] = []
        self.outputs: list[bytearray] = []
        self.ended: list[tuple[int, Reason]] = []
        self.heard: list[tuple[bytes, ...]] = []
        self.idents: list[int] = []
        self.loops = 0
        self.accounts = [self.kernel.account(name) for name in ("A", "B", "$SYS")]
        rights: list[Permissions | None] = [None]
        rights += [Permissions(self.kernel, **lists) for lists in RIGHTS]  # type: ignore[arg-type]
        rights.append(Permissions(self.kernel, pub_allow=["a"], response_max=2, response_ttl_ns=5 * MS))
        self.rights = rights

    def run(self, steps: Steps) -> None:
        fds = len(os.listdir("/proc/self/fd"))
        try:
            for number, step in enumerate(steps):
                ACTIONS[step.verb](self, step)
                if number % 8 == 0:
                    self._count()
            for index in range(len(self.conns)):
                self._output(Step("output", index))
            self._count()
        finally:
            self.kernel.close()
            for index, sock in enumerate(self.socks):
                if sock is not None:
                    self._read(index)
                    sock.close()
        totals = self.kernel.totals
        if totals["connections"] or totals["subscriptions"]:
            raise Nonsense(f"left behind: {totals}")
        if sorted(cid for cid, _ in self.ended) != list(range(len(self.conns))):
            raise Nonsense(f"not each end was reported once: {self.ended}")
        if len(os.listdir("/proc/self/fd")) > fds - 2:
            raise Nonsense("a descriptor was not closed")

    def _conn(self, step: Step) -> Connection | None:
        return self.conns[step.who % len(self.conns)] if self.conns else None

    def _count(self) -> None:
        """Three ways to count subscriptions have to agree."""
        total = self.kernel.totals["subscriptions"]
        of_accounts = sum(account.stats["subscriptions"] for account in self.accounts)
        open_ones = self.kernel.connections()
        own = len(self.idents) + self.loops
        own += sum(account.stats["shadows"] + account.stats["crossings"] for account in self.accounts)
        of_connections = sum(conn.stats["subscriptions"] for conn in open_ones) + own
        listed = sum(len(conn.subscriptions()) for conn in open_ones) + own
        if not total == of_accounts == of_connections == listed:
            raise Nonsense(f"subscriptions: {total} {of_accounts} {of_connections} {listed}")

    # --- steps about connections ---------------------------------------------------------------------

    def _attach(self, step: Step) -> None:
        if len(self.conns) == CONNECTIONS_MAX:
            return
        fd, theirs = -1, None
        if step.number & ATTACH_PAIR:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            fd = ours.detach()
        leaf = bool(step.number & ATTACH_LEAF)
        self.conns.append(
            self.kernel.attach(
                fd,
                KIND_LEAF if leaf else KIND_CLIENT,
                len(self.conns),
                self.accounts[0],
                self.now,
                must_auth=bool(step.number & ATTACH_AUTH),
                trace=bool(step.number & ATTACH_TRACE),
                deadline_ns=self.now + MS if step.number & ATTACH_DEADLINE else 0,
                ping_due_ns=self.now + MS if step.number & ATTACH_PING else 0,
                max_payload=20 if step.number & ATTACH_SMALL else 1 << 20,
                max_subs=3 if step.number & ATTACH_FEW else -1,
            )
        )
        self.socks.append(theirs)
        self.paired.append(theirs is not None)
        self.received.append(Received(leaf))
        self.outputs.append(bytearray())

    def _configure(self, step: Step) -> None:
        conn = self._conn(step)
        if conn is None or conn.closed:
            return
        if not self.paired[conn.cid]:
            self._output(step)
        else:
            self.received[conn.cid].strict = False  # what was told before is still on its way
        n = step.number
        account = self.accounts[(n >> ACCOUNT) & 3] if (n >> ACCOUNT) & 3 < len(self.accounts) else None
        conn.configure(
            account=account,
            permissions=self.rights[((n >> PERMITS) & 7) % len(self.rights)],
            verbose=bool(n & VERBOSE) and conn.kind == KIND_CLIENT,
            pedantic=bool(n & PEDANTIC),
            echo=not n & NO_ECHO,
            headers=bool(n & HEADERS),
            no_responders=bool(n & NO_RESPONDERS),
            spoke=bool(n & SPOKE),
            isolated=bool(n & ISOLATED),
            first_info=b"INFO {}\r\n" if n & FIRST_INFO else None,
            peer_max_payload=10 if n & PEER_MAX else 0,
            ping_due_ns=self.now + MS if n & PINGS else 0,
            max_subs=4 if n & FEW else -1,
            origin=(n >> ORIGIN) & 3,
        )
        self.received[conn.cid].told.clear()

    def _permissions(self, step: Step) -> None:
        if conn := self._conn(step):
            self.received[conn.cid].strict = False  # interest is told by the permissions of the time
            conn.set_permissions(self.rights[step.number % len(self.rights)])

    def _feed(self, step: Step) -> None:
        if conn := self._conn(step):
            sock = self.socks[conn.cid]
            if not self.paired[conn.cid]:
                conn.feed(step.data)
            elif sock is not None:
                with suppress(BlockingIOError, BrokenPipeError, OSError):
                    sock.send(step.data)
                self.kernel.tick(self.now)

    def _flood(self, step: Step) -> None:
        """Many times the same."""
        self._feed(step._replace(data=step.data * (1 + step.number % 2000)))

    def _output(self, step: Step) -> None:
        if conn := self._conn(step):
            if self.paired[conn.cid]:
                self._read(conn.cid)
                self.kernel.tick(self.now)
                return
            data = conn.output()
            self.outputs[conn.cid] += data
            self.received[conn.cid].add(data)

    def _read(self, index: int) -> None:
        sock = self.socks[index]
        with suppress(BlockingIOError, OSError):
            while sock is not None and (data := sock.recv(1 << 16)):
                self.received[index].add(data, whole=False)

    def _hangup(self, step: Step) -> None:
        if conn := self._conn(step):
            sock, self.socks[conn.cid] = self.socks[conn.cid], None
            if sock is not None:
                sock.close()
                self.received[conn.cid] = Received(conn.kind == KIND_LEAF)

    def _link_up(self, step: Step) -> None:
        conn = self._conn(step)
        if conn is not None and conn.kind == KIND_LEAF:
            conn.link_up()

    def _close(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.close(list(Reason)[step.number % len(Reason)], step.data.replace(b"\n", b""))

    def _send(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.send(step.data)

    def _complain(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.complain(b"Watch out")

    def _wait(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.wait()

    def _resume(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.resume()

    def _limit(self, step: Step) -> None:
        if conn := self._conn(step):
            conn.limit(max_payload=step.number % 100, max_subs=-1, trace=bool(step.number & 1))

    # --- steps about the kernel ------------------------------------------------------------------------

    def _publish(self, step: Step) -> None:
        parts = [*step.data.replace(b"\n", b"").replace(b" ", b"").split(b"|"), b"", b"", b""]
        with suppress(ValueError):
            self.kernel.publish(self.accounts[step.number % 3], parts[0], parts[1], parts[2], parts[3])

    def _subscribe(self, step: Step) -> None:
        subject, _, queue = step.data.partition(b"|")
        with suppress(ValueError):
            account = self.accounts[step.number % 3]
            self.idents.append(self.kernel.subscribe(account, subject, queue or None, self._hear))

    def _hear(self, *message: bytes) -> None:
        self.heard.append(message)

    def _unsubscribe(self, step: Step) -> None:
        if self.idents:
            self.kernel.unsubscribe(self.idents.pop(step.number % len(self.idents)))

    def _loop_subject(self, step: Step) -> None:
        with suppress(ValueError):
            self.accounts[step.number % 3].set_loop_subject(LOOP_SUBJECT)
            self.loops += 1

    def _stream_imports(self, step: Step) -> None:
        """The lowest bits say whose, the others which."""
        whose, which = step.number % 3, step.number // 3
        streams = [
            StreamImport(self.accounts[(whose + 1 + n % 2) % 3], *stream)
            for n, stream in enumerate(STREAMS)
            if which >> n & 1
        ]
        self.accounts[whose].set_stream_imports(streams)

    def _service_imports(self, step: Step) -> None:
        whose, which = step.number % 3, step.number // 3
        services = [
            ServiceImport(
                self.accounts[(whose + 1 + n % 2) % 3],
                *service,
                reply_kind=which % 3,
                threshold_ns=MS * (1 + which % 5),
                share=bool(which & 4),
                export_id=n % 3,
                sampling=(-1, 0, 50, 100)[which % 4],
            )
            for n, service in enumerate(SERVICES)
            if which >> n & 1
        ]
        self.accounts[whose].set_service_imports(services)
        if conn := self._conn(step):
            conn.set_identity(*((b'{"acc":"A"', b"", b"", b',"kind":"x"') if which & 1 else (None,)))

    def _mappings(self, step: Step) -> None:
        whose, which = step.number % 3, step.number // 3
        self.accounts[whose].set_mappings([one for n, one in enumerate(MAPPINGS) if which >> n & 1])

    def _sweep(self, step: Step) -> None:
        self.now += step.number * MS
        self.kernel.sweep(self.now)

    def _tick(self, step: Step) -> None:
        self.now += step.number * MS
        self.kernel.tick(self.now)

    def _limits(self, step: Step) -> None:
        self.kernel.set_limits(**LIMITS[step.number % len(LIMITS)])  # type: ignore[arg-type]

    def _hoard(self, step: Step) -> None:
        """A fault of our own, for the test of the watch over memory; no input that is made has it."""
        HOARD.append(bytearray(1_000))

    # --- what the kernel tells --------------------------------------------------------------------------

    def on_connect(self, conn: Connection, body: bytes) -> None:
        digits = bytes(b for b in body if b"0"[0] <= b <= b"9"[0])[:7]
        number = int(digits or b"0")
        if conn.kind == KIND_CLIENT and number & LATER:
            return
        self._configure(Step("configure", conn.cid, number))
        if conn.kind == KIND_LEAF:
            conn.link_up()
        conn.resume()

    def on_info(self, conn: Connection, body: bytes) -> None:
        conn.resume()

    def on_err(self, conn: Connection, text: bytes) -> None:
        if b"close" in text:
            conn.close(Reason.CLIENT_CLOSED)
        conn.resume()

    def on_loop(self, conn: Connection) -> None:
        conn.close(Reason.LOOP_DETECTED, b"Loop detected")

    def on_complaint(self, conn: Connection, text: bytes) -> None:
        if not text:
            raise Nonsense("a complaint without words")

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        self.ended.append((conn.cid, reason))
        if not self.paired[conn.cid]:
            data = conn.output()
            self.outputs[conn.cid] += data
            self.received[conn.cid].add(data)

    def on_served(self, served: "Served") -> None:
        if served["status"] not in (200, 400, 408, 503, 504):
            raise Nonsense(f"a status: {served}")

    def on_trace(self, conn: Connection, direction: str, data: bytes) -> None:
        if direction not in ("<<-", "->>", "MSG_PAYLOAD"):
            raise Nonsense(direction)


ACTIONS: dict[str, Callable[[Scenario, Step], None]] = {
    name[1:]: method
    for name, method in vars(Scenario).items()
    if name[0] == "_" and name[1] != "_" and name not in ("_conn", "_count", "_read", "_hear")
}
