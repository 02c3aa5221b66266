"""Leaf links: what they are told, what crosses them."""

from typing import TypedDict

import pytest

from phloem.shared.kernel import KIND_LEAF, Reason
from tests.unit.kernel.rig import Peer, Rig


class Role(TypedDict, total=False):
    """What a link is."""

    origin: int
    spoke: bool
    isolated: bool


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


def told(link: Peer) -> list[bytes]:
    return link.take().splitlines()


def test_interest_is_told_when_it_begins_and_ends(rig: Rig) -> None:
    link, one, two = rig.leaf(), rig.client(), rig.client()
    one.say(b"SUB a 1\r\n")
    assert told(link) == [b"LS+ a"]
    one.say(b"SUB a 2\r\n")
    two.say(b"SUB a 1\r\nUNSUB 1\r\nSUB a 1\r\n")
    one.say(b"UNSUB 1\r\nUNSUB 2\r\n")
    assert told(link) == []
    two.say(b"UNSUB 1\r\n")
    assert told(link) == [b"LS- a"]
    one.say(b"SUB a.* 1\r\nUNSUB 1 1\r\n")
    two.pub(b"a.b")
    assert told(link) == [b"LS+ a.*", b"LS- a.*"]


def test_each_weight_is_told(rig: Rig) -> None:
    link, far, peer = rig.leaf(), rig.leaf(), rig.client()
    peer.say(b"SUB a q 1\r\nSUB a q 2\r\nSUB a 3\r\n")
    far.say(b"LS+ a q 5\r\nLS+ a q 2\r\n")
    peer.say(b"UNSUB 1\r\nUNSUB 2\r\n")
    far.say(b"LS- a q\r\n")
    assert told(link) == [b"LS+ a q %d" % n for n in (1, 2)] + [b"LS+ a"] + [
        b"LS+ a q 7",
        b"LS+ a q 4",
        b"LS+ a q 3",
        b"LS+ a q 2",
        b"LS- a q",
    ]
    assert told(far) == [b"LS+ a q 1", b"LS+ a q 2", b"LS+ a", b"LS+ a q 1", b"LS- a q"]


def test_a_new_link_is_told_all_there_is(rig: Rig) -> None:
    peer, far = rig.client(), rig.leaf()
    peer.say(b"SUB a.b 1\r\nSUB > 2\r\nSUB a.* q 3\r\nSUB a.* q 4\r\n")
    far.say(b"LS+ a.* q 3\r\nLS+ c\r\nLS+ $LDS.x\r\n")
    assert sorted(told(rig.leaf())) == [b"LS+ $LDS.x", b"LS+ >", b"LS+ a.* q 5", b"LS+ a.b", b"LS+ c"]


def test_a_link_that_is_not_up_is_told_nothing(rig: Rig) -> None:
    link = rig.leaf(up=False)
    rig.client().say(b"SUB a 1\r\n")
    assert told(link) == []
    link.conn.link_up()
    link.conn.link_up()
    assert told(link) == [b"LS+ a"]


@pytest.mark.parametrize(
    ("owner", "link", "told_of"),
    [
        ({}, {}, True),
        ({"origin": 1}, {"origin": 2}, True),
        ({"origin": 1}, {"origin": 1}, False),
        ({}, {"isolated": True}, False),
        ({"isolated": True}, {}, True),
        ({"spoke": True}, {}, True),
        ({}, {"spoke": True}, True),
        ({"spoke": True}, {"spoke": True}, False),
    ],
)
def test_whose_interest_is_told_to_whom(rig: Rig, owner: Role, link: Role, told_of: bool) -> None:
    early, source = rig.leaf(**link), rig.leaf(**owner)
    source.say(b"LS+ a\r\nLS+ a q 1\r\n")
    expected = [b"LS+ a", b"LS+ a q 1"] if told_of else []
    assert told(early) == expected
    late = rig.leaf(**link)
    assert sorted(told(late)) == expected
    source.conn.close(1)
    assert sorted(told(late)) == ([b"LS- a", b"LS- a q"] if told_of else [])
    rig.client().say(b"SUB a 1\r\n")
    assert told(late) == [b"LS+ a"], "local interest is told to every link"


@pytest.mark.parametrize(
    ("owner", "link", "told_of"),
    [
        ({"spoke": True}, {"spoke": True}, True),
        ({}, {"isolated": True}, False),
        ({"origin": 1}, {"origin": 1}, False),
    ],
)
def test_loop_subjects_pass_more_filters(rig: Rig, owner: Role, link: Role, told_of: bool) -> None:
    rights = rig.permissions(pub_allow=[])
    early, source = rig.leaf(rights, **link), rig.leaf(**owner)
    source.say(b"LS+ $LDS.x\r\n")
    assert told(early) == ([b"LS+ $LDS.x"] if told_of else [])


