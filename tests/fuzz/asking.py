"""Inputs for the target ``jetstream``: what clients say to a server with streams and consumers, nearly right."""

import json
from itertools import pairwise
from random import Random
from typing import Any

import msgspec

from phloem.shared.jetstream.headers import NAMES
from tests.fuzz.making import spoil
from tests.fuzz.steps import Step, Steps
from tests.fuzz.stored import HUGE, NUMBERS, any_number

STREAMS = (b"S", b"M", b"W", b"K", b"NONE", b"", b"a b", b"*", b">", b"x" * 300)
CONSUMERS = (b"C", b"P", b"G", b"NONE", b"", b"*", b"x" * 300)
SUBJECTS = (b"s.a", b"s.b", b"s.c.d", b"m.a", b"w.a", b"k.a", b"k.b", b"s.>", b"s.*", b"zz", b"", b"s..a")
REPLIES = (b"_I.1", b"_I.2", b"", b"s.a", b"$JS.API.STREAM.INFO.S", b"nobody")
STREAM = {"name": "S", "subjects": ["s.>"], "storage": "file", "allow_direct": True}
KINDS: tuple[dict[str, Any], ...] = (
    {**STREAM, "allow_rollup_hdrs": True, "max_msgs_per_subject": 5},
    {**STREAM, "storage": "memory", "max_msgs": 6, "discard": "new", "allow_msg_ttl": True},
    {
        **STREAM,
        "allow_atomic": True,
        "allow_batched": True,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
    },
    {**STREAM, "compression": "s2", "duplicate_window": 1_000_000_000, "max_age": 3_000_000_000},
    {**STREAM, "name": "M", "subjects": ["m.>"], "storage": "memory", "allow_msg_counter": True},
    {**STREAM, "name": "W", "subjects": ["w.>"], "retention": "workqueue"},
    {**STREAM, "name": "K", "subjects": ["k.>"], "retention": "interest", "max_bytes": 3_000},
    {
        **STREAM,
        "name": "M",
        "subjects": ["m.>"],
        "mirror_direct": True,
        "republish": {"src": ">", "dest": "r.>"},
    },
    {"name": "K", "mirror": {"name": "S"}},
    {
        "name": "W",
        "sources": [{"name": "S", "filter_subject": "s.a"}],
        "subject_transform": {"src": "s.>", "dest": "t.>"},
    },
)
ASKS: tuple[dict[str, Any], ...] = (
    {"ack_policy": "explicit", "ack_wait": 1_000_000_000, "max_deliver": 3},
    {"ack_policy": "all", "max_ack_pending": 2},
    {"ack_policy": "none", "filter_subjects": ["s.a", "s.c.>"]},
    {
        "ack_policy": "explicit",
        "deliver_subject": "_I.push",
        "flow_control": True,
        "idle_heartbeat": 1_000_000_000,
    },
    {
        "ack_policy": "explicit",
        "priority_groups": ["g"],
        "priority_policy": "pinned_client",
        "priority_timeout": 1_000_000_000,
    },
    {"ack_policy": "explicit", "priority_groups": ["g"], "priority_policy": "overflow"},
    {
        "ack_policy": "explicit",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": 3,
        "backoff": [1_000_000, 2_000_000],
        "max_deliver": 4,
    },
    {
        "ack_policy": "explicit",
        "deliver_policy": "last_per_subject",
        "headers_only": True,
        "sample_freq": "100",
        "mem_storage": True,
    },
)
PULLS: tuple[dict[str, Any], ...] = (
    {"batch": 3},
    {"batch": 2, "no_wait": True},
    {"batch": 10, "expires": 2_000_000_000, "idle_heartbeat": 500_000_000, "max_bytes": 300},
    {
        "batch": 1,
        "group": "g",
        "id": "x",
        "min_pending": 2,
        "min_ack_pending": 1,
        "priority": 3,
        "expires": 1_000_000_000,
    },
)
GETS: tuple[dict[str, Any], ...] = (
    {"seq": 1},
    {"last_by_subj": "s.a"},
    {"seq": 1, "next_by_subj": "s.>", "batch": 3, "max_bytes": 500},
    {"multi_last": ["s.a", "s.>"], "batch": 2, "up_to_seq": 4},
    {"start_time": "2020-09-13T12:26:40Z", "batch": 2},
)
HEADERS = (*sorted(NAMES), b"Status", b"")
VALUES = (
    b"S",
    b"0",
    b"1",
    b"2",
    b"s.a",
    b"sub",
    b"all",
    b"never",
    b"1s",
    b"-1",
    b"+5",
    b"@every 1s",
    b"@at 2020-09-13T12:26:41Z",
)
VALUES += (
    b"1h1h1h",
    b"99999999999999999999",
    b"x" * 70,
    b"eob",
    b"",
    b"* * * * * *",
    b"\xff",
    b"S 1 C > s.>",
)
BODIES = (
    b"",
    b"+ACK",
    b"+OK",
    b"-NAK",
    b"+WPI",
    b"+TERM",
    b"+NXT",
    b'-NAK {"delay": 1000000}',
    b"-NAK 5s",
    b"+TERM why",
    b'+NXT {"batch": 2}',
)
BODIES += (
    b"+NXT 3",
    b"-NAK {",
    b'-NAK {"delay": 99999999999999999999}',
    b'-NAK {"delay": -1}',
    b"+NXT -1",
    b"junk",
    b"+TERM " + b"y" * 3_000,
)


