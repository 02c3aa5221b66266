"""What a server and an account bound: streams, consumers, batches (jetstream.md 1.2, 1.4)."""

from typing import Any

import pytest
from tests.support.brokers import Brokers
from tests.support.jetstream import JsClient, error_of, js_server

SERVER = (
    'server_name: JS\njetstream { store_dir: "@FOLDER@/js"\n'
    "  limits { max_ack_pending: 50, max_request_batch: 5, max_ha_assets: 3, duplicate_window: 5s\n"
    f"    batch {{ max_inflight_per_stream: {2}, max_inflight_total: 3, max_msgs: 4, timeout: 200ms }} }} }}\n"
)
ACCOUNT = (
    'server_name: JS\njetstream { store_dir: "@FOLDER@/js" }\n'
    "accounts { A { users: [ { user: a, password: p } ]\n"
    "  jetstream { max_mem: 600, max_file: 1200, max_streams: 3, max_consumers: 2, max_bytes_required: true\n"
    "    disk_max_stream_bytes: 1000, mem_max_stream_bytes: 700, max_ack_pending: 50 } } }\n"
)


async def _made(js: JsClient, name: str, **config: object) -> dict[str, Any]:
    request = {"stream_name": "S", "config": {"durable_name": name, "ack_policy": "explicit", **config}}
    return await js.api(f"CONSUMER.CREATE.S.{name}", request)


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({}, {"max_ack_pending": 50, "max_batch": 5}),
        ({"max_ack_pending": -1}, {"max_ack_pending": -1, "max_batch": 5}),
        ({"max_batch": 2}, {"max_ack_pending": 50, "max_batch": 2}),
        ({"deliver_subject": "d"}, {"max_ack_pending": 50, "max_batch": None}),
    ],
)
async def test_consumers_of_a_server(broker: Brokers, config: dict[str, Any], kept: dict[str, Any]) -> None:
    async with js_server(broker.shared(SERVER)) as js:
        await js.api("STREAM.DELETE.S")
        await js.stream()
        made = await _made(js, "C", **config)
        assert {name: made["config"].get(name) for name in kept} == kept


async def test_consumers_above_a_servers_bounds(broker: Brokers) -> None:
    async with js_server(broker.shared(SERVER)) as js:
        await js.api("STREAM.DELETE.S")
        await js.stream()
        assert error_of(await _made(js, "C", max_ack_pending=60))[1] == 10121
        assert error_of(await _made(js, "C", max_batch=6))[1] == 10125
        await _made(js, "C")
        inbox = await js.pull("C", batch=6)
        assert (await inbox.next()).status == "409 Exceeded MaxRequestBatch of 5"


async def test_duplicate_window_of_a_server(broker: Brokers) -> None:
    async with js_server(broker.shared(SERVER)) as js:
        made = await js.good("STREAM.CREATE.W", {"name": "W"})
        assert made["config"]["duplicate_window"] == 5 * 10**9
        await js.good("STREAM.DELETE.W")
        refusal = await js.refused("STREAM.CREATE.W", {"name": "W", "duplicate_window": 6 * 10**9})
        assert refusal[2] == "duplicates window can not be larger then server limit of 5s"


def _batch(js: JsClient, ident: str, seq: int, **more: str) -> Any:
    headers = {"Nats-Batch-Id": ident, "Nats-Batch-Sequence": str(seq), **more}
    return js.request("b.x", b"x", headers)


async def test_batches_of_a_server(broker: Brokers) -> None:
    async with js_server(broker.own(SERVER)) as js:
        abandoned = js.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.B")
        await js.stream("B", allow_atomic=True)
        for ident in ("1", "2"):
            assert (await _batch(js, ident, 1)).payload == b""
        assert error_of((await _batch(js, "3", 1)).json)[1] == 10210
        assert {(await abandoned.json())["batch"] for _ in range(2)} == {"1", "2"}  # nothing came in time
        for seq in range(1, 5):
            assert (await _batch(js, "4", seq)).payload == b""
        large = {"Nats-Batch-Commit": "1"}
        assert error_of((await _batch(js, "4", 5, **large)).json) == (
            400,
            10199,
            "atomic publish batch is too large: 4",
        )


# --- accounts --------------------------------------------------------------------------------------


async def test_streams_of_an_account(broker: Brokers) -> None:
    async with js_server(broker.own(ACCOUNT), "a") as js:

        async def made(name: str, **config: object) -> int:
            answer = await js.api(f"STREAM.CREATE.{name}", {"name": name, **config})
            return int(error_of(answer)[1]) if "error" in answer else 0

        assert await made("S") == 10113
        assert await made("S", max_bytes=2000) == 10122
        assert await made("S", max_bytes=500) == 0
        assert await made("S", max_bytes=2000) == 10122
        assert await made("S", max_bytes=600) == 10058
        assert await made("T", max_bytes=650, storage="memory") == 10028
        assert await made("T", max_bytes=500, storage="memory") == 0
        assert await made("U", max_bytes=800) == 10047
        assert await made("U", max_bytes=700) == 0
        assert await made("V", max_bytes=1) == 10027
        info = await js.good("INFO")
        assert (info["reserved_memory"], info["reserved_storage"], info["streams"]) == (500, 1200, 3)
        assert info["limits"] == {
            "max_memory": 600,
            "max_storage": 1200,
            "max_streams": 3,
            "max_consumers": 2,
            "max_ack_pending": 50,
            "memory_max_stream_bytes": 700,
            "storage_max_stream_bytes": 1000,
            "max_bytes_required": True,
        }


async def test_consumers_of_an_account(broker: Brokers) -> None:
    async with js_server(broker.own(ACCOUNT), "a") as js:
        await js.stream(max_bytes=500)
        assert error_of(await _made(js, "C", max_ack_pending=60))[1] == 10121
        assert (await _made(js, "C", max_ack_pending=-1))["config"]["max_ack_pending"] == -1
        assert (await _made(js, "D"))["config"]["max_ack_pending"] == 50
        assert error_of(await _made(js, "E"))[1] == 10026
