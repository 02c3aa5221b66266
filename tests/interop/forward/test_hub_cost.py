"""What a hub does for its devices, counted: batches of the journal and documents of the ledger, not time."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from phloem.shared import limits
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing import ManualClock
from tests.interop.forward.test_ledger import collector, new_hub, tick
from tests.support.spoken_device import Ack, SpokenDevice, offer

DEVICES = 12


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered waits until the test says so."""
    monkeypatch.setattr(limits, "FLEET_GATHER_NS", 3600 * SECOND_NS)


async def test_parcels_that_come_together_share_a_batch(tmp_path: Path) -> None:
    clock = ManualClock()
    async with new_hub(tmp_path, clock) as hub, contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(SpokenDevice(hub, f"dev{i}")) for i in range(DEVICES)]
        for device in devices:
            await device.hello(offer())
        store = collector(hub).store
        await devices[0].parcel(b"the first one waits for nobody")
        await devices[0].answer(Ack)
        before = store.stats["batches"]
        for device in devices[1:]:
            await device.parcel(b"one")
        assert [device.heard.empty() for device in devices[1:]] == [True] * (DEVICES - 1)
        hub.do(collector(hub).take)
        for device in devices[1:]:
            await device.answer(Ack)
        assert store.stats["batches"] - before == 1
        assert sum(device.received for device in hub.fleet()[0].devices) == DEVICES


async def test_a_device_with_more_to_say_does_not_wait(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        new_hub(tmp_path, clock) as hub,
        SpokenDevice(hub) as device,
        SpokenDevice(hub, "dev2") as other,
    ):
        await device.hello(offer())
        await other.hello(offer())
        await device.parcel(b"one")
        await device.answer(Ack)
        await other.parcel(b"waits")
        await device.parcel(b"two", first=2)
        assert other.heard.empty()
        await device.parcel(b"three", first=3)
        assert (await device.answer(Ack)).order == 2
        assert (await device.answer(Ack)).order == 3
        assert (await other.answer(Ack)).order == 1


async def test_what_waits_is_received_before_the_link_counts_as_gone(tmp_path: Path) -> None:
    clock = ManualClock()
    async with new_hub(tmp_path, clock) as hub:
        async with SpokenDevice(hub, "dev2") as device:
            await device.hello(offer())
            await device.parcel(b"one")
            await device.parcel(b"two", first=2)
        dev2 = collector(hub).devices["dev2"]
        async with asyncio.timeout(10):
            while dev2.online:  # the hub learns of the end in a turn of its own
                tick(hub)
                await asyncio.sleep(0)
        (found,) = [one for one in hub.fleet()[0].devices if one.name == "dev2"]
        assert (found.received, found.online) == (2, False)


async def test_figures_that_nobody_watches_are_written_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LEDGER_CALM_WRITES", 4)
    clock = ManualClock()
    async with new_hub(tmp_path, clock) as hub, contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(SpokenDevice(hub, f"dev{i}")) for i in range(DEVICES)]
        for device in devices:
            await device.hello(offer())
        tick(hub)
        ledger = collector(hub).ledger
        assert ledger.written == DEVICES  # they are there: that is not put off
        for i, device in enumerate(devices):
            await device.parcel(b"one")
            hub.do(collector(hub).take)
            await device.answer(Ack)
            assert ledger.written == DEVICES, i
        clock.advance(limits.LEDGER_CALM_NS)
        written = []
        for _ in range(5):
            clock.advance(SECOND_NS)
            batches = collector(hub).store.stats["batches"]
            before = ledger.written
            tick(hub)
            collector(hub).store.wait()
            written.append((ledger.written - before, collector(hub).store.stats["batches"] - batches))
        assert [documents for documents, _ in written] == [4, 4, 4, 0, 0]
        assert max(batches for _, batches in written) <= 2
