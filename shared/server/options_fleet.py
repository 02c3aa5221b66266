"""``fleet { ... }``: what a hub does with what devices forward to it. phloem's own. Declared as in ``options.py``."""

from typing import Annotated

import msgspec

from phloem.shared.server.declare import Duration, Opt, Size


class Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Streams that are made for what devices forward. One that is there is used as it is, if it has the subjects."""

    make: Annotated[
        tuple[str, ...],
        Opt("Names of streams that devices may have made; * stands for anything.", example='["FLEET_*"]'),
    ] = ("FLEET_*",)
    max_bytes: Annotated[Size, Opt("Bound of a stream that is made; -1: none of its own.", least=-1)] = -1
    max_age_ns: Annotated[Duration, Opt("The same for the age; 0: none.", example='"2160h"')] = 0
    compression: Annotated[bool, Opt("Whether a stream that is made is compressed on the disk.")] = False
