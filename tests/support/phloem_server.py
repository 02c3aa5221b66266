"""phloem's broker as a subprocess, behind the same interface as :mod:`tests.support.real_server`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.server_process import ServerProcess


class PhloemServer(ServerProcess):
    """A phloem broker running ``config``, started with ``flags``.

    It starts from compiled modules, as an installed one does; they are kept beside the servers' folders, so that
    the next server finds them and the source tree stays as it is.
    """

    def __init__(
        self,
        config: str,
        folder: Path,
        files: Mapping[str, bytes] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder.parent / "compiled")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        super().__init__([sys.executable, "-m", "phloem", "server", *flags], config, folder, env, files)
