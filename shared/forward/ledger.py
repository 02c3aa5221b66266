"""The ledger: one JSON document for each device in a KV bucket at its hub, for whoever watches it.

The fields are documented in docs/fleet.md. Zeros and empty values are left out; times are RFC 3339 in UTC.
"""

from typing import Literal

import msgspec

from phloem.shared.forward.figures import Figures

BUCKET = "fleet_ledger"
STREAM = f"KV_{BUCKET}"
PREFIX = f"$KV.{BUCKET}."

ETA_MAX_S = 1_000_000_000  # what is further away is no time any more
HISTORY = 60  # minutes of which the number of messages is kept

State = Literal["online", "offline"]
ONLINE: State = "online"
OFFLINE: State = "offline"
FLOWING, PAUSED, REFUSED, WAITING = "flowing", "paused", "refused", "waiting"


class GapEntry(msgspec.Struct, omit_defaults=True):
    """Messages that will never come."""

    first: int
    last: int
    count: int  # -1: not known
    reason: str
    at: str = ""  # when the hub was told


class FormerEntry(msgspec.Struct, omit_defaults=True):
    """A store that the stream had before: the device was set up anew."""

    store: str
    received: int


class StreamEntry(msgspec.Struct, omit_defaults=True):
    """One stream of a device. ``backlog`` is the device's word, less what has come since."""

    state: str
    stream: str = ""  # the hub's
    cls: str = msgspec.field(default="", name="class")
    why: str = ""
    store: str = ""
    epoch: str = ""
    contiguous: int = 0  # everything up to here has come, or is a known gap
    received: int = 0
    duplicates: int = 0  # came again, and were not stored again
    missing: int = 0
    gaps: list[GapEntry] = []  # the latest
    former: list[FormerEntry] = []
    backlog: int = 0
    backlog_bytes: int = 0
    oldest: str = ""  # when the oldest message that is not here was stored on the device
    newest: str = ""  # when the newest that is here was
    newest_error_ns: int = -1  # how well that time is known; -1: the device's clock was not set
    rate: float = 0.0  # messages a second
    eta_s: int = -1  # until the backlog is gone, as it goes now; -1: not known, or never


class Totals(msgspec.Struct, omit_defaults=True):
    """Of all streams of a device."""

    received: int = 0
    duplicates: int = 0
    missing: int = 0
    backlog: int = 0
    backlog_bytes: int = 0
    rate: float = 0.0
    eta_s: int = -1  # -1: unknown, or there is nothing to wait for


class Clone(msgspec.Struct, omit_defaults=True):
    """Two devices take turns under one name."""

    since: str
    turns: int
    last: str


class Document(msgspec.Struct, omit_defaults=True):
    """One device."""

    device: str
    state: State
    since: str = ""  # of the state
    hub: str = ""
    first_seen: str = ""
    seen: str = ""  # the last word of the device, when this was written
    updated: str = ""
    trouble: list[str] = []  # in words, what needs somebody
    clone: Clone | None = None
    streams: dict[str, StreamEntry] = {}
    totals: Totals = msgspec.field(default_factory=Totals)
    link: Figures = {}
    health: Figures = {}
    events: list[tuple[str, str]] = []  # time and text, the latest last
    minute: int = 0  # the last one of ``history``, in minutes since 1970
    history: list[int] = []  # messages that came in each minute, the latest last


def encode(document: Document) -> bytes:
    """As it is stored."""
    return msgspec.json.encode(document)


def decode(data: bytes) -> Document | None:
    """None: it is none."""
    try:
        return msgspec.json.decode(data, type=Document)
    except (ValueError, RecursionError):
        return None
