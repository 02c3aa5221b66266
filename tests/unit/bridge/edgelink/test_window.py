"""The host's window against what it is: a set of frames that are here, and a line up to which they are durable."""

from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.edgelink.messages import Ack, Data
from phloem.firmware_bridge.edgelink.sequence import WRAP
from phloem.firmware_bridge.edgelink.window import InOrder, Missing, Window

starts = st.sampled_from([0, 5, 65_533, 2**32 - 4])


def data(seq: int) -> Data:
    return Data(0, seq & 0xFFFF, 0, b"")


@given(starts, st.lists(st.integers(0, 20), max_size=60))
def test_in_order_once(start: int, offsets: list[int]) -> None:
    """Frames that a board may send (its window begins at what is durable) in any order, any number of times."""
    window, out, durable = Window(7, start), list[int](), 0
    for offset in offsets:
        if durable <= offset < durable + 8:
            steps = window.take(data((start + offset) % WRAP))
            out += [(step.seq - start) % WRAP for step in steps]
        elif offset < len(out) and offset > durable:
            assert window.settle((start + offset) % WRAP) == []
            durable = offset
        ack = window.ack()
        assert ack.next == (start + durable) & 0xFFFF
        assert all(ack.held >> bit & 1 for bit in range(min(8, len(out) - durable)))
    assert out == list(range(len(out)))
    assert window.stray == 0


def test_held_says_what_is_here() -> None:
    window = Window(7, 10)
    assert window.take(data(12)) == []
    assert window.take(data(10)) == [InOrder(10, data(10))]
    assert (window.ack().next, window.ack().held) == (10, 0b101)
    assert window.settle(11) == []
    assert (window.ack().next, window.ack().held) == (11, 0b10)


@given(starts, st.lists(st.integers(0, 90), max_size=200))
def test_a_longer_window(start: int, offsets: list[int]) -> None:
    window, here, durable = Window(7, start, 64), set[int](), 0
    for offset in offsets:
        if durable <= offset < durable + 64:
            window.take(data((start + offset) % WRAP))
            here.add(offset)
        out = next(at for at in range(200) if at not in here)
        if offset < out and offset > durable:
            window.settle((start + offset) % WRAP)
            durable = offset
        held = sum(1 << at - durable for at in here if 0 <= at - durable < 64)
        assert window.ack() == Ack(7, (start + durable) & 0xFFFF, held)
    assert window.stray == 0


def test_from_nowhere() -> None:
    window = Window(7, 100)
    for seq in (91, 109, 40_000):
        assert window.take(data(seq)) == []
    assert window.stray == 3
    assert window.take(data(92)) == []
    assert window.repeated == 1


def test_what_is_gone_is_named_around_what_is_here() -> None:
    window = Window(7, 10)
    window.take(data(12))
    window.take(data(15))
    assert window.advance(10) == []
    assert window.advance(17) == [
        Missing(10, 12),
        InOrder(12, data(12)),
        Missing(13, 15),
        InOrder(15, data(15)),
        Missing(16, 17),
    ]
    assert window.next == 17
    assert window.advance(2**31) == [Missing(17, 2**31)]
    assert window.ack().held == 0xFF


def test_durable_ahead_of_what_came_is_another_ports() -> None:
    window = Window(7, 10)
    window.take(data(12))
    assert window.settle(12) == [InOrder(12, data(12))]
    assert window.settle(11) is None
    assert (window.durable, window.next) == (12, 13)
