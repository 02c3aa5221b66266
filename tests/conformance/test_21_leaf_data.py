"""Interest and messages over a leaf link, seen from a leaf played by hand (wire.md 2.4, 2.5, 2.7, 5.1)."""

import re

import pytest
from tests.support.brokers import Brokers, World
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf


class Link:
    """A leaf on a hub and a client of the hub, in a world of their own."""

    def __init__(self, world: World, leaf: RawLeaf, client: RawClient) -> None:
        self.world, self.leaf, self.client = world, leaf, client

    async def leaf_says(self, data: str | bytes) -> None:
        """Send over the link; return when the hub has handled it."""
        self.leaf.send(data)
        await self.leaf.expect_silence_until_pong()

    async def client_says(self, data: str | bytes) -> None:
        """Send as the client; return when the hub has handled it."""
        self.client.send(data)
        await self.client.expect_silence_until_pong()


@pytest.fixture
async def link(broker: Brokers):  # type: ignore[no-untyped-def]
    world = broker.world()
    async with (
        await world.leaf(name="L", cluster="L", headers=True) as leaf,
        await world.client() as client,
    ):
        yield Link(world, leaf, client)


async def test_interest_from_the_hub(link: Link) -> None:
    """First subscriber: LS+. Last one gone: LS-. Nothing in between."""
    await link.client_says(b"SUB i.a 1\r\n")
    await link.leaf.expect(b"LS+ i.a\r\n")
    await link.client_says(b"SUB i.a 2\r\nUNSUB 1\r\n")
    await link.leaf.expect_silence_until_pong()
    await link.client_says(b"UNSUB 2\r\n")
    await link.leaf.expect(b"LS- i.a\r\n")
    await link.leaf.expect_silence_until_pong()


@pytest.mark.parametrize("subject", ["i.*", "i.>", ">", "*", "é.ü", "a*"])
async def test_interest_in_wildcards(link: Link, subject: str) -> None:
    await link.client_says(f"SUB {subject} 1\r\nUNSUB 1\r\n")
    await link.leaf.expect(f"LS+ {subject}\r\nLS- {subject}\r\n")
    await link.leaf.expect_silence_until_pong()


async def test_queue_interest_is_told_with_its_weight(link: Link) -> None:
    """Every change is sent, the last with no weight."""
    await link.client_says(b"SUB i.q g 1\r\nSUB i.q g 2\r\nSUB i.q h 3\r\nUNSUB 1\r\nUNSUB 2\r\n")
    await link.leaf.expect(b"LS+ i.q g 1\r\nLS+ i.q g 2\r\nLS+ i.q h 1\r\nLS+ i.q g 1\r\nLS- i.q g\r\n")
    await link.leaf.expect_silence_until_pong()


async def test_interest_ends_with_the_connection(link: Link) -> None:
    await link.client_says(b"SUB i.end 1\r\nSUB i.end g 2\r\n")
    await link.leaf.expect(b"LS+ i.end\r\nLS+ i.end g 1\r\n")
    link.client.close()
    await link.leaf.expect_in_any_order(b"LS- i.end\r\n", b"LS- i.end g\r\n")


async def test_interest_ends_with_max(link: Link) -> None:
    await link.client_says(b"SUB i.max 1\r\nUNSUB 1 1\r\n")
    await link.leaf.expect(b"LS+ i.max\r\n")
    link.leaf.send(b"LMSG i.max 1\r\nx\r\n")
    await link.client.expect(b"MSG i.max 1 1\r\nx\r\n")
    await link.leaf.expect(b"LS- i.max\r\n")


