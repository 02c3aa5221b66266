"""Durations as NATS writes them (Go's ``time.Duration``): ``2m``, ``1h30m``, ``250ms``, ``-1.5s``."""

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?([^\d.]*)", re.ASCII)
_INT64_MAX = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Nanoseconds of ``text``.

    Raises:
        ValueError: With Go's text, such as ``time: missing unit in duration "10"``.
    """
    rest, total = text.lstrip("+-"), 0
    if len(text) - len(rest) > 1 or not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    if rest == "0":
        return 0
    while rest:
        match = _PART.match(rest)
        if match is None or not (match[1] or match[2]):
            raise ValueError(f'time: invalid duration "{text}"')
        if not match[3]:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if match[3] not in _UNITS:
            raise ValueError(f'time: unknown unit "{match[3]}" in duration "{text}"')
        unit, fraction = _UNITS[match[3]], match[2] or ""
        total += int(match[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        if total > _INT64_MAX:
            raise ValueError(f'time: invalid duration "{text}"')
        rest = rest[match.end() :]
    return -total if text.startswith("-") else total


def format_duration(ns: int) -> str:
    """As Go prints it: ``2m0s``, ``1h0m0s``, ``250ms``, ``0s``."""
    if ns < 0:
        return "-" + format_duration(-ns)
    for unit in ("ns", "µs", "ms"):
        if 0 < ns < 1000 * _UNITS[unit]:
            return _decimal(ns, _UNITS[unit]) + unit
    hours, minutes = ns // _UNITS["h"], ns // _UNITS["m"]
    text = _decimal(ns % _UNITS["m"], _UNITS["s"]) + "s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{hours}h{text}" if hours else text


def short_duration(ns: int) -> str:
    """``format_duration`` without trailing zero units, as people write it: ``2m``, ``1h``."""
    text = format_duration(ns)
    if text.endswith("m0s"):
        text = text.removesuffix("0s")
    return text.removesuffix("0m") if text.endswith("h0m") else text


def _decimal(ns: int, unit: int) -> str:
    """``ns / unit`` without rounding and without trailing zeros."""
    whole, rest = divmod(ns, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