def changed(r: Random, value: Any) -> Any:
    """A document with another value somewhere, or one more."""
    if isinstance(value, dict) and r.random() < 0.9:
        keys = [*value, *r.choice((*KINDS, *ASKS, *PULLS, *GETS))]
        key = r.choice(keys)
        return {**value, key: changed(r, value[key]) if key in value else _any(r)}
    if isinstance(value, list) and value and r.random() < 0.5:
        return [*value, changed(r, value[0])]
    return _any(r)


def _any(r: Random) -> Any:
    texts = ("", "x", "s.a", "s.>", "*", "$JS.>", "g", "1s", "file", "memory", "a" * 300, "\0", "S")
    return r.choice(
        (None, *texts, -1, 1.5, [], {}, True, False, ["s.a"], [1], 1e300, *NUMBERS, *HUGE, any_number(r))
    )


def document(r: Random, value: dict[str, Any]) -> bytes:
    """JSON of it, or of something like it."""
    dice = r.random()
    text = json.dumps(changed(r, value) if dice < 0.4 else value).encode()
    return spoil(r, text) if dice > 0.96 else text


def pub(r: Random, subject: bytes, body: bytes, reply: bytes | None = None, header: bytes = b"") -> bytes:
    answer = r.choice(REPLIES[:4] if r.random() < 0.9 else REPLIES) if reply is None else reply
    words = subject + (b" " + answer if answer else b"")
    if header:
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (words, len(header), len(header) + len(body), header, body)
    return b"PUB %b %d\r\n%b\r\n" % (words, len(body), body)


def api(r: Random, subject: bytes, body: bytes = b"") -> bytes:
    return pub(r, b"$JS.API." + subject, body, r.choice(REPLIES[:2]))


def _stream(r: Random) -> bytes:
    return r.choice(STREAMS[:4] if r.random() < 0.93 else STREAMS)


def _consumer(r: Random) -> bytes:
    return r.choice(CONSUMERS[:3] if r.random() < 0.93 else CONSUMERS)


def _subject(r: Random) -> bytes:
    return r.choice(SUBJECTS[:7] if r.random() < 0.93 else SUBJECTS)


