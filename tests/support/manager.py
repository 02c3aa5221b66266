"""What stands for systemd in tests: a notify socket that keeps what services say."""

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

MESSAGE_BYTES = 1 << 16
TIMEOUT_S = 20.0


class Manager:
    """Listens at ``path``; ``heard`` are the messages so far, each as lines, ``kept`` the descriptors by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[list[str]] = []
        self.kept: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    @property
    def address(self) -> str:
        return str(self.path)

    def hear(self, wait: bool = False) -> list[str]:
        """The next message; without ``wait`` and without a message an empty one."""
        self._socket.settimeout(TIMEOUT_S if wait else 0)
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES, 4)
        except BlockingIOError:
            return []
        lines = data.decode().split("\n")
        self.heard.append(lines)
        named = dict(line.split("=", 1) for line in lines)
        if named.get("FDSTORE") == "1":
            self._close(named["FDNAME"])
            (self.kept[named["FDNAME"]],) = descriptors
        elif named.get("FDSTOREREMOVE") == "1":
            self._close(named["FDNAME"])
        return lines

    def wait_for(self, line: str) -> list[str]:
        """The next message with a line that begins so."""
        while True:
            lines = self.hear(wait=True)
            if any(each.startswith(line) for each in lines):
                return lines

    def all(self) -> list[list[str]]:
        """What has come and was not taken yet."""
        found = []
        while lines := self.hear():
            found.append(lines)
        return found

    def _close(self, name: str) -> None:
        if name in self.kept:
            socket.close(self.kept.pop(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        for descriptor in self.kept.values():
            socket.close(descriptor)
