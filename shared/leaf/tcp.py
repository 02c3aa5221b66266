"""What TCP itself says of a connection: ``struct tcp_info`` of linux/tcp.h, and what it cost. Pure.

Older kernels give a shorter structure; what is not there counts as 0.
"""

import struct
from typing import NamedTuple

from phloem.shared import limits

HEADERS_V4 = 20 + 20  # bytes of IP and TCP of a segment
HEADERS_V6 = 40 + 20
TIMESTAMPS = 12
OPTION_TIMESTAMPS = 1

_FIELDS = {  # offset and format
    "options": (5, "=B"),
    "unacked": (24, "=I"),
    "last_data_recv_ms": (52, "=I"),
    "rtt_us": (68, "=I"),
    "total_retrans": (100, "=I"),
    "bytes_acked": (120, "=Q"),
    "bytes_received": (128, "=Q"),
    "segs_out": (136, "=I"),
    "segs_in": (140, "=I"),
    "notsent_bytes": (144, "=I"),
    "bytes_sent": (200, "=Q"),
}


class Segments(NamedTuple):
    """Of one connection, from its beginning."""

    bytes_out: int  # payload of TCP, what was sent again included
    bytes_in: int
    segs_out: int
    segs_in: int
    unacked: int  # segments on their way
    heard_ms: int  # since the last byte came in
    rtt_ns: int  # as TCP measured it
    timestamps: bool

    def wire_bytes(self, *, v6: bool) -> int:
        """Bytes in both directions with IP and TCP headers; what lies below, and the handshake's options, not."""
        head = (HEADERS_V6 if v6 else HEADERS_V4) + (TIMESTAMPS if self.timestamps else 0)
        return self.bytes_out + self.bytes_in + head * (self.segs_out + self.segs_in)


class Tuning(NamedTuple):
    """Settings of a socket; 0 leaves the system's, or what was set before."""

    user_timeout_ms: int = 0  # TCP_USER_TIMEOUT: so long may something wait for its acknowledgement
    idle_s: int = 0  # TCP_KEEPIDLE; -1: no probes
    interval_s: int = 0  # TCP_KEEPINTVL


def tuning(dead_after_ns: int, *, quiet: bool, rtt_ns: int = 0) -> Tuning:
    """How TCP notices a dead peer within ``dead_after_ns`` (0: as it likes), or within eight round trips of a link that
    is slower than that.

    A probe of an idle connection goes after half of the time; the system gives up at the first one that finds the user
    timeout over, so that has to be before the last. ``quiet``: an idle connection is not probed, because bytes cost.
    """
    if dead_after_ns <= 0:
        return Tuning()
    within_ms = max(dead_after_ns, limits.LINK_DEAD_AFTER_LEAST_NS, 8 * rtt_ns) // 1_000_000
    return Tuning(
        user_timeout_ms=within_ms * 8 // 10,
        idle_s=-1 if quiet else max(within_ms // 2000, 1),
        interval_s=max(within_ms // 5000, 1),
    )


def segments(text: bytes) -> Segments | None:
    """What ``getsockopt(TCP_INFO)`` gave; ``None`` if it gave nothing."""
    if len(text) < 104:
        return None
    return Segments(
        bytes_out=_read(text, "bytes_sent") or _read(text, "bytes_acked"),
        bytes_in=_read(text, "bytes_received"),
        segs_out=_read(text, "segs_out"),
        segs_in=_read(text, "segs_in"),
        unacked=_read(text, "unacked"),
        heard_ms=_read(text, "last_data_recv_ms"),
        rtt_ns=_read(text, "rtt_us") * 1000,
        timestamps=bool(_read(text, "options") & OPTION_TIMESTAMPS),
    )


def _read(text: bytes, name: str) -> int:
    at, code = _FIELDS[name]
    if at + struct.calcsize(code) > len(text):
        return 0
    value: int = struct.unpack_from(code, text, at)[0]
    return value