# What a hub's client publishes, and what goes down a link that is interested.
DOWN = {
    "plain": ("LS+ d.1\r\n", b"PUB d.1 5\r\nhello\r\n", b"LMSG d.1 5\r\nhello\r\n"),
    "reply": ("LS+ d.1\r\n", b"PUB d.1 r.r 5\r\nhello\r\n", b"LMSG d.1 r.r 5\r\nhello\r\n"),
    "empty": ("LS+ d.1\r\n", b"PUB d.1 0\r\n\r\n", b"LMSG d.1 0\r\n\r\n"),
    "headers": (
        "LS+ d.1\r\n",
        b"HPUB d.1 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n",
        b"HMSG d.1 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n",
    ),
    "headers and reply": (
        "LS+ d.1\r\n",
        b"HPUB d.1 rep.ly 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n",
        b"HMSG d.1 rep.ly 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nhi\r\n",
    ),
    "wildcard": ("LS+ d.*\r\n", b"PUB d.1 1\r\nx\r\n", b"LMSG d.1 1\r\nx\r\n"),
    "full wildcard": ("LS+ d.>\r\n", b"PUB d.1.2 1\r\nx\r\n", b"LMSG d.1.2 1\r\nx\r\n"),
    "one copy for many": ("LS+ d.1\r\nLS+ d.*\r\nLS+ d.>\r\n", b"PUB d.1 1\r\nx\r\n", b"LMSG d.1 1\r\nx\r\n"),
    "queue": ("LS+ d.q g 1\r\n", b"PUB d.q 1\r\na\r\n", b"LMSG d.q | g 1\r\na\r\n"),
    "queue and reply": ("LS+ d.q g 1\r\n", b"PUB d.q r.r 1\r\na\r\n", b"LMSG d.q + r.r g 1\r\na\r\n"),
    "queue and headers": (
        "LS+ d.q g 1\r\n",
        b"HPUB d.q 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b"HMSG d.q | g 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ),
    "queue, reply and headers": (
        "LS+ d.q g 1\r\n",
        b"HPUB d.q r.r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b"HMSG d.q + r.r g 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ),
    "queue of weight 9": ("LS+ d.q g 9\r\n", b"PUB d.q 1\r\na\r\n", b"LMSG d.q | g 1\r\na\r\n"),
    "queue beside plain": ("LS+ d.q g 1\r\nLS+ d.*\r\n", b"PUB d.q 1\r\na\r\n", b"LMSG d.q | g 1\r\na\r\n"),
    "leading zeros": ("LS+ d.1\r\n", b"PUB d.1 002\r\nhi\r\n", b"LMSG d.1 002\r\nhi\r\n"),
}


@pytest.mark.parametrize("name", DOWN)
async def test_down_the_link(link: Link, name: str) -> None:
    interest, published, expected = DOWN[name]
    await link.leaf_says(interest)
    await link.client_says(published)
    await link.leaf.expect(expected)
    await link.leaf.expect_silence_until_pong()


async def test_two_groups_in_one_line(link: Link) -> None:
    """In whatever order."""
    await link.leaf_says(b"LS+ d.two g 1\r\nLS+ d.two g2 1\r\nLS+ d.*\r\n")
    await link.client_says(b"PUB d.two 1\r\na\r\nPUB d.two r.r 1\r\nb\r\n")
    await link.leaf.expect(re.compile(rb"LMSG d\.two \| (?:g g2|g2 g) 1\r\na\r\n"))
    await link.leaf.expect(re.compile(rb"LMSG d\.two \+ r\.r (?:g g2|g2 g) 1\r\nb\r\n"))
    await link.leaf.expect_silence_until_pong()


async def test_a_local_member_comes_first(link: Link) -> None:
    await link.leaf_says(b"LS+ d.loc g 5\r\nLS+ d.loc g2 1\r\n")
    link.client.send(b"SUB d.loc g 1\r\n" + b"PUB d.loc 1\r\nc\r\n" * 10)
    await link.client.expect(b"MSG d.loc 1 1\r\nc\r\n" * 10)
    await link.client.expect_silence_until_pong()
    await link.leaf.expect(b"LS+ d.loc g 1\r\n" + b"LMSG d.loc | g2 1\r\nc\r\n" * 10)
    await link.leaf.expect_silence_until_pong()


async def test_weight_zero_is_never_chosen(link: Link) -> None:
    await link.leaf_says(b"LS+ d.zero g 0\r\n")
    await link.client_says(b"PUB d.zero 1\r\nx\r\n")
    await link.leaf.expect_silence_until_pong()


