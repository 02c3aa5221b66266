"""Whatever a regular expression with named groups can take apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from phloem.firmware_bridge.decoding.decoder import DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, Fields, Names, as_text
from phloem.firmware_bridge.reading import Reading

if TYPE_CHECKING:
    import regex

TIMEOUT_S = 0.02  # a pattern that backtracks without end on some input must not stop the other ports


class Regex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="regex"):
    r"""``decode { type: regex, pattern: "T:(?P<t>-?\d+)", fields { t { channel: t, unit: Cel, scale: 0.1 } } }``.

    The pattern may match anywhere in the frame; ``^`` and ``$`` tie it down.
    """

    pattern: str
    fields: dict[str, str | Field] = {}

    def __post_init__(self) -> None:
        groups = _compiled(self.pattern).groupindex
        if not groups:
            raise ValueError(f"pattern {self.pattern!r} has no named group such as (?P<t>\\d+)")
        if unknown := next((name for name in self.fields if name not in groups), None):
            raise ValueError(f"pattern has no group {unknown!r}")

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return PatternDecoder(_compiled(self.pattern), Fields(fields=self.fields))


class PatternDecoder:
    """Each named group that took part is a reading."""

    def __init__(self, pattern: "regex.Pattern[str]", fields: Fields) -> None:
        self._pattern, self._names = pattern, Names(fields)

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        try:
            found = self._pattern.search(as_text(frame), timeout=TIMEOUT_S)
        except TimeoutError:
            raise DecodeError(f"the pattern needs over {TIMEOUT_S * 1000:.0f} ms; make it simpler") from None
        if found is None:
            raise DecodeError("the pattern does not match")
        readings = []
        for name, text in found.groupdict().items():
            field = self._names.field_of(name)
            if text is not None and field is not None:
                readings.append(field.read(text, mono_ns))
        return readings


def _compiled(pattern: str) -> "regex.Pattern[str]":
    """Raises:
    ValueError: It is no regular expression.
    """
    import regex  # noqa: PLC0415  (1.7 MB that only who uses it should pay)

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None
