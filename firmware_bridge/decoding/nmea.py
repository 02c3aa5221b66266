"""NMEA 0183 sentences: position, time, speed and whatever else pynmea2 knows the fields of."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from phloem.firmware_bridge.decoding.decoder import DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import CHANNEL, as_text, number
from phloem.firmware_bridge.reading import Reading

_UNITS = {"M": "m", "K": "km/h", "N": "[kn_i]", "C": "Cel", "B": "bar", "P": "Pa", "H": "%"}


class Nmea(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="nmea"):
    """``decode: nmea``. Channels are ``RMC_latitude``, ``VTG_spd_over_grnd_kts`` and so on: sentence and field."""

    sentences: list[str] = []
    """Which kinds are decoded (``RMC``, ``GGA``); all that are known unless given."""
    talkers: list[str] = []
    """Which talkers are listened to (``GP``, ``GN``); all unless given."""

    def __post_init__(self) -> None:
        for word in (*self.sentences, *self.talkers):
            if not CHANNEL.fullmatch(word):
                raise ValueError(f"{word!r} is neither a sentence such as RMC nor a talker such as GP")

    def decoder(self) -> Decoder:
        """A decoder with these settings.

        Raises:
            ValueError: pynmea2 is not installed.
        """
        return NmeaDecoder(frozenset(self.sentences), frozenset(self.talkers))


class NmeaDecoder:
    """A sentence that is not wanted gives no readings, one that nobody knows is an error."""

    def __init__(self, sentences: frozenset[str], talkers: frozenset[str]) -> None:
        try:
            import pynmea2  # type: ignore[import-untyped]  # noqa: PLC0415  (an extra)
        except ImportError:
            raise ValueError("decode: nmea needs pynmea2; install phloem[nmea]") from None
        self._library, self._sentences, self._talkers = pynmea2, sentences, talkers

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        text = as_text(frame)
        try:
            sentence = self._library.parse(text)
            kind, talker = sentence.sentence_type, getattr(sentence, "talker", "")
        except Exception as error:  # its field parsers raise what they like on hostile input
            raise DecodeError(f"not a sentence that is known: {str(error)[:80]}") from None
        if (self._sentences and kind not in self._sentences) or (
            self._talkers and talker not in self._talkers
        ):
            return ()
        return list(self._readings(kind, sentence, mono_ns))

    def _readings(self, kind: str, sentence: Any, mono_ns: int) -> Sequence[Reading]:
        made, units = [], _units(sentence)
        for _, name, *_ in sentence.fields:
            value = _plain(sentence, name)
            if value is not None and CHANNEL.fullmatch(name):
                made.append(Reading(f"{kind}_{name}", value, units.get(name, ""), mono_ns=mono_ns))
        for name in ("latitude", "longitude"):
            value = (
                _plain(sentence, name)
                if getattr(sentence, "lat" if name == "latitude" else "lon", "")
                else None
            )
            if value is not None:
                made.append(Reading(f"{kind}_{name}", value, "deg", mono_ns=mono_ns))
        return made


def _plain(sentence: Any, name: str) -> int | float | str | None:
    try:
        value = getattr(sentence, name)
    except Exception:  # a field that pynmea2 converts when it is asked for, and cannot
        return None
    if value is None or value == "":
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int | float):
        return value
    text = str(value)
    found = number(text)
    return text if found is None else found


def _units(sentence: Any) -> dict[str, str]:
    """The unit of each field whose neighbour names it: ``altitude`` and ``altitude_units``."""
    names = [name for _, name, *_ in sentence.fields]
    return {
        before: _UNITS.get(str(_plain(sentence, name)), "")
        for before, name in pairwise(names)
        if name.endswith(("_units", "_unit")) or (len(name) > 2 and name.endswith("_sym"))
    }
