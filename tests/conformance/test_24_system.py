"""Requests to the system account, and what other accounts may ask (security_ops 4.5)."""

import gzip
import json

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rows import each
from tests.support.system import SERVER, system_client

from phloem.shared.wire.s2 import Decoder

ACCOUNT = "$SYS.REQ.ACCOUNT"
CONFIG = """server_name: ONE
server_tags: ["a:b", "C"]
jetstream { store_dir: "@FOLDER@/js", domain: hub }
accounts {
  "$SYS" { users: [ { user: sys, password: p } ] }
  A { jetstream: enabled, users: [ { user: a, password: p }, { user: r, password: p, permissions: {
    publish: { allow: ["x.>", "$SYS.>"], deny: x.y }, subscribe: [ "_R.*", "q w" ], allow_responses: true } } ] }
  B { users: [ { user: b, password: p } ] }
}
"""
PAGES = (
    *("VARZ", "SUBSZ", "CONNZ", "ROUTEZ", "GATEWAYZ", "LEAFZ", "ACCOUNTZ", "JSZ"),
    *("HEALTHZ", "PROFILEZ", "EXPVARZ", "IPQUEUESZ", "RAFTZ"),
)


@pytest.fixture
def server(broker: Brokers) -> Broker:
    return broker.shared(CONFIG)


@each("who", ["PING", "<id>"])
@each("name", PAGES)
async def test_a_page_is_answered(server: Broker, name: str, who: str) -> None:
    async with await system_client(server) as sys:
        server_id = await sys.server_id()
        subject = f"{SERVER}.{who.replace('<id>', server_id)}.{name}"
        answer = await sys.ask(subject)
        again = await sys.ask(subject, b"{}")
        assert list(answer) == list(again) == ["server", "data"]
        info = answer["server"]
        assert (info["name"], info["host"], info["id"]) == ("ONE", "127.0.0.1", server_id)
        assert (info["domain"], info["ver"], info["tags"]) == ("hub", "2.15.1", ["a:b", "c"])
        assert info["jetstream"] is True
        assert info["flags"] & 1
        assert again["server"]["seq"] > info["seq"]
        assert again["server"]["time"] > info["time"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"server_name":"XX"}', b'{"tags":["none"]}'])
async def test_idz_answers_whatever_is_asked(server: Broker, body: bytes) -> None:
    async with await system_client(server) as sys:
        answer = await sys.ask(f"{SERVER}.PING.IDZ", body)
        assert list(answer) == ["name", "host", "id"]
        assert (answer["name"], answer["host"]) == ("ONE", "127.0.0.1")
        assert await sys.ask(f"{SERVER}.{answer['id']}.IDZ", body) == answer


@pytest.mark.parametrize("subject", ["PING", "PING.STATSZ", "<id>.STATSZ"])
async def test_statsz(server: Broker, subject: str) -> None:
    async with await system_client(server) as sys:
        answer = await sys.ask(f"{SERVER}.{subject.replace('<id>', await sys.server_id())}")
        assert list(answer) == ["server", "statsz"]
        figures = answer["statsz"]
        assert figures["connections"] >= 1
        assert figures["active_accounts"] >= 1
        assert figures["active_servers"] == 1
        assert figures["received"]["msgs"] >= 1
        assert "store_dir" not in figures["jetstream"]["config"]


async def test_without_a_reply_subject_statsz_goes_to_everybody(server: Broker) -> None:
    async with await system_client(server) as sys:
        events = sys.subscribe(f"$SYS.SERVER.{await sys.server_id()}.STATSZ")
        sys.send(f"{SERVER}.PING.STATSZ")
        assert list(await events.json()) == ["server", "statsz"]


