"""Service imports: requests into another account, answers back, who asks, and what is forgotten when."""

import re

import pytest

from phloem.shared.kernel import Account
from phloem.shared.kernel.imports import CHUNKED, STREAMED, Destination, Mapping, ServiceImport
from tests.unit.kernel.crossings import mapping, service, steps, stream
from tests.unit.kernel.rig import MS, SECOND, Peer, Rig

INFO = re.compile(rb"Nats-Request-Info: (\{.*\})\r\n")
REPLY = re.compile(rb"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6}(?:\.phloem01\.T)?")


class World:
    """A imports a service from B; ``a`` asks, ``b`` answers."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.A, self.B, self.C = (rig.kernel.account(name) for name in "ABC")
        self.a = rig.client(account=self.A, no_responders=True)
        self.b = rig.client(account=self.B)
        self.a.say(b"SUB _I.* 9\r\n")
        rig.kernel.introduce(b"phloem01", b',"server":"here","cluster":"many"')

    def imports(self, *what: ServiceImport, account: Account | None = None) -> None:
        (account or self.A).set_service_imports(what)

    def asked(self, by: Peer | None = None) -> tuple[bytes, bytes]:
        """What the responder got, and the reply subject in it."""
        text = (by or self.b).take()
        found = REPLY.findall(text)
        return text, found[-1] if found else b""


@pytest.fixture
def world(rig: Rig) -> World:
    return World(rig)


def test_request_and_reply(world: World) -> None:
    world.imports(service(world.B, b"svc.>"))
    world.b.say(b"SUB svc.* 1\r\n")
    for number in range(4):
        world.a.pub(b"svc.q", b"please", b"_I.%d" % number)
        text, reply = world.asked()
        assert text == (
            b'HMSG svc.q 1 %b 52 58\r\nNATS/1.0\r\nNats-Request-Info: {"acc":"A","rtt":1}\r\n\r\nplease\r\n'
            % reply
        )
        assert world.B.stats["replies"] == world.A.stats["waiting"] == 1
        world.b.pub(reply, b"here")
        assert world.a.take() == b"MSG _I.%d 9 4\r\nhere\r\n" % number
        assert world.B.stats["replies"] == world.A.stats["waiting"] == 0
        world.b.pub(reply, b"again")
        assert world.a.take() == b"", "a singleton has one reply"


@pytest.mark.parametrize(
    ("subject", "local", "published", "seen"),
    [
        (b"svc", b"local", b"local", b"svc"),
        (b"svc.>", b"b.svc.>", b"b.svc.x.y", b"svc.x.y"),
        (b"svc.*.*", b"l.$2.$1", b"l.1.2", b"svc.2.1"),
        (b"svc", b"svc.*", b"svc.x", b"svc"),
    ],
)
def test_subjects(world: World, subject: bytes, local: bytes, published: bytes, seen: bytes) -> None:
    world.imports(service(world.B, subject, local))
    world.b.say(b"SUB > 1\r\n")
    world.a.pub(published, b"", b"_I.1")
    assert world.asked()[0].startswith(b"HMSG %b 1 _R_." % seen)


def test_without_reply(world: World) -> None:
    world.imports(service(world.B, b"svc"))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"x")
    assert (
        world.b.take()
        == b'HMSG svc 1 52 53\r\nNATS/1.0\r\nNats-Request-Info: {"acc":"A","rtt":1}\r\n\r\nx\r\n'
    )
    assert world.B.stats["replies"] == 0


def test_headers_are_kept_and_ours_is_ours(world: World) -> None:
    world.imports(service(world.B, b"svc"))
    world.b.say(b"SUB svc 1\r\n")
    block = b'NATS/1.0\r\nA: b\r\nNats-Request-Info: {"acc":"$SYS"}\r\nNats-Request-Information: c\r\n\r\n'
    world.a.say(b"HPUB svc _I.1 %d %d\r\n%bZ\r\n" % (len(block), len(block) + 1, block))
    text, _ = world.asked()
    assert INFO.findall(text) == [b'{"acc":"A","rtt":1}']
    assert b"NATS/1.0\r\nA: b\r\nNats-Request-Information: c\r\nNats-Request-Info: " in text
    assert text.endswith(b"}\r\n\r\nZ\r\n")
    sizes = re.search(rb" (\d+) (\d+)\r\n", text)
    assert sizes
    body = text[sizes.end() :]
    assert (int(sizes[1]), int(sizes[2])) == (len(body) - 3, len(body) - 2)


def test_round_trip_and_who_asks(world: World) -> None:
    world.imports(service(world.B, b"svc"), service(world.B, b"open", share=True))
    world.b.say(b"SUB > 1\r\n")
    world.a.conn.set_identity(b'{"id":7,"acc":"A"', b',"name":"me"', b',"server":"s"', b',"kind":"Client"')
    world.a.pub(b"svc", b"")
    world.a.pub(b"open", b"")
    assert INFO.findall(world.b.take()) == [
        b'{"acc":"A","rtt":1}',
        b'{"id":7,"acc":"A","name":"me","rtt":1,"server":"s","kind":"Client"}',
    ]
    world.a.conn.set_identity(None)
    world.a.pub(b"open", b"")
    assert INFO.findall(world.b.take()) == [b'{"acc":"A","rtt":1,"server":"here","cluster":"many"}']


def test_the_system_account_is_told_the_server(rig: Rig) -> None:
    system = rig.kernel.account("$SYS", system=True)
    world = World(rig)
    heard: list[tuple[bytes, ...]] = []
    rig.kernel.subscribe(system, b"$SYS.REQ.X", None, lambda *message: heard.append(message))
    world.imports(service(system, b"$SYS.REQ.X"))
    world.a.pub(b"$SYS.REQ.X", b"body", b"_I.1")
    [(subject, reply, header, body)] = heard
    assert (subject, body) == (b"$SYS.REQ.X", b"body")
    assert INFO.findall(header) == [b'{"acc":"A","rtt":1,"server":"here","cluster":"many"}']
    rig.kernel.publish(system, reply, b"", b"", b"answer")
    assert world.a.take() == b"MSG _I.1 9 6\r\nanswer\r\n"


def test_names_of_accounts_are_escaped(rig: Rig) -> None:
    world = World(rig)
    odd = rig.kernel.account('"<ä>\\')
    odd.set_service_imports([service(world.B, b"svc")])
    world.b.say(b"SUB svc 1\r\n")
    rig.client(account=odd).pub(b"svc", b"")
    assert INFO.findall(world.b.take()) == ['{"acc":"\\"\\u003cä\\u003e\\\\","rtt":1}'.encode()]


@pytest.mark.parametrize("listening", [False, True])
def test_no_responders(world: World, listening: bool) -> None:
    world.imports(service(world.B, b"svc.>"))
    if listening:
        world.b.say(b"SUB other 1\r\n")
    world.a.pub(b"svc.q", b"please", b"_I.1")
    assert world.a.take() == b"HMSG _I.1 9 37 37\r\nNATS/1.0 503\r\nNats-Subject: svc.q\r\n\r\n\r\n"
    assert world.B.stats["replies"] == world.A.stats["waiting"] == 0


@pytest.mark.parametrize("kind", [STREAMED, CHUNKED])
def test_many_replies_until_an_empty_one(world: World, kind: int) -> None:
    world.imports(service(world.B, b"svc", kind=kind))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    for body in (b"1", b"2", b"", b"3"):
        world.b.pub(reply, body)
    assert world.a.take() == b"MSG _I.1 9 1\r\n1\r\nMSG _I.1 9 1\r\n2\r\nMSG _I.1 9 0\r\n\r\n"
    assert world.B.stats["replies"] == 0


def test_the_threshold(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc", kind=STREAMED, threshold_ns=5 * SECOND))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    assert rig.kernel.due_ns == rig.now + 5 * SECOND
    rig.sweep(3 * SECOND)
    world.b.pub(reply, b"1")
    rig.sweep(4 * SECOND)
    assert world.B.stats["replies"] == 1, "each reply begins the time anew"
    rig.sweep(2 * SECOND)
    assert world.B.stats["replies"] == world.A.stats["waiting"] == 0
    world.b.pub(reply, b"2")
    assert world.a.take() == b"MSG _I.1 9 1\r\n1\r\n"


@pytest.mark.parametrize("how", ["unsub", "max", "close", "wildcard"])
def test_a_requester_that_goes(world: World, rig: Rig, how: str) -> None:
    world.imports(service(world.B, b"svc", kind=STREAMED))
    world.b.say(b"SUB svc 1\r\n")
    other = rig.client(account=world.A)
    other.say(b"SUB %b 1\r\n" % (b"in.*" if how == "wildcard" else b"in.1"))
    for _ in range(3):
        other.pub(b"svc", b"", b"in.1")
    _, reply = world.asked()
    assert world.B.stats["replies"] == 3
    match how:
        case "close":
            other.conn.close(1)
        case "max":
            other.say(b"UNSUB 1 1\r\n")
            world.b.pub(reply, b"1")
        case _:
            other.say(b"UNSUB 1\r\n")
    if how == "wildcard":
        assert world.B.stats["replies"] == 3
        rig.sweep(SECOND)
    assert world.B.stats["replies"] == world.A.stats["waiting"] == 0


def test_others_that_wait_keep_it(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc"))
    world.b.say(b"SUB svc 1\r\n")
    other = rig.client(account=world.A)
    other.say(b"SUB _I.1 1\r\n")
    other.pub(b"svc", b"", b"_I.1")
    other.conn.close(1)
    _, reply = world.asked()
    world.b.pub(reply, b"x")
    assert world.a.take() == b"MSG _I.1 9 1\r\nx\r\n"


def test_the_oldest_request_makes_room(world: World, rig: Rig) -> None:
    rig.kernel.set_limits(replies_max=100)
    world.imports(service(world.B, b"svc"))
    world.b.say(b"SUB svc 1\r\n")
    replies = []
    for number in range(300):
        world.a.pub(b"svc", b"", b"_I.%d" % number)
        replies.append(world.asked()[1])
    assert len(set(replies)) == 300
    assert world.B.stats["replies"] == world.A.stats["waiting"] == 100
    for reply in replies:
        world.b.pub(reply, b"x")
    assert world.a.take() == b"".join(b"MSG _I.%d 9 1\r\nx\r\n" % number for number in range(200, 300))


def test_who_guesses_gets_nothing(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc"))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    for account in (world.A, world.C):
        rig.client(account=account).pub(reply, b"x")
    world.b.pub(reply + b"x", b"x")
    assert world.a.take() == b""
    assert world.B.stats["replies"] == 1


def test_who_answers_is_not_told_that_nobody_waits(world: World, rig: Rig) -> None:
    """nats-server does not say so either; a consumer of the server itself has to know."""
    world.imports(service(world.B, b"svc", kind=STREAMED))
    b = rig.client(account=world.B, no_responders=True)
    b.say(b"SUB svc 1\r\nSUB back 2\r\n")
    other = rig.client(account=world.A)
    other.say(b"SUB in.1 1\r\n")
    other.pub(b"svc", b"", b"in.1")
    _, reply = world.asked(b)
    b.pub(reply, b"1", b"back")
    assert other.take().startswith(b"MSG in.1 1 _R_.")
    other.conn.close(1)
    b.pub(reply, b"2", b"back")
    assert b.take() == b""
    assert rig.kernel.publish(world.B, reply, b"", b"", b"3") == 0


def test_chains_keep_the_first_who_asked(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"b.>", b"a.>", export_id=1))
    world.imports(service(world.C, b"c.>", b"b.>", export_id=2, share=True), account=world.B)
    c = rig.client(account=world.C)
    c.say(b"SUB c.* 1\r\n")
    world.a.pub(b"a.x", b"q", b"_I.1")
    text, reply = world.asked(c)
    assert text.startswith(b"HMSG c.x 1 ")
    assert INFO.findall(text) == [b'{"acc":"A","svc":"B","rtt":1,"server":"here","cluster":"many"}']
    c.pub(reply, b"answer")
    assert world.a.take() == b"MSG _I.1 9 6\r\nanswer\r\n"
    for account in (world.A, world.B, world.C):
        assert account.stats["replies"] == account.stats["waiting"] == 0


def test_cycles_end(world: World) -> None:
    """They are refused when they are configured; mappings can make some that nobody sees before."""
    world.imports(service(world.B, b"x", b"x"))
    world.imports(service(world.A, b"x", b"x"), account=world.B)
    world.a.pub(b"x", b"1", b"_I.1")
    assert b"503" in world.a.take()
    world.b.say(b"SUB x 1\r\n")
    world.a.pub(b"x", b"1", b"_I.1")
    assert world.b.take().count(b"HMSG") == 1


def test_a_long_chain_ends(rig: Rig) -> None:
    accounts = [rig.kernel.account(f"N{number}") for number in range(40)]
    for number, account in enumerate(accounts[:-1]):
        account.set_service_imports([service(accounts[number + 1], b"x", export_id=number + 1)])
    clients = [rig.client(account=account) for account in accounts]
    for client in clients[1:]:
        client.say(b"SUB x 1\r\n")
    clients[0].pub(b"x", b"1")
    assert [client.take().count(b"HMSG") for client in clients] == [0] + [1] * 16 + [0] * 23


def test_answers_that_ask_back(world: World) -> None:
    world.imports(service(world.B, b"svc", kind=STREAMED))
    world.b.say(b"SUB svc 1\r\nSUB back 2\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    world.b.pub(reply, b"and you?", b"back")
    text, further = world.asked(world.a)
    assert text == b"MSG _I.1 9 %b 8\r\nand you?\r\n" % further
    world.a.pub(further, b"fine")
    assert world.b.take() == b"MSG back 2 4\r\nfine\r\n"


def test_acknowledgements_keep_their_subject(world: World) -> None:
    world.imports(service(world.B, b"svc", kind=STREAMED))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    world.rig.kernel.publish(world.B, reply, b"$JS.ACK.S.C.1.1.1.1.0", b"", b"m")
    assert world.a.take() == b"MSG _I.1 9 $JS.ACK.S.C.1.1.1.1.0 1\r\nm\r\n"


def test_queue_groups_answer(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc"))
    other = rig.client(account=world.B)
    for peer in (world.b, other):
        peer.say(b"SUB svc workers 1\r\n")
    for number in range(40):
        world.a.pub(b"svc", b"", b"_I.%d" % number)
    counts = [peer.take().count(b"HMSG") for peer in (world.b, other)]
    assert sum(counts) == 40
    assert min(counts) > 5


def test_a_service_is_no_stream(world: World, rig: Rig) -> None:
    """What comes as a request is not exported again to those who import a stream."""
    world.imports(service(world.B, b"svc"))
    world.C.set_stream_imports([stream(world.B, b"svc")])
    c, link = rig.client(account=world.C), rig.leaf(account=world.C)
    c.say(b"SUB svc 1\r\nSUB svc q 2\r\n")
    link.say(b"LS+ svc\r\n")
    link.take()
    world.a.pub(b"svc", b"", b"_I.1")
    assert (c.take(), link.take()) == (b"", b"")
    world.b.pub(b"svc", b"x")
    assert sorted(c.take().split(b"MSG")) == [b"", b" svc 1 1\r\nx\r\n", b" svc 2 1\r\nx\r\n"]


def test_local_listeners_hear_the_request_as_well(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc"))
    other = rig.client(account=world.A)
    other.say(b"SUB svc 1\r\n")
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"x", b"_I.1")
    assert other.take() == b"MSG svc 1 _I.1 1\r\nx\r\n"
    assert world.asked()[1]


def test_links(world: World, rig: Rig) -> None:
    """A leaf of the importing account asks, one of the exporter answers."""
    world.imports(service(world.B, b"svc.>", b"b.>"))
    ours, theirs = rig.leaf(account=world.A), rig.leaf(account=world.B)
    assert set(ours.take().split(b"\r\n")) == {b"", b"LS+ _I.*", b"LS+ b.>"}
    theirs.say(b"LS+ svc.x\r\n")
    ours.say(b"LS+ in.1\r\nLMSG b.x in.1 1\r\n?\r\n")
    told = theirs.take()
    reply = REPLY.findall(told)[-1]
    assert told == b"LS+ %b.>\r\n" % reply[:10] + (
        b'HMSG svc.x %b 44 45\r\nNATS/1.0\r\nNats-Request-Info: {"acc":"A"}\r\n\r\n?\r\n' % reply
    )
    theirs.say(b"LMSG %b 1\r\n!\r\n" % reply)
    assert ours.take() == b"LMSG in.1 1\r\n!\r\n"


def test_groups_of_the_exporter_hear_links(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc"))
    link = rig.leaf(account=world.A)
    world.b.say(b"SUB svc workers 1\r\n")
    link.say(b"LMSG svc 1\r\n?\r\n")
    assert world.b.take().startswith(b"HMSG svc 1 44 45\r\n")


def test_imports_of_a_live_account(world: World, rig: Rig) -> None:
    link = rig.leaf(account=world.A)
    link.take()
    world.b.say(b"SUB > 1\r\n")
    world.imports(service(world.B, b"one"), service(world.B, b"two"))
    world.a.pub(b"one", b"", b"_I.1")
    _, reply = world.asked()
    world.imports(service(world.B, b"two", kind=STREAMED), service(world.B, b"three"))
    assert sorted(link.take().split(b"\r\n")) == [b"", b"LS+ one", b"LS+ three", b"LS+ two", b"LS- one"]
    world.b.pub(reply, b"late")
    assert world.a.take() == b"MSG _I.1 9 4\r\nlate\r\n", "who has asked gets the answer"
    world.b.take()
    world.a.pub(b"one", b"", b"_I.1")
    assert b"503" in world.a.take()
    world.a.pub(b"two", b"", b"_I.1")
    reply = world.asked()[1]
    for body in (b"1", b"2"):
        world.b.pub(reply, body)
    assert world.a.take().count(b"MSG") == 2
    with pytest.raises(ValueError, match="not a subject"):
        world.imports(service(world.B, b"a..b"))
    world.a.pub(b"three", b"", b"_I.1")
    assert world.a.take() == b""
    world.imports()
    assert world.A.stats["crossings"] == 0


def test_mappings_of_the_exporter(world: World) -> None:
    world.imports(service(world.B, b"svc.>"))
    world.B.set_mappings([mapping(b"svc.*", (b"mapped.$1", 100))])
    world.b.say(b"SUB mapped.* 1\r\n")
    for _ in range(3):
        world.a.pub(b"svc.x", b"", b"_I.1")
        assert world.asked()[0].startswith(b"HMSG mapped.x 1 _R_.")


def test_a_request_without_a_subject_there(world: World) -> None:
    world.imports(service(world.B, b"svc.>"))
    world.B.set_mappings([Mapping(b"svc.*", [Destination(steps(b"svc.*", b"x.$1"), 0)])])
    world.b.say(b"SUB > 1\r\n")
    world.a.pub(b"svc.x", b"", b"_I.1")
    assert b"503" in world.a.take()
    assert world.B.stats["replies"] == 0


# --- latency ------------------------------------------------------------------------------------------


def test_a_measured_request(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc", sampling=100, export_id=5))
    world.b.say(b"SUB svc 1\r\n")
    world.a.pub(b"svc", b"", b"_I.1")
    _, reply = world.asked()
    assert reply.endswith(b".phloem01.T")
    start, rig.now = rig.now, rig.now + 3 * MS
    rig.kernel.set_now(rig.now)
    world.b.pub(reply, b"x")
    assert rig.events.served == [
        {
            "export_id": 5,
            "status": 200,
            "share": False,
            "requester": world.a.conn.cid,
            "responder": world.b.conn.cid,
            "start_ns": start,
            "end_ns": rig.now,
            "header": b"",
        }
    ]


@pytest.mark.parametrize(
    ("status", "why"), [(400, "no reply"), (408, "gone"), (503, "nobody"), (504, "late")]
)
def test_measured_requests_that_fail(world: World, rig: Rig, status: int, why: str) -> None:
    world.imports(service(world.B, b"svc", sampling=100, export_id=5, threshold_ns=SECOND))
    if why != "nobody":
        world.b.say(b"SUB svc 1\r\n")
    other = rig.client(account=world.A)
    other.say(b"SUB in 1\r\n")
    other.pub(b"svc", b"", b"" if why == "no reply" else b"in")
    if why == "gone":
        other.conn.close(1)
    if why == "late":
        rig.sweep(SECOND)
    [served] = rig.events.served
    assert (served["status"], served["requester"], served["responder"]) == (status, other.conn.cid, 0)


@pytest.mark.parametrize(
    ("headers", "measured"),
    [
        (b"", False),
        (b"Other: 1\r\n", False),
        (b"uber-trace-id: a:b:c:1\r\n", True),
        (b"Uber-Trace-Id: a:b:c:0f\r\n", True),
        (b"Uber-Trace-Id: a:b:c:2\r\nTraceparent: 00-a-b-01\r\n", False),
        (b"Uber-Trace-Id: a:b:c:123\r\n", False),
        (b"Uber-Trace-Id: a:b:c:g1\r\n", False),
        (b"Uber-Trace-Id: a:b:1\r\n", False),
        (b"X-B3-Sampled: 1\r\n", True),
        (b"X-B3-Sampled: 0\r\nX-B3-TraceId: a\r\n", False),
        (b"X-B3-Sampled: d\r\nX-B3-TraceId: a\r\n", True),
        (b"X-B3-TraceId: a\r\n", True),
        (b"B3: a-b-1-c\r\n", True),
        (b"b3:  0 \r\n", False),
        (b"B3: a-b-0-c\r\n", False),
        (b"B3: a-b\r\n", True),
        (b"Traceparent: 00-a-b-01\r\n", True),
        (b"Traceparent: 00-a-b-00\r\n", False),
        (b"Traceparent: 00-a-b-81\r\n", False),
        (b"Traceparent: 00-a-b-1\r\n", False),
        (b"XTraceparent: 00-a-b-01\r\n", False),
    ],
)
def test_headers_that_ask_for_it(world: World, rig: Rig, headers: bytes, measured: bool) -> None:
    world.imports(service(world.B, b"svc", sampling=0))
    world.b.say(b"SUB svc 1\r\n")
    block = b"NATS/1.0\r\n" + headers + b"\r\n"
    world.a.say(b"HPUB svc _I.1 %d %d\r\n%b\r\n" % (len(block), len(block), block))
    _, reply = world.asked()
    assert reply.endswith(b".T") == measured
    world.b.pub(reply, b"x")
    assert [served["header"] for served in rig.events.served] == ([block] if measured else [])


def test_some_are_measured(world: World, rig: Rig) -> None:
    world.imports(service(world.B, b"svc", sampling=30))
    world.b.say(b"SUB svc 1\r\n")
    for _ in range(500):
        world.a.pub(b"svc", b"", b"_I.1")
        world.b.pub(world.asked()[1], b"x")
    assert 100 < len(rig.events.served) < 210
