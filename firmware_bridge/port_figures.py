"""A port's counters as monitoring shows them, in ``/varz``, ``/metrics`` and the port's own state."""

import dataclasses
from typing import Any

from phloem.firmware_bridge.counters import Counters


def port_figures(counters: Counters, frame_age_s: float, process_waiting: int = 0) -> dict[str, Any]:
    """By name; ``line_errors`` by kind, ``frame_age_s`` is -1 if there was no frame."""
    plain = {
        field.name: getattr(counters, field.name)
        for field in dataclasses.fields(counters)
        if field.name != "line_errors"
    }
    gauges = {"frame_age_s": frame_age_s, "process_waiting": process_waiting}
    return plain | gauges | {"line_errors": counters.line_errors._asdict()}