@each("name", ["STATSZ", "CONNZ", "HEALTHZ"])
@each("who", ["PING", "<id>"])
@each(
    ("body", "meant"),
    [
        ('{"server_name":"ONE"}', True),
        ('{"server_name":"N"}', True),
        ('{"server_name":"n"}', False),
        ('{"server_name":"N","exact_match":true}', False),
        ('{"server_name":"ONE","exact_match":true}', True),
        ('{"host":"127"}', True),
        ('{"host":"127","exact_match":true}', False),
        ('{"cluster":"x"}', False),
        ('{"cluster":""}', True),
        ('{"domain":"hub"}', True),
        ('{"domain":"hu"}', False),
        ('{"tags":["c"]}', True),
        ('{"tags":["C","A:B"]}', True),
        ('{"tags":["a:b","z"]}', False),
        ('{"TAGS":["z"]}', False),
        ('{"tags":[]}', True),
        ('{"server_name":null}', True),
        ('{"unknown":["x"]}', True),
        ("null", True),
    ],
)
async def test_filters(server: Broker, name: str, who: str, body: str, meant: bool) -> None:
    async with await system_client(server) as sys:
        subject = f"{SERVER}.{who.replace('<id>', await sys.server_id())}.{name}"
        if meant:
            assert "error" not in await sys.ask(subject, body.encode())
        else:
            await sys.silent(subject, body.encode())


@each(
    ("name", "body", "text"),
    [
        ("CONNZ", "{", "unexpected end of JSON input"),
        ("CONNZ", " ", "unexpected end of JSON input"),
        ("CONNZ", "x", "invalid character 'x' looking for beginning of value"),
        ("CONNZ", '{"a":1}}', "invalid character '}' after top-level value"),
        ("CONNZ", '{"a" 1}', "invalid character '1' after object key"),
        ("CONNZ", "{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("VARZ", "[]", "json: cannot unmarshal array into Go value of type server.VarzEventOptions"),
        ("JSZ", "true", "json: cannot unmarshal bool into Go value of type server.JszEventOptions"),
        (
            "STATSZ",
            '{"server_name":1}',
            "json: cannot unmarshal number into Go struct field StatszEventOptions.server_name of type string",
        ),
        (
            "LEAFZ",
            '{"tags":"x"}',
            "json: cannot unmarshal string into Go struct field LeafzEventOptions.tags of type []string",
        ),
        (
            "LEAFZ",
            '{"tags":["x",1]}',
            "json: cannot unmarshal number into LeafzEventOptions.tags.1 of type string",
        ),
        (
            "CONNZ",
            '{"limit":1.5,"auth":3}',
            "json: cannot unmarshal number 1.5 into Go struct field ConnzEventOptions.limit of type int",
        ),
        (
            "CONNZ",
            '{"cid":-1}',
            "json: cannot unmarshal number -1 into Go struct field ConnzEventOptions.cid of type uint64",
        ),
        (
            "CONNZ",
            '{"state":"x"}',
            "json: cannot unmarshal string into Go struct field ConnzEventOptions.state of type server.ConnState",
        ),
        (
            "CONNZ",
            '{"sort":1}',
            "json: cannot unmarshal number into Go struct field ConnzEventOptions.sort of type server.SortOpt",
        ),
        (
            "PROFILEZ",
            '{"duration":"x"}',
            "json: cannot unmarshal string into Go struct field ProfilezEventOptions.duration of type time.Duration",
        ),
        (
            "HEALTHZ",
            '{"js-enabled-only":0}',
            "json: cannot unmarshal number into Go struct field HealthzEventOptions.js-enabled-only of type bool",
        ),
    ],
)
async def test_options_that_cannot_be_read(server: Broker, name: str, body: str, text: str) -> None:
    async with await system_client(server) as sys:
        assert await sys.refused(f"{SERVER}.PING.{name}", body.encode()) == (400, text, False)


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("CONNZ", {"sort": "bogus"}, "invalid sorting option: bogus"),
        ("CONNZ", {"sort": "stop"}, "sort by stop only valid on closed connections"),
        ("CONNZ", {"filter_subject": "x"}, "filter by subject only valid with account filtering"),
        ("SUBSZ", {"test": "foo.*"}, "invalid test subject, must be valid publish subject: foo.*"),
        ("ACCOUNTZ", {"account": "ZZ"}, "Account ZZ does not exist"),
    ],
)
async def test_pages_that_cannot_be_made(server: Broker, name: str, body: object, text: str) -> None:
    async with await system_client(server) as sys:
        assert await sys.refused(f"{SERVER}.PING.{name}", body) == (500, text, True)


