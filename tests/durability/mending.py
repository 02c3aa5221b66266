"""A store whose data.mdb is damaged while it is open and is mended, for power cuts.

``python -m tests.durability.mending folder trace`` runs it. What it promises is judged as of any other life
(``store_load``).
"""

import os
import sys
from pathlib import Path

from phloem.shared.store.repair import mend
from phloem.shared.store.store import StoreDamaged
from tests.durability import store_load
from tests.durability.encrypting import KEYS
from tests.durability.store_load import Life
from tests.unit.store.pages import spoil

STEPS_MAX = 5000


def main(folder: str, trace: str) -> None:
    life = Life(Path(folder), Path(trace), "mending", 0, relaxed=False)
    for _ in range(60):
        life.step()
    life.settle()
    spoil(Path(folder) / "data.mdb", "flags")
    for _ in range(STEPS_MAX):
        life.problems.clear()
        life.step()
        if life.store.stats["mends"]:
            break
    else:
        raise AssertionError("it was not mended")
    for _ in range(10):
        life.problems.clear()
        life.step()


def verify(folder: Path, marks: list[bytes]) -> None:
    """What the cut left is mended, if it is damaged; then every promise holds."""
    try:
        store, _, _ = store_load.open_store(folder)
        store.close()
    except StoreDamaged:
        done = mend(folder, keys=KEYS)
        assert [finding for finding in done.lost if finding.kind != "journal"] == []
    store_load.verify(folder, marks)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # as a kill would leave it
