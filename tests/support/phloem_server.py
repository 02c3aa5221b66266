"""phloem's broker as a subprocess, behind the same interface as :mod:`tests.support.real_server`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.forking import Forked, nursery
from tests.support.server_process import ServerProcess


class PhloemServer(ServerProcess):
    """A phloem broker running ``config``, started with ``flags``.

    It starts from compiled modules, as an installed one does: the first that is started leaves them in
    ``__pycache__`` for all others.
    """

    def __init__(
        self,
        config: str,
        folder: Path,
        files: Mapping[str, bytes] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        super().__init__([sys.executable, "-m", "phloem", "server", *flags], config, folder, env, files)


class ForkedServer(ServerProcess):
    """``argv`` is ``python -m phloem …``, which is forked: for those who start many."""

    def _begin(self, argv: list[str], env: Mapping[str, str] | None) -> Forked:
        assert argv[1:3] == ["-m", "phloem"]
        return nursery().start(argv[3:], env or os.environ, self.folder)


class ForkedPhloemServer(ForkedServer, PhloemServer):
    """A phloem broker, the same way."""
