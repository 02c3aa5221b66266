"""CONNECT early, late, twice, decided at once or later."""

from tests.unit.kernel.rig import Rig


def test_connect_to_another_account_ends_earlier_subscriptions(rig: Rig) -> None:
    """They belong to the account that the connection leaves."""
    peer = rig.attach()
    peer.say(b"SUB a 1\r\nSUB a.> q 2\r\n")
    other = rig.kernel.account("B")
    peer.conn.configure(account=other)
    assert peer.conn.subscriptions() == []
    assert rig.account.stats["subscriptions"] == other.stats["subscriptions"] == 0
    peer.say(b"SUB b 1\r\n")
    peer.conn.close(1)
    assert other.stats["subscriptions"] == 0


def test_connect_moves_a_link_that_is_up(rig: Rig) -> None:
    link = rig.attach(2)
    link.conn.link_up()
    other = rig.kernel.account("B")
    link.conn.configure(account=other)
    assert rig.account.stats["links"] == 0
    link.conn.close(1)
    rig.client().say(b"SUB a 1\r\n")


def test_decision_after_the_end(rig: Rig) -> None:
    """Who decided took longer than the connection lived: what it then does has no effect."""
    peer = rig.attach()
    peer.say(b"CONNECT {}\r\n")
    peer.conn.close(1)
    peer.conn.configure(account=rig.kernel.account("B"))
    peer.conn.set_permissions(rig.permissions(sub_allow=[]))
    peer.conn.link_up()
    peer.conn.set_deadline(5)
    peer.conn.limit(max_payload=1, trace=True)
    peer.conn.wait()
    peer.conn.resume()
    peer.conn.feed(b"PING\r\n")
    peer.conn.send(b"x")
    peer.conn.complain(b"x")
    peer.conn.close(2)
    assert peer.take() == b""
    assert [cid for cid, _ in rig.events.closed] == [1]
    assert peer.conn.subscriptions() == []


def test_kernel_closed_by_the_first_of_several_that_are_told(rig: Rig) -> None:
    rig.events.connect = lambda conn, body: rig.kernel.close()
    for _ in range(5):
        peer = rig.pair(configured=False)
        assert peer.sock
        peer.sock.send(b"CONNECT {}\r\n")
    rig.tick()
    assert sorted(cid for cid, _ in rig.events.closed) == [1, 2, 3, 4, 5]
