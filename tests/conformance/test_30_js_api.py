"""The rules that every request of the JetStream API is under (jetstream.md 1.0, 1.1)."""

import json

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import TYPE, JsClient, JsWorld, error_of, js_server, js_world
from tests.support.rows import each

NO_STREAM = (404, 10059, "stream not found")
NO_CONSUMER = (404, 10014, "consumer not found")
BAD = (400, 10003, "bad request")
BODY = (400, 10038, "expected an empty request payload")
LEVEL = (412, 10185, "JetStream minimum api level required")
CLUSTER = (503, 10010, "JetStream clustering support required")


async def test_info_line(broker: Brokers, world: JsWorld) -> None:
    async with await world.broker.connect() as client:
        info = await client.expect_info()
    assert info["jetstream"] is True
    assert info["headers"] is True
    assert info["api_lvl"] == 5
    assert "domain" not in info


async def test_info_line_without_jetstream(broker: Brokers) -> None:
    async with await broker.shared().connect() as client:
        info = await client.expect_info()
    assert "jetstream" not in info
    assert info["api_lvl"] == 5


async def test_server_without_jetstream_has_no_responders(broker: Brokers) -> None:
    async with js_server(broker.shared()) as js:
        answer = await js.request("$JS.API.INFO")
    assert answer.head == b"NATS/1.0 503\r\nNats-Subject: $JS.API.INFO\r\n\r\n"


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("INFO", "account_info"),
        ("STREAM.NAMES", "stream_names"),
        ("STREAM.LIST", "stream_list"),
        ("STREAM.INFO.S", "stream_info"),
        ("STREAM.DELETE.S", "stream_delete"),
        ("CONSUMER.NAMES.S", "consumer_names"),
        ("CONSUMER.INFO.S.C", "consumer_info"),
    ],
)
async def test_account_without_jetstream(world: JsWorld, what: str, answer: str) -> None:
    async with js_server(world.broker, "none") as js:
        refusal = await js.api(what)
    assert refusal["type"] == f"{TYPE}{answer}_response"
    assert error_of(refusal) == (503, 10039, "JetStream not enabled for account")


@pytest.mark.parametrize(
    "what",
    [
        "BOGUS",
        "STREAM.BOGUS",
        "STREAM.BOGUS.S",
        "STREAM.TEMPLATE.NAMES",
        "STREAM.TEMPLATE.CREATE.T",
        "STREAM.INFO",
        "STREAM.INFO.S.more",
        "CONSUMER.RESET.S.C",
        "META.LEADER.STEPDOWN",
        "ACCOUNT.PURGE.J0",
        "SERVER.REMOVE",
    ],
)
async def test_silence(js: JsClient, what: str) -> None:
    inbox = js.inbox()
    js.send(f"$JS.API.{what}", reply=inbox.subject)
    await inbox.silence()


@pytest.mark.parametrize("what", ["CONSUMER.MSG.NEXT.S.C", "DIRECT.GET.S", "DIRECT.GET.S.a.b"])
async def test_no_responders(js: JsClient, what: str) -> None:
    answer = await js.request(f"$JS.API.{what}")
    assert answer.head == f"NATS/1.0 503\r\nNats-Subject: $JS.API.{what}\r\n\r\n".encode()
    assert answer.payload == b""


async def test_without_reply_is_done_unanswered(js: JsClient) -> None:
    js.send("$JS.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s.>"]}')
    await js.until(lambda: js.seqs_or_none("S"), (0, 0, 0))
    js.send("$JS.API.STREAM.DELETE.S")
    await js.until(lambda: js.seqs_or_none("S"), None)


