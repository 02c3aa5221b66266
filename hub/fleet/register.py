"""The register of devices: a text file with one line for each key that was given out.

Columns are separated by blanks: name, public key, when it was enrolled, until when it is valid, when it was revoked.
Times are UTC, ``never`` is no end, ``-`` is not revoked. A name may be there several times: each key has its line.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from phloem.shared.dates import utc
from phloem.shared.errors import ConfigError
from phloem.shared.security.nkeys import Prefix, is_public

NEVER, NOT_YET = "never", "-"
HEAD = """\
# Devices that were given a key. Written by phloem enroll and phloem revoke; please do not edit.
# name  public key  enrolled  valid until  revoked
"""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_BLANKS = re.compile(r"[ \t]+")


class Device(msgspec.Struct, frozen=True):
    """A key of a device. Times are seconds since 1970 UTC; 0 in ``expires_s`` and ``revoked_s`` is never."""

    name: str
    key: str
    enrolled_s: int
    expires_s: int = 0
    revoked_s: int = 0

    def state(self, now_s: int) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_s:
            return "revoked"
        return "expired" if 0 < self.expires_s < now_s else "active"


def parse(text: str, file: str) -> tuple[Device, ...]:
    """The devices in a register.

    Raises:
        ConfigError: A line is not as this file writes it.
    """
    return tuple(
        _device(line, file, number)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.startswith("#")
    )


def render(devices: Iterable[Device]) -> str:
    """The register as text, which ``parse`` reads back."""
    rows = [
        (
            one.name,
            one.key,
            shown(one.enrolled_s),
            shown(one.expires_s) if one.expires_s else NEVER,
            shown(one.revoked_s) if one.revoked_s else NOT_YET,
        )
        for one in devices
    ]
    return HEAD + "".join("  ".join(row) + "\n" for row in rows)


def keys_of(devices: Sequence[Device], name: str) -> list[Device]:
    """All keys of a device, the newest last."""
    return [one for one in devices if one.name == name]


def shown(seconds: int) -> str:
    """A time as the register writes it."""
    return utc(seconds).strftime(_TIME)


def _device(line: str, file: str, number: int) -> Device:
    columns = _BLANKS.split(line.strip())
    if len(columns) != 5:
        raise ConfigError("a device has five columns", file=file, line=number)
    name, key, enrolled, expires, revoked = columns
    if not is_public(key, Prefix.USER):
        raise ConfigError(f"{key!r} is not the public key of a user", file=file, line=number)
    try:
        return Device(
            name,
            key,
            _seconds(enrolled),
            0 if expires == NEVER else _seconds(expires),
            0 if revoked == NOT_YET else _seconds(revoked),
        )
    except ValueError:
        raise ConfigError("a time is like 2027-01-31T12:00:00Z", file=file, line=number) from None


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
