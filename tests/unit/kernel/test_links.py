"""Leaf links: what they are told, what crosses them."""

import pytest

from tests.unit.kernel.rig import Rig


def test_longest_subject_crosses_whole(rig: Rig) -> None:
    """65,534 bytes are the longest subject that a control line of 65,536 holds."""
    far, near = rig.leaf(), rig.leaf()
    far.say(b"LS+ >\r\n")
    for length in (65_529, 65_530, 65_534):
        line = b"LMSG %b 0\r\n\r\n" % (b"s" * length)
        near.say(line)
        assert far.take() == line


@pytest.mark.parametrize("reply", [b"+", b"|"])
def test_reply_that_looks_like_a_queue_mark(rig: Rig, reply: bytes) -> None:
    """Any client may ask for its answer there; the link that carries it has to live on."""
    link, peer, watcher = rig.leaf(), rig.client(), rig.client()
    link.say(b"LS+ a\r\n")
    peer.pub(b"a", b"hi", reply)
    assert link.take() == b"LMSG a %b 2\r\nhi\r\n" % reply
    watcher.say(b"SUB b 1\r\n")
    link.say(b"LMSG b %b 2\r\nhi\r\n" % reply)
    assert watcher.take() == b"MSG b 1 %b 2\r\nhi\r\n" % reply


def test_delivery_with_an_empty_subject_behind_the_at(rig: Rig) -> None:
    """A MSG without a subject would be read as another operation: the reply is left as it is."""
    link, watcher = rig.leaf(), rig.client()
    watcher.say(b"SUB in 1\r\n")
    link.say(b"LMSG in $JS.ACK.S.C.1.2.3.4.5.6@ 2\r\nhi\r\n")
    assert watcher.take() == b"MSG in 1 $JS.ACK.S.C.1.2.3.4.5.6@ 2\r\nhi\r\n"
    link.say(b"LMSG in $JS.ACK.S.C.1.2.3.4.5.6@t.a 2\r\nhi\r\n")
    assert watcher.take() == b"MSG t.a 1 $JS.ACK.S.C.1.2.3.4.5.6 2\r\nhi\r\n"


def test_weight_of_nothing_is_no_news(rig: Rig) -> None:
    """Queue interest is told when its weight changes; 0 to 0 is no change, and nothing to take back."""
    link, other = rig.leaf(), rig.leaf()
    link.say(b"LS+ a q 0\r\n")
    assert other.take() == b""
    link.say(b"LS+ a q 3\r\nLS+ a q 3\r\n")
    assert other.take() == b"LS+ a q 3\r\n"
    link.say(b"LS+ a q 0\r\nLS- a q\r\n")
    assert other.take() == b"LS- a q\r\n"
    assert link.take() == b""


@pytest.mark.parametrize(
    "data", [b"LS+\ta\r\n", b"LS-\ta\r\n", b"LMSG\ta 1\r\nx\r\n", b"HMSG\ta 1 2\r\nhx\r\n"]
)
def test_tab_behind_a_verb_may_be_cut_off(rig: Rig, data: bytes) -> None:
    """A line that is still on its way is judged like a whole one."""
    link = rig.leaf()
    link.say(*(data[n : n + 1] for n in range(len(data))))
    assert not link.conn.closed
    assert rig.events.complaints == []


def test_queue_interest_in_a_loop_subject_is_like_any_other(rig: Rig) -> None:
    """Only the plain form is loop detection; what was not told of when the link came up is not taken back."""
    hub = rig.leaf(spoke=True)
    hub.say(b"LS+ $LDS.x q 2\r\n")
    late = rig.leaf(spoke=True)
    hub.say(b"LS+ $LDS.x\r\nLS- $LDS.x q\r\n")
    assert late.take() == b"LS+ $LDS.x\r\n"
