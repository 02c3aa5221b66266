"""The plan cache: bounded, and never older than what it was made from."""

import pytest

from tests.unit.kernel.rig import Peer, Rig


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


def hears(rig: Rig, peer: Peer, receiver: Peer) -> int:
    """Deliveries of one publish to ``a.b``, asked three times: the cache has it by the third."""
    counts = set()
    for _ in range(3):
        peer.pub(b"a.b")
        counts.add(receiver.take().count(b"MSG a.b "))
    assert len(counts) == 1, "an older plan was used"
    return counts.pop()


def test_every_change_is_seen_by_the_next_message(rig: Rig) -> None:
    peer, receiver = rig.client(), rig.client()
    assert hears(rig, peer, receiver) == 0
    wanted = 0
    for sid, pattern in enumerate([b"a.b", b"a.*", b">", b"a.b", b"*.b", b"*.>"]):
        receiver.say(b"SUB %b %d\r\n" % (pattern, sid))
        wanted += 1
        assert hears(rig, peer, receiver) == wanted
    receiver.say(b"SUB a.b q q1\r\nSUB a.* q q2\r\n")
    assert hears(rig, peer, receiver) == wanted + 1
    for name in (b"0", b"2", b"q1", b"4"):
        receiver.say(b"UNSUB %b\r\n" % name)
        wanted -= name != b"q1"
        assert hears(rig, peer, receiver) == wanted + 1
    receiver.conn.set_permissions(rig.permissions(sub_deny=[b"a.b"]))
    assert b"Permissions Violation" in receiver.take()
    assert hears(rig, peer, receiver) == 0
    receiver.conn.set_permissions(None)
    assert hears(rig, peer, receiver) == 2 + 1  # a.* and *.> and the queue were only filtered
    other = rig.client()
    other.say(b"SUB a.b 1\r\n")
    assert hears(rig, peer, other) == 1
    other.conn.close(1)
    receiver.take()
    assert hears(rig, peer, receiver) == 3


def test_permission_to_publish_is_of_the_moment(rig: Rig) -> None:
    """Three users take turns: a plan remembers the answers for two."""
    watcher, peers = (
        rig.client(),
        [rig.client(rig.permissions(pub_deny=deny)) for deny in ([], [b"a.b"], [b"a.>"])],
    )
    watcher.say(b"SUB > 1\r\n")
    for turn in range(12):
        peers[turn % 3].pub(b"a.b")
        assert bool(watcher.take()) == (turn % 3 == 0)
    peers[0].conn.set_permissions(rig.permissions(pub_allow=[]))
    peers[1].conn.set_permissions(None)
    for turn in range(12):
        peers[turn % 3].pub(b"a.b")
        assert bool(watcher.take()) == (turn % 3 == 1)


SPELLINGS = (
    b"PUB a.b 2\r\nhi\r\n",
    b"pub a.b 2\r\nhi\r\n",
    b"PUB a.b 2\nhi\r\n",
    b"PUB  a.b 2\r\nhi\r\n",
    b"PUB\ta.b\t2\r\nhi\r\n",
    b"PUB a.b 2 \r\nhi\r\n",
    b"HPUB a.b 0 2\r\nhi\r\n",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("cut", [None, 3, 9])
def test_all_lanes_lead_to_the_same(rig: Rig, spelling: bytes, cut: int | None) -> None:
    """The express lane takes the first spelling when it was used before; what is received is the same for all."""
    receiver, link, peer = rig.client(), rig.leaf(), rig.client()
    receiver.say(b"SUB a.b 1\r\nSUB a.> 2\r\n")
    link.say(b"LS+ a.*\r\n")
    link.take()
    for _ in range(4):
        peer.say(SPELLINGS[0])
    expected, over = receiver.take(), link.take()
    assert over == b"LMSG a.b 2\r\nhi\r\n" * 4
    for _ in range(4):
        for piece in [spelling] if cut is None else [spelling[:cut], spelling[cut:]]:
            peer.say(piece)
    assert receiver.take() == expected
    assert link.take() == over
    assert peer.conn.stats["in_msgs"] == 8
    assert peer.conn.stats["in_bytes"] == 16
    assert receiver.conn.stats["out_msgs"] == 16


@pytest.mark.parametrize(
    "later",
    [
        b"PUB a 0002\r\nhi\r\n",
        b"PUB a 000000002\r\nhi\r\n",
        b"PUB a r 2\r\nhi\r\n",
        b"HPUB a 1 2\r\nhi\r\n",
        b"PUB a. 2\r\nhi\r\n",
    ],
)
def test_express_lane_takes_only_its_own(rig: Rig, later: bytes) -> None:
    """What looks nearly like the last message is what it is when nothing came before."""
    fresh, used, watcher = rig.client(), rig.client(), rig.client()
    watcher.say(b"SUB > 1\r\n")
    used.say(b"PUB a 2\r\nhi\r\n" * 3)
    watcher.take()
    fresh.say(later)
    expected = watcher.take()
    used.say(later)
    assert watcher.take() == expected
    assert used.take() == fresh.take()


@pytest.mark.parametrize("limit", [0, 500, 5_000])
def test_tiny_cache_delivers_the_same(rig: Rig, limit: int) -> None:
    """Whatever is thrown out in between."""
    rig.kernel.set_limits(plan_bytes_max=limit)
    peers, receiver = [rig.client() for _ in range(3)], rig.client()
    receiver.say(b"SUB a.> 1\r\nSUB a.*.x q 2\r\n")
    for n in range(300):
        subject = b"a.%d" % (n * n % 17)
        peers[n % 3].pub(subject, b"%d" % n)
        assert receiver.take() == b"MSG %b 1 %d\r\n%d\r\n" % (subject, len(str(n)), n)
