"""Every framing that a port can have, and how its settings are read.

In a configuration a framing is its name, or a block with its name in ``type``::

    framing: line
    framing { type: line }
"""

from typing import TypeAlias

import msgspec

from phloem.firmware_bridge.framing.line import Line
from phloem.firmware_bridge.framing.raw import Raw
from phloem.shared.errors import ConfigError

Framing: TypeAlias = Line | Raw

FRAMINGS: dict[str, type[Framing]] = {"line": Line, "raw": Raw}


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
