"""The plug is pulled while a damaged data.mdb is made anew: there is the old one or the new one, nothing is lost."""

import shutil
from pathlib import Path

import pytest

from tests.durability.cuts import cut, points, record
from tests.durability.mending import verify
from tests.durability.trace import Op


@pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "every"]
)
def test_power_cuts_during_a_mend(tmp_path: Path, every: bool) -> None:
    events = record("tests.durability.mending", tmp_path / "store", tmp_path / "trace")
    began = next(n for n, event in enumerate(events) if event.op is Op.MKDIR and b"mending" in event.data)
    renamed = next(
        n for n, event in enumerate(events) if event.op is Op.RENAME and event.data.startswith(b"mending/")
    )
    during = events[began : renamed + 20]
    at = range(1, len(during) + 1) if every else points(during, 24, 1)
    failures = cut(events, [began + point for point in at], verify, tmp_path / "cut", 1)
    for left in tmp_path.glob("cut.*"):
        shutil.rmtree(left)
    assert not failures, "\n".join(map(str, failures))
