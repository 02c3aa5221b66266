"""A firmware image to one board: begun, sent in chunks that go on where they were, checked, and proven. Pure.

Every step is repeated until the board says where it stands. The proof is the board's HELLO with the image's version;
one with another firmware after the image was complete is a board that rolled back.
"""

import hashlib

from phloem.firmware_bridge.edgelink import limits
from phloem.firmware_bridge.edgelink.effects import Effect, ImageEnd, ImageEnded, ImageProgress, Send
from phloem.firmware_bridge.edgelink.frame import wrap
from phloem.firmware_bridge.edgelink.messages import (
    Image,
    ImageOp,
    ImageState,
    ImageStatus,
    begin_rest,
    chunk_rest,
    encode,
)
from phloem.firmware_bridge.edgelink.repeating import Repeating

_CHUNK_HEAD_BYTES = 1 + 1 + 4 + 4 + limits.CRC_BYTES
_PROOF_NS = 120 * limits.SECOND_NS  # from complete to the new HELLO: flashing and starting
_WRONG = {
    ImageStatus.WRONG_HASH: "the board has another hash",
    ImageStatus.NO_ROOM: "no room on the board",
    ImageStatus.REFUSED: "the board refuses it",
}


class Upload:
    """One image on its way; ``ended`` when there is nothing more to do."""

    def __init__(self, data: bytes, version: str, max_frame: int, now_ns: int) -> None:
        digest = hashlib.sha256(data).digest()
        self.version, self.ended = version, False
        self._data, self._digest = data, digest
        self._image = int.from_bytes(digest[:4], "little")
        self._chunk_bytes = max_frame - _CHUNK_HEAD_BYTES
        self._offset: int | None = None  # None: not begun
        self._complete_ns: int | None = None
        self._repeating = Repeating(limits.COMMAND_MIN_NS, limits.COMMAND_MAX_NS, now_ns)

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called, while a board is welcomed."""
        if self.ended:
            return None
        return self._repeating.due_ns if self._complete_ns is None else self._complete_ns + _PROOF_NS

    def expire(self, now_ns: int) -> list[Effect]:
        """Say the step that is due."""
        if self.due_ns is None or now_ns < self.due_ns:
            return []
        if self._complete_ns is not None:
            return self._end("the board did not come back with it")
        self._repeating.said(now_ns)
        return [Send(wrap(encode(self._step())))]

    def stands(self, state: ImageState, now_ns: int) -> list[Effect]:
        """What the board says."""
        if self.ended or state.image != self._image:
            return []
        if state.state in _WRONG:
            return self._end(_WRONG[ImageStatus(state.state)])
        if state.state == ImageStatus.COMPLETE:
            self._complete_ns = self._complete_ns or now_ns
            return [ImageProgress(len(self._data), len(self._data), whole=True)]
        if state.state == ImageStatus.NONE:  # forgotten: from the beginning
            self._offset = None
        elif state.offset > len(self._data):
            return self._end("the board says an offset beyond the end")
        elif state.offset == self._offset:
            return []  # an answer that came twice
        else:
            self._offset = state.offset
        self._repeating.again(now_ns)
        return [ImageProgress(self._offset or 0, len(self._data)), *self.expire(now_ns)]

    def welcomed(self, firmware: str, restarted: bool, now_ns: int) -> list[Effect]:
        """The board said HELLO and was welcomed."""
        all_sent = self._offset is not None and self._offset >= len(self._data)
        if restarted and all_sent and firmware == self.version:  # what it said of FINISH may be lost
            self.ended = True
            return [ImageEnded(self.version, ImageEnd.RUNS)]
        if self._complete_ns is not None:
            returned = f"the board came back with {firmware}"
            return self._end(returned, ImageEnd.RETURNED) if restarted else []
        self._offset = None
        self._repeating.again(now_ns)
        return self.expire(now_ns)

    def abort(self) -> list[Effect]:
        """Whoever wanted it does not any more."""
        return [Send(wrap(encode(Image(ImageOp.ABORT, self._image, b"")))), *self._end("given up")]

    def _step(self) -> Image:
        if self._offset is None:
            return Image(ImageOp.BEGIN, self._image, begin_rest(len(self._data), self._digest, self.version))
        if self._offset >= len(self._data):
            return Image(ImageOp.FINISH, self._image, b"")
        chunk = self._data[self._offset : self._offset + self._chunk_bytes]
        return Image(ImageOp.CHUNK, self._image, chunk_rest(self._offset, chunk))

    def gone(self, why: str) -> list[Effect]:
        """The board is not there any more."""
        return [] if self.ended else self._end(f"the board is gone: {why}", ImageEnd.GONE)

    def _end(self, why: str, how: ImageEnd = ImageEnd.REFUSED) -> list[Effect]:
        self.ended = True
        return [ImageEnded(self.version, how, why)]
