"""What a user may do, as it changes under way."""

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import Rig


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
