"""Compression of links in the kernel: any pieces, damage, bombs, sockets that are full, over real sockets."""

import contextlib
import random

import pytest

from phloem.shared.kernel import KIND_CLIENT, KIND_LEAF, Reason
from phloem.shared.wire.s2 import Decoder, Encoder
from tests.fuzz.snappy import S2, SNAPPY, crc, varint
from tests.unit.kernel.rig import MS, SECOND, Peer, Rig, drain

LEVELS = (0, 1, 2, 3)
THRESHOLDS = (10 * MS, 50 * MS, 100 * MS)


def chunk(kind: int, content: bytes, plain: bytes) -> bytes:
    body = crc(plain).to_bytes(4, "little") + content
    return bytes([kind]) + len(body).to_bytes(3, "little") + body


def plain_chunks(*pieces: bytes) -> bytes:
    return b"".join(chunk(1, piece, piece) for piece in pieces)


class Link:
    """A link that speaks S2, and its peer."""

    def __init__(self, rig: Rig, level: int = 1, *, limits: tuple[int, ...] = (), buffer: int = 0) -> None:
        self.rig = rig
        self.peer = rig.pair(KIND_LEAF, send_buffer=buffer)
        self.conn = self.peer.conn
        self.conn.wait()
        self.conn.compress(level, limits)
        self.conn.resume()
        self.conn.link_up()
        self.decoder = Decoder()
        self.plain = bytearray()

    @property
    def sock(self):  # type: ignore[no-untyped-def]
        assert self.peer.sock is not None
        return self.peer.sock

    def say(self, data: bytes) -> None:
        """As much as the socket takes at a time."""
        while data and not self.conn.closed:
            with contextlib.suppress(BlockingIOError):
                data = data[self.sock.send(data) :]
            self.rig.tick()

    def read(self) -> bytes:
        """All plain bytes so far."""
        while data := drain(self.sock):
            self.decoder.feed(data)
            while block := self.decoder.block():
                self.plain += block
            self.rig.tick()
        return bytes(self.plain)


@pytest.fixture
def listener(rig: Rig) -> Peer:
    client = rig.client()
    client.say(b"SUB a 1\r\n")
    return client


def messages(count: int, seed: int = 1) -> list[bytes]:
    r = random.Random(seed)
    return [
        b'{"device":"d-%d","value":%d,"ok":true}' % (r.randrange(30), r.randrange(10**6))
        for _ in range(count)
    ]


def lmsg(body: bytes) -> bytes:
    return b"LMSG a %d\r\n%b\r\n" % (len(body), body)


def pub(body: bytes) -> bytes:
    return b"PUB a %d\r\n%b\r\n" % (len(body), body)


def msg(body: bytes) -> bytes:
    return b"MSG a 1 %d\r\n%b\r\n" % (len(body), body)


def encoded(data: bytes) -> bytes:
    encoder = Encoder()
    return encoder.feed(data) + encoder.flush()


@pytest.mark.parametrize("cut", range(1, 90))
def test_a_stream_cut_anywhere(rig: Rig, listener: Peer, cut: int) -> None:
    body = b"x" * 200
    stream = (
        encoded(lmsg(body)) + plain_chunks(lmsg(b"2"), b"LMSG a 1\r", b"\n3\r\n") + S2 + b"\x80\x02\0\0ab"
    )
    link = Link(rig)
    for at in range(0, len(stream), cut):
        link.say(stream[at : at + cut])
    assert listener.take() == msg(body) + msg(b"2") + msg(b"3")
    carried = link.conn.carried
    assert carried["in_packed"] == carried["in_socket"] == len(stream)
    assert carried["in_plain"] == len(lmsg(body) + lmsg(b"2") + lmsg(b"3"))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [1, 40, 3_000, 200_000])
