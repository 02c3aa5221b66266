"""A server as a process: logging, signals, pid and ports files, from start to exit code."""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from phloem import __version__
from phloem.shared import limits
from phloem.shared.dates import utc
from phloem.shared.errors import ConfigError, PhloemError
from phloem.shared.net import inherited
from phloem.shared.net.notify import Extending, Notifier
from phloem.shared.server import log as logs
from phloem.shared.server.feature_flags import told
from phloem.shared.server.files import ports_file, remove_file, write_pid_file, write_ports_file
from phloem.shared.server.options import Options
from phloem.shared.server.reload import use
from phloem.shared.server.server import Server
from phloem.shared.server.validation import start_warnings
from phloem.shared.server.vitals import Vitals
from phloem.shared.wire.info import PROTOCOL_VERSION

log = logging.getLogger("phloem.server")

SIGNAL_NAMES = {  # as nats-server's log names them
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGTERM: "terminated",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGUSR2: "user defined signal 2",
}


class Process:
    """What the signal handlers act on."""

    def __init__(self, server: Server, reload_source: Callable[[], Options], notifier: Notifier) -> None:
        self.server = server
        self.vitals = Vitals(server, notifier)
        self._source = reload_source
        self._ports_file: Path | None = None
        self._closing: Extending | None = None
        server.reload = self.reload

    def reload(self) -> None:
        """The file is read again. Raises ConfigError and OSError, and then nothing has changed."""
        self._use()
        self.write_ports()

    def _use(self) -> None:
        good = False
        self.vitals.reloading()
        try:
            use(self.server, self._source)
            good = True
        finally:
            self.vitals.reloaded(good=good)

    def closing(self) -> None:
        """The end begins; systemd is told once, and asked for time until ``closed``."""
        if self._closing is None:
            self.vitals.end()
            self._closing = Extending(self.vitals.notifier, "closing the store").__enter__()

    def closed(self) -> None:
        """It is over."""
        if self._closing is not None:
            self._closing.__exit__(None, None, None)

    def write_ports(self) -> None:
        """Write the ports file where the options want it, and only there."""
        folder = self.server.options.ports_file_dir
        wanted = ports_file(folder) if folder else None
        if wanted != self._ports_file:
            self.remove_ports()
            if wanted is not None:
                write_ports_file(wanted, urls(self.server))
            self._ports_file = wanted

    def remove_ports(self) -> None:
        """The server ends."""
        if self._ports_file is not None:
            remove_file(self._ports_file)
            self._ports_file = None

    def on_signal(self, number: signal.Signals) -> None:
        """Reload, lame duck, reopen the log, stop."""
        log.info('Trapped "%s" signal', SIGNAL_NAMES[number])
        try:
            if number == signal.SIGHUP and self.server.ready:
                try:
                    self._use()
                except (ConfigError, OSError):
                    return  # the log has it
                self.write_ports()
            elif number == signal.SIGUSR2 and self.server.ready:
                self.server.lame_duck()
            elif number == signal.SIGUSR1 and logs.reopen():
                log.info("File log re-opened")
        except OSError as error:
            log.error("%s", error)
        if number in (signal.SIGINT, signal.SIGTERM):
            self.closing()  # now: closing may not come back to the loop before it is done
            self.server.spawn(self.server.stop(), "stop")


def serve(
    options: Options,
    reload_source: Callable[[], Options],
    make: Callable[[Options], Server] = Server,
) -> int:
    """Run until stopped by a signal; the exit code. ``make`` builds the server: products hand in their own."""
    try:
        logs.configure(options)
    except OSError as error:
        print(f"phloem: log file {options.log_file}: {error.strerror}", file=sys.stderr)
        return 1
    allow_open_files()
    try:
        return asyncio.run(_run(make(options), reload_source))
    except KeyboardInterrupt:
        return 0


def allow_open_files() -> None:
    """As many as the system lets us have, as Go programs do: the usual 1,024 are fewer than a hub's connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a container may forbid it; then the limit stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(server: Server, reload_source: Callable[[], Options]) -> int:
    _greet(server)
    server.linger_ns = limits.LINGER_NS
    process = Process(server, reload_source, Notifier.of(os.environ, os.getpid()))
    notifier = process.vitals.notifier
    server.inherited = list(inherited.listening(inherited.take(os.environ, os.getpid())))
    loop = asyncio.get_running_loop()
    for number in SIGNAL_NAMES:
        loop.add_signal_handler(number, process.on_signal, number)
    try:
        if server.options.pid_file:
            write_pid_file(server.options.pid_file)
        with Extending(notifier, "opening the store"):
            await server.start()
        process.write_ports()
        process.vitals.begin()
        await server.wait_stopped()
        process.closing()
        await server.stop()
    except (PhloemError, OSError) as error:
        log.critical("%s", error)
        return 1
    finally:
        process.closed()
        process.remove_ports()
        for number in SIGNAL_NAMES:
            loop.remove_signal_handler(number)
    return 0


def _greet(server: Server) -> None:
    options = server.options
    log.info("Starting phloem")
    log.info("  Version:  %s (speaks NATS %s, kernel: %s)", __version__, PROTOCOL_VERSION, server.build)
    log.info("  Name:     %s", server.name)
    log.info("  ID:       %s", server.server_id)
    for line in told(options.feature_flags):
        log.info("%s", line)
    for warning in start_warnings(options):
        log.warning("%s", warning)
    if options.config_file:
        log.info("Using configuration file: %s (%s)", options.config_file, options.config_digest)
    if options.operators:
        log.info("Trusted Operators")
    for operator in options.operators:
        claims = operator.claims
        log.info('  System  : "%s"', claims.aud)
        log.info('  Operator: "%s"', claims.name)
        log.info("  Issued  : %s", _date(claims.iat))
        log.info("  Expires : %s", _date(claims.exp) if claims.exp else "Never")


def _date(seconds: int) -> str:
    """As Go prints it, in local time; that ends in 2038 on machines with 32 bits."""
    at = utc(seconds)
    with suppress(OverflowError):
        at = at.astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S %z %Z")


def urls(server: Server) -> dict[str, list[str]]:
    """What the ports file says: URLs by kind."""
    found = {"nats": [server.client_url]}
    if server.leaf_port:
        found["leafnodes"] = [f"nats-leaf://127.0.0.1:{server.leaf_port}"]
    if server.monitor is not None:
        scheme = "https" if server.options.https_port else "http"
        found["monitoring"] = [f"{scheme}://127.0.0.1:{server.monitor.port}"]
    return found
