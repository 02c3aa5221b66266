"""Times and durations as JetStream writes them: RFC 3339 with up to nine digits, Go's durations."""

import calendar
import re

from phloem.shared.dates import utc

ZERO = "0001-01-01T00:00:00Z"
EPOCH = "1970-01-01T00:00:00Z"
SECOND_NS = 1_000_000_000
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?(Z|z|([+-])(\d\d):(\d\d))"
)
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
}
_UNITS["h"] = 3600 * SECOND_NS
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def rfc3339(ns: int | None) -> str:
    """UTC; 0 and None are the zero time."""
    if not ns:
        return ZERO
    seconds, rest = divmod(ns, SECOND_NS)
    text = utc(seconds).isoformat()[:19]
    return f"{text}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970, 0 for the zero time. Raises ValueError with Go's words."""
    match = _TIME.fullmatch(text)
    if match is None:
        layout = "2006-01-02T15:04:05Z07:00"
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        raise ValueError(f'parsing time "{text}": value out of range')
    if year < 1970:
        return 0
    ns = calendar.timegm((year, month, day, hour, minute, second)) * SECOND_NS
    if match[7]:
        ns += int(match[7].ljust(9, "0"))
    if match[9]:
        offset = (int(match[10]) * 60 + int(match[11])) * 60 * SECOND_NS
        ns += -offset if match[9] == "+" else offset
    return ns


def printed_time(text: str) -> str:
    """A time of a request as answers show it; unlike ``rfc3339`` it tells the epoch, with which some clients say that
    something is over, from no time at all. Raises ValueError."""
    ns = parse_rfc3339(text)
    return rfc3339(ns) if ns or int(text[:4]) < 1970 else EPOCH


def go_duration(ns: int) -> str:
    """As Go prints a duration: 1m30s, 1.5s, 250ms."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if ns < size * 1000 and ns < SECOND_NS:
            return f"{sign}{_decimal(ns, size)}{unit}"
    minutes, rest = divmod(ns, 60 * SECOND_NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND_NS)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = str(rest).rjust(len(str(size)) - 1, "0").rstrip("0") if size > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)


def parse_go_duration(text: str) -> int:
    """Nanoseconds. Raises ValueError."""
    body = text.removeprefix("-").removeprefix("+")
    parts = list(_PART.finditer(body))
    if body == "0":
        return 0
    if not parts or "".join(part[0] for part in parts) != body:
        raise ValueError(f'time: invalid duration "{text}"')
    ns = sum(round(float(part[1]) * _UNITS[part[2]]) for part in parts)
    return -ns if text.startswith("-") else ns
