"""The typed contract of the kernel's Python face (reactor.pyx, objects.pxi).

All of it belongs to one thread. Times are integers of CLOCK_MONOTONIC nanoseconds and are handed in. Subjects,
queue names and payloads are bytes. A method called outside of ``Kernel.tick`` takes effect at once; inside an
event handler it takes effect before the tick returns.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypedDict

from phloem.shared.kernel.imports import Mapping, ServiceImport, StreamImport
from phloem.shared.kernel.reasons import Reason

KIND_CLIENT: int
KIND_LEAF: int
BUILD: str  # "compiled"

def heap_one_arena() -> None:
    """Threads that begin from now on share the first one's heap (glibc), so that what one of them frees serves all."""

def heap_give_back() -> None:
    """Pages that were freed go back to the system: an import or a move leaves megabytes in pieces."""

NUMBERS: dict[str, int]  # close reasons as the kernel knows them

class ConnectionStats(TypedDict):
    in_msgs: int
    in_bytes: int
    out_msgs: int
    out_bytes: int
    subscriptions: int
    pending_bytes: int
    rtt_ns: int  # of a client before its first PONG an estimate; 0: not known yet
    start_ns: int
    last_ns: int
    stalls: int
    in_ns: int  # when the last message or PING came in
    pings_out: int  # PINGs that have not been answered

class Carried(TypedDict):
    """Bytes of a connection: of the protocol, of what compression makes of it (the same without), and on the socket,
    which with TLS is more. What is compressed or sealed counts although it may not be out yet; a TLS handshake does
    not count."""

    in_plain: int
    in_packed: int
    in_socket: int
    out_plain: int
    out_packed: int
    out_socket: int

class AccountStats(TypedDict):
    subscriptions: int
    cache: int
    cache_bytes: int
    inserts: int
    removes: int
    matches: int
    cache_hits: int
    links: int
    shadows: int  # subscriptions of accounts that import streams of this one
    replies: int  # requests to services of this account that wait for an answer
    waiting: int  # requests of this account to others' services that do
    crossings: int  # subscriptions of the server itself, for imported services, replies and mappings

class Served(TypedDict):
    """A measured request to a service. Times are those of the kernel's clock, ``requester`` and ``responder`` cids (0:
    nobody, or the server itself)."""

    export_id: int
    status: int  # 200, 400, 408, 503, 504
    share: bool
    requester: int
    responder: int
    start_ns: int
    end_ns: int
    header: bytes  # the request's headers, if they asked to be measured

class Totals(TypedDict):
    in_msgs: int
    in_bytes: int
    out_msgs: int
    out_bytes: int
    subscriptions: int
    connections: int
    slow_clients: int
    slow_leafs: int
    stale_clients: int
    stale_leafs: int
    stalled_clients: int
    inbox_dropped: int

Subscription = tuple[bytes, bytes | None, bytes, int, int]
"""Subject, queue, sid, messages delivered, max (0: no limit)."""

class Events(Protocol):
    """What the kernel leaves to Python. Parsing of ``conn`` stands still after ``on_connect``, ``on_info``, ``on_err``
    and ``on_loop`` until ``conn.resume()`` or ``conn.close(...)``, which may also be called later."""

    def on_connect(self, conn: Connection, body: bytes) -> None:
        """CONNECT's argument, usually JSON. Answer with ``configure`` and ``resume``, or ``close``."""
    def on_info(self, conn: Connection, body: bytes) -> None:
        """INFO from the other end of a leaf link."""
    def on_err(self, conn: Connection, text: bytes) -> None:
        """``-ERR`` from the other end of a leaf link; ``text`` has its quotes."""
    def on_loop(self, conn: Connection) -> None:
        """This server's own loop detection subject came back over a leaf link."""
    def on_complaint(self, conn: Connection, text: bytes) -> None:
        """An ``-ERR`` with this text was sent to the peer; for the log."""
    def on_closed(self, conn: Connection, reason: Reason) -> None:
        """The connection is gone; ``conn.stats`` has its last counters. Called once for every attached one."""
    def on_served(self, served: Served) -> None:
        """A request whose latency is measured is over."""
    def on_trace(self, conn: Connection, direction: str, data: bytes) -> None:
        """An operation of a traced connection: direction ``<<-``, ``->>`` or ``MSG_PAYLOAD``."""

