"""The hub: a server that edges link to, with the defaults for a fleet."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from phloem.hub.profile import PLAN_BYTES, for_fleet
from phloem.shared.clock import Clock
from phloem.shared.server.load import as_options
from phloem.shared.server.options import Options
from phloem.shared.server.server import Server


class Hub(Server):
    """A server with the defaults of a hub; use it like ``Server``."""

    plan_bytes_max: ClassVar[int] = PLAN_BYTES

    def __init__(
        self,
        config: Options | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        options = config if isinstance(config, Options) else as_options(config)
        super().__init__(for_fleet(options), clock=clock, seed=seed)
