"""What the devices say, and how the edge is to read it."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

LINE_BYTES_S = 92_160  # 921,600 baud, ten bits a byte


class Load(NamedTuple):
    """One row. ``port`` is what stands in each ``serial`` block, ``line`` makes one frame with its end, ``messages`` is
    how many messages come of a frame; ``line`` is None for boards that speak EdgeLink, which have ``window`` frames
    under way at most. ``bridge``: the ports are those of a ``phloem bridge`` beside the edge."""

    name: str
    title: str
    port: str
    line: Callable[[Random], bytes] | None
    messages: int
    window: int = 64
    bridge: bool = False


def _imu(rng: Random) -> list[str]:
    return [f"{rng.uniform(-2, 2):.4f}" for _ in range(6)]


def _csv(rng: Random) -> bytes:
    return ",".join([str(rng.randrange(10**6)), *_imu(rng), f"{rng.uniform(15, 30):.2f}"]).encode() + b"\r\n"


def _pairs(rng: Random) -> bytes:
    values = zip(("ax", "ay", "az", "gx", "gy", "gz"), _imu(rng), strict=True)
    return " ".join(f"{name}={value}" for name, value in values).encode() + b"\n"


def _json(rng: Random) -> bytes:
    t, h, p = rng.uniform(15, 30), rng.uniform(20, 90), rng.uniform(950, 1050)
    return b'{"t":%.2f,"h":%.1f,"p":%.1f,"ok":true}\n' % (t, h, p)


_COLUMNS = '["n", "ax:m/s2", "ay:m/s2", "az:m/s2", "gx:deg/s", "gy:deg/s", "gz:deg/s", "t:Cel"]'
_CSV = f"decode {{ type: csv, columns: {_COLUMNS} }}"

LOADS = (
    Load("raw", "lines as they came", "framing: line", _csv, 1),
    Load("csv", "csv, 8 columns", _CSV, _csv, 8),
    Load("json", "json, 4 values", "decode: json", _json, 4),
    Load("key_value", "key_value, 6 pairs", "decode: key_value", _pairs, 6),
    Load("window", "csv, and 1 s windows of it", f"{_CSV}\n shape {{ window: 1s }}", _csv, 0),
    Load("edgelink-1", "EdgeLink, 1 reading a frame", "protocol: edgelink", None, 1),
    Load("edgelink-8", "EdgeLink, 8 readings a frame", "protocol: edgelink", None, 8),
    Load("edgelink-8-short", "EdgeLink, 8 readings, window of 8", "protocol: edgelink", None, 8, 8),
    Load("bridge-raw", "lines as they came, phloem bridge", "framing: line", _csv, 1, bridge=True),
    Load("bridge-csv", "csv, 8 columns, phloem bridge", _CSV, _csv, 8, bridge=True),
    Load("bridge-1", "EdgeLink, 1 reading, phloem bridge", "protocol: edgelink", None, 1, bridge=True),
    Load("bridge-8", "EdgeLink, 8 readings, phloem bridge", "protocol: edgelink", None, 8, bridge=True),
)
