"""The ledger of devices: what a client of the hub sees of each, and what it survives."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import KeyNotFoundError

from phloem.hub.app import Hub
from phloem.hub.collect.collector import Collector
from phloem.hub.profile import for_fleet
from phloem.shared import limits
from phloem.shared.forward.figures import StreamStatus
from phloem.shared.forward.messages import Epoch
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.load import as_options
from phloem.shared.server.monitor.fleetz import fleetz
from phloem.shared.server.monitor.metrics import metrics
from phloem.shared.server.monitor.process import LinuxProcess
from phloem.shared.server.monitor.query import Query
from phloem.shared.server.reload import reload
from phloem.shared.store import generations
from phloem.shared.testing import ManualClock
from phloem.shared.testing.faults import break_disk, mend_disk
from tests.support.spoken_device import EPOCH, Ack, Again, Pause, SpokenDevice, offer

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def new_hub(folder: Path, clock: ManualClock | None = None, **more: Any) -> AsyncIterator[Hub]:
    config = {
        "server_name": "HUB",
        "listen": "127.0.0.1:-1",
        "leafnodes": {"listen": "127.0.0.1:-1"},
        "jetstream": {"store_dir": str(folder), "domain": "hub"},
        **more,
    }
    async with Hub(config, clock=clock) as hub:
        yield hub


def collector(hub: Hub) -> Collector:
    (found,) = hub.collectors
    return found


def tick(hub: Hub) -> None:
    """A second's work, now."""
    hub.do(collector(hub).tick)


async def seen(hub: Hub, device: str = "dev1") -> Json:
    """What the ledger has, as any client sees it."""
    client = await hub.connect()
    try:
        bucket = await client.jetstream().key_value("fleet_ledger")
        entry = await bucket.get(device)
        found: Json = json.loads(entry.value or b"")
        return found
    finally:
        await client.close()


async def test_a_device_and_its_streams(tmp_path: Path) -> None:
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        await device.hello(offer(last=5), offer("alarm", number=1))
        await device.parcel(b"one", b"two")
        await device.gap(3, 4, "shed: \x1b[31mno space")
        await device.status(
            streams={"tele": StreamStatus(3, 300, 60, 10, "telemetry", "")},
            link={"rtt_ms": 12.5},
            health={"uptime_s": 100},
        )
        tick(hub)
        found = await seen(hub)
        assert (found["device"], found["state"], found["hub"]) == ("dev1", "online", "HUB")
        assert (found["link"], found["health"]) == ({"rtt_ms": 12.5}, {"uptime_s": 100})
        assert list(found["streams"]) == ["tele", "alarm"]
        tele = found["streams"]["tele"]
        assert (tele["stream"], tele["class"], tele["contiguous"]) == ("FLEET_tele", "telemetry", 4)
        assert (tele["received"], tele["missing"], tele["backlog"]) == (2, 2, 6)
        assert tele["newest"] == "2020-09-13T12:26:40Z"
        (gap,) = tele["gaps"]
        assert (gap["first"], gap["last"], gap["count"], gap["reason"]) == (3, 4, 2, "shed: ?[31mno space")
        assert found["totals"]["backlog"] == 6
        assert found["trouble"] == ["tele: 2 messages will not come: shed: ?[31mno space"]
        assert "2 messages will not come, 3 to 4" in found["events"][0][1]
        assert found["history"] == [2]


async def test_a_device_that_is_away(tmp_path: Path) -> None:
    clock = ManualClock()
    async with new_hub(tmp_path, clock) as hub:
        async with SpokenDevice(hub) as device:
            await device.hello(offer())
            tick(hub)
            since = (await seen(hub))["since"]
            clock.advance(5 * SECOND_NS)
            tick(hub)
            assert (await seen(hub))["state"] == "online"
        await asyncio.wait_for(gone(hub), 10)
        found = await seen(hub)
        assert (found["state"], found["since"] > since) == ("offline", True)
        clock.advance(limits.FLEET_FORGET_NS)
        for _ in range(10):
            tick(hub)
        assert collector(hub).devices == {}
        assert hub.fleet()[0].known == 1
        async with SpokenDevice(hub) as device:  # read again from the store
            await device.hello(offer(last=1))
            await device.parcel(b"one")
            tick(hub)
            found = await seen(hub)
            assert (found["state"], found["first_seen"]) == ("online", since)
            assert hub.fleet()[0].known == 1


async def gone(hub: Hub) -> None:
    while collector(hub).devices["dev1"].online:
        await asyncio.sleep(0)
        tick(hub)


