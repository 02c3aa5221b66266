"""Every framing that a port can have, and how its settings are read.

In a configuration a framing is its name, or a block with its name in ``type``::

    framing: line
    framing { type: line }
"""

from typing import TypeAlias, get_args

import msgspec

from phloem.firmware_bridge.framing.byte_stuffed import Cobs, Hdlc, Slip
from phloem.firmware_bridge.framing.delimiter import Delimiter
from phloem.firmware_bridge.framing.fixed import Fixed
from phloem.firmware_bridge.framing.json_lines import JsonLines
from phloem.firmware_bridge.framing.length_prefix import LengthPrefix
from phloem.firmware_bridge.framing.line import Line
from phloem.firmware_bridge.framing.modbus_rtu import ModbusRtu
from phloem.firmware_bridge.framing.nmea import Nmea
from phloem.firmware_bridge.framing.raw import Raw
from phloem.firmware_bridge.framing.ubx import Ubx
from phloem.shared.errors import ConfigError

Framing: TypeAlias = (
    Line | Raw | Delimiter | Fixed | LengthPrefix | Cobs | Slip | Hdlc | Nmea | Ubx | ModbusRtu | JsonLines
)

FRAMINGS: tuple[str, ...] = tuple(kind.__struct_config__.tag for kind in get_args(Framing))


def framing_of(value: object) -> Framing:
    """The framing that ``value`` names: a name, or a mapping with the name in ``type``.

    Raises:
        ConfigError: There is no such framing, or it has no such setting, or a value that it cannot take.
    """
    fields = {"type": value} if isinstance(value, str) else value
    if isinstance(fields, dict) and fields.get("type") not in FRAMINGS:
        raise ConfigError(f"framing {fields.get('type')!r} is none of {', '.join(FRAMINGS)}")
    try:
        return msgspec.convert(fields, Framing)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise ConfigError(f"framing: {error}") from None