STREAM_REQUESTS = {
    "STREAM.INFO": ("stream_info", {"total": 0, "offset": 0, "limit": 0}, NO_STREAM),
    "STREAM.DELETE": ("stream_delete", {}, NO_STREAM),
    "STREAM.PURGE": ("stream_purge", {"purged": 0}, NO_STREAM),
    "STREAM.MSG.GET": ("stream_msg_get", {}, BAD),
    "STREAM.MSG.DELETE": ("stream_msg_delete", {}, BAD),
    "STREAM.SNAPSHOT": ("stream_snapshot", {}, BAD),
    "STREAM.RESTORE": ("stream_restore", {"deliver_subject": ""}, BAD),
    "STREAM.PEER.REMOVE": ("stream_remove_peer", {}, CLUSTER),
    "STREAM.PEER.EVACUATE": ("stream_evacuate_peer", {}, CLUSTER),
    "STREAM.CANCEL_MOVE": ("stream_cancel_move", {}, CLUSTER),
    "STREAM.LEADER.STEPDOWN": ("stream_leader_stepdown", {}, CLUSTER),
    "CONSUMER.NAMES": ("consumer_names", {"total": 0, "offset": 0, "limit": 0, "consumers": []}, NO_STREAM),
    "CONSUMER.LIST": ("consumer_list", {"total": 0, "offset": 0, "limit": 0, "consumers": []}, NO_STREAM),
}


@each("what", STREAM_REQUESTS)
async def test_refusal_has_type_error_and_the_fixed_keys(js: JsClient, what: str) -> None:
    name, rest, error = STREAM_REQUESTS[what]
    answer = await js.api(f"{what}.S")
    assert answer.pop("type") == f"{TYPE}{name}_response"
    assert error_of(answer) == error
    del answer["error"]
    assert answer == rest


CONSUMER_REQUESTS = {
    "CONSUMER.INFO": ("consumer_info", {}),
    "CONSUMER.DELETE": ("consumer_delete", {}),
    "CONSUMER.PAUSE": ("consumer_pause", {"paused": False, "pause_until": "0001-01-01T00:00:00Z"}),
}


@pytest.mark.parametrize("what", CONSUMER_REQUESTS)
async def test_consumer_refusals(js: JsClient, what: str) -> None:
    name, rest = CONSUMER_REQUESTS[what]
    answer = await js.api(f"{what}.S.C")
    assert error_of(answer) == NO_STREAM
    await js.stream()
    answer = await js.api(f"{what}.S.C")
    assert answer.pop("type") == f"{TYPE}{name}_response"
    assert error_of(answer) == NO_CONSUMER
    del answer["error"]
    assert answer == rest


@pytest.mark.parametrize("body", ["", "{}", " {} ", "{ }"])
@pytest.mark.parametrize("what", ["STREAM.DELETE.S", "CONSUMER.INFO.S.C", "CONSUMER.DELETE.S.C"])
async def test_an_empty_body_or_object_is_no_body(js: JsClient, what: str, body: str) -> None:
    await js.stream()
    await js.consumer()
    await js.good(what, body.encode())


@pytest.mark.parametrize("body", ["x", '{"a":1}', "[]"])
@pytest.mark.parametrize("what", ["STREAM.DELETE.S", "CONSUMER.INFO.S.C", "CONSUMER.DELETE.S.C"])
async def test_a_body_where_none_belongs(js: JsClient, what: str, body: str) -> None:
    await js.stream()
    await js.consumer()
    assert await js.refused(what, body.encode()) == BODY


@pytest.mark.parametrize("what", ["STREAM.NAMES", "STREAM.LIST", "INFO", "STREAM.INFO.S", "STREAM.PURGE.S"])
async def test_an_optional_body_that_is_no_json_is_ignored(js: JsClient, what: str) -> None:
    await js.stream()
    await js.good(what, b"junk")


