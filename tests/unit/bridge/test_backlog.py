"""The backlog is a queue that forgets its oldest messages when it is full, and counts them."""

from hypothesis import given
from hypothesis import strategies as st

from phloem.firmware_bridge.backlog import Backlog, size_of
from phloem.firmware_bridge.headers import Encoded


def message(number: int) -> Encoded:
    return b"s", b"%04d" % number, b"payload"


SIZE = size_of(message(0))


@given(st.integers(1, 10), st.lists(st.sampled_from(["put", "send", "fail"])))
def test_in_order_bounded_and_every_message_accounted_for(room: int, actions: list[str]) -> None:
    backlog = Backlog(room * SIZE)
    made = 0
    sent: list[Encoded] = []
    for action in actions:
        if action == "put":
            backlog.put([message(made)])
            made += 1
            continue
        batch = backlog.take(2 * SIZE)
        assert len(batch) <= 2
        if action == "send":
            sent += batch
        else:
            backlog.put([message(made)])  # arrives while the batch is under way
            made += 1
            backlog.put_back(batch)
        assert backlog.size == len(backlog) * SIZE <= room * SIZE
    left = backlog.take(room * SIZE)
    assert left[-1:] == [message(made - 1)][: len(left)]
    numbers = [int(header) for _, header, _ in sent + left]
    assert numbers == sorted(set(numbers))
    assert made == len(numbers) + backlog.dropped


def test_one_message_above_the_batch_size_still_leaves() -> None:
    backlog = Backlog()
    big = (b"s", b"", b"x" * 5000)
    backlog.put([big])
    assert backlog.take(10) == [big]
    assert (len(backlog), backlog.size) == (0, 0)
