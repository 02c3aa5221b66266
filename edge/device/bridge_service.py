"""``phloem bridge -c FILE``: all serial ports of a device as a service of its own, without a network.

It talks to the device's broker over a Unix socket. The file has the same ``serial`` blocks as an edge's; of everything
else it takes the broker's socket (``phloem { unix_socket }``), ``phloem { log_format }`` and what to log, and refuses
the rest: nothing in it is ignored. SIGHUP reads the file again. Without click, as whatever runs for years.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from random import SystemRandom
from urllib.parse import quote

from phloem.edge.ports import port_settings
from phloem.firmware_bridge.bridge import Bridge
from phloem.firmware_bridge.handover import Handover
from phloem.firmware_bridge.nats_publisher import NatsPublisher
from phloem.firmware_bridge.port_reports import EVERY_S, SUBJECT, report
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.unix_socket import SCHEME
from phloem.shared.clock import SystemClock
from phloem.shared.errors import ConfigError
from phloem.shared.net import inherited
from phloem.shared.net.notify import Notifier
from phloem.shared.server import log as logs
from phloem.shared.server.load import load, merge
from phloem.shared.server.options import Options
from phloem.shared.server.store_keys import CREDENTIALS

log = logging.getLogger("phloem.bridge")

SOCKET = "/run/phloem/nats.sock"
LOGIN = "bridge-login"  # a credential of systemd
UNDERSTOOD = {"serial", "phloem", "debug", "trace", "logtime", "logtime_utc", "config_file", "config_digest"}
LOOK_S, SOON_S = 10.0, 1.0


def main(words: Sequence[str], environ: MutableMapping[str, str] = os.environ) -> int:
    """Do what the words ask for; the exit code."""
    asked = _parser().parse_args(words)
    try:
        options = options_of(asked.config)
        ports = port_settings(options)
        server = asked.server or server_of(options, login(asked.login, environ))
    except ConfigError as error:
        print(f"phloem bridge: {error}", file=sys.stderr)
        return 1
    if asked.test:
        print(f"phloem bridge: configuration file {asked.config} is valid", file=sys.stderr)
        return 0
    logs.configure(options)
    notifier = Notifier.of(environ, os.getpid())
    given = {each.name: each.number for each in inherited.take(environ, os.getpid())}
    service = Service(ports, server, notifier, Handover(notifier, given), lambda: read(asked.config))
    return asyncio.run(service.run())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("phloem bridge -c", description="Serve all serial ports of a file.")
    parser.add_argument("-c", "--config", required=True, metavar="FILE", help="File with serial blocks.")
    parser.add_argument("-t", "--test", action="store_true", help="Say whether the file is right, and exit.")
    parser.add_argument(
        "--server", metavar="URL", help="unix:///path or nats://host:port; else as in the file."
    )
    parser.add_argument(
        "--login",
        metavar="FILE",
        help=f"Has USER:PASSWORD for the broker; a name without a slash is a credential of systemd. {LOGIN} is "
        "taken if there is one.",
    )
    return parser


def options_of(path: str) -> Options:
    """The file. Raises ConfigError, also for what a bridge has no use for."""
    loaded = load(path)
    if loaded.warnings:
        raise ConfigError("\n".join(loaded.warnings))
    options = merge(loaded, {})
    strange = sorted(set(options.explicit) - UNDERSTOOD)
    if strange:
        raise ConfigError(f"{path}: a bridge has no use for {', '.join(strange)}")
    plain = Options().phloem
    for field in plain.__struct_fields__:
        if field not in ("unix_socket", "log_format") and getattr(options.phloem, field) != getattr(
            plain, field
        ):
            raise ConfigError(f"{path}: a bridge has no use for phloem {{ {field} }}")
    return options


def read(path: str) -> list[SerialSettings]:
    """Ports of the file. Raises ConfigError."""
    return port_settings(options_of(path))


def server_of(options: Options, user_and_password: str) -> str:
    """The broker's URL."""
    user, _, password = user_and_password.partition(":")
    who = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    return f"{SCHEME}{who}{options.phloem.unix_socket or SOCKET}"


