"""Loops through nats-server and phloem are noticed and ended.

Every server on a circle may notice at the same moment and end a link of its own, so what is left of the circle is
not asserted: the links come back after 30 s.
"""

import asyncio
import socket

from phloem.shared.server.server import Server
from tests.interop.links import World, leaf_url

LOOP = r"Loop detected for leafnode account="


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_circle_with_a_real_server(world: World) -> None:
    """EDGE links to HUB, and HUB, as a leaf, to EDGE."""
    port = free_port()
    block = f'listen: "127.0.0.1:-1", reconnect: 50ms, remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ]'
    hub = await world.real(f"leafnodes {{ {block} }}")
    await world.ours(leafnodes={"listen": f"127.0.0.1:{port}", "remotes": [{"url": leaf_url(hub)}]})
    ours = asyncio.create_task(world.log.line(LOOP))
    theirs = asyncio.create_task(asyncio.to_thread(hub.wait_for_log, LOOP, 10.0))
    await asyncio.gather(ours, theirs)
    await world.log.line("Leafnode connection closed: Protocol Violation")


async def test_a_circle_of_three(world: World) -> None:
    port = free_port()
    block = f'listen: "127.0.0.1:-1", reconnect: 50ms, remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ]'
    one = await world.real(f"leafnodes {{ {block} }}", "ONE")
    two = await world.ours("TWO", leafnodes={"remotes": [{"url": leaf_url(one)}]})
    await world.ours("THREE", leafnodes={"listen": f"127.0.0.1:{port}", "remotes": [{"url": leaf_url(two)}]})
    await world.log.line(LOOP)
    await world.log.line("Leafnode connection closed: Protocol Violation")


async def test_a_server_that_dials_itself(world: World) -> None:
    port = free_port()
    url = f"nats-leaf://127.0.0.1:{port}"
    async with Server(
        {
            "listen": "127.0.0.1:-1",
            "leafnodes": {"listen": f"127.0.0.1:{port}", "remotes": [{"url": url}]},
        }
    ):
        await world.log.line(LOOP)


async def test_the_same_name_as_the_hub(world: World) -> None:
    """A real hub that itself dials somebody has its name as its cluster's name."""
    port = free_port()
    hub = await world.real(
        f'leafnodes {{ listen: "127.0.0.1:-1", remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ] }}',
        "SAME",
    )
    await world.ours("SAME", leafnodes={"remotes": [{"url": leaf_url(hub)}]})
    await world.log.line("Leafnode Error 'remote leafnode has same cluster name'")