@pytest.mark.parametrize("subject", ["PING.NOPE", "NOPE", "<id>.PING", "<id>", "NABC.VARZ"])
async def test_what_nobody_serves(server: Broker, subject: str) -> None:
    async with await system_client(server) as sys:
        answer = await sys.answer(f"{SERVER}.{subject.replace('<id>', await sys.server_id())}")
        assert answer.status == "503"


async def test_options_of_connz(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "b", name="one") as b:
        b.subscribe("foo.*")
        await b.ping()

        async def names(**options: object) -> list[str]:
            page = await sys.data(f"{SERVER}.PING.CONNZ", {"acc": "B", **options})
            return [connection.get("name", "") for connection in page["connections"]]

        assert await names() == ["one"]
        assert await names(filter_subject="foo.x") == ["one"]
        assert await names(filter_subject="foo.>") == ["one"]
        assert await names(filter_subject="bar") == []
        assert await names(user="a") == []
        assert await names(mqtt_client="x") == []
        assert await names(state=7) == []
        assert await names(offset=1) == []
        assert await names(sort="subs", state=2, limit=1) == ["one"]
        page = await sys.data(
            f"{SERVER}.PING.CONNZ", {"acc": "B", "auth": True, "subscriptions_detail": True}
        )
        (connection,) = page["connections"]
        assert (connection["authorized_user"], connection["account"]) == ("b", "B")
        assert "foo.*" in {sub["subject"] for sub in connection["subscriptions_list_detail"]}
        cid = connection["cid"]
        page = await sys.data(f"{SERVER}.PING.CONNZ", {"cid": cid, "subscriptions": True})
        assert (page["limit"], page["num_connections"]) == (1, 1)
        assert "foo.*" in page["connections"][0]["subscriptions_list"]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, {"status": "ok", "status_code": 200}),
        ({"js-enabled-only": True}, {"status": "ok", "status_code": 200}),
        (
            {"stream": "S"},
            {
                "status": "error",
                "status_code": 400,
                "error": '"account" must not be empty when checking stream health',
            },
        ),
        (
            {"account": "ZZ"},
            {"status": "unavailable", "status_code": 404, "error": 'JetStream account "ZZ" not found'},
        ),
        (
            {"account": "ZZ", "details": True},
            {
                "status": "error",
                "status_code": 404,
                "errors": [{"type": "ACCOUNT", "account": "ZZ", "error": 'JetStream account "ZZ" not found'}],
            },
        ),
    ],
)
async def test_healthz(server: Broker, body: object, answer: object) -> None:
    async with await system_client(server) as sys:
        assert await sys.data(f"{SERVER}.PING.HEALTHZ", body) == answer


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Profile name not specified"),
        ({"name": "x\n"}, 'Profile "x\\n" not found'),
        ({"name": "cpu"}, "Duration 0s should be between 0s and 15s"),
        ({"name": "cpu", "duration": 99_000_000_000}, "Duration 1m39s should be between 0s and 15s"),
    ],
)
async def test_profilez(server: Broker, body: object, error: str) -> None:
    async with await system_client(server) as sys:
        assert await sys.data(f"{SERVER}.PING.PROFILEZ", body) == {"profile": None, "error": error}


