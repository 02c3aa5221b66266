"""What of a board lies in a stream: messages, and what the last of them says of where its ring goes on. Pure.

One message for each reading, on ``<subject>.<uid>.<channel>``, so that a board that is plugged in elsewhere keeps its
subjects. Headers name the ring, the frame and the part of the frame.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from phloem.firmware_bridge.edgelink.effects import Gap, Taken
from phloem.firmware_bridge.edgelink.ledger import Position
from phloem.firmware_bridge.edgelink.schema import Layout
from phloem.firmware_bridge.edgelink.sequence import WRAP
from phloem.firmware_bridge.headers import FIRST_LINE, Encoded, clock_line, header_lines
from phloem.firmware_bridge.reading import lines_of, tail_of

GAP_TOKEN = "$gap"  # no channel is called so
_RING, _SEQ, _PART = "Phloem-Ring", "Phloem-Seq", "Phloem-Part"
_FORMS_MAX = 64  # layouts of a board's frames that are remembered
_Form = tuple[tuple[bytes, bytes, bytes], ...]


def pattern_of(subject: str, uid: bytes) -> str:
    """The subjects of one board."""
    return f"{subject}.{uid.hex()}.>"


class Records:
    """One board's messages while it is on one port. What frames have in common is put together once: a header block is
    the ring's piece, the frame's and the part's."""

    def __init__(self, uid: bytes, epoch: int, subject: str, port: str) -> None:
        self._prefix = f"{subject}.{uid.hex()}."
        self._head = FIRST_LINE + f"Phloem-Port: {port}\r\n{_RING}: {epoch:08x}\r\n{_SEQ}: ".encode()
        self._forms: dict[Layout, _Form] = {}

    def of(self, frames: Sequence[Taken], wall_ahead_ns: int, quality: str) -> list[list[Encoded]]:
        """For each frame a message for each of its readings; ``quality`` is the wall clock's."""
        lines = iter(lines_of([value for frame in frames if frame.read for value in frame.read.values]))
        clock = header_lines(clock_line(quality))
        return [self._of(frame, lines, wall_ahead_ns, clock) if frame.read else [] for frame in frames]

    def of_gap(self, gap: Gap, wall_ns: int, quality: str) -> Encoded:
        """What stands in a stream for frames that are gone."""
        header = b"%b%d\r\nPhloem-Time: %d\r\n%bPhloem-Part: 1/1\r\n\r\n"
        payload = msgspec.json.encode({"first": gap.first, "next": gap.next})
        subject = (self._prefix + GAP_TOKEN).encode()
        clock = header_lines(clock_line(quality))
        return subject, header % (self._head, (gap.next - 1) % WRAP, wall_ns, clock), payload

    def _of(self, frame: Taken, lines: Iterator[bytes], wall_ahead_ns: int, clock: bytes) -> list[Encoded]:
        assert frame.read is not None
        form = self._forms.get(frame.read.layout) or self._form(frame.read.layout)
        head = b"%b%d\r\nPhloem-Time: %d\r\n%b" % (
            self._head,
            frame.seq,
            frame.mono_ns + wall_ahead_ns,
            clock,
        )
        if frame.error_ns is not None:
            head += b"Phloem-Time-Error: %d\r\n" % frame.error_ns
        return [
            (subject, head + part, b'{"v":' + line + tail)
            for (subject, part, tail), line in zip(form, lines, strict=False)
        ]

    def _form(self, layout: Layout) -> _Form:
        """Of each part of such a frame the subject, the end of its header block and the end of its payload."""
        if len(self._forms) >= _FORMS_MAX:
            self._forms.clear()
        parts = len(layout.channels)
        form = self._forms[layout] = tuple(
            (
                (self._prefix + channel.name).encode(),
                f"{_PART}: {part}/{parts}\r\n\r\n".encode(),
                tail_of(channel.unit),
            )
            for part, channel in enumerate(layout.channels, 1)
        )
        return form


def position_of(headers: Mapping[str, str], stream_seq: int) -> Position | None:
    """What a stored message says; None if it is not one of these."""
    part, slash, parts = headers.get(_PART, "").partition("/")
    try:
        position = Position(
            int(headers.get(_RING, ""), 16), int(headers.get(_SEQ, "")), int(part) - 1, int(parts), stream_seq
        )
    except ValueError:
        return None
    good = slash and 0 <= position.part < position.parts and 0 <= position.seq < WRAP > position.epoch >= 0
    return position if good else None
