"""What of a board lies in a stream: messages, and what the last of them says of where its ring goes on. Pure.

One message for each reading, on ``<subject>.<uid>.<channel>``, so that a board that is plugged in elsewhere keeps its
subjects. Headers name the ring, the frame and the part of the frame.
"""

from collections.abc import Mapping

import msgspec

from phloem.firmware_bridge.backlog import Message
from phloem.firmware_bridge.edgelink.effects import Gap, Taken
from phloem.firmware_bridge.edgelink.ledger import Position
from phloem.firmware_bridge.edgelink.sequence import WRAP
from phloem.firmware_bridge.headers import clock_line
from phloem.firmware_bridge.reading import Quality, Reading, payloads

GAP_TOKEN = "$gap"  # no channel is called so
_RING, _SEQ, _PART = "Phloem-Ring", "Phloem-Seq", "Phloem-Part"


def pattern_of(subject: str, uid: bytes) -> str:
    """The subjects of one board."""
    return f"{subject}.{uid.hex()}.>"


def messages_of(frame: Taken, subject: str, port: str, wall_ahead_ns: int, quality: str) -> list[Message]:
    """A message for each reading of a frame; ``quality`` is the wall clock's."""
    parts, prefix = len(frame.samples), f"{subject}.{frame.uid.hex()}."
    all_have = _headers(port, frame.epoch, frame.seq, frame.mono_ns + wall_ahead_ns, quality)
    if frame.error_ns is not None:
        all_have["Phloem-Time-Error"] = str(frame.error_ns)
    readings = [
        Reading(channel.name, value, channel.unit, Quality.GOOD, frame.mono_ns)
        for channel, value in frame.samples
    ]
    return [
        Message(prefix + reading.channel, payload, {**all_have, _PART: f"{part}/{parts}"})
        for part, (reading, payload) in enumerate(zip(readings, payloads(readings), strict=True), 1)
    ]


def message_of_gap(gap: Gap, subject: str, port: str, wall_ns: int, quality: str) -> Message:
    """What stands in a stream for frames that are gone."""
    headers = _headers(port, gap.epoch, (gap.next - 1) % WRAP, wall_ns, quality) | {_PART: "1/1"}
    payload = msgspec.json.encode({"first": gap.first, "next": gap.next})
    return Message(f"{subject}.{gap.uid.hex()}.{GAP_TOKEN}", payload, headers)


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


def _headers(port: str, epoch: int, seq: int, wall_ns: int, quality: str) -> dict[str, str]:
    return {
        "Phloem-Port": port,
        _RING: f"{epoch:08x}",
        _SEQ: str(seq),
        "Phloem-Time": str(wall_ns),
        **clock_line(quality),
    }
