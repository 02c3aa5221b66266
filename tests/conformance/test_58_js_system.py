"""The API in the system account, what only a cluster has, and required levels (jetstream.md 1.0, 1.1)."""

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import TYPE, JsClient, error_of, js_server
from tests.support.rows import each

CONFIG = (
    'server_name: JS\njetstream { store_dir: "@FOLDER@/js" }\nsystem_account: SYS\naccounts {\n'
    "  A { jetstream: enabled, users: [ { user: a, password: p } ] }\n"
    "  SYS { users: [ { user: sys, password: p } ] } }\n"
)
SILENT = (
    "META.LEADER.STEPDOWN",
    "META.RESCUE",
    "SERVER.REMOVE",
    "SERVER.EVACUATE",
    "ACCOUNT.STREAM.MOVE.A.S",
    "ACCOUNT.STREAM.CANCEL_MOVE.A.S",
)


@pytest.mark.parametrize("user", ["sys", "a"])
async def test_silent_without_a_cluster(broker: Brokers, user: str) -> None:
    async with js_server(broker.shared(CONFIG), user) as js:
        inbox = js.inbox()
        for what in SILENT:
            js.send(f"$JS.API.{what}", b"{}", reply=inbox.subject)
        await inbox.silence()


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("INFO", "account_info_response"),
        ("STREAM.NAMES", "system_response"),
        ("STREAM.CREATE.S", "system_response"),
        ("CONSUMER.INFO.S.C", "system_response"),
        ("STREAM.LEADER.STEPDOWN.S", "system_response"),
        ("BOGUS", "system_response"),
    ],
)
async def test_the_system_account_has_no_jetstream(broker: Brokers, what: str, kind: str) -> None:
    async with js_server(broker.shared(CONFIG), "sys") as js:
        answer = await js.api(what)
        assert answer["type"] == TYPE + kind
        assert error_of(answer) == (503, 10039, "JetStream not enabled for account")


async def test_an_account_is_purged(broker: Brokers) -> None:
    server = broker.own(CONFIG)
    async with js_server(server, "a") as js, js_server(server, "sys") as system:
        await js.stream("S")
        await js.stream("M", storage="memory")
        for account in ("A", "NONE"):
            answer = await system.api(f"ACCOUNT.PURGE.{account}")
            assert answer == {"type": f"{TYPE}account_purge_response", "initiated": True}
        assert (await js.good("STREAM.NAMES"))["streams"] is None


@pytest.mark.parametrize(
    "what",
    [
        "STREAM.PEER.REMOVE.S",
        "STREAM.PEER.EVACUATE.S",
        "STREAM.LEADER.STEPDOWN.S",
        "STREAM.CANCEL_MOVE.S",
        "CONSUMER.LEADER.STEPDOWN.S.C",
    ],
)
async def test_only_a_cluster_has_it(js: JsClient, what: str) -> None:
    for level in ("5", "6", "x"):  # not even the level is looked at
        refusal = await js.refused(what, b'{"peer":"x"}', {"Nats-Required-Api-Level": level})
        assert refusal == (503, 10010, "JetStream clustering support required")


@pytest.mark.parametrize("level", ["", "5", "0", "-1", " 3"])
async def test_a_level_that_is_there(js: JsClient, level: str) -> None:
    assert "error" not in await js.api("INFO", None, {"Nats-Required-Api-Level": level})


@each("level", ["6", "x", "5.0"])
@each("what", ["INFO", "STREAM.PURGE.S", "CONSUMER.UNPIN.S.C", "CONSUMER.RESET.S.C"])
async def test_a_level_that_is_not(js: JsClient, level: str, what: str) -> None:
    await js.stream()
    await js.consumer()
    refusal = await js.refused(what, None, {"Nats-Required-Api-Level": level})
    assert refusal == (412, 10185, "JetStream minimum api level required")


async def test_what_is_looked_at_first(js: JsClient) -> None:
    assert (await js.refused("STREAM.INFO.S", {"peer": "x"}))[1] == 10025
    assert (await js.refused("CONSUMER.CREATE.S"))[1] == 10056
    assert (await js.refused("CONSUMER.UNPIN.S.C", b"junk"))[1] == 10025
