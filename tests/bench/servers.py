"""Both servers, fresh, under the same configuration, with authentication and permissions switched on.

Rules: loopback and ports of the system's choice only; a server is ready when its ports file says so
(``ports_file_dir``), never after a while; it is ended by its handle. Only keys that both servers know.
A JetStream store lies under ``build``, on the disk that the repository is on: ``/tmp`` may be memory, where
to sync costs nothing.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench import weights
from tests.support.certificates import Certificates

USER, PASSWORD = "bench", "kept-on-loopback"
LEAF_USER, LEAF_PASSWORD = "edge", "kept-on-loopback-too"
ALLOW = ("bench.>", "_INBOX.>", "svc.>", "s.>")
ALLOW_JETSTREAM = ("$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>")
DENY = ("bench.secret.>",)
STORE_KEY = "kept-on-this-disk"
FAR, NEAR = "far", "near"  # users of two accounts: the second imports from the first
ACCOUNTS = f"""
  FAR {{
    users: [ {{ user: "{FAR}", password: "{PASSWORD}" }} ]
    exports: [ {{ stream: "bench.>" }}, {{ service: "svc.>" }} ]
    mappings: {{ "from.*": "to.$1" }}
  }}
  NEAR {{
    users: [ {{ user: "{NEAR}", password: "{PASSWORD}" }} ]
    imports: [
      {{ stream: {{ account: FAR, subject: "bench.>" }}, prefix: "far" }}
      {{ service: {{ account: FAR, subject: "svc.>" }} }}
    ]
  }}
"""
STORES = Path(__file__).parent.parent.parent / "build" / "bench"
POLL_SECONDS, POLLS_MAX = 0.01, 12_000  # how long a server may take to be ready, with a large store: 120 s
STOP_SECONDS_MAX = 60
LOG_LINES_SHOWN = 5


class ServerFailed(Exception):
    """A server program does not run, or did not become ready."""


@dataclass(frozen=True)
class Product:
    """A server program: how it is called in the table, and on the command line."""

    name: str
    command: tuple[str, ...]
    version_command: tuple[str, ...]

    def version(self) -> str:
        """The program's name and version in its own words, one line. Raises ServerFailed."""
        try:
            done = subprocess.run(self.version_command, capture_output=True, text=True)
        except OSError as error:
            raise ServerFailed(f"{self.name} does not run: {error}") from error
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        if done.returncode != 0 or not lines:
            raise ServerFailed(f"{self.name} does not run: " + (lines[-1] if lines else "it says nothing"))
        return lines[0]


def _nats_server() -> Product:
    program = str(Path(sys.executable).parent / "nats-server")
    return Product("nats-server", (program,), (program, "--version"))


def _phloem() -> Product:
    program = (sys.executable, "-m", "phloem")
    return Product("phloem", (*program, "server"), (*program, "--version"))


PRODUCTS = {product.name: product for product in (_nats_server(), _phloem())}


@dataclass(frozen=True)
class Store:
    """Where a server with JetStream keeps its streams, how often it syncs them (empty for its default), and the cipher
    that it encrypts them with (empty: it does not)."""

    directory: Path
    sync_interval: str = ""
    cipher: str = ""

    @property
    def block(self) -> str:
        """The body of the configuration's ``jetstream`` block."""
        sync = f", sync_interval: {self.sync_interval}" if self.sync_interval else ""
        key = f', key: "{STORE_KEY}", cipher: {self.cipher}' if self.cipher else ""
        return f'store_dir: "{self.directory}"{sync}{key}'


@contextmanager
def store(sync_interval: str = "", cipher: str = "") -> Iterator[Store]:
    """An empty store for the length of the block."""
    STORES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="store-", dir=STORES) as name:
        yield Store(Path(name), sync_interval, cipher)


@dataclass(frozen=True)
class Server:
    """A server that is ready for clients."""

    process: subprocess.Popen[bytes]
    port: int


@dataclass(frozen=True)
class Deployment:
    """Where publishers and subscribers connect: one server, or the two ends of a leaf link."""

    publishers: Server
    subscribers: Server
    users: tuple[str, ...] = ("--user", USER)

    def arguments(self) -> tuple[str, ...]:
        """The generator's options that lead here."""
        login = (*self.users, "--password", PASSWORD, "--port", str(self.publishers.port))
        if self.subscribers is self.publishers:
            return login
        return (*login, "--sub-port", str(self.subscribers.port))

    def resident_bytes(self) -> int:
        """Resident memory of the server that clients publish to, and of its child processes."""
        return weights.resident_bytes(self.publishers.process.pid)


