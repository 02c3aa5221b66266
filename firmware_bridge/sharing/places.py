"""Where a port is shared: ``pty://name``, or ``rfc2217://[host]:port``, loopback unless a host is given. Pure."""

import re
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge.selector import Pseudo, selector_of
from phloem.shared.errors import ConfigError

LOOPBACK = "127.0.0.1"

_SERVED = re.compile(r"rfc2217://(\[[0-9A-Fa-f:.]+\]|[^/:\[\]]*):(\d{1,5})")


class Served(NamedTuple):
    """An RFC 2217 server at this address; port 0 is any that is free."""

    host: str
    port: int


Place: TypeAlias = Pseudo | Served


def place_of(export: str) -> Place:
    """What ``export`` says.

    Raises:
        ConfigError: It is no place where a port can be shared.
    """
    if (found := _SERVED.fullmatch(export)) and int(found[2]) < 1 << 16:
        return Served(found[1].strip("[]") or LOOPBACK, int(found[2]))
    if export.startswith("pty://"):
        with suppress(ConfigError):
            if isinstance(place := selector_of(export), Pseudo):
                return place
    raise ConfigError(f"export {export!r} is neither pty://NAME nor rfc2217://:PORT")
