"""Every framing that a port can have, and how its settings are read.

In a configuration a framing is its name, or a block with its name in ``type``::

    framing: line
    framing { type: line }
"""

from typing import TypeAlias

from phloem.firmware_bridge.choices import chosen, names_of
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

Framing: TypeAlias = (
    Line | Raw | Delimiter | Fixed | LengthPrefix | Cobs | Slip | Hdlc | Nmea | Ubx | ModbusRtu | JsonLines
)

FRAMINGS = names_of(Framing)


def framing_of(value: object) -> Framing:
    """The framing that ``value`` names: a name, or a mapping with the name in ``type``.

    Raises:
        ConfigError: There is no such framing, or it has no such setting, or a value that it cannot take.
    """
    return chosen("framing", value, Framing)  # type: ignore[no-any-return]
