"""Making inputs: operations that are nearly right, the ways in which they arrive, and mutations of kept inputs."""

import itertools
from random import Random

from tests.fuzz.scenario import CONNECTIONS_MAX
from tests.fuzz.steps import Step, Steps

TOKENS = (b"a", b"b", b"c", b"*", b">", b"", b"\xc3\xa9", b"secret", b"a*", b"\r", b"$JS", b"_R_", b"$LDS")
SUBJECTS = (
    b"a",
    b"b",
    b"a.b",
    b"a.c",
    b"c",
    b"r.1",
    b">",
    b"*",
    b"a.*",
    b"a.>",
    b"*.b",
    b"$LDS.mine",
    b"$LDS.x",
    b"$NRG.x",
)
SIDS = (b"1", b"2", b"3", b"x9", b"a")
QUEUES = (b"q", b"g", b"_sys_", b"+", b"|", b"q2")
REPLIES = (
    b"r.1",
    b"r",
    b"+",
    b"|",
    b"_R_.x",
    b"$JS.ACK.S.C.1.2.3.4.5.6@a.b",
    b"$JS.ACK.S.C.1.2.3.4.5.6@",
    b"$NRG.x",
    b"a.b",
)
BLOCKS = (b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nA: 1\r\n\r\n", b"", b"loose")
SPLICES = (
    b" ",
    b"\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"99999999",
    b"1048577",
    b"-1",
    b"0",
    b".",
    b"+",
    b"|",
    b"{",
    b"\xff",
    b"$JS.ACK.",
)
VERBS = (
    *(
        "configure",
        "permissions",
        "output",
        "output",
        "output",
        "hangup",
        "link_up",
        "close",
        "wait",
        "resume",
    ),
    *("resume", "resume", "limit", "publish", "publish", "subscribe", "unsubscribe", "loop_subject", "sweep"),
    *("tick", "limits", "attach", "flood", "flood", "send", "complain"),
    *("stream_imports", "stream_imports", "service_imports", "service_imports", "mappings"),
)


def subject(r: Random, wild: bool = True) -> bytes:
    dice = r.random()
    if dice < 0.7:
        return r.choice(SUBJECTS[:6] if not wild else SUBJECTS)
    if dice < 0.98:
        return b".".join(r.choice(TOKENS if r.random() < 0.2 else TOKENS[:3]) for _ in range(r.randint(1, 4)))
    return r.choice((b"a", b"a.", b"*.")) * r.choice((100, 1_500, 4_090, 32_760)) + b"a"


def number(r: Random, n: int) -> bytes:
    dice = r.random()
    if dice < 0.93:
        return b"%d" % n
    return r.choice(
        (b"0%d" % n, b"%d" % (n + 1), b"%d" % max(n - 1, 0), b"", b"x", b"999999999", b"1000000000", b"0")
    )


def body(r: Random) -> bytes:
    return r.choice((b"", b"x", b"hello", b"\r\n", b"PING\r\n", b"y" * 30, b"z" * 700, b"w" * 20_000))


def blank(r: Random) -> bytes:
    return b" " if r.random() < 0.97 else r.choice((b"  ", b"\t", b" \t "))


def end(r: Random) -> bytes:
    return b"\r\n" if r.random() < 0.97 else r.choice((b"\n", b" \r\n", b"\r", b""))


def line(r: Random, *words: bytes) -> bytes:
    verb = words[0] if r.random() < 0.97 else words[0].lower()
    return blank(r).join((verb, *words[1:])) + end(r)


def message(r: Random, leaf: bool) -> bytes:
    words = [subject(r, wild=r.random() < 0.1)]
    queues = [r.choice(QUEUES) for _ in range(r.randint(0, 3))] if leaf and r.random() < 0.5 else []
    if r.random() < 0.4:
        words += [b"+"] if queues else []
        words.append(r.choice(REPLIES))
    elif queues:
        words.append(b"|")
    data = body(r)
    head = r.choice(BLOCKS) if r.random() < 0.3 else None
    if head is not None:
        sizes = [number(r, len(head)), number(r, len(head) + len(data))]
        return line(r, b"HMSG" if leaf else b"HPUB", *words, *queues, *sizes) + head + data + end(r)
    return line(r, b"LMSG" if leaf else b"PUB", *words, *queues, number(r, len(data))) + data + end(r)


def connect(r: Random) -> bytes:
    return line(r, b"CONNECT", b'{"n":%d}' % r.getrandbits(19))


def client_operation(r: Random) -> bytes:
    dice = r.random()
    if dice < 0.5:
        return message(r, False) * (r.randint(1, 4) if r.random() < 0.3 else 1)
    if dice < 0.75:
        queue = [r.choice(QUEUES)] if r.random() < 0.4 else []
        return line(r, b"SUB", subject(r), *queue, r.choice(SIDS))
    if dice < 0.88:
        most = [number(r, r.randint(0, 4))] if r.random() < 0.5 else []
        return line(r, b"UNSUB", r.choice(SIDS), *most)
    if dice < 0.93:
        return connect(r)
    return line(r, r.choice((b"PING", b"PONG", b"+OK", b"-ERR 'x'", b"INFO {}", b"LS+ a", b"HELLO", b"")))


def leaf_operation(r: Random) -> bytes:
    dice = r.random()
    if dice < 0.45:
        return message(r, True) * (r.randint(1, 4) if r.random() < 0.3 else 1)
    if dice < 0.75:
        queue = [r.choice(QUEUES), number(r, r.randint(0, 3))] if r.random() < 0.5 else []
        return line(r, b"LS+", subject(r), *queue)
    if dice < 0.9:
        queue = [r.choice(QUEUES)] if r.random() < 0.5 else []
        return line(r, b"LS-", subject(r), *queue)
    if dice < 0.93:
        return connect(r)
    return line(
        r, r.choice((b"PING", b"PONG", b"+OK", b"-ERR 'x'", b"-ERR close", b"INFO {}", b"SUB a 1", b""))
    )


def spoil(r: Random, data: bytes) -> bytes:
    """A few bytes wrong."""
    out = bytearray(data)
    for _ in range(r.randint(1, 3)):
        at, dice = r.randint(0, len(out)), r.random()
        if dice < 0.3 and out:
            out[min(at, len(out) - 1)] = r.getrandbits(8)
        elif dice < 0.6:
            del out[at : at + r.randint(1, 8)]
        elif dice < 0.9:
            out[at:at] = r.choice(SPLICES)
        else:
            out[at:at] = out[r.randint(0, len(out)) :][:40]
    return bytes(out)


def stream(r: Random, leaf: bool, operations: int) -> bytes:
    """Operations of one connection; the first is often CONNECT."""
    make = leaf_operation if leaf else client_operation
    data = b"".join(make(r) for _ in range(operations))
    data = (connect(r) if r.random() < 0.7 else b"") + data
    return spoil(r, data) if r.random() < 0.25 else data


def pieces(r: Random, data: bytes) -> list[bytes]:
    """The same bytes as they might arrive."""
    if r.random() < 0.3:
        return [data]
    if len(data) < 400 and r.random() < 0.2:
        return [data[n : n + 1] for n in range(len(data))]
    cuts = sorted({0, len(data), *(r.randint(0, len(data)) for _ in range(r.randint(1, 12)))})
    return [data[a:b] for a, b in itertools.pairwise(cuts)]


def any_step(r: Random, connections: int) -> Step:
    """Something that is not input of a peer."""
    who, bits = r.randrange(max(connections, 1)), r.getrandbits(19)
    verb = r.choice(VERBS)
    data = b""
    if verb == "publish":
        data = b"|".join((subject(r, False), r.choice(REPLIES), r.choice(BLOCKS), body(r)))
    elif verb == "subscribe":
        data = subject(r) + r.choice((b"", b"|q"))
    elif verb == "flood":
        data = (leaf_operation if r.random() < 0.3 else client_operation)(r)
    elif verb == "send":
        data = b"PING\r\n"
    elif verb == "attach":
        bits &= 0xFF if r.random() < 0.3 else 0x05
    elif verb in ("sweep", "tick"):
        bits = r.choice((0, 1, 2, 10, 100_000))
    elif verb == "close":
        data = r.choice((b"", b"Going"))
    return Step(verb, who, bits, data)


def mutate(r: Random, steps: Steps, other: Steps, *, only_input: bool) -> Steps:
    """A kept input with something changed; may take in a part of another. ``only_input``: nothing is done but what
    the peers do."""
    out = list(steps)
    for _ in range(r.randint(1, 4)):
        at, dice = r.randrange(len(out) + 1), r.random()
        if dice < 0.2:
            del out[at : at + r.randint(1, 3)]
        elif dice < 0.4:
            step = any_step(r, CONNECTIONS_MAX)
            if not only_input:
                out.insert(at, step)
        elif dice < 0.5:
            cut = r.randrange(len(other) + 1)
            out[at:at] = other[cut : cut + 8]
        elif at < len(out) and dice < 0.8:
            out[at] = out[at]._replace(data=spoil(r, out[at].data)) if out[at].data else out[at]
        elif at < len(out):
            out[at] = out[at]._replace(number=out[at].number ^ (1 << r.randrange(19)), who=r.randrange(6))
    return tuple(out)


def vary(r: Random, steps: Steps, other: Steps) -> Steps:
    """Any input with something changed, Steps of another of its target among them."""
    out = list(steps)
    for _ in range(r.randint(1, 4)):
        at, dice = r.randrange(len(out) + 1), r.random()
        if dice < 0.2:
            del out[at : at + r.randint(1, 3)]
        elif dice < 0.4 and other:
            cut = r.randrange(len(other))
            out[at:at] = other[cut : cut + 4]
        elif dice < 0.5 and at:
            out.insert(at, out[r.randrange(at)])
        elif at < len(out) and dice < 0.8:
            out[at] = out[at]._replace(data=spoil(r, out[at].data)) if out[at].data else out[at]
        elif at < len(out):
            out[at] = out[at]._replace(number=out[at].number ^ (1 << r.randrange(32)), who=r.randrange(6))
    return tuple(out)
