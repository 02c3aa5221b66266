"""The plan cache: bounded, and never older than what it was made from."""

import pytest

from tests.unit.kernel.rig import Rig


@pytest.mark.parametrize("receivers", [1, 400])
@pytest.mark.parametrize("limit", [0, 1, 20_000, 200_000])
def test_cache_is_bounded(rig: Rig, limit: int, receivers: int) -> None:
    """In bytes, with plans of any size; the newest is always kept, whatever its size."""
    rig.kernel.set_limits(plan_bytes_max=limit, stall=False)
    peer, wide = rig.client(), rig.client()
    wide.say(b"".join(b"SUB big.> %d\r\n" % n for n in range(receivers)))
    wide.say(b"SUB small.> x\r\n")
    for n in range(300):
        for subject in (b"big.%d" % (n % 40), b"small.%d" % n):
            peer.pub(subject)
            peer.pub(subject)
        assert rig.account.stats["cache_bytes"] <= max(limit, 100_000)
    assert wide.take().count(b"MSG big.") == 600 * receivers
    assert rig.account.stats["cache"] >= 1