async def test_headers_are_cut_off_for_a_leaf_without(broker: Brokers) -> None:
    world = broker.world()
    async with await world.leaf(name="P", headers=False) as leaf, await world.client() as client:
        leaf.send(b"LS+ d.strip\r\n")
        await leaf.expect_silence_until_pong()
        client.send(b"HPUB d.strip 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await leaf.expect(b"LMSG d.strip 2\r\nhi\r\n")


async def test_interest_is_a_set(link: Link) -> None:
    """Said twice, it counts once."""
    await link.leaf_says(b"LS+ s.a\r\nLS+ s.a\r\n")
    await link.client_says(b"PUB s.a 1\r\nx\r\n")
    await link.leaf.expect(b"LMSG s.a 1\r\nx\r\n")
    await link.leaf_says(b"LS- s.a\r\n")
    await link.client_says(b"PUB s.a 1\r\nx\r\n")
    await link.leaf.expect_silence_until_pong()


@pytest.mark.parametrize("remove", [b"LS- s.q g 1\r\n", b"LS- s.q  g\r\n", b"LS- s.q\r\n"])
async def test_queue_interest_needs_the_exact_words_to_end(link: Link, remove: bytes) -> None:
    await link.leaf_says(b"LS+ s.q g 1\r\n")
    await link.leaf_says(remove)
    await link.client_says(b"PUB s.q 1\r\nx\r\n")
    await link.leaf.expect(b"LMSG s.q | g 1\r\nx\r\n")
    await link.leaf_says(b"LS- s.q g\r\n")
    await link.client_says(b"PUB s.q 1\r\nx\r\n")
    await link.leaf.expect_silence_until_pong()


async def test_unknown_interest_may_be_taken_back(link: Link) -> None:
    await link.leaf_says(b"LS- never.said\r\nLS- never.said g\r\n")


@pytest.mark.parametrize("line", [b"LS+ a..b\r\n", b"LS+ .a\r\n", b"LS+ a.>.b\r\n", b"LS+ a..b g 1\r\n"])
async def test_bad_interest(link: Link, line: bytes) -> None:
    link.leaf.send(line)
    await link.leaf.expect_error("Invalid Subscription", closes=False)


@pytest.mark.parametrize("line", [b"LS+ a b\r\n", b"LS+ a b c d\r\n", b"LMSG a\r\n", b"LMSG a x\r\n"])
async def test_bad_lines_close_without_a_word(link: Link, line: bytes) -> None:
    link.leaf.send(line)
    await link.leaf.expect_close()


# What a leaf sends, and what a hub's client with `SUB u.> 1` gets.
UP = {
    "plain": (b"LMSG u.1 2\r\nyo\r\n", b"MSG u.1 1 2\r\nyo\r\n"),
    "reply": (b"LMSG u.1 re.ply 2\r\nyo\r\n", b"MSG u.1 1 re.ply 2\r\nyo\r\n"),
    "empty": (b"LMSG u.1 0\r\n\r\n", b"MSG u.1 1 0\r\n\r\n"),
    "lower case": (b"lmsg u.1 2\r\nyo\r\n", b"MSG u.1 1 2\r\nyo\r\n"),
    "headers": (b"HMSG u.1 12 14\r\nNATS/1.0\r\n\r\nyo\r\n", b"HMSG u.1 1 12 14\r\nNATS/1.0\r\n\r\nyo\r\n"),
    "headers and reply": (
        b"HMSG u.1 re.ply 12 14\r\nNATS/1.0\r\n\r\nyo\r\n",
        b"HMSG u.1 1 re.ply 12 14\r\nNATS/1.0\r\n\r\nyo\r\n",
    ),
    "queue named that nobody is in": (b"LMSG u.1 | g 2\r\nyo\r\n", b"MSG u.1 1 2\r\nyo\r\n"),
    "queue, reply": (b"LMSG u.1 + re.ply g h 2\r\nyo\r\n", b"MSG u.1 1 re.ply 2\r\nyo\r\n"),
    "queue, reply, headers": (
        b"HMSG u.1 + re.ply g 12 14\r\nNATS/1.0\r\n\r\nyo\r\n",
        b"HMSG u.1 1 re.ply 12 14\r\nNATS/1.0\r\n\r\nyo\r\n",
    ),
    "JetStream delivery": (
        b"LMSG u.box $JS.ACK.T.C1.1.1.1.1795453739738808567.0@real.subject 5\r\nhello\r\n",
        b"MSG real.subject 1 $JS.ACK.T.C1.1.1.1.1795453739738808567.0 5\r\nhello\r\n",
    ),
    "JetStream delivery, two @": (
        b"LMSG u.box $JS.ACK.T.C1.1.1.1.1795453739738808567.0@a@b 0\r\n\r\n",
        b"MSG a@b 1 $JS.ACK.T.C1.1.1.1.1795453739738808567.0 0\r\n\r\n",
    ),
    "too few dots": (
        b"LMSG u.box $JS.ACK.T.C1.1.1.1@t.a 0\r\n\r\n",
        b"MSG u.box 1 $JS.ACK.T.C1.1.1.1@t.a 0\r\n\r\n",
    ),
    "another prefix": (
        b"LMSG u.box x.1.2.3.4.5.6.7.8.9@t.a 0\r\n\r\n",
        b"MSG u.box 1 x.1.2.3.4.5.6.7.8.9@t.a 0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("name", UP)
async def test_up_the_link(link: Link, name: str) -> None:
    sent, expected = UP[name]
    await link.client_says(b"SUB u.> 1\r\n")
    await link.leaf.expect(b"LS+ u.>\r\n")
    await link.leaf_says(sent)
    await link.client.expect(expected)
    await link.client.expect_silence_until_pong()


@pytest.mark.parametrize(
    ("sent", "delivered"),
    [
        (b"LMSG u.q 2\r\nhi\r\n", False),
        (b"LMSG u.q | g 2\r\nhi\r\n", True),
        (b"LMSG u.q | other g 2\r\nhi\r\n", True),
        (b"LMSG u.q | other 2\r\nhi\r\n", False),
        (b"LMSG u.q + re g 2\r\nhi\r\n", True),
    ],
)
async def test_a_queue_group_gets_what_names_it(link: Link, sent: bytes, delivered: bool) -> None:
    await link.client_says(b"SUB u.q g 1\r\nSUB u.q g 2\r\n")
    await link.leaf.expect(b"LS+ u.q g 1\r\nLS+ u.q g 2\r\n")
    await link.leaf_says(sent)
    if delivered:
        await link.client.expect(re.compile(rb"MSG u\.q [12] (?:re )?2\r\nhi\r\n"))
    await link.client.expect_silence_until_pong()


async def test_no_echo_to_the_same_link(link: Link) -> None:
    await link.leaf_says(b"LS+ e.a\r\nLS+ e.q g 1\r\n")
    await link.leaf_says(b"LMSG e.a 1\r\nx\r\nLMSG e.q | g 1\r\nx\r\n")


async def test_no_echo_to_the_same_cluster(link: Link) -> None:
    """Nor to another link of the same cluster; a link without a cluster name has none in common."""
    world = link.world
    async with (
        await world.leaf(name="L2", cluster="L") as same,
        await world.leaf(name="L3", cluster="M") as other,
        await world.leaf(name="L4") as alone,
    ):
        for leaf in (same, other, alone):
            leaf.noise += ((re.compile(rb"LS\+ e\.c\r\n"), b""),)
            leaf.send(b"LS+ e.c\r\n")
            await leaf.expect_silence_until_pong()
        link.leaf.send(b"LMSG e.c 1\r\nx\r\n")
        await other.expect(b"LMSG e.c 1\r\nx\r\n")
        await alone.expect(b"LMSG e.c 1\r\nx\r\n")
        for leaf in (same, other, alone):
            await leaf.expect_silence_until_pong()


async def test_from_leaf_to_leaf(broker: Brokers) -> None:
    """The hub announces one leaf's interest to the other and hands on, queue group named."""
    world = broker.world()
    async with await world.leaf(name="A", headers=True) as one, await world.leaf(name="B") as two:
        two.send(b"LS+ l.a\r\nLS+ l.q g 3\r\n")
        await two.expect_silence_until_pong()
        await one.expect(b"LS+ l.a\r\nLS+ l.q g 3\r\n")
        one.send(b"LMSG l.a re.ply 1\r\nx\r\nLMSG l.q | g 1\r\ny\r\nHMSG l.a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await two.expect(b"LMSG l.a re.ply 1\r\nx\r\nLMSG l.q | g 1\r\ny\r\nLMSG l.a 2\r\nhi\r\n")
        two.send(b"LS- l.a\r\nLS- l.q g\r\n")
        await one.expect(b"LS- l.a\r\nLS- l.q g\r\n")
        await one.expect_silence_until_pong()


async def test_interest_of_a_lost_leaf_is_taken_back(link: Link) -> None:
    async with await link.world.leaf(name="lost") as other:
        other.send(b"LS+ lost.a\r\nLS+ lost.q g 2\r\n")
        await other.expect_silence_until_pong()
        await link.leaf.expect(b"LS+ lost.a\r\nLS+ lost.q g 2\r\n")
    await link.leaf.expect_in_any_order(b"LS- lost.a\r\n", b"LS- lost.q g\r\n")


async def test_weights_are_summed_towards_a_leaf(link: Link) -> None:
    async with await link.world.leaf(name="sum") as other:
        await link.client_says(b"SUB agg g 1\r\n")
        await link.leaf.expect(b"LS+ agg g 1\r\n")
        other.send(b"LS+ agg g 3\r\n")
        await link.leaf.expect(b"LS+ agg g 4\r\n")


async def test_isolation(link: Link) -> None:
    """No interest learned from other leaves, but messages still flow."""
    async with await link.world.leaf(name="iso", isolate=True) as alone:
        await link.leaf_says(b"LS+ iso.a\r\n")
        await alone.expect_silence_until_pong()
        await link.client_says(b"SUB iso.b 1\r\n")
        await alone.expect(b"LS+ iso.b\r\n")
        alone.send(b"LMSG iso.a 1\r\nx\r\nLS+ iso.c\r\n")
        await link.leaf.expect(re.compile(rb"(?:LS\+ iso\.[bc]\r\n)*LMSG iso\.a 1\r\nx\r\n"))
        await alone.expect_silence_until_pong()
        link.leaf.send(b"LMSG iso.c 1\r\ny\r\n")
        await alone.expect(b"LMSG iso.c 1\r\ny\r\n")


async def test_the_role_can_be_turned_round(link: Link) -> None:
    """A leaf that says ``is_hub`` is upstream: it is told what the leaves below are interested in."""
    async with await link.world.leaf(name="up", is_hub=True) as hub:
        await link.leaf_says(b"LS+ turn.a\r\n")
        await hub.expect(b"LS+ turn.a\r\n")
        hub.send(b"LMSG turn.a 1\r\nx\r\n")
        await link.leaf.expect(b"LMSG turn.a 1\r\nx\r\n")


async def test_request_to_a_service_behind_the_leaf(link: Link) -> None:
    """The inbox is announced before the request that names it."""
    await link.leaf_says(b"LS+ svc\r\n")
    link.client.send(b"SUB _INBOX.h.* 1\r\nPUB svc _INBOX.h.1 2\r\nrq\r\n")
    await link.leaf.expect(b"LS+ _INBOX.h.*\r\nLMSG svc _INBOX.h.1 2\r\nrq\r\n")
    link.leaf.send(b"LMSG _INBOX.h.1 3\r\nrsp\r\n")
    await link.client.expect(b"MSG _INBOX.h.1 1 3\r\nrsp\r\n")


async def test_a_leafs_interest_is_a_responder(link: Link) -> None:
    async with await link.world.client(no_responders=True) as client:
        await link.leaf_says(b"LS+ resp.a\r\n")
        client.send(b"SUB in.leaf 1\r\nPUB resp.a in.leaf 0\r\n\r\nPUB resp.b in.leaf 0\r\n\r\n")
        await client.expect(b"HMSG in.leaf 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: resp.b\r\n\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_a_request_over_the_link_to_nobody(link: Link) -> None:
    await link.leaf_says(b"LS+ in.nobody\r\n")
    await link.leaf_says(b"LMSG nobody.here in.nobody 0\r\n\r\n")


async def test_max_payload(link: Link) -> None:
    link.leaf.send(b"LMSG foo 1048577\r\n")
    await link.leaf.expect_error("Maximum Payload Violation", closes=True)


async def test_control_line_is_sixteen_times_as_long(link: Link) -> None:
    line = b"LS+ " + b"s" * 60000 + b" " * 5536
    await link.leaf_says(line + b"\r\n")
    link.leaf.send(line + b" \r\n")
    await link.leaf.expect_error("maximum control line exceeded", closes=True)


async def test_one_byte_at_a_time(link: Link) -> None:
    await link.client_says(b"SUB slow.> 1\r\n")
    await link.leaf.expect(b"LS+ slow.>\r\n")
    await link.leaf.send_bytewise(
        b"LS+ slow.a\r\nLMSG slow.a | g 2\r\nhi\r\n"
        b"HMSG slow.b + re g h 12 14\r\nNATS/1.0\r\n\r\nyo\r\nLS- slow.a\r\n"
    )
    await link.client.expect(b"MSG slow.a 1 2\r\nhi\r\nHMSG slow.b 1 re 12 14\r\nNATS/1.0\r\n\r\nyo\r\n")
    await link.leaf.expect_silence_until_pong()