async def test_a_hub_that_restarts(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        new_hub(tmp_path, clock) as hub,
        SpokenDevice(hub, "dev1") as one,
        SpokenDevice(hub, "dev2") as two,
    ):
        for device in (one, two):
            await device.hello(offer(last=2))
            await device.parcel(b"x", b"y")
            await device.answer(Ack)
        left = clock.wall_ns()
    clock.advance(3600 * SECOND_NS)
    async with new_hub(tmp_path, clock) as hub:
        assert (await seen(hub))["state"] == "online"  # it may be back at once
        async with SpokenDevice(hub, "dev2") as two:
            places = await two.hello(offer(last=2))
            assert places[0].resume == 3
            clock.advance(limits.LEDGER_ABSENT_NS)
            tick(hub)
            away, back = await seen(hub, "dev1"), await seen(hub, "dev2")
        assert (away["state"], back["state"]) == ("offline", "online")
        assert away["since"] == away["seen"] == "2020-09-13T12:26:40Z"
        assert left == 1_600_000_000_000_000_000
        assert away["streams"]["tele"]["received"] == back["streams"]["tele"]["received"] == 2


async def test_documents_are_written_when_something_changes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with new_hub(tmp_path, clock) as hub, SpokenDevice(hub) as device:
        ledger = collector(hub).ledger
        await device.hello(offer())
        tick(hub)
        assert ledger.written == 1
        for _ in range(100):  # nothing has changed
            clock.advance(SECOND_NS)
            tick(hub)
        await device.status(health={"uptime_s": 1})
        tick(hub)
        assert ledger.written == 2
        await device.status(health={"uptime_s": 2})
        tick(hub)
        assert ledger.written == 2  # figures alone can wait
        client = await hub.connect()
        bucket = await client.jetstream().key_value("fleet_ledger")
        updates = await bucket.watch("dev1")
        await watched(updates, 1)
        clock.advance(SECOND_NS)
        tick(hub)  # somebody watches
        assert ledger.written == 3
        await watched(updates, 2)
        await client.close()


async def watched(updates: Any, uptime_s: int) -> None:
    """Until the document says so."""
    while (entry := await updates.updates()) is None or json.loads(entry.value)["health"] != {
        "uptime_s": uptime_s
    }:
        pass


async def test_many_devices_share_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEDGER_WRITES", 3)
    async with new_hub(tmp_path) as hub, contextlib.AsyncExitStack() as stack:
        for number in range(7):
            device = await stack.enter_async_context(SpokenDevice(hub, f"d{number}"))
            await device.hello(offer())
        counts = []
        for _ in range(4):
            tick(hub)
            counts.append(collector(hub).ledger.written)
        assert counts == [3, 6, 7, 7]


async def test_two_devices_of_one_name(tmp_path: Path) -> None:
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as one, SpokenDevice(hub) as copy:
        mine, theirs = offer(), offer(epochs=(Epoch(EPOCH, 1), Epoch(71, 1)))
        await one.hello(mine, session=1)
        await one.hello(mine, session=2)  # the link was gone for a moment
        await copy.hello(theirs, session=3)  # as after a restart
        tick(hub)
        assert "clone" not in await seen(hub)
        await one.gap(1, 2, "x")
        await one.answer(Again)
        await one.hello(mine, session=4)
        tick(hub)
        found = await seen(hub)
        assert found["clone"]["turns"] == 1
        assert found["trouble"][0].startswith("two devices take turns under this name")
        assert hub.fleet()[0].devices[0].copies


async def test_nothing_is_acknowledged_before_the_disk_has_it(tmp_path: Path) -> None:
    """Neither by ACK nor by the WELCOME of another session."""
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        assert hub.jetstream is not None
        store = hub.jetstream.store
        await device.hello(offer(last=2))
        await device.parcel(b"one")
        await device.answer(Ack)
        break_disk(store, on_write=28, room_bytes=0)
        await device.parcel(b"two", first=2)
        client = await hub.connect()
        while not store.full:
            await client.flush()
        assert device.heard.empty()
        device.session = 2
        await device.hello(offer(last=2), session=2)  # the answer refuses, and confirms nothing
        places = [lane.refused for lane in collector(hub).devices["dev1"].receiver.lanes.values()]
        assert places == ["the hub has no space on its disk"]
        mend_disk(store)
        while store.full:
            await client.flush()
        collector(hub).devices["dev1"].hello_ns -= limits.FLEET_RECHECK_NS
        for _ in range(10):
            tick(hub)
        await device.answer(Again)
        assert (await device.hello(offer(last=2), session=3))[0].resume == 3
        await client.close()