def configuration(
    ports_file_dir: Path, leafnodes: str = "", jetstream: str = "", accounts: str = "", tls: str = ""
) -> str:
    """A configuration file; ``leafnodes`` and so on are the bodies of those blocks, or empty."""

    def subjects(names: Sequence[str]) -> str:
        return "[" + ", ".join(f'"{name}"' for name in names) + "]"

    allowed = (*ALLOW, *ALLOW_JETSTREAM) if jetstream else ALLOW
    permission = f"{{ allow: {subjects(allowed)}, deny: {subjects(DENY)} }}"
    blocks = {"leafnodes": leafnodes, "jetstream": jetstream, "accounts": accounts, "tls": tls}
    return f"""\
listen: "127.0.0.1:-1"
ports_file_dir: "{ports_file_dir}"
authorization {{
  users: [
    {{ user: "{USER}", password: "{PASSWORD}",
      permissions: {{ publish: {permission}, subscribe: {permission} }} }}
  ]
}}
""" + "".join(f"{name} {{ {body} }}\n" for name, body in blocks.items() if body)


def hub_leafnodes(port: int) -> str:
    """The hub's side of a leaf link."""
    login = f'authorization: {{ user: "{LEAF_USER}", password: "{LEAF_PASSWORD}" }}'
    return f'listen: "127.0.0.1:{port}", {login}'


def edge_leafnodes(port: int) -> str:
    """The edge's side of a leaf link."""
    return f'remotes: [ {{ url: "nats-leaf://{LEAF_USER}:{LEAF_PASSWORD}@127.0.0.1:{port}" }} ]'


def client_port(ports_file: str) -> int | None:
    """The client port that a ports file names; None while the file is not all there. Raises ServerFailed."""
    try:
        ports: dict[str, list[str]] = json.loads(ports_file)
    except json.JSONDecodeError:
        return None
    if not ports.get("nats"):
        raise ServerFailed(f"a ports file without a client port: {ports_file}")
    return urlsplit(ports["nats"][0]).port


def unused_port() -> int:
    """A port for the leafnode listener, which ports files do not name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    product: Product,
    leafnodes: str = "",
    storage: Store | None = None,
    accounts: str = "",
    *,
    tls: bool = False,
) -> Iterator[Server]:
    """A fresh server for the length of the block, with JetStream if it has a store. Raises ServerFailed."""
    with tempfile.TemporaryDirectory(prefix="phloem-bench-") as name:
        directory = Path(name)
        config, log = directory / "server.conf", directory / "server.log"
        secured = Certificates(directory).server.block if tls else ""
        config.write_text(
            configuration(directory, leafnodes, storage.block if storage else "", accounts, secured)
        )
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                (*product.command, "-c", str(config)), stdout=log_file, stderr=subprocess.STDOUT
            )
        try:
            yield Server(process, _await_port(product, process, directory))
        finally:
            _stop(process)


def _await_port(product: Product, process: subprocess.Popen[bytes], directory: Path) -> int:
    for _ in range(POLLS_MAX):
        for path in directory.glob("*.ports"):
            port = client_port(path.read_text())
            if port is not None:
                return port
        try:
            code = process.wait(POLL_SECONDS)  # waits for a change, and sees the end of the process at once
        except subprocess.TimeoutExpired:
            continue
        log = (directory / "server.log").read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise ServerFailed(f"{product.name} ended with {code}: " + " / ".join(log))
    raise ServerFailed(f"{product.name} wrote no ports file in {POLL_SECONDS * POLLS_MAX:.0f} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def deployed(
    product: Product, *, leaf: bool, accounts: bool = False, tls: bool = False
) -> Iterator[Deployment]:
    """One server, or, with ``leaf``, an edge for publishers that is linked to a hub for subscribers; with ``accounts``
    there are two of them, and the load names its users."""
    with ExitStack() as stack:
        if accounts:
            server = stack.enter_context(running(product, accounts=ACCOUNTS))
            yield Deployment(server, server, ())
            return
        if not leaf:
            server = stack.enter_context(running(product, tls=tls))
            yield Deployment(server, server)
            return
        port = unused_port()
        hub = stack.enter_context(running(product, hub_leafnodes(port)))
        edge = stack.enter_context(running(product, edge_leafnodes(port)))
        yield Deployment(edge, hub)