def test_what_is_sent_is_read(rig: Rig, level: int, size: int) -> None:
    link = Link(rig, level)
    link.say(S2 + plain_chunks(b"LS+ a\r\n"))
    client = rig.client()
    bodies = messages(size // 40 + 1) if size > 1 else [b"1"]
    client.say(b"".join(map(pub, bodies)))  # a flush for all of them
    rig.tick()
    assert link.read().endswith(b"".join(map(lmsg, bodies)))
    carried = link.conn.carried
    assert carried["out_plain"] == len(link.plain)
    assert carried["out_packed"] == carried["out_socket"]
    assert link.conn.stats["pending_bytes"] == 0
    if level and size >= 3_000:
        assert carried["out_packed"] < carried["out_plain"] * 0.6


@pytest.mark.parametrize("level", LEVELS)
def test_a_full_socket(rig: Rig, level: int) -> None:
    link = Link(rig, level, buffer=4_096)
    link.say(S2 + plain_chunks(b"LS+ a\r\n"))
    client = rig.client()
    r = random.Random(5)
    bodies = [r.randbytes(30_000) + bytes(5_000) for _ in range(60)]
    for body in bodies:
        client.pub(b"a", body)
    assert 0 < link.conn.stats["pending_bytes"] <= sum(map(len, map(lmsg, bodies)))
    assert link.read().endswith(b"".join(map(lmsg, bodies)))
    assert link.conn.stats["pending_bytes"] == 0
    assert not link.conn.closed


def test_large_payloads_in(rig: Rig, listener: Peer) -> None:
    body = random.Random(3).randbytes(900_000)
    for stream in (
        encoded(lmsg(body)),
        S2 + plain_chunks(lmsg(body)),
        S2 + plain_chunks(lmsg(b"1") + lmsg(body)[:30_000], lmsg(body)[30_000:]),
    ):
        link = Link(rig)
        link.say(stream)
        assert listener.take().endswith(msg(body))


def test_small_flushes_are_not_compressed(rig: Rig) -> None:
    link = Link(rig, 3)
    link.read()
    link.conn.send(b"PING\r\n")
    assert drain(link.sock) == S2 + plain_chunks(b"PING\r\n")


def test_what_was_sent_before_goes_out_plain(rig: Rig) -> None:
    peer = rig.pair(KIND_LEAF)
    peer.conn.wait()
    peer.conn.send(b"INFO {}\r\n")
    peer.conn.compress(1)
    peer.conn.send(b"PONG\r\n")
    assert peer.sock is not None
    assert drain(peer.sock) == b"INFO {}\r\n" + S2 + plain_chunks(b"PONG\r\n")


def test_what_was_read_behind_the_last_line(rig: Rig, listener: Peer) -> None:
    peer = rig.pair(KIND_LEAF)

    def info(conn, _: bytes) -> None:  # type: ignore[no-untyped-def]
        conn.compress(1)
        conn.resume()

    rig.events.info = info
    assert peer.sock is not None
    peer.sock.send(b"INFO {}\r\n" + S2 + plain_chunks(lmsg(b"1")))
    rig.tick()
    assert listener.take() == msg(b"1")
    assert peer.conn.carried["in_plain"] == len(b"INFO {}\r\n" + lmsg(b"1"))


BLOCK = b"\x08\x0cabcd\x01\x04"  # abcdabcd


@pytest.mark.parametrize(
    "stream",
    [
        b"PING\r\n",
        b"\x01\x04\0\0\0\0\0\0",
        b"\xff\x06\0\0S2sTwX",
        b"\xff\x05\0\0S2sTw",
        S2 + b"\x02\x08\0\0xxxxxxxx",
        S2 + b"\x00\x03\0\0",
        S2 + b"\x01\xff\xff\xff",
        S2 + chunk(1, b"PING\r\n", b"PONG\r\n"),
        S2 + chunk(0, BLOCK, b"abcdabce"),
        S2 + chunk(0, b"\x08\x0cabcd\x01\x05", b"abcdabcd"),
        S2 + chunk(0, varint((4 << 20) + 1) + b"\x00a", b""),
        S2 + chunk(0, b"\xff\xff\xff\xff\xff\xff", b""),
        SNAPPY + chunk(0, varint((1 << 16) + 1) + b"\x00a", b""),
    ],
)
def test_what_is_no_stream_ends_the_link(rig: Rig, stream: bytes) -> None:
    link = Link(rig)
    link.say(stream)
    assert rig.events.closed == [(link.conn.cid, Reason.READ_ERROR)]


def test_every_flipped_bit_is_noticed(rig: Rig, listener: Peer) -> None:
    stream = encoded(lmsg(b"abc" * 30))
    for at in range(10, len(stream)):
        link = Link(rig)
        link.say(stream[:at] + bytes([stream[at] ^ 0x10]) + stream[at + 1 :])
        assert listener.take() == b"", at
        link.conn.close(Reason.CLIENT_CLOSED)


def test_any_garbage(rig: Rig) -> None:
    r = random.Random(9)
    for _ in range(300):
        link = Link(rig)
        link.say(
            S2
            + r.choice(
                (
                    chunk(0, r.randbytes(50), b""),
                    r.randbytes(60),
                    bytes([r.choice((0, 1, 0x80)), r.randrange(40), 0, 0]) + r.randbytes(40),
                )
            )
        )
        link.conn.close(Reason.CLIENT_CLOSED)
        rig.tick()


def bomb(size: int) -> bytes:
    """A chunk of some twenty bytes."""
    plain = b"\n" * 1 if size == 1 else b"PING\r\n" * (size // 6)
    elements = b"\x14PING\r\n\x01\x06"
    left = len(plain) - 10
    while left:
        n = min(left, 1 << 20)
        if n < 65_540:
            elements += b"\xfe\x06\x00" if n >= 64 else bytes([(n - 1) << 2 | 2, 6, 0])
            left -= min(n, 64)
        else:
            elements += b"\x1d\x00" + (n - 65_540).to_bytes(3, "little")
            left -= n
    return chunk(0, varint(len(plain)) + elements, plain)


def test_bombs_are_taken_apart(rig: Rig, listener: Peer) -> None:
    """A few kilobytes that mean two million PINGs: others get their turn, and nothing is lost."""
    link = Link(rig)
    size = 3 << 20
    one = bomb(size)
    assert len(one) < 4_000
    rounds = 0
    link.sock.send(S2 + one * 4 + plain_chunks(lmsg(b"end")))
    pings = size // 6
    got = b""
    while msg(b"end") not in got:
        rig.tick()
        link.read()
        got += listener.take()
        rounds += 1
        assert rounds < 100
    assert link.read().count(b"PONG\r\n") == 4 * pings
    assert not link.conn.closed


def test_whoever_has_not_logged_in_gets_little(rig: Rig) -> None:
    peer = rig.pair(KIND_LEAF, configured=False)
    peer.conn.wait()
    peer.conn.compress(1)
    peer.conn.resume()
    assert peer.sock is not None
    peer.sock.send(S2 + bomb(1 << 18))
    rig.tick()
    assert rig.events.closed == [(peer.conn.cid, Reason.READ_ERROR)]


@pytest.mark.parametrize(
    ("rtt_ms", "level"), [(1, 0), (10, 0), (11, 1), (50, 1), (51, 2), (100, 2), (101, 3), (900, 3)]
)
def test_the_level_follows_the_round_trip(rig: Rig, rtt_ms: int, level: int) -> None:
    link = Link(rig, 1, limits=THRESHOLDS)
    link.conn.set_deadline(0, ping_due_ns=rig.now)
    rig.sweep(MS)
    assert link.read().endswith(b"PING\r\n")
    link.sock.send(S2 + plain_chunks(b"PONG\r\n"))
    rig.tick(rtt_ms * MS)
    assert link.conn.stats["rtt_ns"] == rtt_ms * MS
    assert link.conn.level == level


def test_limits_leave_levels_out(rig: Rig) -> None:
    for limits, level in (
        ((0, 0, 20 * MS), 2),
        ((20 * MS,), 0),
        ((1, 2), 1),
        ((1, 2, 3), 3),
        ((0, 20 * MS), 1),
    ):
        link = Link(rig, 1, limits=limits)
        link.conn.set_deadline(0, ping_due_ns=rig.now)
        rig.sweep(MS)
        link.sock.send(S2 + plain_chunks(b"PONG\r\n"))
        rig.tick(5 * MS)
        assert link.conn.level == level, limits


def test_a_peer_that_goes_in_the_middle_of_a_chunk(rig: Rig) -> None:
    link = Link(rig)
    link.sock.send(S2 + plain_chunks(b"PING\r\n" * 30_000)[:100_000])
    rig.tick()
    link.sock.close()
    rig.tick()
    rig.tick()
    assert [cid for cid, _ in rig.events.closed] == [link.conn.cid]


def test_a_slow_link_is_cut_off(rig: Rig) -> None:
    rig.kernel.set_limits(max_pending=100_000, stall=False)
    link = Link(rig, 1, buffer=4_096)
    link.say(S2 + plain_chunks(b"LS+ a\r\n"))
    client = rig.client()
    r = random.Random(2)
    for _ in range(80):
        client.pub(b"a", r.randbytes(10_000))
    rig.tick()
    assert rig.events.closed == [(link.conn.cid, Reason.SLOW_CONSUMER_PENDING)]


def test_a_link_that_stands_still_for_too_long(rig: Rig) -> None:
    link = Link(rig, 2, buffer=4_096)
    link.say(S2 + plain_chunks(b"LS+ a\r\n"))
    client = rig.client()
    client.pub(b"a", random.Random(2).randbytes(900_000))
    rig.sweep(9 * SECOND)
    assert not link.conn.closed
    drain(link.sock)
    rig.tick()  # it moves
    rig.sweep(9 * SECOND)
    assert not link.conn.closed
    rig.sweep(2 * SECOND)
    assert rig.events.closed == [(link.conn.cid, Reason.SLOW_CONSUMER_DEADLINE)]


def test_it_begins_where_it_can(rig: Rig) -> None:
    with pytest.raises(ValueError, match="cannot begin here"):
        rig.client().conn.compress(1)
    peer = rig.pair(KIND_CLIENT)
    with pytest.raises(ValueError, match="cannot begin here"):
        peer.conn.compress(1)
    for level, limits in ((4, ()), (-1, ()), (1, (1,) * 5), (1, (-1,))):
        with pytest.raises(ValueError, match="no such level"):
            peer.conn.compress(level, limits)
    assert peer.conn.level is None
