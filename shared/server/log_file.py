"""A log file that rotates by size, as nats-server's does.

Before a line that would take the file past its limit, the file becomes ``NAME.YYYY.MM.DD.HH.MM.SS.NNNNNNNNN``
(local time) and a new one begins with ``Rotated log, backup saved as "..."``. With ``max_num`` the oldest
backups go, so that backups and the file together are not more. Lines are whole: one write each.
"""

import logging
import os
import re
import time
from pathlib import Path

FILE_MODE = 0o640
_BACKUP = re.compile(r"\.\d{4}(\.\d\d){5}\.\d{9}")


class LogFile(logging.Handler):
    """Appends lines to a file. ``reopen`` is for programs that move the file away themselves."""

    def __init__(self, path: str | Path, *, size_limit: int = 0, max_num: int = 0) -> None:
        """``size_limit`` 0 is no rotation, ``max_num`` 0 keeps every backup.

        Raises:
            OSError: The file cannot be opened.
        """
        super().__init__()
        self.path = Path(path)
        self._size_limit, self._max_num = size_limit, max_num
        self._descriptor, self._size = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a full disk is told on stderr by logging itself and stops nothing."""
        try:
            line = self._line(record)
            if self._size_limit > 0 and self._size > 0 and self._size + len(line) > self._size_limit:
                self._rotate(record)
            self._write(line)
        except (OSError, ValueError):
            self.handleError(record)

    def reopen(self) -> None:
        """Go on in a new file of the same name.

        Raises:
            OSError: It cannot be opened; the old one stays in use.
        """
        self.acquire()
        try:
            old = self._descriptor
            self._descriptor, self._size = self._open()
            os.close(old)
        finally:
            self.release()

    def close(self) -> None:
        """Close the file; lines after that go nowhere."""
        self.acquire()
        try:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        finally:
            self.release()
        super().close()

    def _open(self) -> tuple[int, int]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        return descriptor, os.fstat(descriptor).st_size

    def _line(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode("utf-8", "backslashreplace") + b"\n"

    def _write(self, line: bytes) -> None:
        if self._descriptor >= 0:
            self._size += os.write(self._descriptor, line)

    def _rotate(self, record: logging.LogRecord) -> None:
        backup = self._backup_path(record.created)
        self.path.rename(backup)
        self.reopen()
        self._note(record, f'Rotated log, backup saved as "{backup}"')
        for old in self._too_many():
            old.unlink(missing_ok=True)
            self._note(record, f'Purged log file "{old}"')

    def _backup_path(self, created: float) -> Path:
        nanos = int(created * 1_000_000_000)
        while True:
            stamp = time.strftime("%Y.%m.%d.%H.%M.%S", time.localtime(nanos // 1_000_000_000))
            backup = self.path.with_name(f"{self.path.name}.{stamp}.{nanos % 1_000_000_000:09d}")
            if not backup.exists():
                return backup
            nanos += 1

    def _too_many(self) -> list[Path]:
        """Backups beyond what may be kept, oldest first; their names sort by time."""
        if self._max_num <= 0:
            return []
        start = len(self.path.name)
        names = (path.name for path in self.path.parent.glob(f"{self.path.name}.*"))
        backups = sorted(name for name in names if _BACKUP.fullmatch(name[start:]))
        return [self.path.with_name(name) for name in backups[: max(0, len(backups) - (self._max_num - 1))]]

    def _note(self, record: logging.LogRecord, text: str) -> None:
        note = logging.LogRecord(record.name, logging.INFO, __file__, 0, text, None, None)
        note.created = record.created
        self._write(self._line(note))
