"""A few kills in every test run; ``make test-durability ARGS="--kills 1000"`` for many."""

import os
import sys
from pathlib import Path

import pytest

from tests.durability.kill_worlds import Everything, Interest
from tests.durability.kills import Start, World, kill_again_and_again
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

ROOT = Path(__file__).parent.parent.parent


def phloem(config: str, folder: Path) -> ServerProcess:
    """With small generations: seconds of work go through many of them."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "tests.durability.small_server", "server"]
    return ServerProcess(command, config, folder, {**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize(
    ("start", "kind"), [(phloem, Everything), (phloem, Interest), (RealServer, Everything)]
)
def test_kill_nine(start: Start, kind: type[World], tmp_path: Path) -> None:
    """The other worlds, and many kills of each: ``make test-durability``."""
    world = kill_again_and_again(start, tmp_path, 1, 1, kind)
    assert world.acks > 20
