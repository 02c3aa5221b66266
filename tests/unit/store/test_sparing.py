"""A store that gives memory back: what is read stays right, and pages of the file do not stay in the process."""

import re
from pathlib import Path

import pytest

from phloem.shared.store.store import Store

COUNT = 40_000
BODY = b"%032d" * 8


def mapped_bytes(path: Path) -> int:
    """Resident bytes of a mapped file."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.parametrize("sparing", [True, False])
def test_pages_that_were_looked_at_do_not_stay(tmp_path: Path, sparing: bool) -> None:
    store = Store(str(tmp_path / "js"), seed=1, generation_bytes=1 << 20, sparing=sparing)
    store.open()
    log = store.open_log(1)
    for i in range(COUNT):
        log.append(b"a.%d" % (i % 7), b"", BODY % ((i,) * 8), i)
        if i % 1000 == 0:
            store.work()
            store.wait()
    store.close()
    store = Store(str(tmp_path / "js"), seed=1, generation_bytes=1 << 20, sparing=sparing)
    store.open()
    log = store.open_log(1)
    for i in range(COUNT):
        message = log.read(i + 1)
        assert message is not None
        assert message.payload == BODY % ((i,) * 8)
    resident = mapped_bytes(tmp_path / "js" / "data.mdb")
    store.close()
    assert (resident < 4 << 20) is sparing, resident
