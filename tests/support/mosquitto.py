"""Debian's mosquitto as a process of its own, on a port of 127.0.0.1. ``apt-get install mosquitto``."""

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
needs_mosquitto = pytest.mark.skipif(
    BINARY is None, reason="mosquitto is not installed: apt-get install mosquitto"
)
START_ATTEMPTS = 5  # the port may be somebody else's by the time that mosquitto listens
READY = "running"


class Mosquitto:
    """A broker that keeps sessions in ``folder``, also over ``kill`` and ``start``; ``more``: lines of its
    configuration."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder, self._more = folder, more
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        for _ in range(START_ATTEMPTS):
            with socket.create_server(("127.0.0.1", 0)) as found:
                self.port = found.getsockname()[1]
            if self.start():
                return self
        raise AssertionError("mosquitto did not find a port")

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> bool:
        """Whether it listens; again on the same port after ``stop``."""
        assert BINARY is not None
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nlog_dest stderr\nuser root\n{self._more}"
        )
        self._process = subprocess.Popen(
            [BINARY, "-c", str(config)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.rstrip().endswith(READY):
                return True
        self.stop()
        return False

    def stop(self) -> None:
        """SIGTERM: it writes its sessions."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()  # what is in its log, so that it does not wait for us
            self._process = None


def add_user(users: Path, name: str, password: str) -> None:
    """A file for ``password_file``."""
    program = shutil.which("mosquitto_passwd")
    assert program is not None
    subprocess.run([program, "-c", "-b", str(users), name, password], check=True)
