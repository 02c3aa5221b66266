"""Log records in the journal's own protocol, with fields: datagrams to ``/run/systemd/journal/socket`` (systemd.io,
JOURNAL_NATIVE_PROTOCOL).

Beside MESSAGE and PRIORITY a record has ``PHLOEM_LOGGER`` (``phloem.leaf``), ``PHLOEM_TEMPLATE`` (the text before names
and numbers are put into it, so that all records of a kind can be found), what the call passed in ``extra``, and of
warnings where in the code it was said. ``journalctl -u phloem-edge PHLOEM_LOGGER=phloem.leaf`` shows the link's life
alone.

A record that the journal does not take (it is restarting, its queue is full) goes to stderr with its priority.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Callable
from typing import IO

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "phloem"
FIELD_LONGEST = 64  # bytes of a name; the journal drops what is longer

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BAD_IN_NAME = re.compile(r"[^A-Z0-9_]")
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)


def encode(fields: dict[str, str]) -> bytes:
    """As the journal reads them: ``NAME=value`` lines; a value of several lines with its length in front."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data)
        else:
            parts.append(name.encode() + b"=" + data)
    return b"\n".join(parts) + b"\n"


def fields_of(record: logging.LogRecord, priority: int) -> dict[str, str]:
    """What the journal is told of a record."""
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "PHLOEM_LOGGER": record.name,
        "PHLOEM_TEMPLATE": str(record.msg),
    }
    if record.levelno >= logging.WARNING:
        fields |= {
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName,
        }
    for key, value in vars(record).items():
        if key not in _OWN:
            fields[f"PHLOEM_{_BAD_IN_NAME.sub('_', key.upper())}"[:FIELD_LONGEST]] = str(value)
    return fields


class JournalHandler(logging.Handler):
    """To the journal that listens at ``path``. Raises OSError if nobody does."""

    def __init__(
        self, priority: Callable[[int], int], path: str = SOCKET, stream: IO[str] | None = None
    ) -> None:
        super().__init__()
        self._priority, self._path = priority, path
        self._stream = stream or sys.stderr
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """One datagram, or a file for what is too large for one."""
        priority = self._priority(record.levelno)
        fields = fields_of(record, priority)
        try:
            self._send(encode(fields))
        except OSError:
            lines = fields["MESSAGE"].split("\n")
            self._stream.write("".join(f"<{priority}>{line}\n" for line in lines))
            self._stream.flush()

    def close(self) -> None:
        """No more records."""
        self._socket.close()
        super().close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno in _TOO_LARGE:
                self._send_file(data)
                return
            if isinstance(error, BlockingIOError):
                raise
            self._socket.connect(self._path)  # journald was restarted
            self._socket.send(data)

    def _send_file(self, data: bytes) -> None:
        descriptor = os.memfd_create("phloem-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(descriptor, "wb", buffering=0, closefd=False) as file:
                file.write(data)
            seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            socket.send_fds(self._socket, [b""], [descriptor])
        finally:
            os.close(descriptor)
