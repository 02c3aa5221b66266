"""What a stream says of a device whose record is gone."""

import pytest

from phloem.hub.collect.origins import record_in
from phloem.shared.forward.hub_stream import identity_text
from phloem.shared.forward.identity import resume
from phloem.shared.forward.messages import Epoch, Offer
from phloem.shared.store.log import Log

STORE = 7 << 40
A, B, C = 70 << 40 | 1, 71 << 40 | 2, 72 << 40 | 3


def filled(*messages: tuple[int, int, int], device: str = "dev1", line: str = "") -> Log:
    """Store, epoch and sequence of each; another device's message behind each of them."""
    log = Log()
    for store, epoch, seq in messages:
        origin = f"{identity_text(store)}.{identity_text(epoch)}"
        header = (
            f"NATS/1.0\r\n{line % (origin, seq) if line else ''}Phloem-Origin: {origin} {seq} 9 ?\r\n\r\n"
        )
        log.append(f"fleet.tele.{device}.x.{seq % 3}".encode(), header.encode(), b"", 1)
        log.append(b"fleet.tele.dev11.x", b"NATS/1.0\r\nPhloem-Origin: a.b 99 9 ?\r\n\r\n", b"", 1)
    return log


def goes_on(log: Log, *epochs: Epoch, store: int = STORE) -> int:
    offer = Offer(0, "tele", "", store, epochs, 1, 500, 0)
    return resume(offer, record_in(log, "fleet.tele.dev1.", offer)).seq


def history(epoch: int, first: int, last: int) -> list[tuple[int, int, int]]:
    return [(STORE, epoch, seq) for seq in range(first, last + 1)]


def test_behind_the_last_message() -> None:
    assert goes_on(filled(*history(A, 1, 20)), Epoch(A, 1)) == 21
    assert goes_on(filled(*history(A, 1, 20)), Epoch(A, 1), Epoch(B, 31)) == 21
    assert goes_on(filled(*history(A, 1, 20), *history(B, 21, 30)), Epoch(A, 1), Epoch(B, 21)) == 31


def test_a_device_of_which_there_is_nothing_begins() -> None:
    assert goes_on(Log(), Epoch(A, 1)) == 1
    assert goes_on(filled(*history(A, 1, 5), device="dev2"), Epoch(A, 1)) == 1


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_one_that_was_set_back_goes_on_where_its_histories_part(count: int) -> None:
    log = filled(*history(A, 1, 20), *history(B, 21, 20 + count))
    assert goes_on(log, Epoch(A, 1), Epoch(C, 25)) == 21


@pytest.mark.parametrize("count", [1, 30])
def test_one_whose_card_comes_back_goes_on_where_it_was(count: int) -> None:
    other = [(STORE + 1, C, seq) for seq in range(1, count + 1)]
    log = filled(*history(A, 1, 20), *other)
    assert goes_on(log, Epoch(A, 1)) == 21
    assert goes_on(log, Epoch(C, 1), store=STORE + 1) == count + 1
    assert goes_on(log, Epoch(B, 1), store=STORE + 2) == 1


def test_messages_that_were_published_one_by_one_say_nothing() -> None:
    assert goes_on(filled(*history(A, 1, 20), line="Nats-Msg-Id: %s.%d\r\n"), Epoch(A, 1)) == 1
    assert goes_on(filled(*history(A, 1, 20), line="Nats-Msg-Id: mine%s%d\r\n"), Epoch(A, 1)) == 21


def test_what_somebody_else_has_put_there_says_nothing() -> None:
    log = filled(*history(A, 1, 20))
    log.append(b"fleet.tele.dev1.x", b"", b"", 1)
    assert goes_on(log, Epoch(A, 1)) == 21
