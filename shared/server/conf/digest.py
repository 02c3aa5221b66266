"""The digest of a parsed configuration, equal to nats-server's for the same file.

SHA-256 of the top-level map as Go's ``encoding/json`` writes it: compact, keys sorted by their bytes,
``<``, ``>`` and ``&`` escaped, a newline at the end. Order, comments, includes and spelling of numbers do
not change it; the case of keys does.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime

from phloem.shared.server.conf.parser import Value

_ESCAPED = re.compile("[<>&\u2028\u2029\udc80-\udcff]")  # the last are bytes that are no UTF-8


def config_digest(top: Mapping[str, Value]) -> str:
    """``sha256:`` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(f"{_object(top)}\n".encode()).hexdigest()


def _object(entries: Mapping[str, Value]) -> str:
    return "{" + ",".join(f"{_string(key)}:{_json(entries[key])}" for key in sorted(entries)) + "}"


def _json(value: Value) -> str:
    data = value.data
    match data:
        case bool():
            return "true" if data else "false"
        case int():
            return str(data)
        case float():
            return _float(data)
        case str():
            return _string(data)
        case datetime():
            return f'"{data:%Y-%m-%dT%H:%M:%SZ}"'
        case list():
            return "[" + ",".join(map(_json, data)) + "]"
        case dict():
            return _object(data)


def _string(text: str) -> str:
    return _ESCAPED.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\ufffd" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _float(number: float) -> str:
    """The shortest digits that read back equal; an exponent only below 1e-6 and from 1e21 on."""
    if number == 0:
        return "-0" if str(number).startswith("-") else "0"
    mantissa, _, exponent = f"{number!r}".partition("e")
    if 1e-6 <= abs(number) < 1e21:
        fixed = f"{number:.0f}" if exponent and abs(number) >= 1 else mantissa
        if exponent and abs(number) < 1:
            digits = mantissa.lstrip("-").replace(".", "")
            fixed = f"{'-' if number < 0 else ''}0.{'0' * (-int(exponent) - 1)}{digits}"
        return fixed.removesuffix(".0")
    power = int(exponent)
    return f"{mantissa.removesuffix('.0')}e{'-' if power < 0 else '+'}{abs(power):02d}".replace("e-0", "e-")
