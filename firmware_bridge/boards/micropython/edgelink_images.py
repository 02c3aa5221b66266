"""Firmware images over EdgeLink, for boards that run MicroPython: ``edgelink.Board`` takes an ``Images``.

A file of its own, so that a board without images does not carry it. The hash is taken of what was written, in pieces,
so that the line is not left alone for long.
"""

import hashlib
import struct

try:
    from typing import Any
except ImportError:  # MicroPython, which reads over annotations
    Any = None  # type: ignore[assignment,misc]

NONE, RECEIVING, COMPLETE, WRONG_HASH, NO_ROOM, REFUSED = range(6)
_IMAGE_STATE = 14


class Images:
    """The image under way. ``place`` is where images go: ``begin(image, size, version)`` returns a state and the
    offset to go on at, ``write(offset, bytes)`` whether it did, ``read(offset, count)`` what was written, and
    ``restart(image)`` starts the new image; the old one is kept until the new one has said HELLO.
    """

    def __init__(self, place: "Any") -> None:
        self._place = place
        self._state = NONE
        self._image = self._size = self._offset = self._hashed = 0
        self._sha = b""
        self._hash: Any = None
        self._restart = 0  # 1: when what is known of it is said, 2: now

    def standing(self) -> bytes:
        """The payload of IMAGE_STATE."""
        return struct.pack("<BII", self._state, self._image, self._offset)

    def take(self, p: bytes) -> bool:
        """The payload of an IMAGE. False if it is too short."""
        image = struct.unpack("<I", p[1:5])[0]
        receiving = image == self._image and self._state == RECEIVING and self._hash is None
        if p[0] == 0:
            return len(p) >= 42 and len(p) >= 42 + p[41] and self._begin(image, p)
        if p[0] == 1 and receiving and len(p) > 9:
            offset, data = struct.unpack("<I", p[5:9])[0], p[9:]
            if offset == self._offset and len(data) <= self._size - offset:
                if self._place.write(offset, data):
                    self._offset += len(data)
                else:
                    self._state = REFUSED
        elif p[0] == 2 and receiving and self._offset == self._size:
            self._hash, self._hashed = hashlib.sha256(), 0
        elif p[0] == 3 and image == self._image:
            self._state, self._hash, self._restart = NONE, None, 0
        return True

    def _begin(self, image: int, p: bytes) -> bool:
        size, sha = struct.unpack("<I", p[5:9])[0], p[9:41]
        if self._state == RECEIVING and (size, sha) == (self._size, self._sha):
            return True
        try:
            version = p[42 : 42 + p[41]].decode()
        except UnicodeError:
            return False
        self._image, self._size, self._sha = image, size, sha
        self._hash, self._restart = None, 0
        self._state, self._offset = self._place.begin(image, size, version) if size else (REFUSED, 0)
        return True

    def work(self, due: "dict[int, Any]") -> bool:
        """The line is free: hash on, or restart. True if there is more to do."""
        if self._hash is not None:
            part = self._place.read(self._hashed, min(1024, self._size - self._hashed))
            self._hash.update(part)
            self._hashed += len(part)
            if not part or self._hashed == self._size:
                right = self._hash.digest() == self._sha
                self._state = COMPLETE if right else WRONG_HASH
                self._hash, self._restart = None, int(right)
                due[_IMAGE_STATE] = None
            return True
        if self._restart == 1 and _IMAGE_STATE not in due:
            self._restart = 2
        elif self._restart == 2:
            self._restart = 0
            self._place.restart(self._image)
        return False
