"""The trace that recorder.c writes, as Python objects; and the marks that a workload adds to it.

A mark says what the world outside the process knows from here on ("message 7 was acknowledged"): at a cut behind it,
the promise holds.
"""

import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

HEAD = struct.Struct("<IBBHQQQ")


class Op(IntEnum):
    """As in recorder.c; ``MARK`` is written by workloads."""

    OPEN = 1
    CLOSE = 2
    WRITE = 3
    TRUNCATE = 4
    ALLOCATE = 5
    SYNC_BEGIN = 6
    SYNC_END = 7
    SYNC_FAILED = 8
    RENAME = 9
    UNLINK = 10
    MKDIR = 11
    RMDIR = 12
    MARK = 64


CREATES, EMPTIES, AT_ONCE, FOLDER = 1, 2, 4, 8


@dataclass(frozen=True, slots=True)
class Event:
    """One record. ``data`` is what was written, a path, two paths with a zero byte between them, or a mark."""

    op: Op
    flags: int
    handle: int
    offset: int
    length: int
    data: bytes


def read_trace(path: Path) -> list[Event]:
    """All of it; a record that a killed process left incomplete cannot be there, each is one system call."""
    whole = path.read_bytes()
    at, events = 0, []
    while at < len(whole):
        size, op, flags, _, handle, offset, length = HEAD.unpack_from(whole, at)
        at += HEAD.size
        events.append(Event(Op(op), flags, handle, offset, length, whole[at : at + size]))
        at += size
    return events


class Marker:
    """Adds marks to a trace."""

    def __init__(self, trace: Path) -> None:
        self._fd = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def mark(self, data: bytes) -> None:
        record = HEAD.pack(len(data), Op.MARK, 0, 0, 0, 0, 0) + data
        assert os.write(self._fd, record) == len(record)

    def close(self) -> None:
        os.close(self._fd)