class Permissions:
    """What a user may publish (``pub_*``) and receive (``sub_*``), compiled. ``None`` allows everything.

    Entries are valid subjects, wildcards allowed; one of ``sub_*`` may be ``"subject queue"``. For a leaf link ``pub``
    is what the peer may send to us, ``sub`` what may go to the peer. ``response_max`` other than 0 tracks replies:
    the user may answer what it received that many times (negative: always) within ``response_ttl_ns`` (negative:
    for ever), and without ``pub_allow`` may publish nothing else.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        pub_allow: Iterable[str | bytes] | None = None,
        pub_deny: Iterable[str | bytes] = (),
        sub_allow: Iterable[str | bytes] | None = None,
        sub_deny: Iterable[str | bytes] = (),
        response_max: int = 0,
        response_ttl_ns: int = 0,
    ) -> None: ...

class Account:
    """A subject space. Made by ``Kernel.account``."""

    name: str
    @property
    def stats(self) -> AccountStats: ...
    def set_loop_subject(self, subject: bytes) -> None:
        """This server's ``$LDS.<unique>`` in this account: advertised on links, recognised when it comes back. Once."""
    def set_stream_imports(self, imports: Sequence[StreamImport]) -> None:
        """From now on exactly these; what was imported before goes on without a gap. Raises ValueError for what is no
        subject, and then nothing has changed; so do the next two."""
    def set_service_imports(self, imports: Sequence[ServiceImport]) -> None:
        """Likewise. Requests that are on their way keep their answers."""
    def set_mappings(self, mappings: Sequence[Mapping]) -> None:
        """Where what clients and links publish goes; the first that covers a subject counts."""

class Connection:
    """One connection. Valid for reading after its end; methods that act then do nothing."""

    cid: int
    kind: int
    account: Account
    permissions: Permissions | None
    owner: object  # for the caller's use
    @property
    def closed(self) -> bool: ...
    @property
    def stats(self) -> ConnectionStats: ...
    @property
    def out_msgs(self) -> int:
        """As in ``stats``, for whoever looks at many connections."""
    def send(self, data: bytes) -> None:
        """Appends protocol bytes (INFO, CONNECT, +OK ...) to the output."""
    def complain(self, text: bytes) -> None:
        """``-ERR 'text'``; the connection stays."""
    def close(self, reason: int, text: bytes = b"") -> None:
        """Ends the connection, with ``-ERR 'text'`` first if there is a text."""
    def configure(
        self,
        *,
        account: Account | None = None,
        permissions: Permissions | None = None,
        verbose: bool = False,
        pedantic: bool = False,
        echo: bool = True,
        headers: bool = False,
        no_responders: bool = False,
        max_subs: int = -1,
        max_payload: int = -1,
        peer_max_payload: int = 0,
        first_info: bytes | None = None,
        ping_due_ns: int = 0,
        origin: int = 0,
        spoke: bool = False,
        isolated: bool = False,
        stand_in: bool = False,
    ) -> None:
        """The outcome of CONNECT: drops earlier subscriptions, ends the authentication deadline. (A client that needs
        no CONNECT keeps what it subscribed before the first one, in the same account.)

        ``first_info``: protocol bytes sent behind the first PONG. ``ping_due_ns``: when the first PING is due.
        ``max_subs`` -1 is no limit, ``max_payload`` -1 keeps it. Leaf links: ``origin`` numbers the peer's cluster
        name (0: none; messages and interest never go from one link to another of the same origin), ``spoke``: the peer
        is the hub, ``isolated``: not told of other leafs' interest, ``peer_max_payload``: larger messages are not sent.
        ``stand_in``: not CONNECT's outcome but what holds if another verb comes first, which then counts as CONNECT;
        the deadline holds until then.
        """
    def limit(self, *, max_payload: int, max_subs: int, trace: bool) -> None:
        """New limits of a live connection; -1 for none."""
    def set_permissions(self, permissions: Permissions | None) -> None:
        """New permissions of a live client (reload); subscriptions no longer allowed end with an -ERR."""
    def set_identity(
        self, head: bytes | None, middle: bytes = b"", server: bytes = b"", tail: bytes = b""
    ) -> None:
        """What services of other accounts are told of this connection, as JSON in pieces: ``head`` from the brace to
        the account, ``middle`` up to the round trip, ``server`` the server and its cluster, ``tail`` the rest without
        the brace. Without it (None) there are the account and the round trip only."""
    def link_up(self) -> None:
        """Leaf link: joins the account's links and sends LS+ for all interest the peer should know."""
    def set_deadline(self, deadline_ns: int, *, ping_due_ns: int = 0) -> None:
        """``-ERR 'Authentication Timeout'`` and the end at this time, unless ``configure`` comes first; 0: none.
        ``ping_due_ns``: when the first PING is due; 0 changes nothing."""
    def set_ping_interval(self, interval_ns: int) -> None:
        """PINGs of this connection alone; 0: as all. What is due already stays due. Who is heard within the interval is
        not asked, not even a hub."""
    def ping(self) -> bool:
        """A PING now, unless one is on its way; whether it was sent."""
    def tcp_info(self) -> bytes:
        """``struct tcp_info`` of linux/tcp.h; empty if it is no TCP connection, or closed."""
    def wait(self) -> None:
        """Parsing stands still until ``resume``."""
    def resume(self) -> None: ...
    def duplicate(self) -> int:
        """A descriptor of the same socket, for a handshake while the connection waits; the caller closes it. Raises
        ValueError for a closed connection, OSError without descriptors."""
    def secure(self, session: object, ssl: int, into: int, out_of: int) -> None:
        """From now on the connection, which is waiting, speaks TLS: addresses of an SSL object that has shaken hands
        and of its two memory BIOs, all kept alive by ``session``. ``resume`` serves what came behind the handshake.
        Needs ``tls.use``. Raises ValueError if plain bytes are left in either direction."""
    def compress(self, level: int, limits_ns: Sequence[int] = ()) -> None:
        """From now on the link speaks S2, in both directions: what was sent before goes out plain, what was read behind
        the last line is the peer's stream. The connection is waiting. With S2 already, only the level changes.

        ``level``: 0 framed only, 1 fast, 2 better, 3 best. ``limits_ns``: up to four round trips, each the longest of
        its level, by which every PONG sets it; none: it stays. Raises ValueError for a connection without a socket."""
    @property
    def level(self) -> int | None:
        """The level that what is sent gets now; None: no compression."""
    @property
    def carried(self) -> Carried: ...
    @property
    def secured(self) -> bool:
        """Whether it speaks TLS."""
    def feed(self, data: bytes) -> None:
        """Input of a connection without a socket."""
    def output(self) -> bytes:
        """Takes the output of a connection without a socket."""
    def subscriptions(self) -> list[Subscription]: ...

