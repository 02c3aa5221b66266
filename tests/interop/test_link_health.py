"""Links on bad networks: holes in both directions and in one, what is dialled again and when, what an idle day costs.

The holes are in a proxy, so that TCP goes on acknowledging, as behind a satellite modem: only PINGs can tell.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from phloem.shared.kernel import Reason
from phloem.shared.leaf.tcp import segments
from phloem.shared.limits import SECOND_NS
from phloem.shared.net.network import NEW_ROUTE, Network, gets_better
from phloem.shared.server.link_watch import second_socket
from phloem.shared.server.options_leafnodes import Remote
from phloem.shared.server.server import Server
from phloem.shared.server.uplink import Uplink
from phloem.shared.testing.manual_clock import ManualClock
from tests.interop.links import TIMEOUT_S, Cable, World, leaf_url, reachable
from tests.support.accepting import dialled, streams

DAY_S = 86_400
FAST = {"dead_after": "2s"}


class Hole(Cable):
    """A cable in which what goes one way, or both, may vanish without a word; connections stay."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.gone_up = self.gone_down = False  # vanishes towards the hub, towards the edge
        self.carried = 0  # bytes, both ways

    async def _connected(self, sock: socket.socket) -> None:
        async with (
            streams(sock) as (reader, writer),
            dialled(self.target) as (onward, back),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._leak(reader, back, lambda: self.gone_up))
            group.create_task(self._leak(onward, writer, lambda: self.gone_down))

    async def _leak(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, vanishes: Callable[[], bool]
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not vanishes():
                    self.carried += len(data)
                    sink.write(data)
                    await sink.drain()
        sink.transport.abort()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not true():  # noqa: ASYNC110  (counters do not tell)
            await asyncio.sleep(0.005)


def remote(port: int, **more: Any) -> dict[str, Any]:
    """What the hub says of its own address would lead around the cable."""
    hub = {"url": f"nats-leaf://127.0.0.1:{port}", "ignore_discovered_servers": True, **more}
    return {"remotes": [hub]}


async def hole(world: World, port: int) -> Hole:
    return await world._stack.enter_async_context(Hole(port))


async def linked(edge: Server) -> Uplink:
    (uplink,) = edge.uplinks
    await until(lambda: uplink.up)
    return uplink


async def test_a_hole_is_noticed_in_time_and_the_link_comes_back(world: World) -> None:
    """Each kind of hole on an edge of its own, all at once: what has to be waited for is the same time."""
    async with asyncio.TaskGroup() as group:
        for ways in ("both", "up", "down"):
            group.create_task(_noticed(world, ways))


async def _noticed(world: World, ways: str) -> None:
    hub = await world.real()
    cable = await hole(world, hub.port("leafnodes"))
    edge = await world.ours(leafnodes=remote(cable.port), phloem={"link": FAST})
    uplink = await linked(edge)
    there, here = await world.client(hub), await world.client(edge)
    await reachable(here, there)
    told: list[str] = []
    uplink.on_down.append(lambda: told.append("down"))
    uplink.on_up.append(lambda: told.append("up"))
    await there.subscribe("readings")
    await until(lambda: edge.kernel.interested(edge.account(), b"readings"))
    await asyncio.sleep(0.3)  # a look, so that what came in until now is no answer
    cable.gone_up, cable.gone_down = ways != "down", ways != "up"
    loop, before = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    await here.publish("readings", b"21.5")
    await until(lambda: not uplink.up)
    assert loop.time() - before < 4
    cable.gone_up = cable.gone_down = False
    await linked(edge)
    await reachable(here, there)
    assert told == ["down", "up"]
    assert uplink.hub is not None
    assert (uplink.hub.name, uplink.hub.is_phloem) == ("HUB", False)


async def test_our_hub_notices_as_well(world: World) -> None:
    hub = await world.ours("HUB", phloem={"link": FAST})
    cable = await hole(world, hub.leaf_port)
    edge = await world.ours(leafnodes=remote(cable.port), phloem={"link": {"dead_after": "0s"}})
    uplink = await linked(edge)
    there, here = await world.client(hub), await world.client(edge)
    await here.subscribe("commands")
    await reachable(there, here)
    await until(lambda: hub.kernel.interested(hub.account(), b"commands"))
    await asyncio.sleep(0.3)
    cable.gone_up = cable.gone_down = True
    mark = len(world.log.lines)
    await there.publish("commands", b"on")
    await world.log.line("No sign of life from the peer", after=mark)
    assert uplink.up  # the edge was told not to look
    assert uplink.hub is not None
    assert uplink.hub.is_phloem


async def test_tcp_is_told(world: World) -> None:
    hub = await world.ours("HUB")
    edge = await world.ours(leafnodes=remote(hub.leaf_port))
    quiet = await world.ours("QUIET", leafnodes=remote(hub.leaf_port), phloem={"link": {"metered": True}})
    await linked(edge)
    await linked(quiet)
    await until(lambda: len(hub.leafs.up) == 2)

    def settings(link: Any) -> tuple[int, ...]:
        with second_socket(link.conn) as sock:
            return (
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            )

    probed, not_probed = (8000, 1, 5), (8000, 0)
    found = {link.name: settings(link) for link in hub.leafs.up}
    assert found["EDGE"] == settings(edge.leafs.up[0]) == probed
    assert found["QUIET"][:2] == settings(quiet.leafs.up[0])[:2] == not_probed
    assert segments(hub.leafs.up[0].conn.tcp_info()) is not None


async def test_a_bug_in_a_step_costs_one_attempt(world: World) -> None:
    hub = await world.real()
    edge = await world.ours()
    remotes = edge.leafs.remotes
    attach, terms, bugs = edge.leafs.attach, remotes._terms, ["before", "behind"]

    def faulty_attach(*args: Any, **more: Any) -> Any:
        if bugs == ["before", "behind"]:
            raise RuntimeError(f"a bug {bugs.pop(0)} the connection")
        return attach(*args, **more)

    def faulty_terms(*args: Any, **more: Any) -> Any:
        if bugs:
            raise RuntimeError(f"a bug {bugs.pop(0)} the connection")
        return terms(*args, **more)

    edge.leafs.attach = faulty_attach  # type: ignore[method-assign]
    remotes._terms = faulty_terms  # type: ignore[method-assign]
    remotes.apply([Remote(urls=(leaf_url(hub),))])
    uplink = await linked(edge)
    assert sum("a bug ended the attempt" in line for line in world.log.lines) == 2
    assert len(edge.leafs.open) == 1
    assert uplink.ups == 1


async def test_bounce(world: World) -> None:
    hub = await world.real()
    edge = await world.ours(leafnodes={**remote(hub.port("leafnodes")), "reconnect": "30s"})
    uplink = await linked(edge)

    def angry() -> None:
        raise RuntimeError("a listener's bug")

    uplink.on_down.append(angry)
    uplink.bounce("no progress")
    await until(lambda: uplink.ups == 2)
    await reachable(await world.client(edge), await world.client(hub))
    assert any("a bug of whoever is told" in line for line in world.log.lines)
    assert edge.source.uplinks()[0].bounces == 1


async def test_a_link_that_is_slower_than_the_time_outs_comes_up(world: World) -> None:
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    cable.up.delay_s = cable.down.delay_s = 0.15
    edge = await world.ours(leafnodes=remote(cable.port, first_info_timeout="50ms"))
    uplink = await linked(edge)
    late = sum("no INFO from the hub in time" in line for line in world.log.lines)
    assert (
        late >= 6
    )  # 50, 75, 113, 169, 253, 380 ms; compression has two INFOs, and the second comes after 450
    uplink.bounce("again")
    await until(lambda: uplink.ups == 2)
    assert sum("no INFO from the hub in time" in line for line in world.log.lines) == late  # it is known now


async def test_a_change_of_the_network_is_worth_an_attempt(world: World) -> None:
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    await cable.cut()
    edge = await world.ours(leafnodes={**remote(cable.port), "reconnect": "1h"})
    (uplink,) = edge.uplinks
    await until(lambda: uplink.redial.attempts == 1)
    assert uplink.shown().next_ms > 3_000_000
    cable.restore()
    edge.leafs.remotes._on_network()
    await linked(edge)


async def test_back_within_two_seconds_after_a_short_outage(world: World) -> None:
    hub = await world.real()
    cable = await world.cable(hub.port("leafnodes"))
    edge = await world.ours(
        leafnodes={**remote(cable.port), "reconnect": "1s"}, phloem={"link": {"reconnect_max": "10s"}}
    )
    uplink = await linked(edge)
    await cable.cut()
    await until(lambda: uplink.redial.attempts >= 2)
    cable.restore()
    loop, before = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    await linked(edge)
    assert loop.time() - before < 2


async def test_back_to_the_first_hub(world: World) -> None:
    first, second = await world.real(name="FIRST"), await world.ours("SECOND")
    cable = await world.cable(first.port("leafnodes"))
    await cable.cut()
    urls = [f"nats-leaf://127.0.0.1:{cable.port}", leaf_url(second)]
    edge = await world.ours(
        leafnodes={"remotes": [{"urls": urls, "no_randomize": True}]},
        phloem={"link": {"return_to_first": "50ms"}},
    )
    uplink = await linked(edge)
    assert uplink.hub is not None
    assert uplink.hub.name == "SECOND"
    cable.restore()
    await until(lambda: uplink.up and uplink.hub is not None and uplink.hub.name == "FIRST")
    await cable.cut()
    await until(lambda: uplink.up and uplink.hub is not None and uplink.hub.name == "SECOND")


async def test_an_idle_day_of_a_metered_link(world: World) -> None:
    """Both ends are phloem and their clock is moved by hand; segments and headers are what the system counted."""
    clock = ManualClock(wall_ns=1_800_000_000 * SECOND_NS)
    hub = await world.run(
        Server({"listen": "127.0.0.1:-1", "leafnodes": {"listen": "127.0.0.1:-1"}}, clock=clock)
    )
    cable = await hole(world, hub.leaf_port)
    config = {
        "listen": "127.0.0.1:-1",
        "leafnodes": remote(cable.port),
        "phloem": {"link": {"metered": True}},
    }
    edge = await world.run(Server(config, clock=clock))
    for server in (hub, edge):
        clock.watch(server.sweep)
    uplink = await linked(edge)
    link = edge.leafs.up[0]
    clock.advance(10 * SECOND_NS)
    await until(lambda: all(each.conn.stats["pings_out"] == 0 for each in (link, hub.leafs.up[0])))
    before, started = cable.carried, sum(edge.leafs.meter.shown().total.values())
    pings = 0
    for _ in range(DAY_S // 60):
        clock.advance(60 * SECOND_NS)
        pings += link.conn.stats["pings_out"]
        await until(lambda: all(each.conn.stats["pings_out"] == 0 for each in (link, hub.leafs.up[0])))
    clock.advance(10 * SECOND_NS)
    spent = sum(edge.leafs.meter.shown().total.values()) - started
    assert 90 <= pings <= 97
    chunk = 8  # of S2, around each: its head and a checksum
    assert cable.carried - before == pings * (len(b"PING\r\nPONG\r\n") + 2 * chunk)
    assert spent <= 50_000
    assert spent >= pings * (2 * 52 + 12)
    assert uplink.ups == 1
    print(f"idle day: {spent} B in all, {cable.carried - before} B of payload, {pings} PINGs")


async def test_counters_survive_a_restart_and_are_used_up(tmp_path: Path, world: World) -> None:
    hub = await world.real()
    config = {
        "listen": "127.0.0.1:-1",
        "server_name": "EDGE",
        "leafnodes": remote(hub.port("leafnodes")),
        "jetstream": {"store_dir": str(tmp_path / "js")},
        "phloem": {"link": {"metered": True, "per_day": 1_000_000, "emergency": ["alarm"]}},
    }
    async with Server(config) as edge:
        await linked(edge)
        assert edge.leafs.meter.may_send("telemetry", 1000).ok
        edge.leafs.meter.charge("telemetry", 890_000)
        assert not edge.leafs.meter.may_send("telemetry", 20_000).ok
        assert edge.leafs.meter.may_send("alarm", 20_000).ok
    async with Server(config) as edge:
        kept = edge.leafs.meter.shown()
        assert kept.survives_restart
        assert kept.total["telemetry"] > 800_000 or sum(kept.total.values()) > 500
        uplink = await linked(edge)
        uplink.meter.charge("telemetry", 1_000_000)
        uplink.meter.look()
        await world.log.line("allowance of this day is used up")
        assert edge.source.meter().used_up == "day"
        assert not uplink.meter.may_send("alarm", 1).ok


async def test_without_jetstream_the_counters_are_in_memory(world: World) -> None:
    hub = await world.real()
    edge = await world.ours(leafnodes=remote(hub.port("leafnodes")), phloem={"link": {"per_month": 10_000}})
    await linked(edge)
    await world.log.line("lost with a restart")
    assert not edge.source.meter().survives_restart


def test_what_makes_a_network_better() -> None:
    def message(kind: int) -> bytes:
        return (18).to_bytes(4, "little") + kind.to_bytes(2, "little") + bytes(14)

    assert gets_better(message(NEW_ROUTE))
    assert gets_better(message(21) + message(20))
    assert not gets_better(message(21) + message(25))
    assert not gets_better(os.urandom(7))
    assert not gets_better(bytes(64))


async def test_a_listener_for_changes_closes(world: World) -> None:
    network = Network(lambda: None)
    network.open()
    network.close()
    network.close()


def test_stale_is_what_the_log_says() -> None:
    assert Reason.STALE.text == "Stale Connection"
