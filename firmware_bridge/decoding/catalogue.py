"""Every decoder that a port can have, and how its settings are read.

As with framings: a name, or a block with the name in ``type``::

    decode: json
    decode { type: csv, columns: ["t:Cel", "h:%"] }
"""

from typing import TypeAlias, get_args

import msgspec

from phloem.firmware_bridge.decoding.columns import Csv
from phloem.firmware_bridge.decoding.json_object import Json
from phloem.firmware_bridge.decoding.layout import Struct
from phloem.firmware_bridge.decoding.nmea import Nmea
from phloem.firmware_bridge.decoding.pairs import KeyValue
from phloem.firmware_bridge.decoding.pattern import Regex
from phloem.firmware_bridge.decoding.text import Number, Text
from phloem.shared.errors import ConfigError

Decoding: TypeAlias = Text | Number | Csv | KeyValue | Json | Regex | Struct | Nmea

DECODINGS: tuple[str, ...] = tuple(kind.__struct_config__.tag for kind in get_args(Decoding))


def decoding_of(value: object) -> Decoding:
    """The decoding that ``value`` names: a name, or a mapping with the name in ``type``.

    Raises:
        ConfigError: There is none, or it has no such setting, or a value that it cannot take.
    """
    fields = {"type": value} if isinstance(value, str) else value
    if isinstance(fields, dict) and fields.get("type") not in DECODINGS:
        raise ConfigError(f"decode {fields.get('type')!r} is none of {', '.join(DECODINGS)}")
    try:
        return msgspec.convert(fields, Decoding)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise ConfigError(f"decode: {error}") from None
