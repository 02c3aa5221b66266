"""nats-server itself, from the wheel in the test environment: the reference that answers what is right."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.server_process import ServerProcess

BINARY = Path(sys.executable).parent / "nats-server"


class RealServer(ServerProcess):
    """A nats-server running ``config``, started with ``flags``."""

    def __init__(
        self,
        config: str,
        folder: Path,
        files: Mapping[str, bytes] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__([str(BINARY), *flags], config, folder, files=files)