def test_interest_that_the_peer_may_not_serve_is_not_told(rig: Rig) -> None:
    link, peer = rig.leaf(rig.permissions(pub_allow=[b"a.>"], pub_deny=[b"a.no"])), rig.client()
    peer.say(b"SUB a.no 1\r\nSUB a.b 2\r\nSUB b 3\r\nSUB > 4\r\nSUB b.* q 5\r\nSUB *.b q 6\r\n")
    assert told(link) == [b"LS+ a.b", b"LS+ >", b"LS+ *.b q 1"]
    for sid in range(1, 7):
        peer.say(b"UNSUB %d\r\n" % sid)
    assert told(link) == [b"LS- a.b", b"LS- >", b"LS- *.b q"]


def test_literal_interest_outside_permission_ends_the_link(rig: Rig) -> None:
    rights = rig.permissions(sub_allow=[b"a"])
    link, spoke = rig.leaf(rights), rig.leaf(rights, spoke=True)
    for one in (link, spoke):
        one.say(b"LS+ >\r\n")
        assert not one.conn.closed
        one.say(b"LS+ b\r\n")
    assert link.take() == b"LS- >\r\n-ERR 'Permissions Violation for Subscription to \"b\"'\r\n"[7:]
    assert rig.events.closed == [(1, Reason.PROTOCOL_VIOLATION)]
    peer = rig.client()
    peer.pub(b"a")
    peer.pub(b"b")
    assert b"LMSG b" not in spoke.take()


def test_message_outside_permission(rig: Rig) -> None:
    """From a spoke it ends the link, from a hub it is dropped."""
    rights = rig.permissions(pub_allow=[b"a"])
    link, hub, watcher = rig.leaf(rights), rig.leaf(rights, spoke=True), rig.client()
    watcher.say(b"SUB b 1\r\n")
    hub.say(b"LMSG b 0\r\n\r\n")
    assert not hub.conn.closed
    link.say(b"LMSG _R_.x 0\r\n\r\nLMSG $JS.ACK.x 0\r\n\r\n")
    assert not link.conn.closed
    link.say(b"LMSG b 0\r\n\r\n")
    assert rig.events.complaints == [b'Permissions Violation for Publish to "b"']
    assert link.conn.closed
    assert watcher.take() == b""


def test_no_message_goes_back(rig: Rig) -> None:
    """Not over its own link, nor over another of the same cluster."""
    source, same, other, peer = rig.leaf(origin=1), rig.leaf(origin=1), rig.leaf(origin=2), rig.client()
    for one in (source, same, other):
        one.say(b"LS+ a\r\nLS+ a q 2\r\n")
    for one in (source, same, other):
        one.take()
    for _ in range(3):
        source.say(b"LMSG a 2\r\nhi\r\n")
        assert (source.take(), same.take(), other.take()) == (b"", b"", b"LMSG a 2\r\nhi\r\n")
    peer.pub(b"a", b"hi")
    got = [one.take() for one in (source, same, other)]
    assert sorted(got) == [b"LMSG a 2\r\nhi\r\n"] * 2 + [b"LMSG a | q 2\r\nhi\r\n"]


def test_groups_only_when_named(rig: Rig) -> None:
    link, peer = rig.leaf(), rig.client()
    peer.say(b"SUB a q 1\r\nSUB a g 2\r\nSUB a 3\r\n")
    for line, sids in (
        (b"LMSG a 0", {b"3"}),
        (b"LMSG a | q 0", {b"3", b"1"}),
        (b"LMSG a + r g q 0", {b"1", b"2", b"3"}),
        (b"LMSG a |  other   g  0", {b"3", b"2"}),
        (b"LMSG a | qq 0", {b"3"}),
    ):
        link.say(line + b"\r\n\r\n")
        assert {part.split(b" ")[2] for part in peer.take().split(b"\r\n") if part} == sids


def test_a_local_member_comes_first(rig: Rig) -> None:
    link, peer = rig.leaf(), rig.client()
    link.say(b"LS+ a q 100\r\n")
    peer.say(b"SUB a q 1\r\n")
    link.take()
    peer.say(b"PUB a 0\r\n\r\n" * 50)
    assert peer.take().count(b"MSG a 1 0\r\n\r\n") == 50
    assert link.take() == b""


