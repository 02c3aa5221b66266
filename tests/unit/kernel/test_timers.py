"""What happens because time passes."""

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import MS, SECOND, Peer, Rig, drain


def test_authentication_timeout(rig: Rig) -> None:
    peer, other = rig.attach(must_auth=True), rig.attach()
    for one in (peer, other):
        one.conn.set_deadline(rig.now + 2 * SECOND)
    other.conn.configure()
    assert rig.kernel.due_ns == rig.now + 2 * SECOND
    assert rig.sweep(2 * SECOND - 1) == rig.now + 1
    assert not peer.conn.closed
    rig.sweep(1)
    assert peer.take() == b"-ERR 'Authentication Timeout'\r\n"
    assert rig.events.closed == [(1, Reason.AUTHENTICATION_TIMEOUT)]
    assert not other.conn.closed


def pinged(rig: Rig, kind: int = 0, *, spoke: bool = False) -> Peer:
    rig.kernel.set_limits(ping_interval_ns=10 * SECOND)
    peer = rig.attach(kind)
    peer.conn.configure(ping_due_ns=rig.now + SECOND, spoke=spoke)
    return peer


def test_two_pings_then_stale(rig: Rig) -> None:
    peer = pinged(rig)
    assert rig.sweep(SECOND) == rig.now + 10 * SECOND
    rig.sweep(10 * SECOND)
    assert peer.take() == b"PING\r\n" * 2
    rig.sweep(10 * SECOND)
    assert peer.take() == b"-ERR 'Stale Connection'\r\n"
    assert rig.events.closed == [(1, Reason.STALE)]
    assert rig.kernel.totals["stale_clients"] == 1


def test_pong_measures_and_keeps(rig: Rig) -> None:
    peer = pinged(rig)
    for _ in range(5):
        rig.sweep(10 * SECOND)
        assert peer.take() == b"PING\r\n"
        rig.kernel.set_now(rig.now + 3 * MS)
        peer.say(b"PONG\r\n")
        assert peer.conn.stats["rtt_ns"] == 3 * MS


def test_who_was_heard_is_not_asked(rig: Rig) -> None:
    """Once the round trip is known; a hub is asked always."""
    for spoke in (False, True):
        peer = pinged(rig, 2, spoke=spoke)
        rig.sweep(SECOND)
        peer.say(b"PONG\r\n")
        peer.take()
        rig.kernel.set_now(rig.now + 9 * SECOND)
        peer.say(b"LMSG a 0\r\n\r\n")
        rig.sweep(10 * SECOND)
        assert (peer.take() == b"PING\r\n") is spoke
        peer.conn.close(1)


def test_write_deadline(rig: Rig) -> None:
    """The socket has been full for that long."""
    rig.kernel.set_limits(write_deadline_ns=SECOND, stall=False)
    receiver, peer = rig.pair(send_buffer=4_096), rig.client()
    assert receiver.sock
    receiver.sock.send(b"SUB a 1\r\n")
    rig.tick()
    peer.pub(b"a", b"x" * 1_000_000)
    assert receiver.conn.stats["pending_bytes"] > 0
    assert rig.kernel.due_ns == rig.now + SECOND
    rig.sweep(SECOND - 1)
    assert not receiver.conn.closed
    rig.sweep(1)
    assert rig.events.closed == [(1, Reason.SLOW_CONSUMER_DEADLINE)]
    assert rig.kernel.totals["slow_clients"] == 1


def test_a_slow_link_that_moves_is_kept(rig: Rig) -> None:
    rig.kernel.set_limits(write_deadline_ns=SECOND, stall=False)
    link, peer = rig.pair(2, send_buffer=4_096), rig.client()
    assert link.sock
    link.sock.send(b"LS+ a\r\n")
    rig.tick()
    peer.pub(b"a", b"x" * 1_000_000)
    received = 0
    while link.conn.stats["pending_bytes"]:
        received += len(link.sock.recv(100_000))
        rig.tick(SECOND - 1)
        rig.sweep()
        assert not link.conn.closed
    assert received + len(drain(link.sock)) == len(b"LMSG a 1000000\r\n") + 1_000_002


def test_last_words_wait_for_room_and_not_for_ever(rig: Rig) -> None:
    """The -ERR goes out behind what was waiting, if the peer takes it within the write deadline."""
    rig.kernel.set_limits(write_deadline_ns=SECOND, stall=False)
    ends: list[bool] = []
    for patient in (True, False):
        receiver, peer = rig.pair(send_buffer=4_096), rig.client()
        assert receiver.sock
        receiver.sock.send(b"SUB a 1\r\n")
        rig.tick()
        peer.pub(b"a", b"x" * 300_000)
        receiver.conn.close(Reason.PROTOCOL_VIOLATION, b"Enough")
        assert receiver.conn.closed
        assert len(rig.events.closed) == len(ends), "it is still trying"
        data = b""
        while patient and len(rig.events.closed) == len(ends):
            data += drain(receiver.sock)
            rig.tick()
        rig.sweep(SECOND)
        data += drain(receiver.sock)
        ends.append(data.endswith(b"-ERR 'Enough'\r\n"))
        assert len(rig.events.closed) == len(ends)
    assert ends == [True, False]
