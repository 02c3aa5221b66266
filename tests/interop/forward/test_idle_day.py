"""What a day of a metered link costs a device that forwards five streams, in simulated time: everything between the two
ends, counted by TCP, with the headers of TCP and IP. Both ends are phloem and their clock is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.shared.forward.receiver import ACK_LATER_NS
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing import ManualClock
from tests.interop.forward.test_forward import TIMEOUT_S, stored

DAY_MINUTES = 24 * 60
STREAMS = 5
BUDGET = 50_000  # bytes
LINGER = "30m"
EVERY = 5  # minutes between two readings of a trickle


class Day:
    """A device and its hub, linked and quiet."""

    def __init__(self, clock: ManualClock, hub: Hub, edge: Edge) -> None:
        self.clock, self.hub, self.edge = clock, hub, edge
        (self.forwarder,) = edge.forwarders

    @property
    def quiet(self) -> bool:
        """Everything has been answered, but for parcels, for which the hub takes its time."""
        links = self.edge.leafs.up
        pinged = all(link.conn.stats["pings_out"] == 0 for link in links)
        return bool(links) and pinged and self.forwarder.sender.is_open

    async def pass_minutes(self, count: int) -> None:
        """And the seconds that the hub takes to acknowledge what was sent then."""
        sender, (collector,) = self.forwarder.sender, self.hub.collectors
        self.clock.advance(count * 60 * SECOND_NS)
        await self.until(lambda: self.quiet)
        if sender.on_its_way:
            await self.until(lambda: not sender.on_its_way or bool(collector.devices["dev1"].receiver.due_ns))
            self.clock.advance(ACK_LATER_NS)
            await self.until(lambda: not sender.on_its_way)

    async def publish(self, payload: bytes) -> None:
        """A reading, by nobody whose connection would have to be kept for a day."""
        stream = self.forwarder.streams["s0"]
        before = stream.last_seq
        self.edge.do(lambda: self.edge.kernel.publish(self.edge.account(), b"s0.roof", body=payload))
        await self.until(lambda: stream.last_seq > before)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not is_so():  # noqa: ASYNC110  (counters do not tell)
                await asyncio.sleep(0.001)

    @property
    def spent(self) -> int:
        """Bytes so far."""
        return sum(self.edge.leafs.meter.shown().total.values())


@asynccontextmanager
async def day(folder: Path) -> AsyncIterator[Day]:
    clock = ManualClock(wall_ns=1_800_000_000 * SECOND_NS)
    hub_config = {
        "server_name": "HUB",
        "listen": "127.0.0.1:-1",
        "leafnodes": {"listen": "127.0.0.1:-1"},
        "jetstream": {"store_dir": str(folder / "hub"), "domain": "hub"},
    }
    async with Hub(hub_config, clock=clock) as hub:
        remote = {"url": f"nats-leaf://127.0.0.1:{hub.leaf_port}", "ignore_discovered_servers": True}
        config = {
            "server_name": "dev1",
            "listen": "127.0.0.1:-1",
            "leafnodes": {"reconnect": "20ms", "remotes": [remote]},
            "jetstream": {"store_dir": str(folder / "edge"), "domain": "dev1"},
            "forward": {f"s{i}": {"subjects": [f"s{i}.>"], "linger": LINGER} for i in range(STREAMS)},
            "phloem": {"link": {"metered": True}},
        }
        async with Edge(config, clock=clock) as edge:
            it = Day(clock, hub, edge)
            for work in (hub.sweep, edge.sweep, *(c.tick for c in hub.collectors), it.forwarder.work):
                server = hub if work == hub.sweep or "collect" in work.__module__ else edge
                clock.watch(lambda server=server, work=work: server.do(work))  # type: ignore[misc]
            await it.until(lambda: it.quiet)
            await it.pass_minutes(1)
            yield it


async def test_an_idle_day_of_a_metered_link_with_five_streams(tmp_path: Path) -> None:
    async with day(tmp_path) as it:
        before = it.spent
        for _ in range(DAY_MINUTES):
            await it.pass_minutes(1)
        spent = it.spent - before
        (uplink,) = it.edge.uplinks
        assert uplink.ups == 1
        assert it.forwarder.sender.sent_parcels == 0
        print(f"idle day: {spent} B")
        assert 0 < spent <= BUDGET


async def test_a_day_with_a_trickle(tmp_path: Path) -> None:
    """A reading every five minutes of one of the streams: two parcels an hour."""
    async with day(tmp_path) as it:
        before, count = it.spent, DAY_MINUTES // EVERY
        for number in range(count):
            await it.publish(b'{"sensor":"roof","t":%d.%d}' % (20 + number % 5, number % 10))
            await it.pass_minutes(EVERY)
        await it.pass_minutes(30)
        spent, sent = it.spent - before, it.forwarder.sender
        client = await it.hub.connect()
        assert len(await stored(client.jetstream(), "FLEET_s0", count)) == count
        await client.close()
        assert 40 <= sent.sent_parcels <= 50
        print(f"trickle: {spent} B, {sent.sent_parcels} parcels of {sent.sent_bytes} B")
        assert spent <= BUDGET
