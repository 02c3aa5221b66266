"""How connections end, and what they leave behind: nothing."""

import os
import socket

import pytest

from phloem.shared.kernel import Reason
from phloem.shared.kernel.reactor import NUMBERS
from tests.unit.kernel.rig import Peer, Rig, drain


def test_reasons_have_one_number() -> None:
    assert {name: int(Reason[name]) for name in NUMBERS} == NUMBERS


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    assert reason.text


def hang_up(rig: Rig, peer: Peer) -> None:
    assert peer.sock
    peer.sock.close()
    rig.tick()


def reset(rig: Rig, peer: Peer) -> None:
    """Unread output makes the close of a socket pair a reset."""
    assert peer.sock
    peer.conn.send(b"PING\r\n")
    peer.sock.close()
    rig.tick()


def half_close(rig: Rig, peer: Peer) -> None:
    assert peer.sock
    peer.sock.shutdown(socket.SHUT_WR)
    rig.tick()


def nonsense(rig: Rig, peer: Peer) -> None:
    assert peer.sock
    peer.sock.send(b"HELLO\r\n")
    rig.tick()
    assert drain(peer.sock).endswith(b"-ERR 'Unknown Protocol Operation'\r\n")


ENDS = {
    "hang up": (hang_up, Reason.CLIENT_CLOSED),
    "reset": (reset, Reason.READ_ERROR),
    "half close": (half_close, Reason.CLIENT_CLOSED),
    "nonsense": (nonsense, Reason.PARSE_ERROR),
    "by the server": (lambda rig, peer: peer.conn.close(Reason.KICKED, b"Go"), Reason.KICKED),
    "with the kernel": (lambda rig, peer: rig.kernel.close(), Reason.SERVER_SHUTDOWN),
}


@pytest.mark.parametrize("how", ENDS)
def test_nothing_is_left(rig: Rig, how: str) -> None:
    """Interest is taken back, the descriptor is closed, the end is told once."""
    end, reason = ENDS[how]
    before = len(os.listdir("/proc/self/fd"))
    peer, link = rig.pair(), rig.leaf()
    assert peer.sock
    peer.sock.send(b"SUB a 1\r\nSUB a q 2\r\nSUB > 3\r\nPUB b 10\r\nhalf")
    rig.tick()
    link.take()
    end(rig, peer)
    assert peer.conn.closed
    assert [entry for entry in rig.events.closed if entry[0] == 1] == [(1, reason)]
    if how != "with the kernel":
        assert sorted(link.take().splitlines()) == [b"LS- >", b"LS- a", b"LS- a q"]
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert rig.account.stats["subscriptions"] == 0
    assert peer.conn.stats["in_bytes"] == 0
    rig.tick()
    assert [cid for cid, _ in rig.events.closed].count(1) == 1


def test_the_first_reason_counts(rig: Rig) -> None:
    peer = rig.client()
    rig.events.on_complaint = lambda conn, text: conn.close(Reason.KICKED, b"again")  # type: ignore[method-assign]
    peer.say(b"HELLO\r\nPING\r\n")
    assert rig.events.closed == [(1, Reason.PARSE_ERROR)]
    assert peer.take() == b"-ERR 'Unknown Protocol Operation'\r\n"
    assert peer.take() == b""


def test_a_receiver_that_ends_while_it_is_delivered_to(rig: Rig) -> None:
    """Its socket is found dead in the middle of a message to many."""
    gone, others, peer = rig.pair(), [rig.client() for _ in range(3)], rig.client()
    assert gone.sock
    gone.sock.send(b"".join(b"SUB a %d\r\n" % n for n in range(600)))
    rig.tick()
    for other in others:
        other.say(b"SUB a 1\r\n")
    gone.sock.close()
    peer.pub(b"a", b"x" * 1_000)
    assert rig.events.closed == [(1, Reason.WRITE_ERROR)]
    assert [other.take().count(b"MSG a 1 1000") for other in others] == [1, 1, 1]
    assert rig.account.stats["subscriptions"] == 3


def test_a_failing_handler_keeps_nobody_from_hearing(rig: Rig) -> None:
    peers = [rig.pair() for _ in range(3)]
    heard: list[int] = []

    def fail(conn: object, reason: Reason) -> None:
        heard.append(int(reason))
        raise LookupError

    closed, rig.events.on_closed = rig.events.on_closed, fail  # type: ignore[method-assign]
    for peer in peers:
        assert peer.sock
        peer.sock.close()
    with pytest.raises(LookupError):
        rig.tick()
    assert heard == [Reason.CLIENT_CLOSED] * 3
    rig.events.on_closed = closed  # type: ignore[method-assign]
    rig.events.closed = [(n, Reason.CLIENT_CLOSED) for n in range(3)]


def test_handlers_that_end_each_other(rig: Rig) -> None:
    """Each end causes the next one, all within one call."""
    peers = [rig.client() for _ in range(50)]
    note = rig.events.on_closed

    def next_one(conn: object, reason: Reason) -> None:
        note(conn, reason)  # type: ignore[arg-type]
        if len(rig.events.closed) < len(peers):
            peers[len(rig.events.closed)].conn.close(reason)

    rig.events.on_closed = next_one  # type: ignore[method-assign]
    peers[0].conn.close(Reason.KICKED)
    assert [cid for cid, _ in rig.events.closed] == list(range(1, 51))
    rig.events.on_closed = note  # type: ignore[method-assign]
