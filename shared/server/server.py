"""The server: owns the kernel, the listeners and the links, and their life cycle.

``async with Server(options) as server`` starts everything or nothing: when a port is taken or a rule is broken,
what was already opened is closed again and the error raised. Leaving the block closes every connection and
leaves no task or descriptor behind. (The loop's own executor, for bcrypt and names, stays with the loop.)

The loop watches the kernel's descriptor; ``schedule`` keeps one timer for whatever the kernel has to do next.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, SYSTEM_ACCOUNT
from phloem.shared.clock import Clock, SystemClock
from phloem.shared.kernel import BUILD, KIND_LEAF, Account, Connection, Kernel, Reason
from phloem.shared.security.nkeys import KEY_BYTES, KeyPair, Prefix, encode
from phloem.shared.server.accounts import Accounts
from phloem.shared.server.alarms import Alarms, whole_second
from phloem.shared.server.clients import Client, Clients
from phloem.shared.server.definitions import definitions
from phloem.shared.server.greeting import client_info
from phloem.shared.server.lame_duck import LameDuck
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.leafnodes import LeafLinks
from phloem.shared.server.listeners import Listeners
from phloem.shared.server.load import as_options
from phloem.shared.server.login import Login, authenticator
from phloem.shared.server.members import Members
from phloem.shared.server.monitor_source import ServerSource
from phloem.shared.server.options import Options
from phloem.shared.server.system.no_events import NoEvents
from phloem.shared.server.system.system import System
from phloem.shared.server.tls import TlsState
from phloem.shared.server.uplink import Uplink
from phloem.shared.server.validation import validate, validate_product
from phloem.shared.wire.info import Info

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

    from phloem.shared.kernel import Served
    from phloem.shared.server.jetstream.system import JetStream
    from phloem.shared.server.monitor.pages import Monitor
    from phloem.shared.server.monitor.records import FleetFigures

log = logging.getLogger("phloem.server")


class Server:
    """A NATS server inside an asyncio program.

    ``config`` is an ``Options``, the path of a configuration file, or a mapping with the file's keys, such as
    ``{"port": -1}`` for any free port. ``clock`` and ``seed`` are handed in by tests.

    Raises (from ``start``):
        ConfigError: The configuration cannot be used.
        PortInUse: An address to listen on is taken.
    """

    # What products change beside the options.
    plan_bytes_max: ClassVar[int] = limits.PLAN_BYTES
    generation_bytes: ClassVar[int] = limits.GENERATION_BYTES
    sparing: ClassVar[bool] = False  # memory that is free goes back to the system soon
    linger_ns = 0  # a process of its own sets it: nobody else waits for this loop
    serves_serial_ports: ClassVar[bool] = False
    forwards: ClassVar[bool] = False
    collects: ClassVar[bool] = False
    keeps_twin: ClassVar[bool] = False

    def __init__(
        self,
        config: Options | str | os.PathLike[str] | dict[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.options = config if isinstance(config, Options) else as_options(config)
        self.clock: Clock = clock or SystemClock()
        # keys and nonces come from it, and whoever sees enough of what a Mersenne twister says knows all of it
        self.rng = random.SystemRandom() if seed is None else random.Random(seed)
        self.key = KeyPair(Prefix.SERVER, self.rng.randbytes(KEY_BYTES))
        self.curve = KeyPair(Prefix.CURVE, self.rng.randbytes(KEY_BYTES))
        self.server_id = self.key.public_key
        self.log = log
        self.start_wall_ns = 0
        self.start_ns = 0
        self.config_load_wall_ns = self.clock.wall_ns()
        self.kernel: Kernel
        self.clients: Clients
        self.leafs: LeafLinks
        self.tls = TlsState(self)
        self.source = ServerSource(self)
        self.monitor: Monitor | None = None
        self.jetstream: JetStream | None = None
        self.system: System | None = None
        self.events = NoEvents()
        # Listened on by systemd already; a process sets it before ``start``
        self.inherited: list[socket.socket] = []
        self.status_words: Callable[[], Sequence[str]] = tuple  # what a product adds for ``systemctl status``
        self.ports_told: Callable[[bytes], None] | None = None  # takes what a bridge beside a device says
        self.reload: Callable[[], None] | None = None  # set by a process that has a configuration file
        self.auth = authenticator(self.options)
        self.login = Login(self)
        self.members = Members(self)
        self.ldm: LameDuck | None = None
        self._listeners = Listeners()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.alarms = Alarms()
        self._cid = 0
        self.ready = False  # everything is open; stays so until the end
        self.accounts: dict[str, Account] = {}
        self.crossings = Accounts(self)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._stopped: asyncio.Event
        self._gone: asyncio.Event

    # --- life cycle --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything; on return clients are served."""
        validate(self.options)
        validate_product(self, self.options)
        for notice in self.options.notices:
            log.info("%s", notice)
        self._loop = asyncio.get_running_loop()
        self._stopped, self._gone = asyncio.Event(), asyncio.Event()
        self.start_wall_ns, self.start_ns = self.clock.wall_ns(), self.clock.monotonic_ns()
        self.kernel = Kernel(self, seed=self.rng.getrandbits(64))
        self.apply_limits()
        self.clients = Clients(self)
        self.leafs = LeafLinks(self)
        self.crossings.begin()
        self._loop.add_reader(self.kernel.fileno(), self._tick)
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        o = self.options
        self.tls.use(self.tls.prepare(o))
        await self.login.start()
        for name in o.account_names:
            self.account(name)
        if self.login.trusted is None:
            self.crossings.define(definitions(o))
        self.use_jetstream()
        self._use_system()
        if o.http_port or o.https_port:
            from phloem.shared.server.monitor.pages import Monitor  # noqa: PLC0415  (nor for HTTP without a port)

            scheme = "https" if o.https_port else "http"
            self.monitor = Monitor(self.source, tls=self.tls.monitoring if o.https_port else None)
            await self.monitor.start(o.http_host or o.host, max(o.http_port or o.https_port, 0))
            log.info("Starting %s monitor on %s:%d", scheme, o.http_host or o.host, self.monitor.port)
        if self._stopped.is_set():  # stopped while it was starting
            return
        self._listeners.open(self)
        self.leafs.start()
        self.ready = True
        log.info("Server is ready")

    async def stop(self) -> None:
        """Close everything. May be called more than once; each call returns when everything is closed."""
        if self._stopped.is_set():
            await self._gone.wait()
            return
        self._stopped.set()
        log.info("Initiating Shutdown...")
        try:
            await self._close()
        finally:
            self._gone.set()
        log.info("Server Exiting..")

    async def _close(self) -> None:
        if self.system is not None:
            self.system.stop()
            self.system, self.events = None, NoEvents()
        if self.ldm is not None:
            self.ldm.cancel()
        self._listeners.close()
        await self.leafs.stop()
        await self.login.stop()
        if self.monitor is not None:
            await self.monitor.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.kernel.fileno())
        if self.jetstream is not None:
            self.jetstream.stop()
        self.kernel.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_stopped(self) -> None:
        """Until ``stop`` has begun, by whom ever."""
        await self._stopped.wait()

    def stop_accepting(self) -> None:
        """No new clients; those connected stay."""
        self._listeners.close_to_clients()

    def lame_duck(self) -> None:
        """Begin lame duck mode: stop accepting, tell clients, close them one by one, stop."""
        if self.ldm is None:
            self.ldm = LameDuck(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def connect(self, **options: Any) -> "NatsClient":
        """A nats-py client of this server that does without TCP; ``options`` are those of ``nats.connect``."""
        from phloem.shared.server.in_process import connect_in_process  # noqa: PLC0415  (a broker has no use for nats-py)

        return await connect_in_process(self.clients, **options)

    def connect_socket(self) -> socket.socket:
        """The client's end of a new in-process connection, for any other client library."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.clients.adopt(ours)
        return theirs

    # --- what others ask ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The configured name, the server's id without one."""
        return self.options.server_name or self.server_id

    @property
    def tags(self) -> tuple[str, ...]:
        """The configured tags, which are known in any case, in lower case."""
        return tuple(tag.lower() for tag in self.options.server_tags)

    @property
    def build(self) -> str:
        """How the kernel was built."""
        return BUILD

    @property
    def port(self) -> int:
        """The port for clients that was really bound; 0 when nobody listens."""
        return self._listeners.port

    @property
    def leaf_port(self) -> int:
        """The port for leafnodes; 0 without a listener."""
        return self._listeners.leaf_port

    @property
    def client_url(self) -> str:
        """What a client on this machine connects to."""
        host = self.options.host
        host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        scheme = "nats" if self.tls.clients is None else "tls"
        return f"{scheme}://{host}:{self.port}"

    def device_figures(self) -> "Mapping[str, Any]":
        """Disk, wear and clock, of a server that is a device."""
        return {}

    def client_info(self, *, tls_first: bool = False, port_used: int = 1, **fields: Any) -> Info:
        """INFO for a client, with ``fields`` set as well; without a ``port_used`` it came from this machine, where
        there is no TLS."""
        return client_info(self, **self.tls.in_info(port_used, tls_first=tls_first), **fields)

    def fleet(self) -> "Sequence[FleetFigures]":
        """Who forwards to this server, by account: nobody, if it is no hub."""
        return ()

    def next_cid(self) -> int:
        """A number for a new connection."""
        self._cid += 1
        return self._cid

    def account(self, name: str = GLOBAL_ACCOUNT) -> Account:
        """The account; on first use it gets this server's loop detection subject."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = self.kernel.account(name, system=self.is_system(name))
            token = encode(Prefix.SERVER, self.rng.randbytes(KEY_BYTES))[1:23]
            account.set_loop_subject(f"$LDS.{token}".encode())
            if self.system is not None:
                self.system.serve(account)
        return account

    @property
    def uplinks(self) -> list[Uplink]:
        """The hubs that this server dials, up or not."""
        return self.leafs.remotes.uplinks

    @property
    def system_account(self) -> str:
        """The account's name; empty without one, which JetStream, as in nats-server, does not do without."""
        o = self.options
        wanted = o.jetstream is not None and o.jetstream.on
        return o.system_account or (SYSTEM_ACCOUNT if wanted else "")

    def is_system(self, account: str) -> bool:
        """Whether this is the system account."""
        return account == self.system_account

    def first_ping_ns(self, first_ns: int) -> int:
        """How long after CONNECT the first PING is due: soon, to learn the round trip, with 0 to 20 % jitter."""
        first_ns = min(first_ns, self.options.ping_interval_ns)
        return first_ns + self.rng.randrange(first_ns // 5 + 1)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task that ends with the server at the latest."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- configuration -----------------------------------------------------------------------------

    def use_authorization(self, new: Options) -> None:
        """Reload: clients whose credentials are no longer good are closed, the others get their new permissions."""
        self.auth = authenticator(new)
        self.members.forget_rules()
        for name in new.account_names:
            self.account(name)
        self.login.reload()
        self.clients.recheck()
        self.leafs.recheck()
        self.members.shrink()

    def prepare(self, new: Options) -> Callable[[], None]:
        """Reload: what may fail of what a product has beside the server. Raises ConfigError; gives what takes it back.
        The options are still the old ones."""
        return lambda: None

    def reloaded(self, old: Options) -> None:
        """Reload: all of the server's own is done; what a product has beside it follows."""

    def use_jetstream(self) -> None:
        """Keep streams as the options say, or no more. Raises ConfigError; then all is as it was."""
        wanted = self.options.jetstream
        if wanted is None or not wanted.on:
            if self.jetstream is not None:
                self.jetstream.switch_off()
                self.jetstream = None
        elif self.jetstream is not None:
            self.jetstream.relimit(wanted)
        else:
            from phloem.shared.server.jetstream.system import opened  # noqa: PLC0415  (only whoever keeps streams pays for it)

            self.jetstream = opened(self)
            self._use_system()

    def _use_system(self) -> None:
        """Answer in the system account, if there is one."""
        if self.system_account and self.system is None:
            self.system = System(self)
            self.events = self.system.events

    def apply_limits(self) -> None:
        """Tell the kernel the limits of the current options."""
        o = self.options
        self.kernel.set_limits(
            max_control_line=o.max_control_line,
            max_sub_tokens=o.max_sub_tokens,
            max_pending=o.max_pending,
            write_deadline_ns=o.write_deadline_ns,
            leaf_write_deadline_ns=o.leafnodes.write_deadline_ns or o.write_deadline_ns,
            ping_interval_ns=o.ping_interval_ns,
            ping_max=o.ping_max,
            stall=not o.no_fast_producer_stall,
            plan_bytes_max=self.plan_bytes_max,
            linger_ns=self.linger_ns,
        )

    # --- the kernel's events -----------------------------------------------------------------------

    def _tick(self) -> None:
        js = self.jetstream
        if js is not None:
            js.before_tick()
        self.kernel.tick(self.clock.monotonic_ns())
        if js is not None:
            js.after_tick()
        self.schedule()

    def call_later(self, seconds: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        """A timer of the server's loop; what the work causes takes effect at once."""
        return self._loop.call_later(seconds, lambda: self.do(work))

    def call_about(self, seconds: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        """As ``call_later``, at the nearest whole second: for what is looked at each second or less often."""
        now_ns = self.clock.monotonic_ns()
        return self.call_later((whole_second(now_ns + round(seconds * 1e9)) - now_ns) / 1e9, work)

    def do(self, work: Callable[[], object]) -> None:
        """Work outside of a tick; what it causes takes effect at once."""
        self.kernel.set_now(self.clock.monotonic_ns())
        work()
        self.kernel.settle()
        self.schedule()

    def schedule(self) -> None:
        """One timer for the kernel's next deadline."""
        due = min(filter(None, (self.kernel.due_ns, self.alarms.due_ns)), default=0)
        if due == 0 or (self._timer is not None and self._timer_ns <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due
        self._timer = self._loop.call_later(max(due - self.clock.monotonic_ns(), 0) / 1e9, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self.sweep()
        self.schedule()

    def sweep(self) -> None:
        """What is due by the clock: the kernel's deadlines, and alarms."""
        now_ns = self.clock.monotonic_ns()
        self.kernel.sweep(now_ns)
        if 0 < self.alarms.due_ns <= now_ns:
            self.alarms.run(now_ns)
            self.kernel.settle()
        self.login.refusals.run(now_ns)
        if self.jetstream is not None:
            self.jetstream.after_tick()

    def on_connect(self, conn: Connection, body: bytes) -> None:
        """CONNECT."""
        self._events(conn).on_connect(conn, body)

    def on_info(self, conn: Connection, body: bytes) -> None:
        """INFO over a leaf link."""
        self.leafs.on_info(conn, body)

    def on_err(self, conn: Connection, text: bytes) -> None:
        """-ERR over a leaf link."""
        self.leafs.on_err(conn, text)

    def on_loop(self, conn: Connection) -> None:
        """Our own loop detection subject came back."""
        self.leafs.on_loop(conn)

    def on_complaint(self, conn: Connection, text: bytes) -> None:
        """An -ERR was sent."""
        if text == b"Authorization Violation":  # the log says it as nats-server's does
            who = self._events(conn).label(conn)
            log.error("%s - authentication error%s", conn.owner, f" - {who}" if who else "")
        elif not text.startswith(b"Authentication Timeout"):
            log.error("%s - %s", conn.owner, text.decode(errors="replace"))

    def on_closed(self, conn: Connection, reason: Reason) -> None:
        """The end of a connection."""
        self.tls.gone(conn)
        peer = conn.owner
        self.source.ended(conn, reason)
        self._events(conn).on_closed(conn, reason)
        assert isinstance(peer, Client | Link)
        self.events.disconnected(peer, reason)

    def on_served(self, served: "Served") -> None:
        """A request to a service, whose latency is measured."""
        self.crossings.on_served(served)

    def on_trace(self, conn: Connection, direction: str, data: bytes) -> None:
        """An operation, for the trace log."""
        text = data.decode(errors="backslashreplace")
        if direction == "MSG_PAYLOAD":
            if self.options.trace_headers:
                if not data.startswith(b"NATS/1.0"):
                    return
                text = text.partition("\r\n\r\n")[0]
            limit = self.options.max_traced_msg_len
            cut = f"{text[:limit]}..." if 0 < limit < len(text) else text
            log.log(5, '%s - <<- MSG_PAYLOAD: ["%s"]', conn.owner, cut)
        else:
            log.log(5, "%s - %s [%s]", conn.owner, direction, text)

    def _events(self, conn: Connection) -> "Clients | LeafLinks":
        return self.leafs if conn.kind == KIND_LEAF else self.clients


__all__ = ["Client", "Server"]
