"""JetStream on the monitoring pages: the same streams on a real nats-server and on phloem, page by page."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.js.api import StreamSource
from tests.unit.monitor.test_differential import TRIES_MAX, Theirs, shape, without

from phloem import Server
from phloem.shared import limits
from phloem.shared.net.http import Request
from phloem.shared.server.monitor.pages import Monitor
from phloem.shared.testing.broker import server

# A limit that nats-server 2.15.1 has of its own; replies that are waited for; the build;
# consumers of mirrors and sources: phloem's read the other stream themselves.
THEIRS_ONLY = {
    "default_max_consumers",
    "sync_interval",
    "responses",
    "direct_consumer_detail",
    "git_commit",
    "feature_flags",
}
OURS_ONLY = {"sync", "store", "sync_always"}
CONFIG = """
listen: "127.0.0.1:-1", http: "127.0.0.1:-1", server_name: s
jetstream { store_dir: "%s", max_memory_store: 10000000, max_file_store: 20000000, domain: d }
"""


async def _fill(url: str) -> None:
    """Two streams with a consumer each, of which one has handed something out."""
    async with await nats.connect(url) as client:
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s.>"], max_bytes=1_000_000)
        await js.add_stream(name="T", subjects=["t.>"], storage="memory")
        for subject in ("s.a", "s.b", "t.a"):
            await js.publish(subject, b"x")
        for stream in ("S", "T"):
            puller = await js.pull_subscribe(f"{stream.lower()}.>", durable=f"C{stream}", stream=stream)
            (message,) = await puller.fetch(1)
            await message.ack_sync()
        await js.add_stream(name="U", mirror=StreamSource(name="S"))
        await js.add_stream(name="V", sources=[StreamSource(name="S", filter_subject="s.a")])
        for name, count in (("U", 2), ("V", 1)):
            for _ in range(TRIES_MAX):
                if (await js.stream_info(name)).state.messages == count:
                    break


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Theirs, Monitor, Server]]:
    theirs = Theirs(tmp_path, "real", CONFIG % (tmp_path / "theirs"))
    try:
        await _fill(f"nats://127.0.0.1:{theirs.ports['client']}")
        block = {
            "store_dir": str(tmp_path / "ours"),
            "max_memory_store": 10_000_000,
            "max_file_store": 20_000_000,
            "domain": "d",
        }
        async with server({"server_name": "s", "jetstream": block}) as ours:
            await _fill(ours.client_url)
            yield theirs, Monitor(ours.source), ours
    finally:
        theirs.stop()


def page(monitor: Monitor, target: str) -> tuple[int, Any]:
    path, _, query = target.partition("?")
    answer = monitor.answer(Request("GET", path, query.encode()))
    return answer.status, json.loads(answer.body)


def by_name(value: Any) -> Any:
    """Streams in one order: Go walks maps in any."""
    if isinstance(value, dict):
        return {key: by_name(inner) for key, inner in value.items()}
    if isinstance(value, list):
        items = [by_name(inner) for inner in value]
        return sorted(items, key=lambda item: item["name"]) if items and "name" in items[0] else items
    return value


TARGETS = (
    "/jsz",
    "/jsz?accounts=1",
    "/jsz?accounts=1&offset=1",
    "/jsz?accounts=1&limit=-1&offset=1",
    "/jsz?streams=1",
    "/jsz?streams=1&config=1",
    "/jsz?consumers=1&config=1",
    "/jsz?consumers=1",
    "/jsz?consumers=1&direct-consumers=1&acc=$G",
    "/jsz?acc=$G",
    "/jsz?acc=nobody",
    "/jsz?acc=nobody&streams=1",
    "/accountz?acc=$G",
)
HEALTH = (
    "/healthz",
    "/healthz?js-enabled-only=1&stream=S&account=$G",
    "/healthz?js-server-only=1&account=nobody",
    "/healthz?account=nobody",
    "/healthz?account=nobody&details=1",
    "/healthz?account=$G&stream=S&consumer=CS",
    "/healthz?account=$G&stream=Q",
    "/healthz?account=$G&stream=Q&details=1",
    "/healthz?account=$G&stream=S&consumer=Q",
    "/healthz?account=$G&stream=S&consumer=Q&details=1",
)
SAME = ("streams", "consumers", "messages", "bytes", "memory", "storage", "reserved_storage", "total")


async def test_pages_have_the_same_shape(pair: tuple[Theirs, Monitor, Server]) -> None:
    theirs, ours, _ = pair
    for target in TARGETS:
        status, _, body = theirs.get(target)
        expected = by_name(without(json.loads(body), THEIRS_ONLY))
        our_status, found = page(ours, target)
        found = by_name(without(found, OURS_ONLY))
        assert our_status == status
        assert shape(found) == shape(expected), target
        if target.startswith("/jsz"):
            assert {key: found[key] for key in SAME} == {key: expected[key] for key in SAME}, target
    varz = without(json.loads(theirs.get("/varz")[2])["jetstream"], THEIRS_ONLY)
    assert shape(without(page(ours, "/varz")[1]["jetstream"], OURS_ONLY)) == shape(varz)


async def test_health_is_the_same_to_the_byte(pair: tuple[Theirs, Monitor, Server]) -> None:
    theirs, ours, _ = pair
    for target in HEALTH:
        path, _, query = target.partition("?")
        answer = ours.answer(Request("GET", path, query.encode()))
        assert (answer.status, answer.body) == (theirs.get(target)[0], theirs.get(target)[2]), target


async def test_the_sync_mode_is_shown(tmp_path: Path) -> None:
    for interval, mode in (("always", "always"), ("2s", "interval")):
        block = {"store_dir": str(tmp_path / mode), "sync_interval": interval}
        async with server({"jetstream": block}) as ours:
            await _fill(ours.client_url)
            _, found = page(Monitor(ours.source), "/jsz?streams=1")
            details = found["account_details"][0]["stream_detail"]
            assert {one["name"]: one["sync"] for one in details} == {
                "S": mode,
                "T": "memory",
                "U": mode,
                "V": mode,
            }
            assert ("sync_always" in found["config"]) == (mode == "always")
            async with await ours.connect() as client:
                answer = json.loads((await client.request("$JS.API.STREAM.INFO.S", b"")).data)
                assert answer["config"]["metadata"].get("_phloem.sync", "always") == mode


async def test_metrics(pair: tuple[Theirs, Monitor, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours, _ = pair

    def samples() -> dict[str, float]:
        text = ours.answer(Request("GET", "/metrics", b"")).body.decode()
        return {key: float(value) for key, value in re.findall(r"^phloem_(\S+) (\S+)$", text, re.MULTILINE)}

    found = samples()
    expected = {
        'jetstream_streams{account="$G"}': 4,
        'jetstream_consumers{account="$G"}': 2,
        'stream_messages{account="$G",stream="S"}': 2,
        'stream_sync_always{account="$G",stream="S"}': 1,
        'stream_sync_always{account="$G",stream="T"}': 0,
        'consumer_pending{account="$G",stream="S",consumer="CS"}': 1,
        'consumer_delivered{account="$G",stream="S",consumer="CS"}': 1,
        'consumer_redelivered{account="$G",stream="S",consumer="CS"}': 0,
        'jetstream_unnamed{kind="stream"}': 0,
        "store_failed": 0,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["store_syncs_total"] >= 2
    assert found["store_journal_bytes_total"] > found["store_last_batch_bytes"] > 0
    monkeypatch.setattr(limits, "METRICS_NAMED", 1)
    found = samples()
    assert found['jetstream_unnamed{kind="stream"}'] == 3
    assert found['jetstream_unnamed{kind="consumer"}'] == 1
    assert [key for key in found if key.startswith("stream_bytes")] == [
        'stream_bytes{account="$G",stream="S"}'
    ]


async def test_a_disk_that_refuses_is_unwell(
    pair: tuple[Theirs, Monitor, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours, broker = pair
    source = broker.source
    healthy = source.jetstream()
    assert healthy is not None
    sick = msgspec.structs.replace(healthy, store_error=28)
    monkeypatch.setattr(source, "jetstream", lambda: sick)
    status, found = page(ours, "/healthz")
    assert (status, found["status"]) == (503, "unavailable")
    assert found["error"] == "JetStream store write error: No space left on device"
    assert page(ours, "/healthz?js-enabled-only=1")[0] == 200
