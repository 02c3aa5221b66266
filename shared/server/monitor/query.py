"""Parameters of a URL, read as Go reads them, with Go's words for what is wrong.

The first value of a name counts; an empty one is a missing one. A pair that cannot be decoded, or has a
semicolon, is left out (``net/url.ParseQuery``).
"""

import re
from collections.abc import Mapping
from typing import Self
from urllib.parse import unquote_to_bytes

from phloem.shared.errors import PhloemError

_BAD_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_DIGITS_MAX = 20  # of any 64 bit number; longer ones need not be converted to know
_ESCAPES = {'"': '\\"', "\\": "\\\\"} | dict(zip("\a\b\f\n\r\t\v", map("\\".__add__, "abfnrtv"), strict=True))


class BadParameter(PhloemError):
    """A parameter that cannot be used; ``str`` is the whole answer."""


class Query:
    """The parameters of one request."""

    def __init__(self, raw: bytes = b"") -> None:
        self._values: dict[str, str] = {}
        for pair in raw.split(b"&"):
            name, _, value = pair.partition(b"=")
            if b";" not in pair and not _BAD_ESCAPE.search(pair):
                self._values.setdefault(_decoded(name), _decoded(value))

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Parameters that come from elsewhere."""
        query = cls()
        query._values.update(values)
        return query

    def text(self, name: str) -> str:
        """As it is; bytes that are no UTF-8 are surrogates."""
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean; missing is false.

        Raises:
            BadParameter: Not one of Go's words for it.
        """
        text = self.text(name)
        if text and text not in _TRUE and text not in _FALSE:
            raise _wrong("boolean", name, "ParseBool", text, "invalid syntax")
        return text in _TRUE

    def integer(self, name: str) -> int:
        """A signed 64 bit number; missing is 0.

        Raises:
            BadParameter: No decimal number, or too large.
        """
        text = self.text(name) or "0"
        if not _INTEGER.fullmatch(text):
            raise _wrong("int", name, "Atoi", text, "invalid syntax")
        value = _converted(text)
        if value is None or not -(1 << 63) <= value < 1 << 63:
            raise _wrong("int", name, "Atoi", text, "value out of range")
        return value

    def unsigned(self, name: str) -> int:
        """An unsigned 64 bit number; missing is 0.

        Raises:
            BadParameter: No decimal number, or too large.
        """
        text = self.text(name) or "0"
        if not _DIGITS.fullmatch(text):
            raise _wrong("uint64", name, "ParseUint", text, "invalid syntax")
        value = _converted(text)
        if value is None or value >= 1 << 64:
            raise _wrong("uint64", name, "ParseUint", text, "value out of range")
        return value


def quoted(text: str) -> str:
    """``text`` in quotes as ``strconv.Quote`` writes it."""
    return '"' + "".join(map(_quoted_character, text)) + '"'


def _quoted_character(char: str) -> str:
    code = ord(char)
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _converted(text: str) -> int | None:
    """The number; ``None`` for one with more digits than any that fits."""
    sign, digits = ("-" if text[0] == "-" else ""), text.lstrip("+-").lstrip("0")
    return int(sign + (digits or "0")) if len(digits) <= _DIGITS_MAX else None


def _wrong(kind: str, name: str, function: str, text: str, problem: str) -> BadParameter:
    return BadParameter(
        f"Error decoding {kind} for '{name}': strconv.{function}: parsing {quoted(text)}: {problem}"
    )
