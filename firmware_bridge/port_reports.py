"""Figures of ports on their way from a bridge's process to the broker beside it, which has monitoring and a network.

The bridge tells them every ``EVERY_S`` seconds, as JSON, to a subject of the JetStream API, which stays on this
machine; nothing answers. Whoever says it is a client, and what it says is looked at before it is shown.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.port import LineErrors
from phloem.shared.limits import SECOND_NS

SUBJECT = "$JS.API.PHLOEM.PORTS"
EVERY_S = 5
_KEPT_NS = 4 * EVERY_S * SECOND_NS  # without news of them: the bridge hangs, or has lost its connection
_PORTS_MAX, _BRIDGES_MAX, _BYTES_MAX = 256, 8, 1 << 18
_Count = Annotated[int, Meta(ge=0, le=1 << 53)]
_Text = Annotated[str, Meta(max_length=1024)]
_FIELDS: list[tuple[str, Any]] = [
    *((name, _Text) for name in ("port", "device", "path", "state", "reason")),
    ("for_s", float),
    ("garbled", bool),
    ("shared_at", list[_Text]),
    *((one.name, _Count) for one in dataclasses.fields(Counters) if one.name != "line_errors"),
    ("frame_age_s", float),
    ("process_waiting", _Count),
    ("line_errors", msgspec.defstruct("_Errors", [(name, _Count) for name in LineErrors._fields])),
]
_Port = msgspec.defstruct("_Port", _FIELDS)
_decoder = msgspec.json.Decoder(Annotated[list[_Port], Meta(max_length=_PORTS_MAX)])  # type: ignore[valid-type]


def report(figures: Iterable[Mapping[str, Any]]) -> bytes:
    """What a bridge tells: as ``Bridge.figures`` has it."""
    return msgspec.json.encode(list(figures))


class _Told(NamedTuple):
    at_ns: int
    ports: list[dict[str, Any]]


class PortReports:
    """What bridges have told last, by the number of the connection."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def told(self, cid: int, body: bytes, now_ns: int) -> bool:
        """Keep it; False: it is no report."""
        try:
            if len(body) > _BYTES_MAX:
                return False
            ports = msgspec.to_builtins(_decoder.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        self._told.pop(cid, None)
        self._told[cid] = _Told(now_ns, ports)
        if len(self._told) > _BRIDGES_MAX:
            self._told.pop(next(iter(self._told)))
        return True

    def figures(self, now_ns: int, is_open: Mapping[int, Any], own: Iterable[str]) -> list[dict[str, Any]]:
        """As of now, of bridges whose connection is open; a name that another port has already is left out."""
        self._told = {
            cid: told
            for cid, told in self._told.items()
            if cid in is_open and now_ns - told.at_ns <= _KEPT_NS
        }
        taken, shown = set(own), []
        for told in reversed(self._told.values()):
            passed_s = (now_ns - told.at_ns) / SECOND_NS
            for port in told.ports:
                if port["port"] in taken:
                    continue
                taken.add(port["port"])
                age_s = port["frame_age_s"]
                aged = {
                    "for_s": port["for_s"] + passed_s,
                    "frame_age_s": age_s + passed_s if age_s >= 0 else -1,
                }
                shown.append(port | aged)
        return shown
