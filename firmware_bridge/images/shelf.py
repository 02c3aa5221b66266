"""A port's folder: images by their SHA-256, and the record. What is written is on the disk when a call returns.

    record.json           what is remembered; written beside and renamed
    SHA256.bin            an image that was found right
    SHA256.part           one that is on its way
    SHA256.at             how far: the stream's number of the last chunk, and the bytes before its end

Calls may take as long as a disk does: for a thread.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from phloem.firmware_bridge.images.record import ENDED, Record, Target

_PIECE = 1 << 18


class _Reached(msgspec.Struct):
    nuid: str
    seq: int
    bytes: int


class Shelf:
    """The folder ``path``, made if it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Record:
        """The record; an empty one if there is none, or none that can be read: then the bucket says it all.

        Raises:
            OSError: The folder cannot be used.
        """
        self._path.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            record = msgspec.json.decode((self._path / "record.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return Record()
        return record if record.state in ENDED or record.flashed is not None else Record()

    def save(self, record: Record) -> None:
        """Remember, then delete images that nobody needs. Raises OSError."""
        self._replace("record.json", msgspec.json.encode(record))
        for entry in self._path.iterdir():
            if entry.suffix in (".bin", ".part", ".at") and entry.stem not in record.images:
                entry.unlink(missing_ok=True)

    def image(self, target: Target) -> Path:
        """Where an image that was found right lies."""
        return self._path / f"{target.sha256}.bin"

    def reached(self, target: Target, nuid: str) -> tuple[int, int]:
        """How far a download is: the stream's number of its last chunk, and its bytes; (0, 0) if it begins. Bytes
        behind that are cut off, as nobody vouches for them. Raises OSError."""
        part = self._path / f"{target.sha256}.part"
        if self.image(target).exists():
            return 0, target.size
        try:
            at = msgspec.json.decode((self._path / f"{target.sha256}.at").read_bytes(), type=_Reached)
        except (FileNotFoundError, msgspec.DecodeError):
            at = _Reached("", 0, 0)
        size = part.stat().st_size if part.exists() else 0
        if at.nuid != nuid or size < at.bytes:
            at = _Reached(nuid, 0, 0)
        if size > at.bytes:
            os.truncate(part, at.bytes)
        return at.seq, at.bytes

    def add(self, target: Target, nuid: str, seq: int, data: bytes) -> int:
        """Put a chunk behind the others; how many bytes there are. Raises OSError."""
        with (self._path / f"{target.sha256}.part").open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        self._replace(f"{target.sha256}.at", msgspec.json.encode(_Reached(nuid, seq, size)))
        return size

    def room(self, target: Target) -> bool:
        """Whether the disk has room for it, and some more. Raises OSError."""
        return shutil.disk_usage(self._path).free > target.size + (1 << 20)

    def check(self, target: Target) -> str:
        """Whether the file is what was signed: "", or why not. One that is right is an image from now on; one that is
        not is deleted. Raises OSError."""
        whole, part = self.image(target), self._path / f"{target.sha256}.part"
        path = whole if whole.exists() else part
        try:
            with path.open("rb") as file:
                digest, size = hashlib.sha256(), 0
                while data := file.read(_PIECE):
                    digest.update(data)
                    size += len(data)
        except FileNotFoundError:
            return "the file is gone"
        if size != target.size or digest.hexdigest() != target.sha256:
            path.unlink()
            return "its bytes are not the ones that were signed"
        if path is part:
            part.rename(whole)
            self._sync()
            with suppress(FileNotFoundError):
                (self._path / f"{target.sha256}.at").unlink()
        return ""

    def _replace(self, name: str, data: bytes) -> None:
        beside = self._path / f"{name}.new"
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path / name)
        self._sync()

    def _sync(self) -> None:
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
