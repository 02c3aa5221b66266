"""The effects of an upgrade on the device that runs it: dpkg, systemctl, files, and a look at the broker."""

import json
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from phloem.edge.device.layout import UNITS, Role, units_of_others
from phloem.edge.device.patient import Patient
from phloem.edge.upgrade import copying, package
from phloem.edge.upgrade.files import Work
from phloem.edge.upgrade.machine import Health, Record, UpgradeError
from phloem.edge.upgrade.package import QUIET, Run, must
from phloem.shared.clock import SystemClock
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.jetstream.system import DEFAULT_STORE_DIR

ASK_S = 5.0
INFO_BYTES = 1 << 20
LINES = 15  # of the journal, when a version does not serve
SYSTEMD_ONLY = ("NOTIFY_", "WATCHDOG_", "LISTEN_", "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID")
# Microseconds since the boot.
STARTED, READY = "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"
SHOWN = f"ActiveState,MainPID,NRestarts,Result,{STARTED},{READY}"
CREDENTIALS, CREDENTIAL_FOLDER = "CREDENTIALS_DIRECTORY", "/etc/credstore"

Tell = Callable[[str], None]
"""What begins now."""


class Device:
    """This machine, as ``machine.Effects`` has it. ``deb`` is the new package, ``copy_to`` where the copy goes."""

    def __init__(
        self,
        deb: Path | None,
        tell: Tell,
        copied: copying.Tell,
        *,
        copy_to: Path | None = None,
        run: Run = package.run_program,
        root: Path = Path("/"),
        patient: Patient | None = None,
        interrupted: Callable[[], None] = lambda: None,
    ) -> None:
        """``interrupted`` is asked between steps and raises what ends them: what has begun is not cut."""
        self._deb, self._run, self._root, self._copied = deb, run, root, copied
        self._tell, self._interrupted = tell, interrupted
        self._clock = SystemClock()
        self.work = Work(root)
        self._copy = (copy_to / "phloem-upgrade-store") if copy_to else self.work.store
        self._patient = patient or Patient(root)
        self.role = Role.HUB if self._patient.is_hub else Role.EDGE
        self.broker = "phloem-hub.service" if self.role is Role.HUB else "phloem-edge.service"
        self._socket_unit = ""  # the text of the one that listens
        self._was_well = False
        self._was_active: set[str] = set()

    # what is written

    def load(self) -> Record | None:
        """As ``Effects`` has it; so all below."""
        return self.work.load()

    def save(self, record: Record) -> None:
        """See ``Effects``."""
        self.work.save(record)

    def clear(self) -> None:
        """See ``Effects``."""
        self.work.clear()

    def tidy(self) -> None:
        """See ``Effects``."""
        self.work.tidy()
        shutil.rmtree(self._copy, ignore_errors=True)
        self._systemctl("daemon-reload")

    # packages

    def installed(self) -> str:
        """See ``Effects``."""
        return package.installed(self._run)

    def unpack(self) -> str:
        """See ``Effects``."""
        assert self._deb is not None
        found = package.fields(self._run, self._deb)
        new = found.kilobytes << 10
        less = "remove what nobody needs (journalctl --vacuum-size=50M, apt-get clean)"
        self.work.make()
        # files twice (to be looked at, and the old package packed), and the installed ones while dpkg replaces them
        copying.room(self.work.folder, new * 2 + copying.SPARE, "the upgrade", less)
        copying.room(self._root / "usr", new + copying.SPARE // 4, "the new version", less)
        if not copying.shares(self._store, self._copy.parent):
            need = copying.size(self._store) + copying.SPARE
            if os.stat(self._copy.parent).st_dev == os.stat(self.work.folder).st_dev:
                need += new * 2
            copying.room(
                self._copy.parent, need, "a copy of the store", "--copy-to FOLDER puts it on another disk"
            )
        package.unpack(self._run, self._deb, self.work.new)
        return found.version

    def look(self) -> None:
        """See ``Effects``."""
        assert self._deb is not None
        if others := [unit for unit in units_of_others(self.role) if self._is_enabled(unit)]:
            raise UpgradeError(
                f"this machine is a {self.role.value}, and {' and '.join(others)} would go on with files of two "
                "versions: systemctl disable --now what it does not need"
            )
        if missing := package.missing(self._run, self._deb):
            raise UpgradeError(
                f"it needs what is not installed: {', '.join(missing)}; apt-get install it first"
            )
        must(self._run(["dpkg", "--no-act", "--force-downgrade", "--install", str(self._deb)], QUIET), "dpkg")
        new = package.program_in(self.work.new)
        must(self._run([*new, "--version"], {}), "starting the new version")
        words = [*new, self.role.value, "-c", str(self._config), "-t"]
        must(self._run(words, {}), f"the new version's look at {self._config}")

    def keep(self) -> None:
        """See ``Effects``."""
        self._was_active = {unit for unit in UNITS[self.role] if self._shown(unit)["ActiveState"] == "active"}
        self._was_well = self._page_says() == ""
        self._socket_unit = self._socket_text()
        package.keep(self._run, self.work.folder, self.work.old)
        self.work.arm()
        must(self._systemctl("daemon-reload"), "systemctl daemon-reload")

    def install_new(self) -> None:
        """See ``Effects``."""
        assert self._deb is not None
        package.install(self._run, self._deb)

    def install_old(self) -> None:
        """See ``Effects``."""
        package.install(self._run, self.work.old)

    # services

    def stop(self) -> None:
        """The bridge goes on, and keeps what comes for the broker."""
        units = [unit for unit in UNITS[self.role] if unit != "phloem-bridge.service"]
        must(self._systemctl("stop", *units), "stopping the broker")

    def start(self) -> None:
        """See ``Effects``."""
        self._begin("start", self._enabled())

    def restart(self) -> None:
        """Whoever connects meanwhile waits in the socket, unless that is another one now."""
        units = self._enabled()
        sockets = [unit for unit in units if unit.endswith(".socket")]
        must(self._systemctl("daemon-reload"), "systemctl daemon-reload")
        text = self._socket_text()
        if text == self._socket_unit:
            self._begin("start", sockets)
            units = [unit for unit in units if unit not in sockets]
        self._socket_unit = text  # that listens from now on: the way back is to the other one again
        self._begin("restart", units)

    def health(self) -> Health:
        """See ``Effects``."""
        shown = self._shown(self.broker)
        pid, restarts = (int(shown.get(name) or 0) for name in ("MainPID", "NRestarts"))
        if shown["ActiveState"] != "active":
            why = f"{self.broker} is {shown['ActiveState']} ({shown.get('Result', '')})"
            return Health(0, restarts, why)
        why = self._greets() or (self._page_says() if self._was_well else "")
        start_ns = _start_ns(shown)
        bridge = "phloem-bridge.service"
        if bridge in self._was_active:
            other = self._shown(bridge)
            restarts += int(other.get("NRestarts") or 0)
            start_ns = max(start_ns, _start_ns(other))
            if other["ActiveState"] != "active" and not why:
                why = f"{bridge} is {other['ActiveState']} ({other.get('Result', '')})"
        return Health(pid, restarts, why, start_ns)

    def complaint(self) -> str:
        """See ``Effects``."""
        words = ["journalctl", "--quiet", "--no-pager", "-o", "cat", "-n", str(LINES), "-u", self.broker]
        return self._run([*words, "-u", "phloem-bridge.service"], {}).text.strip()

    # the store

    def copy(self) -> None:
        """See ``Effects``."""
        shutil.rmtree(self._copy, ignore_errors=True)
        to = self._copy / "jetstream" / "phloem"
        to.parent.mkdir(parents=True, mode=0o700)
        if self._store.is_dir():
            copying.copy(self._store, to, self._copied)

    def rehearse(self) -> None:
        """See ``Effects``."""
        if self._patient.broker is None or self._patient.broker.jetstream is None:
            return
        folder = self._copy / "jetstream" / "phloem"
        new, config = package.program_in(self.work.new), str(self._config)
        if folder.is_dir():
            must(
                self._run([*new, "store", "check", "-c", config, str(folder)], {}), "the new version's check"
            )
        words = ["upgrade", "--rehearse", str(self._copy), "-c", config]
        must(self._run([*new, *words], {}), "the new version with a copy of the store")
        must(
            self._run(["/usr/bin/phloem", *words], {}),
            "the installed version with what the new one wrote, which is the way back,",
        )

    # time

    def tell(self, step: str) -> None:
        """See ``Effects``."""
        self._interrupted()
        self._tell(step)

    def monotonic_ns(self) -> int:
        """See ``Effects``."""
        return self._clock.monotonic_ns()

    def pause(self, duration_ns: int) -> None:
        """See ``Effects``."""
        self._interrupted()
        time.sleep(duration_ns / SECOND_NS)

    @property
    def _config(self) -> Path:
        return self._patient.hub_file if self._patient.is_hub else self._patient.edge_file

    @property
    def _store(self) -> Path:
        options = self._patient.broker
        said = options.jetstream.store_dir if options is not None and options.jetstream is not None else ""
        return Path(said or DEFAULT_STORE_DIR) / "jetstream" / "phloem"

    def _systemctl(self, *words: str) -> package.Said:
        return self._run(["systemctl", *words], {})

    def _begin(self, verb: str, units: list[str]) -> None:
        if units:
            must(self._systemctl(verb, "--no-block", *units), f"systemctl {verb}")

    def _enabled(self) -> list[str]:
        return [unit for unit in UNITS[self.role] if self._is_enabled(unit)]

    def _is_enabled(self, unit: str) -> bool:
        return not self._systemctl("--quiet", "is-enabled", unit).code

    def _shown(self, unit: str) -> Mapping[str, str]:
        said = self._systemctl("show", "-p", SHOWN, unit)
        shown = dict(line.split("=", 1) for line in said.text.splitlines() if "=" in line)
        return {"ActiveState": "unknown", **shown}

    def _socket_text(self) -> str:
        return "" if self.role is Role.HUB else self._systemctl("cat", "phloem-edge.socket").text

    def _page_says(self) -> str:
        """ "" if /healthz is well, or there is no such page."""
        options = self._patient.broker
        if options is None or not options.http_port:
            return ""
        page = self._patient.page("/healthz")
        if page is None:
            return "/healthz does not answer"
        return "" if page.get("status") == "ok" else f"/healthz: {page.get('error') or page.get('status')}"

    def _greets(self) -> str:
        options = self._patient.broker
        if options is None:
            return "its configuration cannot be read"
        try:
            first = options.tls is not None and options.tls.handshake_first
            return _ping(options.phloem.unix_socket, options.host, options.port, handshake_first=first)
        except (OSError, ValueError) as error:
            return f"it does not answer: {error}"


def _start_ns(shown: Mapping[str, str]) -> int:
    """From the start of an active service's process until it said that it is ready; 0 if systemd does not say."""
    started, ready = (int(shown.get(name) or 0) for name in (STARTED, READY))
    return max(0, ready - started) * 1000 if started else 0


def environment_of(run: Run, proc: Path = Path("/proc")) -> dict[str, str]:
    """What the running broker has for ``$NAME`` in its configuration and for its key; where none runs, the folder of
    credentials."""
    kept = {CREDENTIALS: CREDENTIAL_FOLDER}
    for unit in ("phloem-hub.service", "phloem-edge.service"):
        pid = run(["systemctl", "show", "-p", "MainPID", "--value", unit], {}).text.strip()
        try:
            text = (proc / (pid or "0") / "environ").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        found = dict(part.split("=", 1) for part in text.split("\0") if "=" in part)
        kept |= {name: value for name, value in found.items() if not name.startswith(SYSTEMD_ONLY)}
    return kept


def _ping(path: str, host: str, port: int, *, handshake_first: bool = False) -> str:
    """Greeting and PONG over the Unix socket, or over TCP where there is none; "" or what is wrong. Raises OSError and
    ValueError."""
    host = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
    internet = socket.AF_INET6 if ":" in host else socket.AF_INET
    family, address = (socket.AF_UNIX, path) if path else (internet, (host, port))
    with socket.socket(family) as connection, connection.makefile("rb") as lines:
        connection.settimeout(ASK_S)
        connection.connect(address)
        if handshake_first and not path:
            return _shakes_hands(connection)
        verb, _, rest = lines.readline(INFO_BYTES).partition(b" ")
        if verb != b"INFO":
            return "it does not greet"
        info = json.loads(rest)
        if info.get("auth_required") or info.get("tls_required"):
            return ""  # who is not let in has been served all the same
        connection.sendall(b'CONNECT {"verbose":false,"name":"phloem upgrade"}\r\nPING\r\n')
        while line := lines.readline(INFO_BYTES):
            if line == b"PONG\r\n":
                return ""
        return "it hangs up"


def _shakes_hands(connection: socket.socket) -> str:
    """Nothing is said before a handshake; one that is refused, for want of a certificate, has been served all the same.
    Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who it is is not asked here
    try:
        context.wrap_socket(connection).close()
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            raise
    return ""