async def test_a_full_disk_pauses_and_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        assert hub.jetstream is not None
        store = hub.jetstream.store
        await device.hello(offer(last=3))
        await device.parcel(b"one")
        await device.answer(Ack)
        while not store.settled:
            await device.client.flush()
        break_disk(store, on_write=28, room_bytes=0)
        await device.parcel(b"two", first=2)
        while not store.full:
            await device.client.flush()
        await device.parcel(b"three", first=3)
        pause = await device.answer(Pause)
        assert (pause.order, pause.why) == (3, "the hub has no space on its disk")
        assert hub.fleet()[0].devices[0].paused == 1
        mend_disk(store)
        while store.full:
            await device.client.flush()
        await device.parcel(b"three", first=3)
        while (await device.answer(Ack)).order < 4:
            pass
        tick(hub)
        found = await seen(hub)
        assert (found["streams"]["tele"]["state"], found["streams"]["tele"]["received"]) == ("flowing", 3)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (offer("a.b"), "name"),
        (offer("*"), "name"),
        (offer(to="OTHER"), "fleet { make } does not have its name"),
        (offer(to="MINE"), "is not for fleet.tele.>"),
        (offer(to="KV_bucket"), "is not for fleet.tele.>"),
    ],
)
async def test_a_stream_that_is_not_for_it(tmp_path: Path, asked: Any, why: str) -> None:
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        js = device.client.jetstream()
        await js.add_stream(name="MINE", subjects=["mine.>", "fleet.other.>"])
        await js.create_key_value(bucket="bucket")
        (place,) = await device.hello(asked)
        assert why in place.refused
        tick(hub)
        (stream,) = (await seen(hub))["streams"].values()
        assert (stream["state"], stream["why"]) == ("refused", place.refused)


async def test_a_stream_that_an_administrator_makes_is_taken_at_last(tmp_path: Path) -> None:
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        (place,) = await device.hello(offer(to="READINGS"))
        assert place.refused
        await device.client.jetstream().add_stream(name="READINGS", subjects=["fleet.*.>"])
        collector(hub).devices["dev1"].hello_ns -= limits.FLEET_RECHECK_NS
        for _ in range(10):
            tick(hub)
        await device.answer(Again)
        (place,) = await device.hello(offer(to="READINGS"), session=2)
        assert place.refused == ""


async def test_streams_are_made_as_the_options_say(tmp_path: Path) -> None:
    options = {"make": ["F*"], "max_bytes": 1 << 20, "max_age": "1h", "compression": True}
    async with new_hub(tmp_path, fleet=options) as hub, SpokenDevice(hub) as device:
        (place,) = await device.hello(offer(to="FINE"))
        assert not place.refused
        config = (await device.client.jetstream().stream_info("FINE")).config
        assert (config.max_bytes, config.max_age, config.subjects) == (1 << 20, 3600, ["fleet.tele.>"])
        assert config.compression == "s2"


async def test_monitoring(tmp_path: Path) -> None:
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        assert fleetz(hub.source, Query()).accounts == []
        await device.hello(offer(last=9))
        await device.parcel(b"one")
        tick(hub)
        (account,) = fleetz(hub.source, Query()).accounts
        assert (account.known, account.present, account.online, account.ledger_writes) == (1, 1, 1, 1)
        (shown,) = account.devices
        assert (shown.name, shown.received, shown.backlog) == ("dev1", 1, 8)
        assert fleetz(hub.source, Query(b"offset=1")).accounts[0].devices == []
        assert fleetz(hub.source, Query(b"acc=A")).accounts == []
        text = metrics(hub.source, LinuxProcess()).decode()
        assert 'phloem_fleet_online{account="$G"} 1\n' in text
        assert 'phloem_fleet_backlog{account="$G"} 8\n' in text


async def test_an_account_that_comes_with_a_reload(tmp_path: Path) -> None:
    conf = tmp_path / "hub.conf"
    text = f'listen: "127.0.0.1:-1"\nleafnodes {{ port: -1 }}\njetstream {{ store_dir: "{tmp_path}/s" }}\n'
    one = "A { users: [{user: a, password: p}], jetstream: true },"
    two = "B { users: [{user: b, password: p}], jetstream: true }"
    conf.write_text(text + f"accounts {{ {one} }}\n")
    async with Hub(as_options(str(conf))) as hub:
        assert [each.account for each in hub.collectors] == ["A"]
        conf.write_text(text + f"accounts {{ {one} {two} }}\n")
        assert reload(hub, lambda: for_fleet(as_options(str(conf))))
        assert [each.account for each in hub.collectors] == ["A", "B"]
        kept = hub.collectors[1]
        conf.write_text(text + f"accounts {{ {two} }}\n")
        assert reload(hub, lambda: for_fleet(as_options(str(conf))))
        assert hub.collectors == [kept]


async def test_junk_is_no_entry(tmp_path: Path) -> None:
    """Something else in the bucket does not stop the hub, and the bucket may go while it runs."""
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        await device.hello(offer())
        tick(hub)
        await device.client.publish("$KV.fleet_ledger.dev1", b"junk")
        await device.client.publish("$KV.fleet_ledger.dev3", b'{"device":"dev1","state":"online"}')
        await device.client.flush()
    async with new_hub(tmp_path) as hub, SpokenDevice(hub) as device:
        await device.hello(offer())
        tick(hub)
        assert (await seen(hub))["state"] == "online"
        await device.client.jetstream().delete_key_value("fleet_ledger")
        await device.hello(offer(last=1), session=2)
        await device.parcel(b"x")
        tick(hub)
        collector(hub).devices["dev1"].written_ns -= limits.LEDGER_CALM_NS
        tick(hub)
        assert (await seen(hub))["streams"]["tele"]["received"] == 1
        with pytest.raises(KeyNotFoundError):
            await seen(hub, "dev3")
