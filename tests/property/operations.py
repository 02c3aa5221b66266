"""What hypothesis makes of the protocol: operations, and the ways in which their bytes arrive.

The alphabets are small on purpose: four tokens and two queue names meet each other often, which a
wide alphabet would not.
"""

from dataclasses import dataclass

from hypothesis import strategies as st
from tests.property.model import Bad, Connect, Operation, Permissions, Ping, Pub, Sub, Unsub

CONNECTIONS = 3

# No entry of the subscribe lists ends in "*": nats-server 2.15.1 takes a ">" that is subscribed to
# for a token that such a "*" covers, which the model does not.
USERS = {
    "": Permissions(),
    "narrow": Permissions(publish_allow=("a.>", "b", "r.*"), subscribe_allow=("a.b", "b", "a.c.>", "r.>")),
    "denied": Permissions(publish_deny=("a.b", "*.c"), subscribe_deny=("a.b", "c.>")),
    "both": Permissions(("a.*",), ("a.c",), (">",), ("b", "b.a")),
}

tokens = st.sampled_from(["a", "b", "c", "é"])
literals = st.one_of(
    st.sampled_from(["a", "b", "a.b", "a.b", "a.c"]), st.lists(tokens, min_size=1, max_size=3).map(".".join)
)
wild_tokens = st.one_of(tokens, st.just("*"))
patterns = st.one_of(
    st.sampled_from(["a", "b", "a.b", "*", ">", "a.*", "a.>", "*.b", "*.*"]),
    st.builds(
        lambda head, tail: ".".join([*head, *tail]),
        st.lists(wild_tokens, min_size=1, max_size=2),
        st.sampled_from([[], [">"]]),
    ),
)
odd_subjects = st.sampled_from(["a..b", ".a", "a.", "a*", "*a.b", "a.>b", "b.>.c"])
inboxes = st.sampled_from(["r.1", "r.2"])
subscribed = st.one_of(patterns, patterns, patterns, st.sampled_from(["r.*", "r.1"]), odd_subjects)
published = st.one_of(literals, literals, literals, inboxes, patterns, odd_subjects)
sids = st.sampled_from(["1", "2", "3", "x9"])
queues = st.sampled_from(["", "", "g", "h"])
replies = st.one_of(st.just(""), inboxes, literals)
payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\r\n", b"PING\r\n", b"MSG a 1 1\r\nx\r\n", b"x" * 600]),
)
header_blocks = st.sampled_from([b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: 1\r\n\r\n", b"", b"loose bytes\r\n"])

options = st.fixed_dictionaries(
    {},
    optional={name: st.booleans() for name in ("verbose", "pedantic", "echo", "headers", "no_responders")},
)
first_connects = st.builds(
    lambda given, user: Connect((*given.items(), *((("user", user), ("pass", "p")) if user else ()))),
    options,
    st.sampled_from(list(USERS)),
)
friendly_connects = st.builds(
    lambda echo, headers, user: Connect(
        (
            ("verbose", False),
            ("pedantic", False),
            ("echo", echo),
            ("headers", headers),
            ("no_responders", headers),
            *((("user", user), ("pass", "p")) if user else ()),
        )
    ),
    st.booleans(),
    st.sampled_from([True, True, False]),
    st.sampled_from(["", "", "", *USERS]),
)
bad_lines = st.sampled_from(
    [
        Bad(b"HELLO\r\n", "Unknown Protocol Operation"),
        Bad(b"\r\n", "Unknown Protocol Operation"),
        Bad(b"PUB a 2\r\nabc\r\n", "Unknown Protocol Operation"),
        Bad(b"PUB a x\r\n", ""),
        Bad(b"SUB a b c d\r\n", ""),
        Bad(b"UNSUB 1 2 3\r\n", ""),
    ]
)
ordinary: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Sub, subscribed, queues, sids),
    st.builds(Sub, subscribed, queues, sids),
    st.builds(Unsub, sids, st.none() | st.integers(0, 4)),
    st.builds(Pub, published, replies, payloads),
    st.builds(Pub, literals, replies, payloads, st.one_of(st.none(), header_blocks)),
    st.builds(Pub, literals, replies, payloads),
    st.builds(Ping),
)


# A subscription that is to end after so many, and about as many messages for it.
countdowns = st.builds(
    lambda subject, queue, sid, before, count, after: [
        Sub(subject, queue, sid),
        *[Pub(subject, "", b"before")] * before,
        Unsub(sid, count),
        *[Pub(subject, "", b"after")] * after,
    ],
    literals,
    queues,
    sids,
    st.integers(0, 3),
    st.integers(1, 4),
    st.integers(0, 5),
)
# A request, to nobody more often than not.
requests = st.builds(
    lambda inbox, queue, sid, reply, subject: [Sub(inbox, queue, sid), Pub(subject, reply, b"request")],
    st.sampled_from(["r.*", "r.1"]),
    queues,
    sids,
    inboxes,
    st.sampled_from(["c.c.c", "c.c.c", "b"]),
)
passages = st.one_of(*[ordinary.map(lambda operation: [operation])] * 8, countdowns, requests)


@dataclass(frozen=True)
class Script:
    """What each connection sends, and in which pieces: ``turns`` are (connection, bytes to send now)."""

    operations: tuple[tuple[Operation, ...], ...]
    turns: tuple[tuple[int, int], ...]


@st.composite
def _one_connection(draw: st.DrawFn) -> tuple[Operation, ...]:
    first = draw(st.one_of(friendly_connects, friendly_connects, first_connects, st.none()))
    drawn = draw(st.lists(passages, min_size=draw(st.sampled_from([0, 6, 12])), max_size=16))
    rest: list[Operation] = [operation for passage in drawn for operation in passage]
    if draw(st.integers(0, 9)) == 7:  # seldom; hypothesis likes the ends of a range
        rest.insert(
            draw(st.integers(0, len(rest))), draw(st.builds(lambda o: Connect(tuple(o.items())), options))
        )
    if draw(st.integers(0, 9)) == 7:  # seldom; hypothesis likes the ends of a range
        rest.append(draw(bad_lines))
    return (*([first] if first else []), *rest)


sizes = st.one_of(st.integers(1, 12), st.integers(1, 80), st.just(1 << 20))
turn = st.tuples(st.integers(0, CONNECTIONS - 1), sizes)
turns = (
    st.sampled_from([0, 10, 30]).flatmap(lambda least: st.lists(turn, min_size=least, max_size=60)).map(tuple)
)
scripts = st.builds(Script, st.tuples(*[_one_connection()] * CONNECTIONS), turns)
