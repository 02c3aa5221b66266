"""Acknowledgements that name domain and account: 11 tokens (nats-server's ADR-15; jetstream.md 4.5, row 73).

They are understood always, and sent with the feature flag. ``szMpdrwD`` stands for the account ``$G``.
"""

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, js_server

NO_RESPONDERS = "503"


def _config(domain: str = "", flags: str = "") -> str:
    own = f"  domain: {domain}\n" if domain else ""
    return f'server_name: JS\njetstream {{ store_dir: "@FOLDER@/js"\n{own} }}\n{flags}'


PLAIN = _config()
DOMAIN = _config("edge")
FLAGGED = _config("edge", "feature_flags { js_ack_fc_v2: true, js_raft_delete_range: false, other: true }")


async def _handed_out(js: JsClient) -> str:
    """What the ack subject of a message has behind ``$JS.ACK.``; one message is out. On disk
    nats-server may find what a consumer of a deleted stream had out in a new one of its name."""
    await js.api("STREAM.DELETE.S")
    await js.stream(storage="memory")
    await js.fill("s.a")
    await js.consumer()
    return (await js.fetch(1))[0].reply.removeprefix("$JS.ACK.")


async def _still_out(js: JsClient) -> int:
    return int((await js.numbers())["ack_pending"])


@pytest.mark.parametrize(
    ("config", "scope", "understood"),
    [
        (PLAIN, "_.szMpdrwD.", True),
        (PLAIN, "_.szMpdrwd.", False),
        (PLAIN, "edge.szMpdrwD.", False),
        (PLAIN, ".szMpdrwD.", False),
        (PLAIN, "_.", False),
        (DOMAIN, "edge.szMpdrwD.", True),
        (DOMAIN, "_.szMpdrwD.", False),
        (DOMAIN, "edg.eszMpdrwD.", False),
        (DOMAIN, "edge.szMpdrwDD.", False),
        (DOMAIN, "", True),
        (FLAGGED, "", True),
    ],
)
@pytest.mark.parametrize("payload", [b"+ACK", b'-NAK {"delay": 3600000000000}'])
async def test_the_scope_has_to_be_right(
    broker: Brokers, config: str, scope: str, understood: bool, payload: bytes
) -> None:
    async with js_server(broker.shared(config)) as js:
        rest = await _handed_out(js)
        if config == FLAGGED:
            assert rest.startswith("edge.szMpdrwD.S.C.1.1.1.")
            rest = rest.removeprefix("edge.szMpdrwD.")
        answer = await js.request(f"$JS.ACK.{scope}{rest}", payload)
        assert answer.status == ("" if understood else NO_RESPONDERS)
        assert await _still_out(js) == (0 if understood and payload == b"+ACK" else 1)
        # what was put off for an hour by mistake would not be out any more for +WPI; its acknowledgement ends it
        await js.request(f"$JS.ACK.{rest}", b"+ACK")
        assert await _still_out(js) == 0


async def test_more_tokens_are_for_later_versions(broker: Brokers) -> None:
    async with js_server(broker.shared(PLAIN)) as js:
        rest = await _handed_out(js)
        assert (await js.request(f"$JS.ACK._.szMpdrwD.{rest}.more.and.more", b"+ACK")).status == ""
        assert await _still_out(js) == 0
        rest = await _handed_out(js)
        assert (await js.request(f"$JS.ACK.{rest}.more", b"+ACK")).status == NO_RESPONDERS
        assert await _still_out(js) == 1


@pytest.mark.parametrize(("config", "scope"), [(DOMAIN, ""), (FLAGGED, "edge.szMpdrwD.")])
async def test_flow_control_names_them_as_well(broker: Brokers, config: str, scope: str) -> None:
    async with js_server(broker.shared(config)) as js:
        await js.api("STREAM.DELETE.S")
        await js.stream(storage="memory")
        inbox = js.inbox()
        await js.consumer(
            "P",
            deliver_subject=inbox.subject,
            ack_policy="none",
            flow_control=True,
            idle_heartbeat=5_000_000_000,
        )
        for _ in range(80):
            js.send("s.a", bytes(50_000))
        asked = await inbox.next()
        delivered = 0
        while delivered < 80:
            if asked.status == "100 FlowControl Request":
                assert asked.reply.startswith(f"$JS.FC.{scope}S.P."), asked
                js.send(asked.reply)
            else:
                assert asked.reply.startswith(f"$JS.ACK.{scope}S.P.1."), asked
                delivered += 1
            asked = await inbox.next() if delivered < 80 else asked
