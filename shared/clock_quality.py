"""How far the system's wall clock can be trusted: whom to ask, and the words that messages have for it."""

import ctypes
from pathlib import Path
from typing import NamedTuple

from phloem.shared.limits import CLOCK_EARLIEST_NS, SECOND_NS

SYNCED, ESTIMATED, UNSYNCED = "synced", "est", "unsynced"
"""Somebody keeps it right; it is near what somebody else has said; nobody knows, or it is known to be wrong."""

SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
STA_UNSYNC, TIME_ERROR = 0x40, 5
SIMPLE_ERROR_NS = SECOND_NS // 2  # where systemd-timesyncd is all that is known to be at work


class SystemSays(NamedTuple):
    """Of its own clock: whether somebody keeps it right, and how far it may be off; or that it does not say."""

    synchronised: bool = False
    error_ns: int = 0
    silent: bool = False


class _Timex(ctypes.Structure):
    """The head of the kernel's ``struct timex``; ``rest`` is more than what it has."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def system_says() -> SystemSays:
    """Whether the kernel or systemd say that the system's clock is synchronised."""
    timex = _Timex()
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    if state >= 0 and state != TIME_ERROR and not timex.status & STA_UNSYNC:
        return SystemSays(True, max(int(timex.maxerror), 1) * 1000)
    if SYNCHRONISED.exists():
        return SystemSays(True, SIMPLE_ERROR_NS)
    return SystemSays(silent=state < 0)  # ProtectClock= of systemd forbids to ask the kernel


def quality_of(says: SystemSays, wall_ns: int) -> str:
    """The word for a clock of which nothing is known but what the system says; empty if that is nothing. 1970 is never
    right."""
    if wall_ns < CLOCK_EARLIEST_NS:
        return UNSYNCED
    return SYNCED if says.synchronised else "" if says.silent else UNSYNCED
