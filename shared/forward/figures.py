"""What a device tells of itself in STATUS: how its streams stand, what its link costs, how it is.

The hub believes nothing of it but shows it, so it is bounded: what is too much or no figure is left out. ``link`` and
``health`` are figures by name; the names that phloem's edge uses are listed in docs/fleet.md, others may be added.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from phloem.shared import limits

Figure = bool | int | float | str
Figures = dict[str, Figure]

LARGE = (1 << 63) - 1


class StreamStatus(msgspec.Struct, array_like=True):
    """One stream on the device. ``waits``: why nothing of it is sent although there is something; empty: nothing is in
    the way that the device knows."""

    backlog: int = 0  # messages that the hub has not confirmed
    bytes: int = 0  # about
    age_s: int = 0  # of the oldest of them
    last_seq: int = 0
    cls: str = ""
    waits: str = ""


class DeviceStatus(msgspec.Struct, omit_defaults=True):
    """All of it. Keys are short because a metered link pays for them."""

    streams: dict[str, StreamStatus] = msgspec.field(default_factory=dict, name="s")
    link: Figures = msgspec.field(default_factory=dict, name="l")
    health: Figures = msgspec.field(default_factory=dict, name="h")


def plain(status: DeviceStatus) -> dict[str, object]:
    """For ``Status.figures``."""
    found: dict[str, object] = msgspec.to_builtins(status)
    return found


def read(figures: Mapping[str, Any]) -> DeviceStatus:
    """What a device has sent; whatever is not as it should be is left out."""
    streams: dict[str, StreamStatus] = {}
    said = figures.get("s")
    for name, values in list(said.items())[: limits.FORWARD_STREAMS] if isinstance(said, dict) else ():
        try:
            one = msgspec.convert(values, StreamStatus)
        except msgspec.ValidationError:
            continue
        backlog, size, age_s, last_seq = (
            min(max(number, 0), LARGE) for number in (one.backlog, one.bytes, one.age_s, one.last_seq)
        )
        streams[str(name)] = StreamStatus(backlog, size, age_s, last_seq, _short(one.cls), _short(one.waits))
    return DeviceStatus(streams, _figures(figures.get("l")), _figures(figures.get("h")))


def _figures(said: object) -> Figures:
    if not isinstance(said, dict):
        return {}
    found: Figures = {}
    for name, value in said.items():
        if len(found) >= limits.FLEET_FIGURES:
            break
        if isinstance(name, str) and isinstance(value, bool | int | float | str):
            found[_short(name)] = _short(value) if isinstance(value, str) else _bounded(value)
    return found


def _bounded(value: float) -> float:
    """JSON has no infinity, and other languages no larger integers."""
    if isinstance(value, float):
        return value if abs(value) <= LARGE else 0.0
    return min(max(value, -LARGE), LARGE)


def _short(text: str) -> str:
    return printable(text[: limits.FLEET_TEXT])


def printable(text: str) -> str:
    """What a device says goes to terminals and logs: without control characters and line ends."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