BAD_JSON = [
    ("STREAM.CREATE.S", '{"name":"S","bogus":1}', 'json: unknown field "bogus"'),
    ("STREAM.CREATE.S", '{"name":"S","retention":"xx"}', r'can not unmarshal "\"xx\""'),
    ("STREAM.CREATE.S", '{"name":"S","discard":"xx"}', r'can not unmarshal "\"xx\""'),
    ("STREAM.CREATE.S", '{"name":"S","storage":"xx"}', r'can not unmarshal "\"xx\""'),
    ("STREAM.CREATE.S", '{"name":"S","compression":"xx"}', "unknown compression algorithm"),
    (
        "STREAM.CREATE.S",
        '{"name":"S","max_msgs":"1"}',
        "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_msgs of type int64",
    ),
    ("CONSUMER.CREATE.S", '{"stream_name":"S","config":{},"action":"zz"}', 'unknown consumer action: "zz"'),
    ("CONSUMER.CREATE.S", '{"stream_name":"S","bogus":1}', 'json: unknown field "bogus"'),
    ("CONSUMER.CREATE.S", '{"stream_name":"S","config":{"bogus":1}}', 'json: unknown field "bogus"'),
    (
        "CONSUMER.CREATE.S",
        '{"stream_name":"S","config":{"priority_policy":"zz"}}',
        'unknown priority policy: "zz"',
    ),
    ("CONSUMER.CREATE.S", '{"stream_name":"S","config":{"ack_policy":"zz"}}', r'can not unmarshal "\"zz\""'),
    ("STREAM.NAMES", '{"bogus":1}', 'json: unknown field "bogus"'),
    ("STREAM.PURGE.S", '{"bogus":1}', 'json: unknown field "bogus"'),
    ("STREAM.MSG.GET.S", '{"bogus":1}', 'json: unknown field "bogus"'),
    ("STREAM.MSG.DELETE.S", '{"bogus":1}', 'json: unknown field "bogus"'),
    ("STREAM.INFO.S", '{"bogus":1}', 'json: unknown field "bogus"'),
]


@each(("what", "body", "cause"), BAD_JSON)
async def test_strict_json(js: JsClient, what: str, body: str, cause: str) -> None:
    await js.stream()
    assert await js.refused(what, body.encode()) == (400, 10025, f"invalid JSON: {cause}")


@pytest.mark.parametrize("body", ["{", "{bogus}", '{"name":', '{"name":"S"} x', "nonsense", "\xff"])
async def test_broken_json(js: JsClient, body: str) -> None:
    code, err_code, text = await js.refused("STREAM.CREATE.S", body.encode("latin-1"))
    assert (code, err_code) == (400, 10025)
    assert text.startswith("invalid JSON: ")


async def test_keys_in_any_case(js: JsClient) -> None:
    answer = await js.good("STREAM.CREATE.S", b'{"NAME":"S","Subjects":["s.>"],"Max_Msgs":7}')
    assert answer["config"]["subjects"] == ["s.>"]
    assert answer["config"]["max_msgs"] == 7


async def test_strictness_may_be_off(broker: Brokers) -> None:
    config = 'jetstream { store_dir: "@FOLDER@/js", strict: false }'
    async with js_server(broker.shared(config)) as js:
        answer = await js.good("STREAM.CREATE.LAX", {"name": "LAX", "bogus": 1})
        assert answer["config"]["name"] == "LAX"


@pytest.mark.parametrize("level", ["0", "5", "-3"])
async def test_required_level_that_is_there(js: JsClient, level: str) -> None:
    answer = await js.api("INFO", headers={"Nats-Required-Api-Level": level})
    assert "error" not in answer


@each("level", ["6", "x", "1.5", "99999999999999999999"])
@each("what", ["INFO", "STREAM.NAMES", "STREAM.CREATE.S", "CONSUMER.CREATE.S.C"])
async def test_required_level_too_high(js: JsClient, what: str, level: str) -> None:
    assert await js.refused(what, {}, headers={"Nats-Required-Api-Level": level}) == LEVEL


async def test_required_level_on_pulls_and_direct_gets(js: JsClient) -> None:
    await js.stream(allow_direct=True)
    await js.consumer()
    for what in ("CONSUMER.MSG.NEXT.S.C", "DIRECT.GET.S", "DIRECT.GET.S.s.a"):
        answer = await js.request(f"$JS.API.{what}", b"", {"Nats-Required-Api-Level": "6"})
        assert answer.head == b"NATS/1.0 412 Required Api Level\r\n\r\n", what


