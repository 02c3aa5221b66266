"""The demo's counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.edge.demo.tally import LATENCIES_KEPT, Rate, Tally


def line(seq: int, sent_ns: int = 0) -> bytes:
    return f"sensor seq={seq} t={sent_ns} v=1.0".encode()


def tally_of(*seqs: int) -> Tally:
    tally = Tally()
    for seq in seqs:
        tally.received(line(seq), 5)
    return tally


@pytest.mark.parametrize(
    ("seqs", "distinct", "duplicated", "disordered"),
    [
        ((), 0, 0, 0),
        ((1, 2, 3), 3, 0, 0),
        ((1, 3), 2, 0, 0),
        ((1, 3, 2), 3, 0, 1),
        ((1, 1), 1, 1, 0),
        ((3, 2, 2), 2, 1, 1),
    ],
)
def test_counts(seqs: tuple[int, ...], distinct: int, duplicated: int, disordered: int) -> None:
    tally = tally_of(*seqs)
    assert (tally.lines, tally.distinct, tally.garbled) == (len(seqs), distinct, 0)
    assert (tally.duplicated, tally.disordered) == (duplicated, disordered)


@given(st.lists(st.integers(1, 60)))
def test_any_order(seqs: list[int]) -> None:
    tally = tally_of(*seqs)
    assert tally.distinct == len(set(seqs))
    assert tally.duplicated == len(seqs) - len(set(seqs))


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"sensor seq=x t=1", b"sensor seq=1", b"seq=2 t="])
def test_garbled(payload: bytes) -> None:
    tally = Tally()
    tally.received(payload, 1)
    assert (tally.lines, tally.bytes, tally.distinct, tally.garbled) == (1, len(payload), 0, 1)


def test_latency() -> None:
    tally = Tally()
    assert (tally.latency_ns, tally.percentile_ns(50), tally.percentile_ns(99)) == (0, 0, 0)
    for seq in range(1, 101):
        tally.received(line(seq, sent_ns=1000), 1000 + seq)
    assert (tally.latency_ns, tally.percentile_ns(50), tally.percentile_ns(99)) == (50, 50, 99)
    assert tally.percentile_ns(100) == 100
    assert tally.latest == "sensor seq=100 t=1000 v=1.0"
    for seq in range(101, 102 + LATENCIES_KEPT):
        tally.received(line(seq), 7)
    assert len(tally.latencies_ns) == LATENCIES_KEPT
    assert tally.percentile_ns(100) == 7


def test_rate_is_of_the_last_two_seconds() -> None:
    rate = Rate()
    assert rate.update(0, 5) == 0.0
    assert rate.update(10**9, 25) == 20.0
    assert rate.update(2 * 10**9, 45) == 20.0
    assert rate.update(4 * 10**9, 45) == 0.0
