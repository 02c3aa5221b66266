"""Values and documents as nats-server writes them: dates, durations, numbers, JSON."""

import msgspec

from phloem.shared.dates import utc
from phloem.shared.server.durations import format_duration

SECOND_NS = 1_000_000_000
_NOT_IN_HTML = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))
_NOT_IN_SCRIPTS = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))


def date(wall_ns: int) -> str:
    """RFC 3339 in UTC with as many digits of the second as it takes."""
    seconds, ns = divmod(wall_ns, SECOND_NS)
    fraction = f".{ns:09d}".rstrip("0") if ns else ""
    return f"{utc(seconds):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def uptime(ns: int) -> str:
    """Whole seconds, from the first unit that is not zero: ``1d0h5m10s``, ``42s``."""
    seconds = max(ns, 0) // SECOND_NS
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    text = f"{seconds % 60}s"
    for amount, rest in ((minutes, f"{minutes % 60}m"), (hours, f"{hours % 24}h")):
        if amount:
            text = rest + text
    if days // 365:
        return f"{days // 365}y{days % 365}d{text}"
    return f"{days}d{text}" if days else text


def rtt(ns: int) -> str:
    """A round trip; below a millisecond without nanoseconds."""
    return format_duration(ns // 1000 * 1000 if 1000 < ns < 1_000_000 else ns)


def number(value: float) -> int | float:
    """``value`` so that JSON shows no ``.0``, which Go does not write."""
    return int(value) if value == int(value) else value


def compact_json(document: object) -> bytes:
    """One line; what is dangerous inside of HTML or scripts is escaped (it occurs in strings only)."""
    text = msgspec.json.encode(document)
    for character, escape in _NOT_IN_HTML + _NOT_IN_SCRIPTS:
        text = text.replace(character, escape)
    return text


def pretty_json(document: object) -> bytes:
    """``compact_json`` with two spaces for each level."""
    return msgspec.json.format(compact_json(document), indent=2)