def publish(r: Random) -> bytes:
    header = b""
    if r.random() < 0.5:
        lines = [
            r.choice(HEADERS) + r.choice((b": ", b":")) + r.choice(VALUES)
            for _ in range(r.choice((1, 1, 2, 4)))
        ]
        if r.random() < 0.3:
            lines = [b"Nats-Batch-Id: b", b"Nats-Batch-Sequence: %d" % r.choice((1, 1, 2, 3, 9)), *lines[1:]]
        header = b"NATS/1.0\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
        header = spoil(r, header) if r.random() < 0.05 else header
    return pub(r, _subject(r), r.choice((b"", b"x", b"y" * 100, b"z" * 3_000, b'{"val":"5"}')), header=header)


def ack(r: Random) -> bytes:
    numbers = [b"%d" % (r.randint(1, 6) if r.random() < 0.9 else any_number(r)) for _ in range(5)]
    tokens = [_stream(r), _consumer(r), *numbers]
    dice = r.random()
    if dice < 0.2:
        tokens = [r.choice((b"_", b"dom")), b"hash", *tokens, b"token"][: r.choice((9, 10, 10))]
    elif dice < 0.3:
        tokens = tokens[: r.randrange(len(tokens) + 1)] + [b"x"] * r.choice((0, 1, 3, 40))
    elif dice < 0.36:
        tokens[r.randrange(len(tokens))] = r.choice((b"", b"-1", b"99999999999999999999", b"1e3", b"x"))
    return pub(r, b".".join([b"$JS.ACK", *tokens]), r.choice(BODIES), r.choice((b"", b"", b"_I.1")))


def group(r: Random) -> bytes:
    """Messages to be placed behind each other, as a bridge sends them."""
    messages: list[Any] = []
    for _ in range(r.choice((0, 1, 1, 2, 5))):
        subject = _subject(r) if r.random() < 0.9 else b"s." + b"x" * r.choice((1, 300, 5_000, 70_000))
        head = b"NATS/1.0\r\n" + r.choice(HEADERS) + b": " + r.choice(VALUES) + b"\r\n\r\n"
        head = b"" if r.random() < 0.5 else spoil(r, head) if r.random() < 0.1 else head
        messages.append((subject, head, r.choice((b"", b"x", b"y" * 3_000))))
    pattern, after = (
        r.choice(("s.>", "s.a", "m.>", "s.*", ">", "s.a.", "")),
        r.choice((None, None, 0, 1, 2, 9)),
    )
    asked: list[Any] = [pattern, r.choice((0, 1, 2, 3, 4, any_number(r))), after, messages]
    if r.random() < 0.1:
        asked[r.randrange(4)] = r.choice((None, -1, 1.5, b"x", "x", [], [[]], [[b"s.a"]], {"a": 1}))
    body = msgspec.msgpack.encode(asked)
    return api(r, b"PHLOEM.PLACE." + _stream(r), spoil(r, body) if r.random() < 0.1 else body)


