"""Receivers that are slow, publishers that are held for them."""

import select

from tests.unit.kernel.rig import Rig

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