async def test_account_info_of_an_empty_account(js: JsClient) -> None:
    answer = await js.good("INFO")
    assert answer == {
        "type": f"{TYPE}account_info_response",
        "memory": 0,
        "storage": 0,
        "reserved_memory": 0,
        "reserved_storage": 0,
        "streams": 0,
        "consumers": 0,
        "limits": {
            "max_memory": -1,
            "max_storage": -1,
            "max_streams": -1,
            "max_consumers": -1,
            "max_ack_pending": -1,
            "memory_max_stream_bytes": -1,
            "storage_max_stream_bytes": -1,
            "max_bytes_required": False,
        },
        "api": {"level": 5, "total": 0, "errors": 0},
    }


async def test_requests_are_counted(js: JsClient) -> None:
    await js.good("INFO")
    await js.refused("STREAM.INFO.S")
    await js.stream()
    answer = await js.good("INFO")
    assert answer["api"] == {"level": 5, "total": 3, "errors": 1}


async def test_of_message_gets_only_the_refused_are_counted(js: JsClient) -> None:
    await js.stream(allow_direct=True)
    await js.consumer()
    await js.publish("s.a")
    await js.good("STREAM.MSG.GET.S", {"seq": 1})
    await js.request("$JS.API.DIRECT.GET.S", b'{"seq":9}')
    await js.fetch(1)
    assert (await js.good("INFO"))["api"] == {"level": 5, "total": 2, "errors": 0}
    await js.refused("STREAM.MSG.GET.S", {"seq": 9})
    await js.refused("STREAM.MSG.GET.S")
    assert (await js.good("INFO"))["api"] == {"level": 5, "total": 5, "errors": 2}


async def test_account_info_adds_up(js: JsClient) -> None:
    await js.stream("F", max_bytes=10_000)
    await js.stream("M", storage="memory", max_bytes=5_000)
    await js.consumer(stream="M")
    await js.publish("m.a", b"12345")
    await js.publish("f.abc", b"12345")
    answer = await js.good("INFO")
    assert (answer["streams"], answer["consumers"]) == (2, 1)
    assert (answer["reserved_memory"], answer["reserved_storage"]) == (5_000, 10_000)
    assert answer["memory"] == 3 + 5 + 16
    assert answer["storage"] == 22 + 5 + 5 + 8
    await js.good("STREAM.DELETE.F")
    answer = await js.good("INFO")
    assert (answer["streams"], answer["storage"], answer["reserved_storage"]) == (1, 0, 0)


async def test_answers_keep_to_their_account(broker: Brokers) -> None:
    one, other = js_world(broker), js_world(broker)
    first, second = await one.client(), await other.client()
    await first.stream("ONE")
    await second.stream("OTHER")
    for _ in range(20):  # both ask on inboxes of the same names
        assert (await first.good("STREAM.NAMES"))["streams"] == ["ONE"]
        assert (await second.good("STREAM.NAMES"))["streams"] == ["OTHER"]
        assert (await first.request("$JS.API.DIRECT.GET.NONE")).status == "503"
        assert (await second.request("$JS.API.DIRECT.GET.NONE")).status == "503"
    one.close()
    other.close()


DOMAIN = 'server_name: D\njetstream { store_dir: "@FOLDER@/js", domain: hub }'


async def test_domain(broker: Brokers) -> None:
    async with js_server(broker.shared(DOMAIN)) as js:
        assert (await js.request("$JS.hub.API.INFO")).json["domain"] == "hub"
        made = (await js.request("$JS.hub.API.STREAM.CREATE.S", b'{"name":"S","subjects":["s.>"]}')).json
        assert "error" not in made
        assert (await js.good("STREAM.INFO.S"))["domain"] == "hub"
        assert await js.publish("s.a") == {"stream": "S", "domain": "hub", "seq": 1}
        body = json.dumps({"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}})
        assert "error" not in (await js.request("$JS.hub.API.CONSUMER.CREATE.S.C", body.encode())).json
        inbox = js.inbox()
        js.send("$JS.hub.API.CONSUMER.MSG.NEXT.S.C", reply=inbox.subject)
        assert (await inbox.next()).payload == b"x"
        assert (await js.request("$JS.hub.API.STREAM.NAMES")).json["streams"] == ["S"]
        assert (await js.request("$JS.other.API.INFO")).status == "503"
