"""What the doctor finds: one line of what is so and, unless all is well, one of what to do about it."""

import enum

import msgspec


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "unknown"  # it could not be looked at; as root, or with what is missing, it can
    WARN = "warn"  # it works, and will not always
    BAD = "bad"  # it does not work, or messages may be lost


class Finding(msgspec.Struct, frozen=True):
    """``area`` is a word (storage, clock, ...), ``what`` a fact, ``do`` what mends it."""

    area: str
    level: Level
    what: str
    do: str = ""


EXIT = {Level.OK: 0, Level.UNKNOWN: 0, Level.WARN: 0, Level.BAD: 1}
"""The exit code; a warning is no failure, so that a probe does not restart what works."""


def worst(findings: list[Finding]) -> Level:
    """Of all of them."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
