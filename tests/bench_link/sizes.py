"""How much of it is measured."""

from typing import NamedTuple


class Size(NamedTuple):
    """How much of it: the long kind, or a quick one."""

    drain: int = 1_000_000
    slow: int = 100_000
    trickle_s: int = 60
    alarm_s: int = 60
    idle_s: int = 3600
    stored: int = 1_000_000
    devices: int = 1000
    fleet_s: int = 60


QUICK = Size(100_000, 20_000, 20, 20, 120, 100_000, 1000, 20)
