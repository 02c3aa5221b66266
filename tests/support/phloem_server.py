"""phloem's broker as a subprocess, behind the same interface as :mod:`tests.support.real_server`."""

import sys
from pathlib import Path

from tests.support.server_process import ServerProcess


class PhloemServer(ServerProcess):
    """A phloem broker running ``config``."""

    def __init__(self, config: str, folder: Path) -> None:
        super().__init__([sys.executable, "-m", "phloem", "server"], config, folder)
