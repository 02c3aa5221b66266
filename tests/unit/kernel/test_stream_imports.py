"""Stream imports: who hears what is published in another account, under which subject."""

import pytest

from phloem.shared.kernel import Account
from tests.unit.kernel.crossings import stream
from tests.unit.kernel.rig import Peer, Rig


class World:
    """A imports from B; ``a`` and ``b`` are clients of theirs."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.A, self.B, self.C = (rig.kernel.account(name) for name in "ABC")
        self.a, self.b = rig.client(account=self.A), rig.client(account=self.B)

    def imports(self, *what: tuple[bytes, bytes], account: Account | None = None) -> None:
        (account or self.A).set_stream_imports([stream(self.B, *one) for one in what])


@pytest.fixture
def world(rig: Rig) -> World:
    return World(rig)


@pytest.mark.parametrize(
    ("subject", "local", "wanted", "published", "seen"),
    [
        (b"bar.>", b"bar.>", b"bar.x", b"bar.x", b"bar.x"),
        (b"bar.>", b"foo.bar.>", b"foo.bar.x.y", b"bar.x.y", b"foo.bar.x.y"),
        (b"bar.>", b"foo.bar.>", b"foo.>", b"bar.x", b"foo.bar.x"),
        (b"bar.>", b"foo.bar.>", b">", b"bar.x", b"foo.bar.x"),
        (b"bar.>", b"foo.bar.>", b"*.*.x.>", b"bar.x.y", b"foo.bar.x.y"),
        (b"bar.*", b"foo.bar.*", b"foo.*.x", b"bar.x", b"foo.bar.x"),
        (b"one", b"x.one", b"x.one", b"one", b"x.one"),
        (b"one", b"x.one", b"x.*", b"one", b"x.one"),
        (b"a.*.b.*", b"l.$2.m.$1", b"l.>", b"a.1.b.2", b"l.2.m.1"),
        (b"a.*.b.*", b"l.$2.m.$1", b"l.2.m.*", b"a.1.b.2", b"l.2.m.1"),
        (b"a.*.b.*", b"l.*.m.*", b"l.1.m.2", b"a.1.b.2", b"l.1.m.2"),
        (b">", b"all.>", b"all.x", b"x", b"all.x"),
        (b"*.>", b"in.*.>", b"in.x.*.z", b"x.y.z", b"in.x.y.z"),
    ],
)
def test_messages_cross_under_the_local_subject(
    world: World, subject: bytes, local: bytes, wanted: bytes, published: bytes, seen: bytes
) -> None:
    world.imports((subject, local))
    world.a.say(b"SUB %b 7\r\n" % wanted)
    for _ in range(3):  # a plan in the scratch buffer, one that is built to be kept, one that is kept
        world.b.pub(published, b"hello", b"inbox")
    assert world.a.take() == b"MSG %b 7 inbox 5\r\nhello\r\n" % seen * 3


@pytest.mark.parametrize(
    ("subject", "local", "wanted", "published"),
    [
        (b"bar.*", b"foo.bar.*", b"foo.bar.x", b"bar.y"),
        (b"bar.*", b"foo.bar.*", b"bar.x", b"bar.x"),
        (b"bar.*", b"foo.bar.*", b"foo.bar", b"bar.x"),
        (b"bar.*", b"bar.*", b"bar.>", b"bar.x.y"),
        (b"a.*.b.*", b"l.$2.m.$1", b"l.1.m.*", b"a.1.b.2"),
        (b"one", b"x.one", b"one", b"one"),
        (b">", b"all.>", b"$LDS.x", b"$LDS.x"),
    ],
)
def test_what_is_not_imported_stays(
    world: World, subject: bytes, local: bytes, wanted: bytes, published: bytes
) -> None:
    world.imports((subject, local))
    world.a.say(b"SUB %b 7\r\n" % wanted)
    world.b.pub(published, b"hello")
    assert world.a.take() == b""


def test_the_other_direction_is_no_import(world: World) -> None:
    world.imports((b"bar.>", b"bar.>"))
    world.b.say(b"SUB > 1\r\n")
    world.a.pub(b"bar.x", b"hello")
    assert world.b.take() == b""


def test_the_own_account_is_heard_as_well(world: World) -> None:
    world.imports((b"bar.>", b"bar.>"))
    world.a.say(b"SUB bar.x 1\r\n")
    world.a.pub(b"bar.x", b"1")
    world.b.pub(b"bar.x", b"2")
    assert world.a.take() == b"MSG bar.x 1 1\r\n1\r\nMSG bar.x 1 1\r\n2\r\n"


@pytest.mark.parametrize("first", [True, False])
def test_imports_before_and_after_the_subscription(world: World, first: bool) -> None:
    if first:
        world.imports((b"bar.>", b"foo.>"))
    world.a.say(b"SUB foo.x 1\r\n")
    if not first:
        world.imports((b"bar.>", b"foo.>"))
    world.b.pub(b"bar.x", b"1")
    assert world.a.take() == b"MSG foo.x 1 1\r\n1\r\n"
    assert world.B.stats["shadows"] == 1
    world.a.say(b"UNSUB 1\r\n")
    assert world.B.stats["shadows"] == 0
    assert world.B.stats["subscriptions"] == 0
    world.b.pub(b"bar.x", b"1")
    assert world.a.take() == b""


def test_imports_of_a_live_account(world: World) -> None:
    world.imports((b"bar.>", b"foo.>"), (b"one", b"one"))
    world.a.say(b"SUB > 1\r\n")
    for _ in range(3):
        world.b.pub(b"bar.x", b"1")
    world.a.take()
    world.imports((b"one", b"one"), (b"two", b"two"))
    for subject in (b"bar.x", b"one", b"two"):
        world.b.pub(subject, b"2")
    assert world.a.take() == b"MSG one 1 1\r\n2\r\nMSG two 1 1\r\n2\r\n"
    world.imports()
    for subject in (b"bar.x", b"one", b"two"):
        world.b.pub(subject, b"3")
    assert world.a.take() == b""
    assert world.B.stats["subscriptions"] == 0


def test_the_order_of_wildcards_makes_another_import(world: World) -> None:
    world.imports((b"a.*.*", b"l.$1.$2"))
    world.a.say(b"SUB l.> 1\r\n")
    world.b.pub(b"a.1.2", b"")
    world.imports((b"a.*.*", b"l.$2.$1"))
    world.b.pub(b"a.1.2", b"")
    assert world.a.take() == b"MSG l.1.2 1 0\r\n\r\nMSG l.2.1 1 0\r\n\r\n"


def test_a_list_that_is_wrong_changes_nothing(world: World) -> None:
    world.imports((b"bar.>", b"foo.>"))
    world.a.say(b"SUB > 1\r\n")
    for wrong in (b"a..b", b"", b"x" * 65_001):
        with pytest.raises(ValueError, match="not a subject"):
            world.imports((b"two", b"two"), (wrong, b"two"))
    world.b.pub(b"bar.x", b"1")
    world.b.pub(b"two", b"1")
    assert world.a.take() == b"MSG foo.x 1 1\r\n1\r\n"


def test_max_counts_messages_of_both_accounts(world: World) -> None:
    world.imports((b"bar.>", b"bar.>"))
    world.a.say(b"SUB bar.x 1\r\nUNSUB 1 2\r\n")
    world.b.pub(b"bar.x", b"1")
    world.a.pub(b"bar.x", b"2")
    world.b.pub(b"bar.x", b"3")
    assert world.a.take() == b"MSG bar.x 1 1\r\n1\r\nMSG bar.x 1 1\r\n2\r\n"
    assert world.B.stats["subscriptions"] == 0


def test_queue_groups_take_one(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"))
    other = rig.client(account=world.A)
    for peer in (world.a, other, world.b):
        subject = b"bar.x" if peer is world.b else b"foo.x"
        peer.say(b"SUB %b q 1\r\n" % subject)
    for _ in range(60):
        world.b.pub(b"bar.x", b"1")
    heard = [peer.take() for peer in (world.a, other, world.b)]
    assert [piece.replace(b"MSG foo.x 1 1\r\n1\r\n", b"") for piece in heard[:2]] == [b"", b""]
    counts = [piece.count(b"MSG") for piece in heard]
    assert sum(counts) == 60
    assert min(counts) > 5


def test_permissions_look_at_the_local_subject(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"))
    peer = rig.client(rig.permissions(sub_deny=[b"foo.no"]), account=world.A)
    peer.say(b"SUB foo.* 1\r\n")
    for _ in range(3):
        world.b.pub(b"bar.no", b"1")
        world.b.pub(b"bar.yes", b"2")
    assert peer.take() == b"MSG foo.yes 1 1\r\n2\r\n" * 3
    peer.conn.set_permissions(rig.permissions(sub_deny=[b"foo.yes"]))
    world.b.pub(b"bar.no", b"1")
    world.b.pub(b"bar.yes", b"2")
    assert peer.take() == b"MSG foo.no 1 1\r\n1\r\n"


def test_headers_are_left_out_for_those_without(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"))
    plain = rig.client(account=world.A, headers=False)
    for peer in (world.a, plain):
        peer.say(b"SUB foo.x 1\r\n")
    world.b.say(b"HPUB bar.x 12 13\r\nNATS/1.0\r\n\r\nZ\r\n")
    assert world.a.take() == b"HMSG foo.x 1 12 13\r\nNATS/1.0\r\n\r\nZ\r\n"
    assert plain.take() == b"MSG foo.x 1 1\r\nZ\r\n"


def test_the_server_itself_hears_the_local_subject(world: World, rig: Rig) -> None:
    heard: list[tuple[bytes, ...]] = []
    world.imports((b"bar.>", b"foo.>"))
    ident = rig.kernel.subscribe(world.A, b"foo.>", None, lambda *message: heard.append(message))
    world.b.pub(b"bar.x", b"1", b"re")
    assert heard == [(b"foo.x", b"re", b"", b"1")]
    rig.kernel.unsubscribe(ident)
    assert world.B.stats["shadows"] == 0


def test_links_of_the_importing_account(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"), (b"bar.>", b"too.>"))
    link = rig.leaf(account=world.A)
    link.say(b"LS+ foo.x\r\nLS+ too.*\r\nLS+ foo.x q 3\r\n")
    world.b.pub(b"bar.x", b"1", b"re")
    assert sorted(link.take().split(b"LMSG ")) == sorted(
        [b"", b"foo.x + re q 1\r\n1\r\n", b"too.x re 1\r\n1\r\n"]
    )
    link.say(b"LS- foo.x\r\nLS- foo.x q\r\n")
    world.b.pub(b"bar.x", b"2")
    assert link.take() == b"LMSG too.x 1\r\n2\r\n"
    link.conn.close(1)
    assert world.B.stats["subscriptions"] == 0


def test_links_of_the_exporter_are_told(world: World, rig: Rig) -> None:
    link = rig.leaf(account=world.B)
    world.imports((b"bar.>", b"foo.>"))
    world.a.say(b"SUB foo.x 1\r\nSUB foo.y q 2\r\n")
    assert link.take() == b"LS+ bar.x\r\nLS+ bar.y q 1\r\n"
    link.say(b"LMSG bar.x 1\r\n1\r\nLMSG bar.y | q 1\r\n2\r\n")
    assert world.a.take() == b"MSG foo.x 1 1\r\n1\r\nMSG foo.y 2 1\r\n2\r\n"
    world.imports((b"bar.*", b"foo.*"))
    assert link.take() == b"LS+ bar.y q 2\r\nLS+ bar.y q 1\r\n", "the interest never ended"
    world.imports()
    assert sorted(link.take().split(b"\r\n")) == [b"", b"LS- bar.x", b"LS- bar.y q"]


def test_weights_of_groups_behind_links(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"))
    theirs, ours = rig.leaf(account=world.B), rig.leaf(account=world.A)
    ours.say(b"LS+ foo.y q 2\r\n")
    ours.say(b"LS+ foo.y q 5\r\n")
    assert theirs.take() == b"LS+ bar.y q 2\r\nLS+ bar.y q 5\r\n"


def test_chains_are_no_imports(world: World) -> None:
    """C imports from A what A imports from B: only what is published in A crosses, as in nats-server."""
    world.imports((b"bar.>", b"bar.>"))
    world.C.set_stream_imports([stream(world.A, b"bar.>")])
    c = world.rig.client(account=world.C)
    c.say(b"SUB bar.> 1\r\n")
    world.b.pub(b"bar.x", b"1")
    assert c.take() == b""
    world.a.pub(b"bar.x", b"2")
    assert c.take() == b"MSG bar.x 1 1\r\n2\r\n"


def test_a_local_subject_that_is_too_long(world: World, rig: Rig) -> None:
    rig.kernel.set_limits(max_control_line=65_000)
    world.imports((b">", b"x" * 40_000 + b".>"))
    world.a.say(b"SUB > 1\r\n")
    world.b.pub(b"y" * 30_000, b"1")
    assert world.a.take() == b""
    world.b.pub(b"y" * 20_000, b"1")
    assert world.a.take() == b"MSG %b.%b 1 1\r\n1\r\n" % (b"x" * 40_000, b"y" * 20_000)


def test_plans_too_large_for_texts(world: World, rig: Rig) -> None:
    """More text than a plan keeps: heads are composed while delivering."""
    rig.kernel.set_limits(max_control_line=65_000)
    world.imports((b">", b"x" * 30_000 + b".>"))
    peers: list[Peer] = [rig.client(account=world.A) for _ in range(150)]
    for peer in peers:
        peer.say(b"SUB > 1\r\n")
    world.b.pub(b"y", b"1")
    assert {peer.take() for peer in peers} == {b"MSG %b.y 1 1\r\n1\r\n" % (b"x" * 30_000)}


def test_a_subscriber_that_goes(world: World, rig: Rig) -> None:
    world.imports((b"bar.>", b"foo.>"))
    world.a.say(b"SUB foo.x 1\r\n")
    world.b.pub(b"bar.x", b"1")
    world.a.conn.close(1)
    world.b.pub(b"bar.x", b"1")
    assert world.B.stats["subscriptions"] == 0
    rig.kernel.unsubscribe(rig.kernel.subscribe(world.B, b"z", None, None))
