"""Receivers that are slow, publishers that are held for them."""

import contextlib
import select
from contextlib import suppress

import pytest

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import SECOND, Rig, drain

MESSAGE = b"PUB a 1000\r\n%b\r\n" % (b"x" * 1000)


def wait_for_timer(rig: Rig) -> None:
    """Until the kernel's own timer has gone off (or 10 s are over)."""
    assert select.select([rig.kernel], [], [], 10)[0]
    rig.tick()


def test_every_held_publisher_gets_its_turn(rig: Rig) -> None:
    """The receiver never drains: each time the stall is over, each publisher gets a message through."""
    rig.kernel.set_limits(stall_bytes=300_000, max_pending=1 << 30, stall_ns=1)
    rig.client().say(b"SUB a 1\r\n")
    publishers = [rig.client() for _ in range(3)]
    for peer in publishers:
        peer.say(MESSAGE * 1_000)
    before = [peer.conn.stats["in_msgs"] for peer in publishers]
    for _ in range(5):
        wait_for_timer(rig)
        after = [peer.conn.stats["in_msgs"] for peer in publishers]
        gains = {new - old for new, old in zip(after, before, strict=True)}
        assert len(gains) == 1
        assert gains.pop() > 0
        before = after


def test_any_stall_time_ends(rig: Rig) -> None:
    """A second and more, and none at all, are times that a timer takes."""
    for stall_ns in (0, 1_000_000_000):
        rig.kernel.set_limits(stall_bytes=300_000, max_pending=1 << 30, stall_ns=stall_ns)
        receiver, peer = rig.client(), rig.client()
        receiver.say(b"SUB a 1\r\n")
        peer.say(MESSAGE * 400)
        assert peer.conn.stats["stalls"] == 1
        before = peer.conn.stats["in_msgs"]
        wait_for_timer(rig)
        assert peer.conn.stats["in_msgs"] > before
        peer.conn.close(1)
        receiver.conn.close(1)


@pytest.mark.parametrize(
    "asked", [b"PING\r\n", b"PUB $NRG.x 0\r\n\r\n", b"UNSUB 1\r\n"], ids=["pong", "error", "ok"]
)
def test_who_asks_and_does_not_read_is_cut_off(rig: Rig, asked: bytes) -> None:
    """Answers wait for the peer like messages do, and count like them."""
    rig.kernel.set_limits(max_pending=1 << 20)
    peer = rig.pair(send_buffer=4096)
    peer.conn.configure(verbose=True)
    assert peer.sock
    for _ in range(100):
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            peer.sock.send(asked * 10_000)
        rig.tick()
        if peer.conn.closed:
            break
        assert peer.conn.stats["pending_bytes"] <= 1 << 20
    assert rig.events.closed == [(1, Reason.SLOW_CONSUMER_PENDING)]
    assert rig.kernel.totals["slow_clients"] == 1


def test_interest_that_a_link_does_not_read(rig: Rig) -> None:
    """A client's subscriptions come and go; a link that takes no news of them does not gather it for ever."""
    rig.kernel.set_limits(max_pending=1 << 18)
    link, peer = rig.leaf(), rig.client()
    for _ in range(100):
        peer.say(b"SUB a 1\r\nUNSUB 1\r\n" * 1_000)
    assert rig.events.closed == [(1, Reason.SLOW_CONSUMER_PENDING)]
    assert rig.kernel.totals["slow_leafs"] == 1
    assert link.take() == b""


@pytest.mark.parametrize("limit", [1, 1_000, 100_000])
def test_small_limit_counts(rig: Rig, limit: int) -> None:
    """What is over at the end of a tick is too much, however small the limit is."""
    rig.kernel.set_limits(max_pending=limit, stall=False)
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    peer.pub(b"a", b"x" * (limit + 1))
    assert rig.events.closed == [(1, Reason.SLOW_CONSUMER_PENDING)]
    assert not peer.conn.closed


def test_taking_output_lets_the_publisher_go_on(rig: Rig) -> None:
    """Without a socket nobody else would notice before the stall is over."""
    rig.kernel.set_limits(stall_bytes=300_000, stall_ns=3_600 * SECOND)
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    peer.say(MESSAGE * 1_000)
    assert peer.conn.stats["in_msgs"] < 400
    received = b""
    while more := receiver.take():
        received += more
    assert received.count(b"MSG a 1 1000") == 1_000


def test_nothing_is_lost_while_everybody_keeps_up(rig: Rig) -> None:
    """A publisher is held for its receiver and let go; another pair of peers is served meanwhile."""
    rig.kernel.set_limits(stall_bytes=300_000, stall_ns=3_600 * SECOND)
    receiver, peer, bystander = rig.pair(send_buffer=20_000), rig.pair(), rig.pair()
    assert receiver.sock
    assert peer.sock
    assert bystander.sock
    receiver.sock.send(b"SUB a 1\r\n")
    bystander.sock.send(b"SUB b 1\r\n")
    rig.tick()
    count, received = 3_000, bytearray()
    waiting = memoryview(MESSAGE * count)
    held = turns = 0
    while len(received) < count * len(b"MSG a 1 1000\r\n" + MESSAGE[12:]):
        if waiting:
            with suppress(BlockingIOError):
                waiting = waiting[peer.sock.send(waiting) :]
        rig.tick()
        held = peer.conn.stats["stalls"]
        assert receiver.conn.stats["pending_bytes"] < 700_000
        bystander.sock.send(b"PUB b 1\r\nx\r\n")
        rig.tick()
        assert drain(bystander.sock) == b"MSG b 1 1\r\nx\r\n"
        received += drain(receiver.sock)
        turns += 1
        assert turns < 100_000
    assert received == b"".join([b"MSG a 1 1000\r\n", MESSAGE[12:]]) * count
    assert held > 1
    assert rig.kernel.totals["slow_clients"] == 0


def test_a_receiver_that_ends_lets_its_publisher_go(rig: Rig) -> None:
    rig.kernel.set_limits(stall_bytes=300_000, stall_ns=3_600 * SECOND)
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    peer.say(MESSAGE * 1_000, b"PING\r\n")
    assert peer.take() == b""
    receiver.conn.close(1)
    assert peer.take() == b"PONG\r\n"


def test_a_held_publisher_may_end(rig: Rig) -> None:
    rig.kernel.set_limits(stall_bytes=300_000, stall_ns=3_600 * SECOND)
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    peer.say(MESSAGE * 1_000)
    peer.conn.close(1)
    assert 290 < receiver.take().count(b"MSG a 1 1000") < 310


def test_slow_consumer_is_cut_off_in_silence(rig: Rig) -> None:
    rig.kernel.set_limits(max_pending=1 << 20, stall=False)
    slow, quick, peer = rig.client(), rig.pair(), rig.client()
    assert quick.sock
    slow.say(b"SUB a 1\r\n")
    quick.sock.send(b"SUB a 1\r\n")
    rig.tick()
    got = 0
    for _ in range(2_000):
        peer.say(MESSAGE)
        got += drain(quick.sock).count(b"MSG a 1 1000")
    assert rig.events.closed == [(1, Reason.SLOW_CONSUMER_PENDING)]
    assert slow.take() == b""
    assert got == 2_000


def test_no_peer_holds_itself(rig: Rig) -> None:
    """Who publishes to itself and does not read is cut off, not held."""
    rig.kernel.set_limits(max_pending=1 << 20, stall_bytes=300_000, stall_ns=3_600 * SECOND)
    peer = rig.client()
    peer.say(b"SUB a 1\r\n", MESSAGE * 2_000)
    assert peer.conn.closed
    assert peer.conn.stats["stalls"] == 0
