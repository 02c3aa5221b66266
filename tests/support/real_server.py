"""nats-server itself, from the wheel in the test environment: the reference that answers what is right."""

import sys
from pathlib import Path

from tests.support.server_process import ServerProcess

BINARY = Path(sys.executable).parent / "nats-server"


class RealServer(ServerProcess):
    """A nats-server running ``config``."""

    def __init__(self, config: str, folder: Path) -> None:
        super().__init__([str(BINARY)], config, folder)
