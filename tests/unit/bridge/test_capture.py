"""The ring of recent traffic: bounded whatever comes, the newest kept."""

from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.capture import Capture

TRAFFIC = st.lists(
    st.tuples(st.sampled_from("<>"), st.binary(min_size=1, max_size=300), st.integers(0, 10**7))
)


@given(TRAFFIC, st.integers(1, 500))
def test_the_newest_within_the_bound(traffic: list[tuple[str, bytes, int]], bytes_max: int) -> None:
    capture, now_ns, everything = Capture(bytes_max), 0, b""
    for way, data, after_ns in traffic:
        now_ns += after_ns
        capture.note(way, data, now_ns)
        everything += data if way == "<" else b""
        assert capture._size <= bytes_max
        assert capture._size == sum(len(piece.data) + 64 for piece in capture._pieces)
        assert everything.endswith(capture.received(bytes_max))
    assert len(capture) <= bytes_max


def test_what_comes_together_is_one_piece() -> None:
    capture = Capture(1000)
    for byte in range(40):
        capture.note("<", bytes([byte]), byte * 1000)
    capture.note(">", b"A", 50_000)
    capture.note("<", b"z", 10**9)
    assert capture.trace(0, 10_000).decode().splitlines() == [
        "1970-01-01T00:00:00.000000Z < " + bytes(range(32)).hex(" ") + "  " + "." * 32,
        "1970-01-01T00:00:00.000000Z < 20 21 22 23 24 25 26 27   !\"#$%&'",
        "1970-01-01T00:00:00.000050Z > 41  A",
        "1970-01-01T00:00:01.000000Z < 7a  z",
    ]
    assert capture.trace(0, 80).decode().splitlines()[0].endswith("> 41  A")
    assert capture.trace(0, 10) == b""
    assert capture.received(3) == b"&'z"
    assert capture.received(0) == b""


def test_a_copy_stays_as_it_is() -> None:
    capture = Capture(1000)
    capture.note("<", b"a", 0)
    copied = capture.copy()
    capture.note("<", b"b", 0)
    assert (copied.received(9), capture.received(9)) == (b"a", b"ab")


def test_without_a_bound_nothing_is_kept() -> None:
    capture = Capture(0)
    capture.note("<", b"a", 0)
    assert len(capture) == 0
