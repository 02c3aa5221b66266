"""What a peer can ask for many times must not cost more each time.

Times are compared with those of a smaller case on the same machine. Thirty-two times as much may take up to sixteen
times as long for each piece (memory is slower than a cache); a quadratic cost would take thirty-two times as long.
"""

import time
from collections.abc import Callable

import pytest

from tests.unit.kernel.rig import Rig

FEW, MANY = 2_500, 80_000


def cost(work: Callable[[], None]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def grows_evenly(measure: Callable[[int], float]) -> bool:
    """Processor time of this thread, the best of a few: other processes do not count."""
    return any(measure(MANY) / MANY < 16 * measure(FEW) / FEW for _ in range(3))


LINES = {
    "groups on one subject": b"SUB a q%d %d\r\n",
    "members of one group": b"SUB a q%.0d %d\r\n",
    "subscriptions to one subject": b"SUB a %.0d %d\r\n",
    "subjects": b"SUB a.%d %d\r\n",
}


@pytest.mark.parametrize("with_link", [False, True], ids=["alone", "link"])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_subscribing_and_leaving(rig: Rig, line: bytes, with_link: bool) -> None:
    if with_link:
        rig.leaf()

    def measure(count: int) -> float:
        peer = rig.client()
        name = 0 if b"%.0d" in line else 1
        data = b"".join(line % (n * name, n) for n in range(1, count + 1))
        return cost(lambda: peer.conn.feed(data)) + cost(lambda: peer.conn.close(1))

    assert grows_evenly(measure)
