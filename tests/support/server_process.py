"""A NATS server as a process of its own: started from a configuration text, ended by its handle.

Rules: every port is chosen by the kernel (``-1`` in the text) and read back from the server's own
log; readiness is the line "Server is ready"; nothing is awaited by sleeping. A thread reads the log
as it comes, so that the server never blocks on a full pipe and a failed start can say why.

Both servers write the same start-up lines (security_ops.md 1.5), which makes this class serve both.
"""

import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.forking import Forked

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
RELOADED = re.compile(r"Reloaded server configuration|Failed to reload server configuration: (.*)\n")
LISTENING_FOR = {"nats": "client connections", "leafnodes": "leafnode connections"}


class StartFailed(Exception):
    """The server ended, or stayed silent, before it was ready; the text is its log."""


class ServerProcess:
    """One server. ``argv`` is what runs it, with flags but without the configuration.

    ``folder`` is where it runs and takes its files, those of ``files`` as well. ``env`` is its environment, this
    process's own if there is none.
    """

    def __init__(
        self,
        argv: list[str],
        config: str,
        folder: Path,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        self.config_file = folder / "server.conf"
        self._lines: list[str] = []
        self._ended = False
        self._grew = threading.Condition()
        self.configure(config)
        self._process = self._begin([*argv, "-c", str(self.config_file)], env)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self.wait_for_log("Server is ready", START_TIMEOUT_S)
        except TimeoutError as error:
            self.stop()
            raise StartFailed(f"{argv}\n{config}\n{self.log}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything the server has written so far."""
        with self._grew:
            return "".join(self._lines)

    def configure(self, config: str) -> None:
        """Write the configuration file: ``config``, the ports file and, unless said, the port.

        ``@FOLDER@`` in it is the server's folder.
        """
        config = config.replace("@FOLDER@", str(self.folder))
        listen = "" if re.search(r"^\s*(listen|port)\b", config, re.MULTILINE) else 'listen: "127.0.0.1:-1"\n'
        self.config_file.write_text(f'{listen}ports_file_dir: "{self.folder}"\n{config}\n')

    def reload(self, config: str) -> str:
        """Give the server another configuration; why it does not take it, empty when it does."""
        before = len(list(RELOADED.finditer(self.log)))
        self.configure(config)
        self.signal(signal.SIGHUP)

        def told() -> bool:
            return self._ended or len(list(RELOADED.finditer("".join(self._lines)))) > before

        with self._grew:
            self._grew.wait_for(told, START_TIMEOUT_S)
        outcomes = list(RELOADED.finditer(self.log))
        if len(outcomes) == before:
            raise TimeoutError(f"no word of a reload in the log:\n{self.log}")
        return str(outcomes[before][1] or "").strip()

    def port(self, listener: str = "nats") -> int:
        """The port of ``listener`` ("nats" or "leafnodes"), as the server logged it."""
        return int(self.wait_for_log(rf"Listening for {LISTENING_FOR[listener]} on \S*:(\d+)")[1])

    def ports_files(self) -> list[Path]:
        """The ports files of this server: none or one, named ``<program>_<pid>.ports``."""
        return list(self.folder.glob(f"*_{self.pid}.ports"))

    def wait_for_log(self, pattern: str, timeout_s: float = 5.0) -> re.Match[str]:
        """The first match of ``pattern`` in the log; TimeoutError if it does not come or the server ends."""
        found: re.Match[str] | None = None

        def seen() -> bool:
            nonlocal found
            found = re.search(pattern, "".join(self._lines))
            return found is not None or self._ended

        with self._grew:
            self._grew.wait_for(seen, timeout_s)
        if found is None:
            raise TimeoutError(f"no {pattern!r} in the log:\n{self.log}")
        return found

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait until the server has ended by itself; its exit code."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """As a power cut does it; return when it is gone."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """The test is over, and nobody looks at what the server leaves behind. Returns when it is gone."""
        self.kill()
        self.stop()

    def stop(self) -> None:
        """End the server: politely, then not. Returns when it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _begin(self, argv: list[str], env: Mapping[str, str] | None) -> "subprocess.Popen[str] | Forked":
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            cwd=self.folder,
        )

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._grew:
                self._lines.append(line)
                self._grew.notify_all()
        with self._grew:
            self._ended = True
            self._grew.notify_all()
