"""``phloem fleet`` and a fleet that forwards, as ``phloem init`` and ``phloem enroll`` make it; and a thief in it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import BucketNotFoundError

from phloem.hub.app import Hub
from phloem.hub.fleet import fleet_watch
from phloem.hub.fleet.fleet_watch import NONE_YET, Watch, WatchError
from phloem.shared.forward.ledger import Document
from phloem.shared.forward.messages import VERSION, Hello, encode
from tests.interop.fleet import TIMEOUT_S, Done, Fleet, new_fleet, phloem
from tests.interop.forward.test_ledger import new_hub, tick
from tests.support.spoken_device import SpokenDevice, offer

FORWARD = '\nforward { tele { subjects: ["tele.>"] } }\n'


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with new_fleet(tmp_path, ("phloem", "phloem")) as made:
        yield made


async def cli(fleet: Fleet, *words: str) -> Done:
    folder = fleet.folder
    login = ("-s", fleet.url, "--creds", str(folder / "admin.creds"), "--tlsca", str(folder / "ca.pem"))
    return await phloem("fleet", *login, *words)


async def shown(fleet: Fleet, device: str, stream: str, received: int) -> dict[str, Any]:
    """The ledger's document, once so much has come."""
    js = (await fleet.client()).jetstream(timeout=TIMEOUT_S)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(BucketNotFoundError):
                bucket = await js.key_value("fleet_ledger")
                break
        async for entry in await bucket.watch(device):
            document = json.loads(entry.value) if entry is not None else {}
            if document.get("streams", {}).get(stream, {}).get("received") == received:
                break
    found: dict[str, Any] = document
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  (nobody says when)
            await asyncio.sleep(0)


async def test_a_fleet_forwards_and_nobody_speaks_for_another(fleet: Fleet) -> None:
    assert (await cli(fleet, "--once")).out == "no device has forwarded anything to this account yet\n"
    folder = await fleet.enroll("pump1")
    conf = folder / "edge.conf"
    conf.write_text(conf.read_text() + FORWARD)
    other = await fleet.enroll("pump2")
    edge = await fleet.edge("pump1")
    js = (await fleet.local(edge)).jetstream(timeout=TIMEOUT_S)
    for number in range(5):
        await js.publish("tele.level", b"%d" % number)
    document = await shown(fleet, "pump1", "tele", 5)
    assert (document["state"], document["totals"]["received"]) == ("online", 5)

    # the other one's link ends when it says anything in this one's name, and its client is told so
    hello = encode(Hello(VERSION, "pump1", 99, 1, 0, (offer(),)))
    thief = await fleet.thief(other)
    thief.send(f"LS+ $PHL.DOWN.pump1\r\nLMSG $PHL.UP.pump1 {len(hello)}\r\n")
    thief.send_bytes(hello + b"\r\nPING\r\n")
    lines = await thief.until(b"closed", b"PONG")
    assert any(b"Permissions Violation" in line for line in lines), lines
    refused: list[str] = []

    async def heard(problem: Exception) -> None:
        refused.append(str(problem))

    client = await fleet.client(other / "device.creds", error_cb=heard)
    await client.subscribe("$PHL.DOWN.pump1")
    await client.publish("$PHL.UP.pump1", hello)
    await client.publish("$KV.fleet_ledger.pump1", b"{}")
    await client.flush()
    while len(refused) < 3:
        await client.flush()
    assert all("permissions violation" in text for text in refused)

    await js.publish("tele.level", b"more")
    document = await shown(fleet, "pump1", "tele", 6)
    assert document["streams"]["tele"]["contiguous"] == 6
    assert not document.get("clone")
    table = (await cli(fleet, "--once")).out
    assert table.splitlines()[2].split()[:2] == ["pump1", "online"]


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    done = await phloem("fleet", "--once", "-s", "nats://127.0.0.1:1")
    assert done.code == 1
    assert "cannot connect to nats://127.0.0.1:1" in done.err
    async with Hub({"listen": "127.0.0.1:-1", "leafnodes": {"port": -1}}) as hub:
        done = await phloem("fleet", "-s", hub.client_url)  # not only with --once
        assert done.code == 1
        assert "JetStream is not enabled" in done.err


def options(hub: Hub) -> dict[str, str]:
    return {
        "server": hub.client_url,
        **dict.fromkeys(("user", "password", "token", "creds", "tlsca", "domain"), ""),
    }


async def test_changes_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before there is a ledger, and over the end of the hub."""
    monkeypatch.setattr(fleet_watch, "AGAIN_S", 0.01)
    async with new_hub(tmp_path) as hub:
        port = hub.port
        watch = Watch(options(hub))
        following = asyncio.create_task(watch.keep_following())
        await until(lambda: watch.problem == NONE_YET)
        async with SpokenDevice(hub) as device:
            await device.hello(offer())
            tick(hub)
            await until(lambda: "dev1" in watch.documents)
            assert watch.problem == ""
            assert watch.documents["dev1"].state == "online"
    await until(lambda: watch.problem)
    async with new_hub(tmp_path, listen=f"127.0.0.1:{port}") as hub:
        await until(lambda: not watch.problem)
        assert list(watch.documents) == ["dev1"]
        client = await hub.connect()
        await (await client.jetstream().key_value("fleet_ledger")).delete("dev1")
        await until(lambda: not watch.documents)
        following.cancel()
        await asyncio.wait({following})
        await client.close()


async def test_lines_of_json_as_things_change(tmp_path: Path) -> None:
    heard: asyncio.Queue[Document] = asyncio.Queue()
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        await device.hello(offer())
        tick(hub)
        following = asyncio.create_task(Watch(options(hub), "dev1").follow(heard.put_nowait))
        assert (await asyncio.wait_for(heard.get(), TIMEOUT_S)).totals.received == 0
        await device.parcel(b"one", b"two")
        hub.collectors[0].devices["dev1"].urgent = True
        tick(hub)
        async with asyncio.timeout(TIMEOUT_S):
            while (await heard.get()).totals.received < 2:
                pass
    with pytest.raises(WatchError, match="has ended"):
        await following
