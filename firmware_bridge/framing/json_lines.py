"""JSON lines: an object or array on each line, as many boards print them."""

import msgspec

from phloem.firmware_bridge.framing.delimited import DelimitedFramer
from phloem.firmware_bridge.framing.framer import Frame, Framer


class JsonLines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="json_lines"):
    """``framing: json_lines``. Lines that are not JSON (boot messages, noise) are dropped and counted."""

    def framer(self, max_frame_bytes: int, idle_gap_ns: int = 0) -> Framer:
        """A fresh framer with these settings."""
        return JsonLinesFramer(b"\n", max_frame_bytes, idle_gap_ns)


class JsonLinesFramer(DelimitedFramer):
    """Lines that are one JSON object or array each, without blanks around them."""

    def _open(self, piece: bytes) -> Frame | None:
        line = piece.strip(b" \t\r")
        if not line:
            return line
        if line[:1] not in (b"{", b"["):
            return None
        try:
            msgspec.json.decode(line, type=msgspec.Raw)
        except msgspec.DecodeError:
            return None
        return line
