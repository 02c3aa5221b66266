"""What a day of a metered link costs a device that forwards five streams, in simulated time: everything between the two
ends, counted by TCP, with the headers of TCP and IP. Both ends are phloem and their clock is moved by hand.

Whether an acknowledgement of TCP rides on an answer or goes alone depends on whether the answer comes within 40 ms:
here on how busy the machine is, on a real link on its round trip. So what is bounded is the most that it can be, each
segment with data acknowledged by one of its own.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.shared.forward.receiver import ACK_LATER_NS
from phloem.shared.leaf.tcp import HEADERS_V4, TIMESTAMPS, segments
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing import ManualClock
from tests.interop.forward.test_forward import TIMEOUT_S, stored

DAY_MINUTES = 24 * 60
STREAMS = 5
BUDGET = 50_000  # bytes
BUDGET_TRICKLE = 64_000  # 48 parcels and what confirms them
LINGER = "30m"
EVERY = 5  # minutes between two readings of a trickle


class Day:
    """A device and its hub, linked and quiet."""

    def __init__(self, clock: ManualClock, hub: Hub, edge: Edge) -> None:
        self.clock, self.hub, self.edge = clock, hub, edge
        (self.forwarder,) = edge.forwarders

    @property
    def quiet(self) -> bool:
        """Each end has got what the other has sent, and every PING of either has been answered. Only parcels are not
        waited for: for those the hub takes its time."""
        ends = [[link.conn.stats for link in server.leafs.up] for server in (self.edge, self.hub)]
        if list(map(len, ends)) != [1, 1] or not self.forwarder.sender.is_open:
            return False
        (device,), (hub,) = ends
        heard = all(
            (one["out_msgs"], one["out_bytes"]) == (other["in_msgs"], other["in_bytes"])
            for one, other in ((device, hub), (hub, device))
        )
        return heard and device["pings_out"] == hub["pings_out"] == 0

    async def pass_minutes(self, count: int) -> None:
        """And the seconds that the hub takes to acknowledge what was sent then. Time goes on only when both ends are
        quiet: however slow this machine is, no answer comes minutes late."""
        sender, (collector,) = self.forwarder.sender, self.hub.collectors
        self.clock.advance(count * 60 * SECOND_NS)
        await self.until(lambda: self.quiet)
        if sender.on_its_way:
            await self.until(lambda: not sender.on_its_way or bool(collector.devices["dev1"].receiver.due_ns))
            self.clock.advance(ACK_LATER_NS)
            await self.until(lambda: not sender.on_its_way and self.quiet)

    async def publish(self, payload: bytes) -> None:
        """A reading, by nobody whose connection would have to be kept for a day."""
        stream = self.forwarder.streams["s0"]
        before = stream.last_seq
        self.edge.do(lambda: self.edge.kernel.publish(self.edge.account(), b"s0.roof", body=payload))
        await self.until(lambda: stream.last_seq > before)
        self.edge.do(self.forwarder.work)  # it lingers from now on, not from when the clock has moved

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not is_so():  # noqa: ASYNC110  (counters do not tell)
                await asyncio.sleep(0.001)

    @property
    def metered(self) -> int:
        """Bytes so far, as the device has counted them."""
        return sum(self.edge.leafs.meter.shown().total.values())

    @property
    def most(self) -> int:
        """Bytes so far with an acknowledgement for each segment, and nothing that a busy machine has sent again."""
        (link,) = self.edge.leafs.up
        text = link.conn.tcp_info()
        found = segments(text)
        assert found is not None
        (again,) = struct.unpack_from("=I", text, 100)  # total_retrans, and the others of struct tcp_info
        data_in, data_out = struct.unpack_from("=2I", text, 152)
        bytes_sent, bytes_again = struct.unpack_from("=2Q", text, 200)
        head = HEADERS_V4 + (TIMESTAMPS if found.timestamps else 0)
        return int(bytes_sent - bytes_again + found.bytes_in + 2 * head * (data_in + data_out - again))


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
        metered, most = it.metered, it.most
        for _ in range(DAY_MINUTES):
            await it.pass_minutes(1)
        metered, most = it.metered - metered, it.most - most
        (uplink,) = it.edge.uplinks
        assert uplink.ups == 1
        assert it.forwarder.sender.sent_parcels == 0
        print(f"idle day: {metered} B, {most} B at most")
        assert 0 < metered <= most <= BUDGET


async def test_a_day_with_a_trickle(tmp_path: Path) -> None:
    """A reading every five minutes of one of the streams: two parcels an hour."""
    async with day(tmp_path) as it:
        metered, most, count = it.metered, it.most, DAY_MINUTES // EVERY
        for number in range(count):
            await it.publish(b'{"sensor":"roof","t":%d.%d}' % (20 + number % 5, number % 10))
            await it.pass_minutes(EVERY)
        await it.pass_minutes(30)
        metered, most, sent = it.metered - metered, it.most - most, it.forwarder.sender
        (uplink,) = it.edge.uplinks
        assert uplink.ups == 1
        client = await it.hub.connect()
        assert len(await stored(client.jetstream(), "FLEET_s0", count)) == count
        await client.close()
        assert 40 <= sent.sent_parcels <= 50
        print(f"trickle: {metered} B, {most} B at most, {sent.sent_parcels} parcels of {sent.sent_bytes} B")
        assert 0 < metered <= most <= BUDGET_TRICKLE
