"""How long, how much, how many."""

import resource
import time

import pytest

from phloem.shared.kernel import Reason
from tests.unit.kernel.rig import Rig

TOO_LONG = b"-ERR 'maximum control line exceeded'\r\n"


@pytest.mark.parametrize("limit", [0, 65_001, 1 << 20])
def test_control_line_that_cannot_be(rig: Rig, limit: int) -> None:
    with pytest.raises(ValueError, match="max_control_line"):
        rig.kernel.set_limits(max_control_line=limit)


@pytest.mark.parametrize("limit", [10, 4_096, 65_000])
@pytest.mark.parametrize("verb", [b"SUB", b"PUB", b"CONNECT", b"UNSUB"])
@pytest.mark.parametrize("cut", [False, True])
def test_control_line(rig: Rig, limit: int, verb: bytes, cut: bool) -> None:
    """Counted are the arguments; the limit itself is allowed, wherever the line is cut."""
    tail = {b"SUB": b" 1", b"PUB": b" 0", b"CONNECT": b"", b"UNSUB": b""}[verb]
    rig.kernel.set_limits(max_control_line=limit)
    for over in (0, 1):
        peer = rig.client()
        line = verb + b" " + b"s" * (limit + over - len(tail)) + tail + b"\r\n"
        peer.say(*([line[:-1], line[-1:]] if cut else [line]))
        assert peer.conn.closed is bool(over)
        assert (peer.take() == TOO_LONG) is bool(over)
        peer.conn.close(1)


@pytest.mark.parametrize("cut", [1, 3, 20, 5_000])
def test_unknown_and_too_long(rig: Rig, cut: int) -> None:
    """The verb is the first thing that is wrong, however the line comes."""
    peer, line = rig.client(), b"SUBS " + b"x" * 5_000 + b"\r\n"
    peer.say(line[:cut], line[cut:])
    assert peer.take() == b"-ERR 'Unknown Protocol Operation'\r\n"


def test_line_without_an_end(rig: Rig) -> None:
    """Refused when it is too long, not when it ends."""
    peer, link = rig.client(), rig.leaf()
    for one, verb, limit in ((peer, b"PUB ", 4_096), (link, b"LS+ ", 65_536)):
        one.say(verb + b"x" * (limit + 1))
        assert not one.conn.closed
        one.say(b"x")
        assert one.take() == TOO_LONG


@pytest.mark.parametrize(
    "start", [b"X", b"PUX", b"\r\n", b" ", b"\0", b"SUBS", b"PUB\0", b"PUB\r\n", b"SUB\n"]
)
def test_hopeless_start(rig: Rig, start: bytes) -> None:
    peer = rig.client()
    peer.say(start)
    assert peer.take() == b"-ERR 'Unknown Protocol Operation'\r\n"


def test_max_payload(rig: Rig) -> None:
    """Refused by its size alone, before any of it is there; headers count."""
    for line, refused in (
        (b"PUB a 100", False),
        (b"PUB a 101", True),
        (b"HPUB a 1 100", False),
        (b"HPUB a 1 101", True),
        (b"PUB a 999999999", True),
    ):
        peer = rig.attach(max_payload=100)
        peer.conn.configure(headers=True)
        peer.say(line + b"\r\n")
        assert (peer.take() == b"-ERR 'Maximum Payload Violation'\r\n") is refused
        peer.conn.close(1)
    assert {reason for _, reason in rig.events.closed} == {Reason.MAX_PAYLOAD, Reason.CLIENT_CLOSED}


ARGUMENTS = (
    *(
        b"PUB a",
        b"PUB ",
        b"PUB a b c 1",
        b"PUB a -1",
        b"PUB a 1x",
        b"PUB a 1000000000",
        b"PUB a +1",
        b"PUB 5",
    ),
    *(
        b"HPUB a 5",
        b"HPUB a 6 5",
        b"HPUB a b c 1 2",
        b"SUB ",
        b"SUB a",
        b"SUB a b c d",
        b"UNSUB ",
        b"UNSUB 1 2 3",
    ),
)