def test_members_behind_links_by_weight(rig: Rig) -> None:
    """1 to 3, 10,000 messages: 7,500 give or take five standard deviations (217). Weight 0 gets none."""
    light, heavy, none, peer = rig.leaf(), rig.leaf(), rig.leaf(), rig.client()
    rig.kernel.set_limits(stall=False)
    for one, weight in ((light, 1), (heavy, 3), (none, 0)):
        one.say(b"LS+ a q %d\r\n" % weight)
    for one in (light, heavy, none):
        one.take()
    peer.say(b"PUB a 0\r\n\r\n" * 10_000)
    counts = [one.take().count(b"LMSG a | q 0\r\n\r\n") for one in (light, heavy, none)]
    assert sum(counts) == 10_000
    assert counts[2] == 0
    assert 7_283 < counts[1] < 7_717


def test_one_copy_names_all_its_groups(rig: Rig) -> None:
    link, peer = rig.leaf(), rig.client()
    link.say(b"LS+ a q 1\r\nLS+ a g 1\r\nLS+ a\r\nLS+ *\r\n")
    peer.pub(b"a", b"hi", b"r")
    line, body, _ = link.take().split(b"\r\n")
    assert sorted(line.split(b" ")) == sorted(b"LMSG a + r q g 2".split(b" "))
    assert body == b"hi"


def test_larger_than_the_peer_takes(rig: Rig) -> None:
    """Not sent; said once."""
    link, peer = rig.leaf(peer_max_payload=5), rig.client()
    link.say(b"LS+ a\r\n")
    for size in (5, 6, 6):
        peer.pub(b"a", b"x" * size)
    assert link.take() == b"LMSG a 5\r\nxxxxx\r\n"
    assert len(rig.events.complaints) == 1


def test_the_own_loop_subject_comes_back(rig: Rig) -> None:
    rig.account.set_loop_subject(b"$LDS.mine")
    link = rig.leaf()
    assert told(link) == [b"LS+ $LDS.mine"]
    link.say(b"LS+ $LDS.other\r\nLS+ $LDS.mine\r\n")
    assert rig.events.loops == [1]
    with pytest.raises(ValueError, match="already"):
        rig.account.set_loop_subject(b"$LDS.second")


@pytest.mark.parametrize(
    ("line", "complaint", "closed"),
    [
        (b"LS+ a..b", b"Invalid Subscription", False),
        (b"LS+ a b", None, True),
        (b"LS+ a b x", None, True),
        (b"LS+ a b 1 2", None, True),
        (b"LS+ ", None, True),
        (b"LS- ", None, True),
        (b"LS- unknown", None, False),
        (b"SUB a 1", b"Unknown Protocol Operation", True),
    ],
)
def test_lines_of_interest_that_are_wrong(
    rig: Rig, line: bytes, complaint: bytes | None, closed: bool
) -> None:
    link = rig.leaf()
    link.say(line + b"\r\n")
    assert rig.events.complaints == ([complaint] if complaint else [])
    assert link.conn.closed is closed
    assert rig.account.stats["subscriptions"] == 0


def test_a_link_starts_over_when_its_role_is_known(rig: Rig) -> None:
    """Interest from before is taken back by the rules by which it was told."""
    hub, link = rig.leaf(spoke=True), rig.attach(KIND_LEAF)
    link.say(b"LS+ a\r\n")
    link.conn.link_up()
    assert told(hub) == [b"LS+ a"]
    link.conn.configure(spoke=True)
    assert told(hub) == [b"LS- a"]
    assert rig.account.stats["links"] == 1
    rig.client().say(b"SUB b 1\r\n")
    assert told(link) == []
    link.conn.link_up()
    assert told(link) == [b"LS+ b"]


def test_what_a_device_listens_to_for_its_hub_is_told_upwards_only(rig: Rig) -> None:
    """A thousand devices would each be told of all others."""
    device, other, above = rig.leaf(), rig.leaf(), rig.leaf(spoke=True)
    device.say(b"LS+ $PHL.DOWN.dev1\r\n")
    assert told(other) == []
    assert told(above) == [b"LS+ $PHL.DOWN.dev1"]
    assert told(rig.leaf()) == []
    assert told(rig.leaf(spoke=True)) == [b"LS+ $PHL.DOWN.dev1"]
    above.say(b"LMSG $PHL.DOWN.dev1 2\r\nhi\r\n")
    assert device.take() == b"LMSG $PHL.DOWN.dev1 2\r\nhi\r\n"
    device.say(b"LS- $PHL.DOWN.dev1\r\n")
    assert told(other) == []
    assert told(above) == [b"LS- $PHL.DOWN.dev1"]
