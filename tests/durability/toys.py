"""Journals that are right, and journals that are wrong in a known way: what the harness has to tell apart.

``python -m tests.durability.toys folder trace kind`` appends numbered records and marks each that it acknowledges.
"""

import os
import sys
import zlib
from pathlib import Path

from tests.durability.trace import Marker

KINDS = ("right", "renamed", "no-sync", "ack-first", "no-checksum", "rename-unsynced", "folder-unsynced")
WRONG = KINDS[2:]
RECORDS = 40
SIZE = 1500  # of a record: three sectors and a bit


def body(number: int) -> bytes:
    return number.to_bytes(4, "little") * (SIZE // 4)


def record(number: int, kind: str) -> bytes:
    data = body(number)
    check = 0 if kind == "no-checksum" else zlib.crc32(data)
    return number.to_bytes(4, "little") + check.to_bytes(4, "little") + data


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def run(folder: Path, trace: Path, kind: str) -> None:
    marker = Marker(trace)
    folder.mkdir(parents=True)
    fd = os.open(folder / "journal", os.O_RDWR | os.O_CREAT)
    if kind != "folder-unsynced":
        sync_folder(folder)
    for number in range(1, RECORDS + 1):
        os.pwrite(fd, record(number, kind), (number - 1) * (SIZE + 8))
        if kind == "ack-first":
            marker.mark(b"%d" % number)
        if kind != "no-sync":
            os.fdatasync(fd)
        if kind != "ack-first":
            marker.mark(b"%d" % number)
        if number % 10 == 0 and kind in ("renamed", "rename-unsynced"):
            replace(folder, number, kind)
    marker.close()


def replace(folder: Path, number: int, kind: str) -> None:
    """Says in a small file, replaced as a whole, up to where everything is there."""
    fd = os.open(folder / "state.new", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, b"%d" % number)
    if kind == "renamed":
        os.fdatasync(fd)
    os.close(fd)
    os.rename(folder / "state.new", folder / "state")
    sync_folder(folder)


def verify(folder: Path, marks: list[bytes], kind: str) -> None:
    data = (folder / "journal").read_bytes() if (folder / "journal").exists() else b""
    found = 0
    while True:
        at = found * (SIZE + 8)
        head, payload = data[at : at + 8], data[at + 8 : at + 8 + SIZE]
        if head[:4] != (found + 1).to_bytes(4, "little") or len(payload) < SIZE:
            break
        if kind != "no-checksum" and zlib.crc32(payload) != int.from_bytes(head[4:8], "little"):
            break
        found += 1
        assert payload == body(found), f"record {found} is not what was written"
    acknowledged = int(marks[-1]) if marks else 0
    assert found >= acknowledged, f"{acknowledged} were acknowledged, {found} are there"
    state = folder / "state"
    if kind in ("renamed", "rename-unsynced") and state.exists():
        assert int(state.read_bytes() or b"-1") in range(10, RECORDS + 1, 10), "the state is not a whole one"


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