class Kernel:
    """The reactor. Watch ``fileno()`` for reading and call ``tick``; call ``sweep`` when its return value is due."""

    def __init__(self, events: Events, *, seed: int) -> None:
        """``seed``: 64 random bits for hashing and queue choice. Raises OSError."""
    def set_limits(
        self,
        *,
        max_control_line: int = 4096,
        max_sub_tokens: int = 0,
        max_pending: int = ...,
        write_deadline_ns: int = ...,
        leaf_write_deadline_ns: int = ...,
        ping_interval_ns: int = ...,
        ping_max: int = 2,
        stall: bool = True,
        stall_bytes: int = ...,
        stall_ns: int = ...,
        plan_bytes_max: int = ...,
        linger_ns: int = 0,
        replies_max: int = ...,
    ) -> None:
        """Replaces all limits. ``replies_max``: requests to services of one account that may wait for an answer;
        beyond them the oldest is forgotten. ``linger_ns`` (at most 1 ms): how long a tick looks for what follows at
        once; for a process of its own, not for a loop that others share. Raises ValueError for a control line outside
        1 to 65,000."""
    def introduce(self, mark: bytes, server: bytes) -> None:
        """This server, for services: 8 bytes in reply subjects that are measured, and the JSON that names server and
        cluster to the system account (``,"server":"..."``)."""
    def fileno(self) -> int: ...
    def account(self, name: str, *, system: bool = False) -> Account:
        """The account of this name, made on first use; whether it is the system account is said then."""
    def attach(
        self,
        fd: int,
        kind: int,
        cid: int,
        account: Account,
        now_ns: int,
        *,
        must_auth: bool = False,
        deadline_ns: int = 0,
        ping_due_ns: int = 0,
        max_payload: int = ...,
        max_subs: int = -1,
        trace: bool = False,
        may_agree: bool = False,
    ) -> Connection:
        """Takes over a connected, non-blocking socket (-1: none). The kernel closes it."""
    def tick(self, now_ns: int) -> None:
        """Serves what is ready. Raises what an event handler raised, after all were told."""
    def sweep(self, now_ns: int) -> int:
        """Timeouts, PINGs, write deadlines; when the next is due (0: nothing is)."""
    @property
    def due_ns(self) -> int:
        """When ``sweep`` has to be called next; may have become earlier after any other call."""
    def set_now(self, now_ns: int) -> None:
        """The time for what ``feed`` causes."""
    def publish(
        self, account: Account, subject: bytes, reply: bytes = b"", header: bytes = b"", body: bytes = b""
    ) -> int:
        """A message from the server itself; the number of receivers. Raises ValueError for a subject or reply of more
        than 65,000 bytes or a message of 2 GiB."""
    def publish_all(self, account: Account, messages: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """As ``publish``, of many: subjects, header blocks and payloads. What they cause happens once, behind the
        last of them."""
    def unlistened(self, account: Account, subjects: Iterable[bytes]) -> list[bytes]:
        """Those for which ``listened`` is false."""
    def listened(self, account: Account, subject: bytes) -> bool:
        """Whether there is a subscription to exactly this subject, wildcards not counted."""
    def interested(self, account: Account, subject: bytes) -> bool:
        """Whether a message to this subject would reach anybody, be it over a link."""
    def subscribe(
        self,
        account: Account,
        subject: bytes,
        queue: bytes | None,
        callback: Callable[[bytes, bytes, bytes, bytes], None] | None,
    ) -> int:
        """Interest of the server itself. ``callback(subject, reply, header, body)`` runs at the end of the tick.
        Raises ValueError for what is no subject."""
    def unsubscribe(self, ident: int) -> None: ...
    @property
    def source_cid(self) -> int:
        """Inside a callback of ``subscribe``: the connection that published the message; 0: the server itself."""
    def watch(self, fd: int) -> None:
        """A descriptor that makes ``fileno()`` readable, so that a tick does the engine's work. Raises OSError."""
    def settle(self) -> None:
        """Does now what is left to do: the engine's work, flushes, reports."""
    @property
    def totals(self) -> Totals: ...
    def connections(self) -> list[Connection]:
        """All that are open, newest first."""
    def close(self) -> None:
        """Ends all connections (``on_closed`` is called for each) and frees everything."""