def login(name: str | None, environ: Mapping[str, str]) -> str:
    """``user:password``; "": none. Raises ConfigError."""
    path = Path(environ.get(CREDENTIALS, "/nonexistent")) / LOGIN
    if name:
        path = Path(name) if "/" in name else path.with_name(name)
    elif not path.exists():
        return ""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"the login cannot be read: {path}: {error.strerror}") from None
    if ":" not in text:
        raise ConfigError(f"{path}: not USER:PASSWORD")
    return text


class Service:
    """The bridge from start to end. ``reread`` gives the ports of the file as it is now, or raises ConfigError."""

    def __init__(
        self,
        ports: list[SerialSettings],
        server: str,
        notifier: Notifier,
        handover: Handover,
        reread: Callable[[], list[SerialSettings]],
    ) -> None:
        self._ports, self._server = ports, server
        self._notifier, self._handover, self._reread = notifier, handover, reread
        self._clock, self._rng = SystemClock(), SystemRandom()
        self._stop, self._turn = False, asyncio.Event()
        self._warning = self._status = ""
        self.bridge: Bridge | None = None
        self.publisher: NatsPublisher | None = None

    async def run(self) -> int:
        """Until a signal ends it; the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        beside = [
            loop.create_task(self._look_now_and_then(), name="looking"),
            loop.create_task(self._tell_of_ports(), name="telling"),
        ]
        try:
            async with NatsPublisher([self._server], self._rng, name="phloem bridge") as self.publisher:
                self.publisher.backlog.put(self._handover.messages)
                while not self._stop:
                    await self._serve()
                self._notifier.stopping("handing ports over")
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
        left = self.publisher.backlog.take_all()
        if self._handover.end(left) and left:
            log.info("the %d messages are kept for the next start", len(left))
        return 0

    def stop(self) -> None:
        """The end."""
        self._stop = True
        self._turn.set()

    def reload(self) -> None:
        """Other ports, if the file is right."""
        self._notifier.reloading(self._clock.monotonic_ns())
        try:
            self._ports, self._warning = self._reread(), ""
        except (ConfigError, OSError) as error:
            log.error("Failed to reload: %s", error)
            self._warning = "the new configuration has a mistake and is not used, see the log"
            self._notifier.ready(self.status())
            return
        log.info("Reloaded")
        self._turn.set()

    def status(self) -> str:
        """One line for whoever asks ``systemctl status``."""
        sessions = self.bridge.sessions if self.bridge is not None else []
        closed = [session.settings.name for session in sessions if not session.is_open]
        words = [self._warning, f"{len(sessions) - len(closed)} of {len(sessions)} ports open"]
        if not sessions:
            words = [self._warning, "no serial port is configured"]
        if closed:
            words.append(f"waiting for {', '.join(closed)}")
        publisher = self.publisher
        if publisher is not None:
            words.append("broker connected" if publisher.connected else "no broker")
            if len(publisher.backlog):
                words.append(f"{len(publisher.backlog)} messages wait")
            if publisher.backlog.dropped:
                words.append(f"{publisher.backlog.dropped} dropped")
        return ", ".join(filter(None, words))

    async def _serve(self) -> None:
        """Until there is something else to do."""
        assert self.publisher is not None
        self._turn.clear()
        self._handover.only(self._ports)
        bridge = Bridge(
            self._ports,
            self.publisher,
            self._clock,
            self._rng,
            handover=self._handover,
            requests=self.publisher,
        )
        async with bridge as self.bridge:
            self._status = self.status()
            self._notifier.ready(self._status)
            await self._turn.wait()

    async def _tell_of_ports(self) -> None:
        """The broker of this machine, which has monitoring: nothing in here has a network."""
        while self._server.startswith(SCHEME):
            await asyncio.sleep(EVERY_S)
            if self.publisher is not None and self.publisher.connected and self.bridge is not None:
                self.publisher.publish(SUBJECT, report(self.bridge.figures()), {})

    async def _look_now_and_then(self) -> None:
        every_s = self._notifier.watchdog_ns / 4e9 or LOOK_S
        await asyncio.sleep(SOON_S)  # by then the broker has answered, or it has not
        while True:
            status = self.status()
            self._notifier.alive("" if status == self._status else status)
            self._status = status
            await asyncio.sleep(every_s)