@pytest.mark.parametrize(
    ("wish", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("snappy", "snappy"),
        ("s2", "snappy"),
        ("gzip, snappy", "snappy"),
        ("br", "identity"),
        ("identity", "identity"),
    ],
)
async def test_an_answer_is_packed(server: Broker, wish: str, encoding: str) -> None:
    async with await system_client(server) as sys:
        answer = await sys.answer(f"{SERVER}.PING.VARZ", None, {"Accept-Encoding": wish})
        assert answer.headers == {"Content-Encoding": encoding}
        body = answer.payload
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "snappy":
            decoder = Decoder()
            decoder.feed(body)
            body = decoder.block()
            assert answer.payload[4:10] == b"sNaPpY"
        assert json.loads(body)["data"]["server_name"] == "ONE"


@pytest.mark.parametrize("subject", ["PING.IDZ", "PING.STATSZ"])
async def test_some_answers_are_never_packed(server: Broker, subject: str) -> None:
    async with await system_client(server) as sys:
        assert (await sys.answer(f"{SERVER}.{subject}", None, {"Accept-Encoding": "gzip"})).head == b""
        refusal = await sys.answer(f"{SERVER}.PING.CONNZ", b"{", {"Accept-Encoding": "gzip"})
        assert refusal.head == b""


# --- pages about an account ---------------------------------------------------------------------------


async def test_pages_of_an_account(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "b", name="one"):
        page = await sys.data(f"{ACCOUNT}.B.CONNZ", {"acc": "$SYS"})
        assert [connection["name"] for connection in page["connections"]] == ["one"]
        assert (await sys.data(f"{ACCOUNT}.B.LEAFZ"))["leafs"] == []
        page = await sys.data(f"{ACCOUNT}.B.SUBSZ", {"test": "_R.1"})
        assert [sub["subject"] for sub in page["subscriptions_list"]] == ["_R.*"]
        info = await sys.data(f"{ACCOUNT}.B.INFO")
        assert (info["account_name"], info["client_connections"], info["jetstream_enabled"]) == (
            "B",
            1,
            False,
        )
        assert (await sys.data(f"{ACCOUNT}.$SYS.INFO"))["is_system"] is True
        (stat,) = (await sys.data(f"{ACCOUNT}.B.STATZ", {"accounts": ["$SYS"]}))["account_statz"]
        assert (stat["acc"], stat["conns"], stat["total_conns"]) == ("B", 1, 1)
        assert (await sys.data(f"{ACCOUNT}.A.JSZ"))["name"] == "A"
        event = await sys.ask(f"{ACCOUNT}.B.CONNS")
        assert event["type"] == "io.nats.server.advisory.v1.account_connections"
        assert list(event)[:4] == ["type", "id", "timestamp", "server"]
        assert (event["acc"], event["conns"]) == ("B", 1)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("ZZ.INFO", "Account ZZ does not exist"),
        ("ZZ.JSZ", 'account "ZZ" not found'),
        ("B.JSZ", 'account "B" not jetstream enabled'),
        ("$SYS.JSZ", 'account "$SYS" not jetstream enabled'),
        ("PING.INFO", "Account PING does not exist"),
    ],
)
async def test_pages_of_no_such_account(server: Broker, subject: str, text: str) -> None:
    async with await system_client(server) as sys:
        assert await sys.refused(f"{ACCOUNT}.{subject}") == (500, text, True)


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("ZZ.STATZ", b""),
        ("ZZ.CONNS", b""),
        ("$G.STATZ", b""),
        ("$G.CONNS", b""),
        ("PING.STATZ", b'{"accounts":["ZZ"]}'),
        ("A.STATZ", b'{"server_name":"XX"}'),
    ],
)
async def test_what_is_not_told_of_accounts(server: Broker, subject: str, body: bytes) -> None:
    async with await system_client(server) as sys:
        await sys.silent(f"{ACCOUNT}.{subject}", body)


async def test_statz_of_several_accounts(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "a"):

        async def named(body: object = None) -> set[str]:
            page = await sys.data(f"{ACCOUNT}.PING.STATZ", body)
            return {stat["acc"] for stat in page["account_statz"]}

        assert {"A", "$SYS"} <= await named()
        assert await named({"accounts": ["A", "ZZ"]}) == {"A"}
        assert await named({"include_unused": True}) == {"A", "B", "$G", "$SYS"}
        assert await named({"accounts": ["ZZ"], "include_unused": True}) == set()


