"""PINGs of one connection alone, and what the system says of its socket."""

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import MS, SECOND, Peer, Rig

MINUTE = 60 * SECOND


def linked(rig: Rig, interval_ns: int, *, spoke: bool = False) -> Peer:
    rig.kernel.set_limits(ping_interval_ns=10 * SECOND)
    peer = rig.attach(2)
    peer.conn.configure(ping_due_ns=rig.now + SECOND, spoke=spoke)
    peer.conn.set_ping_interval(interval_ns)
    rig.sweep(SECOND)
    peer.say(b"PONG\r\n")
    assert peer.take() == b"PING\r\n"
    return peer


def test_a_link_has_its_own_interval(rig: Rig) -> None:
    few, usual = linked(rig, 15 * MINUTE), linked(rig, 0)
    rig.sweep(11 * SECOND)
    assert (few.take(), usual.take()) == (b"", b"PING\r\n")
    usual.say(b"PONG\r\n")
    rig.sweep(15 * MINUTE)
    assert few.take() == b"PING\r\n"


def test_of_a_hub_that_was_heard_within_its_interval_nothing_is_asked(rig: Rig) -> None:
    hub = linked(rig, MINUTE, spoke=True)
    rig.sweep(59 * SECOND)
    hub.say(b"LMSG a 0\r\n\r\n")
    rig.sweep(2 * SECOND)
    assert hub.take() == b""
    rig.sweep(MINUTE)
    assert hub.take() == b"PING\r\n"


def test_who_is_asked_by_the_other_end_first_does_not_ask(rig: Rig) -> None:
    """The ends of a metered link: one asks every 15 minutes, the other would after 18."""
    hub = linked(rig, 15 * MINUTE * 5 // 4)
    for _ in range(100):
        rig.sweep(15 * MINUTE)
        hub.say(b"PING\r\n")
        assert hub.take() == b"PONG\r\n"


def test_asking_now(rig: Rig) -> None:
    peer = linked(rig, 15 * MINUTE)
    assert peer.conn.ping()
    assert not peer.conn.ping()  # one is on its way
    assert peer.take() == b"PING\r\n"
    assert peer.conn.stats["pings_out"] == 1
    rig.kernel.set_now(rig.now + 7 * MS)
    peer.say(b"PONG\r\n")
    assert (peer.conn.stats["pings_out"], peer.conn.stats["rtt_ns"]) == (0, 7 * MS)


def test_what_was_asked_in_between_counts_for_the_end(rig: Rig) -> None:
    peer = linked(rig, MINUTE)
    assert peer.conn.ping()
    for _ in range(2):
        rig.sweep(MINUTE + SECOND)
    assert rig.events.closed == [(1, Reason.STALE)]
    assert not peer.conn.ping()
    assert peer.conn.tcp_info() == b""


def test_a_unix_socket_has_no_segments(rig: Rig) -> None:
    assert linked(rig, 0).conn.tcp_info() == b""
