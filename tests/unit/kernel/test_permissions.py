"""What a user may do, as it changes under way."""

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import MS, Rig


def test_new_permissions_for_a_peer_that_is_gone(rig: Rig) -> None:
    """The complaint finds the socket dead and ends the connection while its subscriptions are being looked at."""
    peer = rig.pair()
    assert peer.sock
    peer.sock.sendall(b"".join(b"SUB a.%d %d\r\n" % (n, n) for n in range(50)))
    rig.tick()
    peer.sock.close()
    peer.conn.set_permissions(rig.permissions(sub_allow=[b"b"]))
    assert peer.conn.closed
    assert rig.events.closed == [(1, Reason.WRITE_ERROR)]


def test_new_permissions_end_what_they_no_longer_allow(rig: Rig) -> None:
    peer = rig.client()
    peer.say(b"SUB a 1\r\nSUB b q 2\r\nSUB c 3\r\n")
    peer.conn.set_permissions(rig.permissions(sub_allow=[b"c"]))
    assert sorted(peer.take().splitlines()) == [
        b'-ERR \'Permissions Violation for Subscription to "a" (sid "1")\'',
        b'-ERR \'Permissions Violation for Subscription to "b" using queue "q" (sid "2")\'',
    ]
    assert [s[0] for s in peer.conn.subscriptions()] == [b"c"]


def test_a_complaint_may_end_the_connection(rig: Rig) -> None:
    """Whoever hears of the complaint may close; the remaining subscriptions are gone then."""
    peer = rig.client()
    peer.say(b"SUB a 1\r\nSUB b 2\r\n")
    rig.events.on_complaint = lambda conn, text: conn.close(Reason.KICKED)  # type: ignore[method-assign]
    peer.conn.set_permissions(rig.permissions(sub_allow=[]))
    assert rig.events.closed == [(1, Reason.KICKED)]


def test_deny_inside_what_is_allowed_to_one_queue_only(rig: Rig) -> None:
    """The allow entry has been asked when the subscription was made; its queue is not known to a message."""
    peer = rig.client(rig.permissions(sub_allow=[b"foo.> q"], sub_deny=[b"foo.secret"]))
    peer.say(b"SUB foo.> q 1\r\n")
    other = rig.client()
    other.pub(b"foo.open")
    other.pub(b"foo.secret")
    assert peer.take() == b"MSG foo.open 1 0\r\n\r\n"


def test_lists(rig: Rig) -> None:
    rights = rig.permissions(
        pub_allow=[b"a.>", b"b"],
        pub_deny=[b"a.no"],
        sub_allow=[b"c.>", b"d", b"e q"],
        sub_deny=[b"c.no", b"c.x.*"],
    )
    peer, watcher = rig.client(rights), rig.client()
    watcher.say(b"SUB > 1\r\n")
    for subject, allowed in (
        (b"a.b", 1),
        (b"b", 1),
        (b"a.no", 0),
        (b"a", 0),
        (b"b.c", 0),
        (b"c.d", 0),
        (b"a.*", 1),
    ):
        peer.pub(subject)
        assert watcher.take().count(b"MSG ") == allowed
        assert (b"Permissions Violation for Publish to" in peer.take()) is not bool(allowed)
    for words, allowed in (
        (b"c.d", 1),
        (b"c.>", 1),
        (b"d", 1),
        (b"d q", 1),
        (b"c.no", 0),
        (b"c.x.*", 0),
        (b"c.x.>", 1),
        (b"c", 0),
        (b">", 0),
        (b"e", 0),
        (b"e q", 1),
        (b"e other", 0),
        (b"d _sys_", 0),
    ):
        peer.say(b"SUB %b 1\r\n" % words)
        assert peer.conn.stats["subscriptions"] == allowed, words
        peer.say(b"UNSUB 1\r\n")
        assert (b"Permissions Violation for Subscription to" in peer.take()) is not bool(allowed)


def test_a_wildcard_that_overlaps_a_deny_entry_is_filtered(rig: Rig) -> None:
    peer, other = rig.client(rig.permissions(sub_deny=[b"a.no", b"*.never"])), rig.client()
    peer.say(b"SUB a.* 1\r\nSUB > 2\r\nSUB b.c 3\r\n")
    for subject, count in ((b"a.yes", 2), (b"a.no", 0), (b"b.never", 0), (b"b.c", 2), (b"a.b.c", 1)):
        for _ in range(3):
            other.pub(subject)
            assert peer.take().count(b"MSG ") == count


def test_tracked_replies(rig: Rig) -> None:
    """Two answers each within 5 ms, to what was asked and to nothing else."""
    service = rig.client(rig.permissions(response_max=2, response_ttl_ns=5 * MS))
    asker = rig.client()
    service.say(b"SUB s 1\r\n")
    asker.say(b"SUB r.* 1\r\n")
    for reply in (b"r.1", b"r.2", b"r.3"):
        asker.pub(b"s", reply=reply)
    for _ in range(3):
        service.pub(b"r.1")
    service.pub(b"r.9")
    rig.kernel.set_now(rig.now + 5 * MS - 1)
    service.pub(b"r.2")
    rig.kernel.set_now(rig.now + 5 * MS)
    service.pub(b"r.2")
    service.pub(b"r.3")
    assert asker.take() == b"MSG r.1 1 0\r\n\r\n" * 2 + b"MSG r.2 1 0\r\n\r\n"
    assert len(rig.events.complaints) == 4


def test_a_flood_of_requests_is_not_remembered_for_ever(rig: Rig) -> None:
    service, asker = rig.client(rig.permissions(response_max=-1, response_ttl_ns=-1)), rig.client()
    service.say(b"SUB s 1\r\n")
    asker.say(b"SUB r.> 1\r\n")
    rig.kernel.set_limits(stall=False)
    asker.say(b"".join(b"PUB s r.%d 0\r\n\r\n" % n for n in range(70_000)))
    service.take()
    service.pub(b"r.69999")
    assert asker.take() == b"MSG r.69999 1 0\r\n\r\n"
    service.say(b"".join(b"PUB r.%d 0\r\n\r\n" % n for n in range(70_000)))
    assert 60_000 < asker.take().count(b"MSG ") <= 65_536 + 256