# --- what other accounts may ask -----------------------------------------------------------------------


@pytest.mark.parametrize("subject", [f"{ACCOUNT}.PING.CONNZ", f"{SERVER}.PING.CONNZ"])
async def test_an_account_sees_its_own_connections(server: Broker, subject: str) -> None:
    async with await system_client(server) as sys, await system_client(server, "b", name="one") as b:
        await sys.ping()
        options = {"acc": "$SYS", "auth": True, "subscriptions": True, "state": 0}
        for body in (None, options, {"acc": "A"}, {"user": "b"}):
            page = await b.data(subject, body)
            assert [connection["name"] for connection in page["connections"]] == ["one"]
        assert (await b.data(subject, {"cid": 1}))["connections"] == []
        assert await b.refused(subject, b"{") == (400, "unexpected end of JSON input", False)


async def test_an_account_sees_its_own_figures(server: Broker) -> None:
    async with await system_client(server, "b") as b:
        for body in (None, {"accounts": ["$SYS", "A"], "include_unused": True}):
            page = await b.data(f"{ACCOUNT}.PING.STATZ", body)
            assert [stat["acc"] for stat in page["account_statz"]] == ["B"]


@pytest.mark.parametrize(
    ("user", "account", "permissions"),
    [
        ("sys", "$SYS", None),
        ("a", "A", None),
        (
            "r",
            "A",
            {
                "publish": {"allow": ["$SYS.>", "x.>"], "deny": ["x.y"]},
                "subscribe": {"allow": ["_R.*", "q w"]},
                "responses": {"max": 1, "ttl": 120_000_000_000},
            },
        ),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{"])
async def test_user_info(server: Broker, user: str, account: str, permissions: object, body: bytes) -> None:
    async with await system_client(server, user) as client:
        data = await client.data("$SYS.REQ.USER.INFO", body)
        shown = data.pop("permissions", None)
        for lists in (shown or {}).values():
            if "allow" in lists:
                lists["allow"].sort()
        assert data == {"user": user, "account": account, "account_name": account}
        assert shown == permissions


async def test_user_info_of_somebody_else(server: Broker) -> None:
    async with await system_client(server) as sys:
        assert await sys.data("$SYS.REQ.USER.A.INFO") == {"user": "", "account": ""}


@pytest.mark.parametrize(
    "subject",
    [
        f"{SERVER}.PING",
        f"{SERVER}.PING.VARZ",
        f"{ACCOUNT}.A.CONNZ",
        f"{ACCOUNT}.B.CONNZ",
        f"{ACCOUNT}.PING.JSZ",
        f"{ACCOUNT}.NSUBS",
        "$SYS.DEBUG.SUBSCRIBERS",
        "$SYS.REQ.USER.A.INFO",
    ],
)
async def test_what_an_account_may_not_ask(server: Broker, subject: str) -> None:
    async with await system_client(server, "a") as a:
        assert (await a.answer(subject)).status == "503"


# --- counting subscriptions ----------------------------------------------------------------------------


async def test_subscribers_of_an_account(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "b") as b:
        for subject, queue in (("foo", ""), ("foo.*", "q"), ("foo.*", "q"), ("foo.x", "r")):
            b.subscribe(subject, queue)
        await b.ping()
        for body, count in (
            ({"subject": "foo"}, 1),
            ({"subject": "foo.x"}, 3),
            ({"subject": "foo.x", "queue": "cQ=="}, 2),
            ({"subject": "foo.>"}, 3),
            ({"subject": "foo.*", "queue": "cg=="}, 1),
            ({"subject": "none"}, 0),
        ):
            answer = await sys.answer(f"{ACCOUNT}.NSUBS", {"acc": "B", **body})
            assert (body, answer.payload) == (body, b"%d" % count)


@pytest.mark.parametrize(
    "body", [b"", b"x", b'{"acc":"ZZ","subject":"foo"}', b'{"acc":"$G","subject":"foo"}', b'{"acc":1}']
)
async def test_subscribers_that_are_not_counted(server: Broker, body: bytes) -> None:
    async with await system_client(server) as sys:
        await sys.silent(f"{ACCOUNT}.NSUBS", body)


async def test_subscribers_of_the_system_account(server: Broker) -> None:
    async with await system_client(server) as sys:
        sys.subscribe("dbg.x")
        sys.subscribe("dbg.*", "q")
        for body, count in ((b"dbg.x", 2), (b"dbg.x q", 1), (b" dbg.> ", 2), (b"", 0), (b"none", 0)):
            assert (await sys.answer("$SYS.DEBUG.SUBSCRIBERS", body)).payload == b"%d" % count


# --- what changes something ----------------------------------------------------------------------------


async def test_kick(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "b") as b:
        subject = f"{SERVER}.{await sys.server_id()}.KICK"
        page = await sys.data(f"{ACCOUNT}.B.CONNZ")
        assert list(await sys.ask(subject, {"cid": page["connections"][0]["cid"]})) == ["server"]
        await b.raw.expect_close()
        closed = await sys.data(f"{ACCOUNT}.B.CONNZ", {"state": 1, "sort": "stop"})
        assert closed["connections"][0]["reason"] == "Kicked"
        assert await sys.refused(subject, {"cid": 999_999}) == (500, "no such client or leafnode id", False)
        for body in (b"", b"{", b'{"cid":"x"}', b'{"cid":1,"server_name":"XX"}'):
            await sys.silent(subject, body)


async def test_lame_duck_of_one_client(server: Broker) -> None:
    async with await system_client(server) as sys:
        subject = f"{SERVER}.{await sys.server_id()}.LDM"
        async with await server.client('{"user":"b","pass":"p","protocol":1,"verbose":false}') as new:
            await new.expect_info()
            page = await sys.data(f"{ACCOUNT}.B.CONNZ", {"sort": "start"})
            cid = page["connections"][-1]["cid"]
            assert list(await sys.ask(subject, {"cid": cid})) == ["server"]
            assert (await new.expect_info())["ldm"] is True
        assert await sys.refused(subject, {"cid": 999_999}) == (500, "no such client id", False)
        for body in (b"", b"{", b'{"cid":"x"}'):
            await sys.silent(subject, body)


async def test_lame_duck_of_a_client_that_does_not_know_it(server: Broker) -> None:
    async with await system_client(server) as sys, await system_client(server, "b", protocol=0):
        subject = f"{SERVER}.{await sys.server_id()}.LDM"
        page = await sys.data(f"{ACCOUNT}.B.CONNZ", {"sort": "start"})
        text = "client does not support Lame Duck Mode or is not ready to receive the notification"
        cid = page["connections"][-1]["cid"]
        assert await sys.refused(subject, {"cid": cid}) == (500, text, False)


async def test_reload(broker: Brokers) -> None:
    before = CONFIG.replace("@FOLDER@/js", "@FOLDER@/js1")
    own = broker.own(before + "max_payload: 1000\n")
    async with await system_client(own) as sys:
        subject = f"{SERVER}.{await sys.server_id()}.RELOAD"
        own.process.configure(before + "max_payload: 2000\n")
        await sys.silent(subject, b'{"server_name":"XX"}')
        assert (await sys.data(f"{SERVER}.PING.VARZ"))["max_payload"] == 1000
        assert list(await sys.ask(subject)) == ["server"]
        assert (await sys.data(f"{SERVER}.PING.VARZ"))["max_payload"] == 2000
        own.process.configure(before + "nonsense: 2000\n")
        code, text, data = await sys.refused(subject)
        assert (code, data) == (500, False)
        assert 'unknown field "nonsense"' in text
        assert await sys.refused(subject, b"{") == (400, "unexpected end of JSON input", False)
