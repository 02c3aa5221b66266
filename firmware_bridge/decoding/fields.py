"""One value in a frame: which channel it is, what it counts in, and how its text becomes a number."""

import math
import re
from collections.abc import Sequence

import msgspec

from phloem.firmware_bridge.decoding.decoder import DecodeError
from phloem.firmware_bridge.reading import Quality, Reading, Value

CHANNEL = re.compile(r"[^\s.*>\x00-\x1f\x7f]{1,64}")  # one token of a subject
_KINDS = ("auto", "number", "text", "bool")
_TRUE = frozenset(("1", "true", "on", "yes", "high", "open"))
_FALSE = frozenset(("0", "false", "off", "no", "low", "closed"))
SKIPPED = ("", "_", "-")  # in lists: this place has no meaning
_SHOWN = 40  # characters of what came, in an error
_DIGITS_MAX = 64
NAMES_MAX = 1024  # remembered of one port; a device that invents names without end gets no more memory
NAME_CHARS_MAX = 64  # longer ones are no channels, and not remembered
_NUMBERS = msgspec.json.Decoder(list[int | float])


class Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``{ channel: t, unit: Cel, scale: 0.1 }``; in lists also short, as ``t`` or ``t:Cel``."""

    channel: str
    unit: str = ""
    kind: str = "auto"
    """``auto`` takes a number for a number and the rest for text; the others insist."""
    scale: float = 1.0
    """The reading is ``scale`` times what came, plus ``offset``."""
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not CHANNEL.fullmatch(self.channel):
            raise ValueError(f"channel {self.channel!r} is not one token of a subject")
        if self.kind not in _KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(_KINDS)}")
        if not (math.isfinite(self.scale) and self.scale and math.isfinite(self.offset)):
            raise ValueError(f"channel {self.channel}: scale must be a number other than 0, offset a number")

    def read(self, text: str, mono_ns: int) -> Reading:
        """The reading that ``text`` is.

        Raises:
            DecodeError: It is not of this field's kind.
        """
        return Reading(self.channel, self._value(text.strip()), self.unit, Quality.GOOD, mono_ns)

    def scaled(self, value: int | float) -> int | float:
        """``value`` in the field's unit; whole numbers stay whole where nothing is scaled."""
        return value if self.scale == 1.0 and self.offset == 0.0 else value * self.scale + self.offset

    def _value(self, text: str) -> Value:
        if self.kind == "text":
            return text
        if self.kind == "bool":
            word = text.lower()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise DecodeError(f"{self.channel}: {text[:_SHOWN]!r} is neither true nor false")
        value = number(text)
        if value is not None:
            return self.scaled(value)
        if self.kind == "number":
            raise DecodeError(f"{self.channel}: {text[:_SHOWN]!r} is no number")
        return text


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What several decoders take: which of the names in a frame are wanted, and what is known of them."""

    fields: dict[str, str | Field] = {}
    """By the name in the frame: ``t: Cel`` is its unit, ``t { channel: outside, unit: Cel }`` all of it."""
    only: bool = False
    """Whether names without an entry in ``fields`` are left out."""

    def field_of(self, name: str) -> Field | None:
        """How ``name`` is to be read; None if it is not wanted.

        Raises:
            DecodeError: It has no entry and cannot be a channel.
        """
        given = self.fields.get(name)
        if isinstance(given, Field):
            return given
        if given is None and self.only:
            return None
        if not CHANNEL.fullmatch(name):
            raise DecodeError(f"{name[:_SHOWN]!r} is not one token of a subject; give it a channel in fields")
        return Field(channel=name, unit=given or "")


def number(text: str) -> int | float | None:
    """The number that ``text`` is, decimal or ``0x``; None if it is none, or not finite, or absurdly long."""
    if len(text) > _DIGITS_MAX or "_" in text:
        return None
    if "." not in text:  # else it is no whole number, and finding that out by an exception is dear
        try:
            return int(text, 16 if text[:2] in ("0x", "0X") else 10)
        except ValueError:
            pass
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers(texts: Sequence[str]) -> list[int | float] | None:
    """What ``number`` says of each, at once and in an eighth of the time; None if one of them is not what JSON writes
    too: then each has to be looked at."""
    joined = ",".join(texts)
    if len(joined) > _DIGITS_MAX and max(map(len, texts)) > _DIGITS_MAX:
        return None
    try:
        found = _NUMBERS.decode(f"[{joined}]")
    except msgspec.DecodeError:
        return None
    return found if len(found) == len(texts) else None  # a text may have had a comma


class Row:
    """Fields that come together again and again; None for a place that is skipped."""

    def __init__(self, fields: Sequence[Field | None]) -> None:
        self._fields = [field for field in fields if field is not None]
        self._places = [place for place, field in enumerate(fields) if field is not None]
        self._whole = len(self._places) == len(fields)
        self._may_be_numbers = all(field.kind in ("auto", "number") for field in self._fields)
        self._is_scaled = any(field.scaled(1) != 1 or field.offset for field in self._fields)

    def read(self, texts: Sequence[str], mono_ns: int) -> list[Reading] | None:
        """The readings of as many texts as there are places, if all that count are plain numbers; else None, and
        ``Field.read`` is to look at each."""
        if not self._may_be_numbers:
            return None
        found = numbers(texts if self._whole else [texts[place] for place in self._places])
        if found is None:
            return None
        if self._is_scaled:
            found = [field.scaled(value) for field, value in zip(self._fields, found, strict=True)]
        good = Quality.GOOD
        return [
            Reading(field.channel, value, field.unit, good, mono_ns)
            for field, value in zip(self._fields, found, strict=True)
        ]


class Names:
    """``Fields`` as frames ask for them: what was found for a name is remembered."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._known: dict[str, Field | None] = {}

    def field_of(self, name: str) -> Field | None:
        """As ``Fields`` has it."""
        try:
            return self._known[name]
        except KeyError:
            pass
        field = self._fields.field_of(name)
        if len(name) <= NAME_CHARS_MAX:
            if len(self._known) >= NAMES_MAX:
                self._known.clear()
            self._known[name] = field
        return field


def field_of_text(text: str) -> Field:
    """``t`` or ``t:Cel``.

    Raises:
        ValueError: The channel is not one token of a subject.
    """
    channel, _, unit = text.partition(":")
    return Field(channel=channel.strip(), unit=unit.strip())


def fields_of(given: Sequence[str | Field]) -> list[Field | None]:
    """What a list of fields says; None for a place that is skipped.

    Raises:
        ValueError: One is not what it should be.
    """
    return [
        field if isinstance(field, Field) else None if field in SKIPPED else field_of_text(field)
        for field in given
    ]


def as_text(frame: bytes) -> str:
    """``frame`` as UTF-8.

    Raises:
        DecodeError: It is not.
    """
    try:
        return frame.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"byte {error.start} (0x{frame[error.start]:02x}) is not UTF-8; is the baud right?"
        ) from None
