"""One kernel per test; at its end nothing may be left in it."""

from collections.abc import Iterator

import pytest

from tests.unit.kernel.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    attached = rig.kernel.totals["connections"] + len(rig.events.closed)
    rig.close()
    assert rig.kernel.totals["connections"] == 0
    assert rig.kernel.totals["subscriptions"] == 0
    assert len(rig.events.closed) == attached, "each end is reported once"
