"""A store that is not encrypted gets a key, under the recorder: ``python -m tests.durability.encrypting folder trace``.

The recorder knows neither second names nor exchanges, so this is the way of a file system that has neither.
"""

import os
import sys
from pathlib import Path
from typing import Any

from phloem.shared.store import inspect, keyring
from phloem.shared.store.encrypt import prepare
from phloem.shared.store.keyring import Keys

KEYS = Keys("only a test")


def refuse(*_: Any, **__: Any) -> None:
    """As a file system that cannot do it."""
    raise PermissionError(1, "not here")


def main(folder: str) -> None:
    keyring.COST = 2
    inspect.exchange = refuse
    os.link = refuse
    prepare(Path(folder), KEYS, lambda _: None)


if __name__ == "__main__":
    main(sys.argv[1])
