"""Subscriptions: their number, their end, their groups."""

from collections import Counter

import pytest

from tests.unit.kernel.rig import Rig


def sids(data: bytes) -> list[bytes]:
    return [line.split(b" ")[2] for line in data.split(b"\r\n") if line.startswith(b"MSG ")]


@pytest.mark.parametrize(
    ("said", "published", "received"),
    [
        (b"UNSUB 1 2", 5, 2),
        (b"UNSUB 1 1", 5, 1),
        (b"UNSUB 1 0", 5, 0),
        (b"UNSUB 1", 5, 0),
        (b"UNSUB 1 x", 5, 0),
        (b"UNSUB 1 9999999999", 5, 0),
        (b"UNSUB 1 7", 5, 5),
        (b"UNSUB 2 1", 5, 5),
    ],
)
def test_max(rig: Rig, said: bytes, published: int, received: int) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n%b\r\n" % said)
    peer.say(b"PUB a 0\r\n\r\n" * published)
    assert len(sids(receiver.take())) == received
    assert receiver.conn.stats["subscriptions"] == (received == published)
    assert rig.account.stats["subscriptions"] == (received == published)


def test_max_counts_from_the_subscribe(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    peer.say(b"PUB a 0\r\n\r\n" * 3)
    receiver.say(b"UNSUB 1 4\r\n")
    assert receiver.conn.subscriptions() == [(b"a", None, b"1", 3, 4)]
    peer.say(b"PUB a 0\r\n\r\n" * 3)
    assert len(sids(receiver.take())) == 4
    receiver.say(b"SUB a 1\r\n")
    peer.say(b"PUB a 0\r\n\r\n" * 3)
    receiver.say(b"UNSUB 1 3\r\n")
    assert receiver.conn.subscriptions() == []


def test_max_of_a_group_member_goes_to_the_next(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"".join(b"SUB a q %d\r\nUNSUB %d 2\r\n" % (n, n) for n in range(5)))
    peer.say(b"PUB a 0\r\n\r\n" * 15)
    assert Counter(sids(receiver.take())) == {b"%d" % n: 2 for n in range(5)}


def test_sid_in_use_stays_what_it_is(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\nSUB b 1\r\n")
    peer.pub(b"b")
    peer.pub(b"a")
    assert receiver.take() == b"MSG a 1 0\r\n\r\n"


def test_max_subs(rig: Rig) -> None:
    peer = rig.client(max_subs=2)
    peer.say(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n")
    assert peer.take() == b"-ERR 'maximum subscriptions exceeded'\r\n"
    peer.say(b"UNSUB 1\r\nSUB c 3\r\n")
    assert peer.take() == b""
    assert peer.conn.stats["subscriptions"] == 2


def test_group_members_share_evenly(rig: Rig) -> None:
    """10 members over two patterns: each has 1,000 of 10,000, give or take five standard deviations (150)."""
    receiver, peer = rig.client(), rig.client()
    rig.kernel.set_limits(stall=False)
    receiver.say(b"".join(b"SUB %b q %d\r\n" % ((b"a", b"*")[n % 2], n) for n in range(10)))
    peer.say(b"PUB a 0\r\n\r\n" * 10_000)
    counts = Counter(sids(receiver.take()))
    assert sum(counts.values()) == 10_000
    assert len(counts) == 10
    assert all(850 < count < 1_150 for count in counts.values())


def test_groups_and_plain_each_get_one(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a q 1\r\nSUB a q 2\r\nSUB a g 3\r\nSUB a 4\r\nSUB > q 5\r\nSUB > g 6\r\n")
    for _ in range(50):
        peer.pub(b"a")
        got = sids(receiver.take())
        assert len(got) == 3
        assert b"4" in got
        assert len({b"1", b"2", b"5"} & set(got)) == len({b"3", b"6"} & set(got)) == 1


def test_own_messages_only_with_echo(rig: Rig) -> None:
    for echo in (True, False):
        peer = rig.client(echo=echo)
        peer.say(b"SUB a 1\r\nSUB a q 2\r\n")
        peer.pub(b"a")
        assert len(sids(peer.take())) == (2 if echo else 0)
        peer.conn.close(1)


def test_group_skips_the_publisher_without_echo(rig: Rig) -> None:
    peer, other = rig.client(echo=False), rig.client()
    for one in (peer, other):
        one.say(b"SUB a q 1\r\n")
    peer.say(b"PUB a 0\r\n\r\n" * 20)
    assert len(sids(other.take())) == 20
    assert peer.take() == b""


def test_nobody_responds(rig: Rig) -> None:
    answer = b"HMSG r.1 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: a.b\r\n\r\n\r\n"
    peer, silent = rig.client(no_responders=True), rig.client()
    peer.say(b"SUB r.* 7\r\n")
    peer.pub(b"a.b", reply=b"r.1")
    assert peer.take() == answer
    peer.pub(b"a.b")
    silent.pub(b"a.b", reply=b"r.1")
    assert peer.take() == b""
    silent.say(b"SUB a.b q 1\r\n")
    peer.pub(b"a.b", reply=b"r.1")
    assert peer.take() == b""
    silent.conn.close(1)
    peer.pub(b"a.b", reply=b"elsewhere")
    peer.pub(b"a.b", reply=b"r.1")
    assert peer.take() == answer


def test_interest_of_a_link_is_a_responder(rig: Rig) -> None:
    peer, link = rig.client(no_responders=True), rig.leaf()
    peer.say(b"SUB r 1\r\n")
    link.say(b"LS+ a\r\n")
    peer.pub(b"a", reply=b"r")
    assert peer.take() == b""


def test_verbose_and_pedantic(rig: Rig) -> None:
    peer = rig.client(verbose=True, pedantic=True)
    peer.say(b"SUB a 1\r\nUNSUB 1\r\nUNSUB 1\r\nPING\r\nPUB a 0\r\n\r\nPUB a.* 0\r\n\r\n")
    ok = b"+OK\r\n"
    assert peer.take() == ok * 3 + b"PONG\r\n" + ok + b"-ERR 'Invalid Publish Subject'\r\n" + ok


@pytest.mark.parametrize("subject", [b"a..b", b".a", b"a.", b">.a", b"a.>.b"])
def test_no_subject(rig: Rig, subject: bytes) -> None:
    peer = rig.client(verbose=True)
    peer.say(b"SUB %b 1\r\n" % subject)
    assert peer.take() == b"-ERR 'Invalid Subject'\r\n"
    assert rig.account.stats["subscriptions"] == 0
