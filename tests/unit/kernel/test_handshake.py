"""CONNECT early, late, twice, decided at once or later."""

import pytest

from tests.unit.kernel.rig import Rig, drain


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
    peer.conn.limit(max_payload=1, max_subs=-1, trace=True)
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


def test_nothing_is_read_while_somebody_decides(rig: Rig) -> None:
    """What came behind CONNECT waits for the decision, in as many pieces as it likes."""
    decided: list[bytes] = []
    rig.events.connect = lambda conn, body: decided.append(body)
    peer, watcher = rig.attach(), rig.client()
    watcher.say(b"SUB > 1\r\n")
    peer.say(b"PING\r\nCONN", b"ECT {}\r\nPUB a 2\r\nh", b"i\r\nSUB b 1\r\n", b"PING\r\nCONNECT {2}\r\nPIN")
    assert decided == [b"{}"]
    assert peer.take() == b"PONG\r\n"
    assert watcher.take() == b""
    peer.conn.configure()
    peer.conn.resume()
    assert decided == [b"{}", b"{2}"]
    assert watcher.take() == b"MSG a 1 2\r\nhi\r\n"
    peer.say(b"G\r\n")
    assert peer.take() == b"PONG\r\n"
    peer.conn.configure(first_info=b"INFO {}\r\n")
    assert peer.conn.subscriptions() == []
    peer.conn.resume()
    peer.conn.resume()
    assert peer.take() == b"PONG\r\nINFO {}\r\n"
    peer.say(b"PING\r\n")
    assert peer.take() == b"PONG\r\n"


def test_a_socket_is_not_read_while_somebody_decides(rig: Rig) -> None:
    rig.events.connect = lambda conn, body: None
    peer = rig.pair(configured=False)
    assert peer.sock
    peer.sock.send(b"CONNECT {}\r\nPING\r\n")
    rig.tick()
    peer.sock.send(b"PING\r\n")
    rig.tick()
    assert drain(peer.sock) == b""
    peer.conn.configure()
    peer.conn.resume()
    rig.tick()
    assert drain(peer.sock) == b"PONG\r\nPONG\r\n"


def test_the_end_while_somebody_decides(rig: Rig) -> None:
    rig.events.connect = lambda conn, body: None
    peer = rig.pair(configured=False)
    assert peer.sock
    peer.sock.send(b"CONNECT {}\r\nPING\r\n")
    rig.tick()
    peer.sock.close()
    rig.tick()
    assert not peer.conn.closed, "nobody looks"
    peer.conn.resume()
    rig.tick()
    assert peer.conn.closed


@pytest.mark.parametrize("data", [b"PING\r\n", b"P", b"+OK\r\n", b"PUB a 0\r\n\r\n"])
def test_the_first_word_has_to_be_connect(rig: Rig, data: bytes) -> None:
    peer = rig.attach(must_auth=True)
    peer.say(data)
    assert peer.take() == b"-ERR 'Authorization Violation'\r\n"


def test_wait_and_resume_from_outside(rig: Rig) -> None:
    peer = rig.client()
    peer.conn.wait()
    peer.say(b"PING\r\n")
    assert peer.take() == b""
    peer.conn.resume()
    assert peer.take() == b"PONG\r\n"


def test_info_and_errors_of_a_link(rig: Rig) -> None:
    """Both are for Python, and nothing behind them is read before it has answered."""
    infos: list[bytes] = []
    rig.events.info = lambda conn, body: infos.append(body)
    link = rig.leaf()
    link.say(b"-ERR 'what'\r\nINFO {\"a\":1} \r\nPING\r\n")
    assert (rig.events.errors, infos) == ([b"'what'"], [b'{"a":1} '])
    assert link.take() == b""
    link.conn.resume()
    assert link.take() == b"PONG\r\n"