@pytest.mark.parametrize("line", ARGUMENTS)
def test_wrong_arguments_end_in_silence(rig: Rig, line: bytes) -> None:
    peer = rig.client()
    peer.say(line + b"\r\n")
    assert peer.take() == b""
    assert rig.events.closed == [(1, Reason.PARSE_ERROR)]


@pytest.mark.parametrize("end", [b"xx", b"\n\n", b"\rx", b"x\n", b"\r"])
def test_payload_not_followed_by_crlf(rig: Rig, end: bytes) -> None:
    peer = rig.client()
    peer.say(b"PUB a 2\r\nhi" + end)
    assert peer.conn.closed is (end != b"\r")
    assert (peer.take() == b"-ERR 'Unknown Protocol Operation'\r\n") is (end != b"\r")


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_claim_reserves_nothing(rig: Rig) -> None:
    """200 peers announce 60 MB each and send 20 KB of it: what is held is what came."""
    before = resident()
    for _ in range(200):
        peer = rig.pair()
        peer.conn.configure(max_payload=64 << 20)
        assert peer.sock
        peer.sock.send(b"PUB a 60000000\r\n" + b"x" * 20_000)
        rig.tick()
    assert resident() - before < 30_000_000


def test_a_large_payload_in_small_pieces(rig: Rig) -> None:
    """8 MiB by the kilobyte: each piece costs what it is, not what is there already."""
    receiver, peer = rig.client(), rig.attach(max_payload=8 << 20)
    receiver.say(b"SUB a 1\r\n")
    peer.conn.configure()
    body = bytes(range(256)) * 4
    start = time.process_time()
    peer.say(b"PUB a %d\r\n" % (8 << 20), *[body] * (8 << 10), b"\r\nPING\r\n")
    assert time.process_time() - start < 2
    assert receiver.take() == b"MSG a 1 %d\r\n%b\r\n" % (8 << 20, body * (8 << 10))
    assert peer.take() == b"PONG\r\n"


def test_a_large_payload_over_a_socket(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.pair()
    receiver.say(b"SUB a 1\r\n")
    assert peer.sock
    body = bytes(range(256)) * 4_000
    data = memoryview(b"PUB a %d\r\n%b\r\n" % (len(body), body) * 3 + b"PING\r\n")
    while data:
        data = data[peer.sock.send(data[:50_000]) :]
        rig.tick()
    assert receiver.take() == b"MSG a 1 %d\r\n%b\r\n" % (len(body), body) * 3
    assert peer.sock.recv(100) == b"PONG\r\n"


def test_half_a_message_is_no_message(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    message = b"PUB a 5\r\nhello\r\n"
    for n in range(1, len(message)):
        peer.say(message[:n])
        assert receiver.take() == b""
        peer.say(message[n:])
        assert receiver.take() == b"MSG a 1 5\r\nhello\r\n"
    peer.say(message[:-1])
    peer.conn.close(1)
    assert receiver.take() == b""


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_very_many_subscriptions(rig: Rig, count: int) -> None:
    """On one connection, from and back to nothing."""
    peer = rig.client()
    before, start = resident(), time.process_time()
    for n in range(0, count, 50_000):
        peer.say(b"".join(b"SUB some.%d %d\r\n" % (i, i) for i in range(n, n + 50_000)))
    assert rig.account.stats["subscriptions"] == count
    assert resident() - before < 400 * count
    rig.client().pub(b"some.77777", b"x")
    assert peer.take() == b"MSG some.77777 77777 1\r\nx\r\n"
    peer.conn.close(1)
    assert time.process_time() - start < 20
    assert rig.account.stats["subscriptions"] == 0


def test_too_many_tokens(rig: Rig) -> None:
    rig.kernel.set_limits(max_sub_tokens=3)
    peer = rig.client()
    peer.say(b"SUB a.b.c 1\r\nSUB a.b.c.d 2\r\n")
    assert peer.take() == b"-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n"