def ask(r: Random) -> bytes:
    """Something of the API."""
    stream, consumer, dice = _stream(r), _consumer(r), r.random()
    if r.random() < 0.12:
        return group(r)
    if dice < 0.3:
        body = r.choice((b"", b"1", b"5", b"-1", b"x")) if r.random() < 0.3 else document(r, r.choice(PULLS))
        return pub(
            r,
            b"$JS.API.CONSUMER.MSG.NEXT.%b.%b" % (stream, consumer),
            body,
            r.choice((b"_I.1", b"_I.2", b"nobody", b"")),
        )
    if dice < 0.5:
        if r.random() < 0.4:
            return api(r, b"DIRECT.GET.%b.%b" % (stream, _subject(r)), b"" if r.random() < 0.9 else b"{}")
        return api(r, b"DIRECT.GET.%b" % stream, document(r, r.choice(GETS)))
    if dice < 0.62:
        config = document(
            r,
            {
                "stream_name": stream.decode(),
                "config": {"name": consumer.decode(), "durable_name": consumer.decode(), **r.choice(ASKS)},
                "action": r.choice(("", "", "create", "update")),
            },
        )
        return api(r, b"CONSUMER.CREATE.%b.%b" % (stream, consumer), config)
    if dice < 0.7:
        kind = r.choice(KINDS)
        return api(
            r,
            r.choice((b"STREAM.UPDATE.", b"STREAM.CREATE.")) + str(kind["name"]).encode(),
            document(r, kind),
        )
    if dice < 0.74:
        return pub(r, b"$JS.FC.%b.%b.%b" % (stream, consumer, r.choice((b"x", b"1", b""))), b"", b"")
    simple = (
        b"STREAM.INFO.%b",
        b"STREAM.PURGE.%b",
        b"STREAM.MSG.GET.%b",
        b"STREAM.MSG.DELETE.%b",
        b"STREAM.DELETE.%b",
        b"CONSUMER.LIST.%b",
        b"CONSUMER.NAMES.%b",
        b"STREAM.SNAPSHOT.%b",
        b"STREAM.RESTORE.%b",
    )
    both = (
        b"CONSUMER.INFO.%b.%b",
        b"CONSUMER.DELETE.%b.%b",
        b"CONSUMER.PAUSE.%b.%b",
        b"CONSUMER.UNPIN.%b.%b",
        b"CONSUMER.RESET.%b.%b",
    )
    body: dict[str, Any] = r.choice(
        (
            {},
            {"seq": r.randrange(8)},
            {"filter": "s.a", "keep": 1},
            {"subjects_filter": ">", "deleted_details": True},
        )
    )
    body = r.choice(
        (
            body,
            {"group": "g"},
            {"pause_until": "2020-09-13T12:26:42Z"},
            {"deliver_subject": "_I.snap"},
            {"config": r.choice(KINDS), "state": {}},
            {"offset": 1},
        )
    )
    text = b"" if r.random() < 0.3 else document(r, body)
    return api(
        r, r.choice(both) % (stream, consumer) if r.random() < 0.5 else r.choice(simple) % stream, text
    )


def make(r: Random) -> Steps:
    """Streams and consumers, then two connections' words, and time."""
    first = b'CONNECT {"headers":true,"no_responders":true}\r\nSUB _I.> 1\r\n'
    for kind in r.sample(KINDS, r.choice((1, 2, 3))):
        first += api(
            r,
            b"STREAM.CREATE." + str(kind["name"]).encode(),
            document(r, kind) if r.random() < 0.2 else json.dumps(kind).encode(),
        )
    for _ in range(r.choice((1, 2, 3))):
        stream, consumer = r.choice(STREAMS[:4]), r.choice(CONSUMERS[:3])
        config = {"name": consumer.decode(), "durable_name": consumer.decode(), **r.choice(ASKS)}
        first += api(
            r,
            b"CONSUMER.CREATE.%b.%b" % (stream, consumer),
            json.dumps({"stream_name": stream.decode(), "config": config}).encode(),
        )
    steps = [Step("feed", 0, 0, first)]
    for _ in range(r.randint(3, 30)):
        dice = r.random()
        data = publish(r) if dice < 0.4 else ack(r) if dice < 0.6 else ask(r)
        data *= r.randint(2, 5) if r.random() < 0.1 else 1
        who = 0 if r.random() < 0.8 else 1
        if r.random() < 0.1:
            cuts = sorted({0, len(data), r.randint(0, len(data))})
            steps += [Step("feed", who, 0, data[a:b]) for a, b in pairwise(cuts)]
        else:
            steps.append(Step("feed", who, 0, spoil(r, data) if r.random() < 0.02 else data))
        if r.random() < 0.15:
            steps.append(Step("time", 0, r.choice((1, 100, 1_100, 4_000, 40_000))))
        if r.random() < 0.02:
            steps.append(Step("again"))
    return tuple(steps)
