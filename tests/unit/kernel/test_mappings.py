"""Subject mappings: what clients and links publish goes elsewhere, or nowhere."""

from collections import Counter

import pytest

from phloem.shared.kernel.imports import Destination, Mapping, Step
from tests.unit.kernel.crossings import mapping
from tests.unit.kernel.rig import Peer, Rig


@pytest.fixture
def ear(rig: Rig) -> Peer:
    """Hears everything."""
    peer = rig.client()
    peer.say(b"SUB > 1\r\n")
    return peer


def test_a_published_subject_becomes_another(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings([mapping(b"a.*", (b"b.$1", 100)), mapping(b"b.*", (b"c.$1", 100))])
    voice = rig.client()
    for _ in range(3):
        voice.pub(b"a.x", b"1", b"re")
        voice.pub(b"b.x", b"2")
        voice.pub(b"d", b"3")
        assert ear.take() == b"MSG b.x 1 re 1\r\n1\r\nMSG c.x 1 1\r\n2\r\nMSG d 1 1\r\n3\r\n"


def test_the_first_mapping_counts(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings(
        [mapping(b"a.x", (b"one", 100)), mapping(b"a.*", (b"two", 100)), mapping(b"a.y", (b"three", 100))]
    )
    voice = rig.client()
    for subject in (b"a.x", b"a.y", b"a.z.z"):
        voice.pub(subject, b"")
    assert ear.take() == b"MSG one 1 0\r\n\r\nMSG two 1 0\r\n\r\nMSG a.z.z 1 0\r\n\r\n"


def test_the_express_lane_does_not_pass_by(rig: Rig, ear: Peer) -> None:
    voice = rig.client()
    voice.say(b"PUB a 0\r\n\r\n" * 3)
    rig.account.set_mappings([mapping(b"a", (b"b", 100)), mapping(b"b", (b"c", 100))])
    voice.say(b"PUB a 0\r\n\r\n" * 3 + b"PUB b 0\r\n\r\n" * 3)
    rig.account.set_mappings([])
    voice.say(b"PUB a 0\r\n\r\n" * 3)
    assert [line.split()[1] for line in ear.take().split(b"\r\n\r\n")[:-1]] == [
        *[b"a"] * 3,
        *[b"b"] * 3,
        *[b"c"] * 3,
        *[b"a"] * 3,
    ]


def test_weights(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings(
        [Mapping(b"a", [Destination([Step("literal", text=b"b")], 20), Destination(None, 50)])]
    )
    voice = rig.client()
    for _ in range(1000):
        voice.pub(b"a", b"")
    heard = Counter(line.split()[1] for line in ear.take().split(b"\r\n\r\n")[:-1])
    assert 150 < heard[b"b"] < 250
    assert 230 < heard[b"a"] < 370
    assert sum(heard.values()) < 600, "the rest is dropped"


def test_who_asks_is_told_of_the_drop(rig: Rig) -> None:
    rig.account.set_mappings([Mapping(b"a", [])])
    voice = rig.client(no_responders=True)
    voice.say(b"SUB re 1\r\nPUB a re 0\r\n\r\n")
    assert voice.take() == b"HMSG re 1 32 32\r\nNATS/1.0 503\r\nNats-Subject: \r\n\r\n\r\n"


def step(what: str, token: int = 0, number: int = 0, text: bytes = b"") -> Step:
    return Step(what, (token,), number, text)


@pytest.mark.parametrize(
    ("published", "step", "result"),
    [
        (b"abcdefg", step("left", 0, 3), b"abc"),
        (b"abc", step("left", 0, 3), b"abc"),
        (b"abc", step("left", 0, 0), b"abc"),
        (b"abcdefg", step("right", 0, 3), b"efg"),
        (b"abcdefg", step("splitfromleft", 0, 3), b"abc.defg"),
        (b"abcdefg", step("splitfromright", 0, 3), b"abcd.efg"),
        (b"abc", step("splitfromright", 0, 3), b"abc"),
        (b"abcdefg", step("slicefromleft", 0, 3), b"abc.def.g"),
        (b"abcdef", step("slicefromleft", 0, 3), b"abc.def"),
        (b"abcdefg", step("slicefromright", 0, 3), b"a.bcd.efg"),
        (b"abcdef", step("slicefromright", 0, 3), b"abc.def"),
        (b"ab", step("slicefromright", 0, 3), b"ab"),
        (b"-a--bc-d-", step("split", 0, 0, b"-"), b"a.bc.d"),
        (b"a12b12c", step("split", 0, 0, b"12"), b"a.b.c"),
        ("aäb".encode(), step("split"), "a.ä.b".encode()),
        (b"foo", Step("partition", (0,), 5), b"3"),
        (b"foo", Step("partition", (), 5), b"3"),
        (b"foo.bar", Step("partition", (0, 1), 1000), b"720"),
        (b"foo", Step("partition", (), 0), b"0"),
        (b"foo.bar", Step("wildcard", (7,)), b""),
        (b"foo.bar.x", Step("rest", (1,)), b"bar.x"),
    ],
)
def test_functions(rig: Rig, ear: Peer, published: bytes, step: Step, result: bytes) -> None:
    source = b".".join([b"*"] * (published.count(b".") + 1))
    end = Step("literal", text=b"end")
    rig.account.set_mappings([Mapping(source, [Destination([step, end], 100)])])
    heard: list[bytes] = []
    rig.kernel.subscribe(rig.account, b">", None, lambda subject, *_: heard.append(subject))
    for _ in range(2):
        rig.client().pub(published, b"")
    assert heard == ([] if not result else [result + b".end"] * 2)


def test_random_is_not_remembered(rig: Rig) -> None:
    rig.account.set_mappings([Mapping(b"a", [Destination([Step("random", (), 10)], 100)])])
    heard: list[bytes] = []
    rig.kernel.subscribe(rig.account, b"*", None, lambda subject, *_: heard.append(subject))
    voice = rig.client()
    for _ in range(200):
        voice.pub(b"a", b"")
    assert set(heard) == {b"%d" % number for number in range(10)}


def test_a_subject_that_would_be_too_long(rig: Rig, ear: Peer) -> None:
    rig.kernel.set_limits(max_control_line=65_000)
    rig.account.set_mappings(
        [Mapping(b"*", [Destination([Step("wildcard", (0,)), Step("wildcard", (0,))], 100)])]
    )
    voice = rig.client()
    for _ in range(2):
        voice.pub(b"x" * 40_000, b"")
        voice.pub(b"y" * 30_000, b"")
    assert ear.take() == b"MSG %b.%b 1 0\r\n\r\n" % (b"y" * 30_000, b"y" * 30_000) * 2


def test_permissions_speak_of_the_new_subject(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings([mapping(b"a.*", (b"b.$1", 100))])
    voice = rig.client(rig.permissions(pub_allow=[b"b.>", b"c"]))
    for _ in range(3):
        voice.pub(b"a.x", b"")
        voice.pub(b"c", b"")
    assert voice.take() == b""
    assert ear.take() == b"MSG b.x 1 0\r\n\r\nMSG c 1 0\r\n\r\n" * 3
    voice = rig.client(rig.permissions(pub_allow=[b"a.>"]))
    voice.pub(b"a.x", b"")
    assert voice.take() == b"-ERR 'Permissions Violation for Publish to \"b.x\"'\r\n"


def test_what_the_server_publishes_is_not_mapped(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings([mapping(b"a", (b"b", 100))])
    rig.kernel.publish(rig.account, b"a")
    assert ear.take() == b"MSG a 1 0\r\n\r\n"


def test_links(rig: Rig) -> None:
    link = rig.leaf(rig.permissions(pub_allow=[b"a.>"]))
    rig.account.set_mappings([mapping(b"a.*", (b"b.$1", 100))])
    assert link.take() == b"LS+ a.*\r\n"
    hearers = [rig.client(), rig.client()]
    hearers[0].say(b"SUB b.x 1\r\n")
    hearers[1].say(b"SUB b.x q 1\r\n")
    link.take()
    link.say(b"LMSG a.x 1\r\n1\r\n")
    assert [hearer.take() for hearer in hearers] == [b"MSG b.x 1 1\r\n1\r\n"] * 2
    link.say(b"LMSG a.x | other 1\r\n1\r\n")
    assert [hearer.take() for hearer in hearers] == [b"MSG b.x 1 1\r\n1\r\n", b""]
    rig.account.set_mappings([mapping(b"a.*", (b"c.$1", 100))])
    assert link.take() == b"", "the interest never ended"
    rig.account.set_mappings([])
    assert link.take() == b"LS- a.*\r\n"
    link.say(b"LMSG b.x 1\r\n1\r\n")
    assert b"Permissions Violation for Publish" in link.take()


def test_a_source_is_no_receiver(rig: Rig) -> None:
    rig.account.set_mappings([Mapping(b"a", [Destination(None, 100)])])
    voice = rig.client(no_responders=True)
    voice.say(b"SUB re 1\r\nPUB a re 0\r\n\r\n")
    assert b"503" in voice.take()


def test_traces(rig: Rig) -> None:
    rig.account.set_mappings([mapping(b"a", (b"b", 100))])
    voice = rig.client()
    voice.conn.limit(max_payload=100, max_subs=-1, trace=True)
    voice.pub(b"a", b"1")
    assert ("<<-", b"MAPPING a -> b") in rig.events.traces


def test_wrong_ones_change_nothing(rig: Rig, ear: Peer) -> None:
    rig.account.set_mappings([mapping(b"a", (b"b", 100))])
    wrong = [
        Mapping(b"a..b", []),
        Mapping(b"a", [Destination([], 100)]),
        Mapping(b"a", [Destination([Step("left")], 100)]),
        Mapping(b"a", [Destination([Step("unknown", (0,))], 100)]),
        Mapping(b"a", [Destination([Step("left", (-1,))], 100)]),
        Mapping(b"a", [Destination([Step("left", (0,), 1 << 40)], 100)]),
        Mapping(b"a", [Destination(None, 101)]),
    ]
    for one in wrong:
        with pytest.raises(ValueError, match=r"a|step"):
            rig.account.set_mappings([mapping(b"c", (b"d", 100)), one])
    voice = rig.client()
    voice.pub(b"a", b"")
    voice.pub(b"c", b"")
    assert ear.take() == b"MSG b 1 0\r\n\r\nMSG c 1 0\r\n\r\n"
