"""Every decoder that a port can have, and how its settings are read.

As with framings: a name, or a block with the name in ``type``::

    decode: json
    decode { type: csv, columns: ["t:Cel", "h:%"] }
"""

from typing import TypeAlias

from phloem.firmware_bridge.choices import chosen, names_of
from phloem.firmware_bridge.decoding.columns import Csv
from phloem.firmware_bridge.decoding.json_object import Json
from phloem.firmware_bridge.decoding.layout import Struct
from phloem.firmware_bridge.decoding.nmea import Nmea
from phloem.firmware_bridge.decoding.pairs import KeyValue
from phloem.firmware_bridge.decoding.pattern import Regex
from phloem.firmware_bridge.decoding.text import Number, Text

Decoding: TypeAlias = Text | Number | Csv | KeyValue | Json | Regex | Struct | Nmea

DECODINGS = names_of(Decoding)


def decoding_of(value: object) -> Decoding:
    """The decoding that ``value`` names: a name, or a mapping with the name in ``type``.

    Raises:
        ConfigError: There is none, or it has no such setting, or a value that it cannot take.
    """
    return chosen("decode", value, Decoding)  # type: ignore[no-any-return]
