"""In which form a message arrives."""

import pytest

from tests.unit.kernel.rig import Rig

HEADERS = b"NATS/1.0\r\nA: 1\r\n\r\n"
SMALL, LARGE = 2_048, 65_536  # a Chunk of an out-buffer with its own few bytes


def test_headers_are_cut_off_for_who_has_none(rig: Rig) -> None:
    plain, full, link, bare = rig.client(headers=False), rig.client(), rig.leaf(), rig.leaf(headers=False)
    for peer in (plain, full):
        peer.say(b"SUB a 1\r\n")
    for peer in (link, bare):
        peer.say(b"LS+ a\r\n")
        peer.take()
    rig.client().say(b"HPUB a r %d %d\r\n%bbody\r\n" % (len(HEADERS), len(HEADERS) + 4, HEADERS))
    assert plain.take() == b"MSG a 1 r 4\r\nbody\r\n"
    assert full.take() == b"HMSG a 1 r 18 22\r\n%bbody\r\n" % HEADERS
    assert link.take().endswith(b"HMSG a r 18 22\r\n%bbody\r\n" % HEADERS)
    assert bare.take().endswith(b"LMSG a r 4\r\nbody\r\n")


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        (b"PUB a 002\r\nhi\r\n", b"MSG a 1 002\r\nhi\r\n"),
        (b"PUB  a   2\r\nhi\r\n", b"MSG a 1 2\r\nhi\r\n"),
        (b"PUB a  r  02\r\nhi\r\n", b"MSG a 1 r 02\r\nhi\r\n"),
        (b"HPUB a 01 02\r\nhi\r\n", b"HMSG a 1 01 02\r\nhi\r\n"),
        (b"HPUB a  1  2\r\nhi\r\n", b"HMSG a 1 1 2\r\nhi\r\n"),
        (b"HPUB a 0 2\r\nhi\r\n", b"MSG a 1 2\r\nhi\r\n"),
        (b"PUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n"),
        (b"PUB a 4\r\n\r\n\r\n\r\n", b"MSG a 1 4\r\n\r\n\r\n\r\n"),
    ],
)
def test_sizes_as_written(rig: Rig, sent: bytes, form: bytes) -> None:
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    for _ in range(3):
        peer.say(sent)
        assert receiver.take() == form


@pytest.mark.parametrize("edge", [SMALL, LARGE, SMALL + LARGE, 3 * LARGE])
def test_messages_across_the_edges_of_buffers(rig: Rig, edge: int) -> None:
    """Each size around an edge, taken at once and with something already waiting."""
    receiver, peer = rig.client(), rig.client()
    receiver.say(b"SUB a 1\r\n")
    for size in range(edge - 60, edge + 8):
        body = bytes(i & 0xFF for i in range(256)) * (size // 256 + 1)
        body = body[:size]
        form = b"MSG a 1 %d\r\n%b\r\n" % (size, body)
        peer.pub(b"a", body)
        assert receiver.take() == form
        peer.pub(b"a", b"first")
        peer.pub(b"a", body)
        peer.pub(b"a", b"last")
        assert receiver.take() == b"MSG a 1 5\r\nfirst\r\n" + form + b"MSG a 1 4\r\nlast\r\n"


@pytest.mark.parametrize("edge", [SMALL, LARGE])
def test_heads_across_the_edges_of_buffers(rig: Rig, edge: int) -> None:
    """Many small ones: every part of a line comes to lie on an edge."""
    for shift in range(20):
        receiver, peer = rig.client(), rig.client()
        receiver.say(b"SUB a %b\r\n" % (b"s" * (shift + 1)))
        count = edge // 16 + 10
        peer.say(b"PUB a 3\r\nxyz\r\n" * count)
        assert receiver.take() == b"MSG a %b 3\r\nxyz\r\n" % (b"s" * (shift + 1)) * count


def test_more_text_than_a_plan_keeps(rig: Rig) -> None:
    """Beyond 4 MiB of heads each is composed while delivering: the form is the same."""
    subject, count = b"s" * 3_000, 1_500
    receiver, peer = rig.client(), rig.client()
    rig.kernel.set_limits(stall=False)
    receiver.say(b"".join(b"SUB %b %d\r\n" % (subject, n) for n in range(count)))
    for _ in range(3):
        peer.pub(subject, b"x")
        lines = receiver.take().split(b"\r\nx\r\n")
        assert sorted(lines[:-1]) == sorted(b"MSG %b %d 1" % (subject, n) for n in range(count))


def test_trace_tells_what_passes(rig: Rig) -> None:
    receiver, peer = rig.client(), rig.client()
    for one in (receiver, peer):
        one.conn.limit(max_payload=100, max_subs=-1, trace=True)
    receiver.say(b"SUB a 1\r\n")
    peer.pub(b"a", b"hi", b"r")
    assert rig.events.traces == [
        ("<<-", b"SUB a 1"),
        ("<<-", b"PUB a r 2"),
        ("MSG_PAYLOAD", b"hi"),
        ("->>", b"MSG a 1 r 2"),
    ]
    assert receiver.take() == b"MSG a 1 r 2\r\nhi\r\n"
