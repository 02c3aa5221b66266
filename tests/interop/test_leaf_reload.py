"""A reload of the hub's users acts on the links that are there."""

import asyncio

import msgspec
import pytest

from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.reload import reload
from phloem.shared.server.server import Server
from tests.support.rawclient import TIMEOUT_S


def _hub(*users: str) -> Options:
    entries = [{"user": name, "password": "p"} for name in users]
    return merge(
        load_mapping({"port": -1, "leafnodes": {"port": -1}, "authorization": {"users": entries}}), {}
    )


async def _until(server: Server, links: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while sum(link.up for link in server.leafs.open.values()) != links:  # noqa: ASYNC110  (turns the loop, waits for nothing else)
            await asyncio.sleep(0)


@pytest.mark.parametrize(("users", "links"), [(("edge", "other"), 1), (("other",), 0)])
async def test_a_link_whose_user_is_gone_ends(users: tuple[str, ...], links: int) -> None:
    async with Server(_hub("edge")) as hub:
        remote = {"url": f"nats-leaf://edge:p@127.0.0.1:{hub.leaf_port}"}
        async with Server({"port": -1, "leafnodes": {"remotes": [remote]}}) as edge:
            await _until(edge, 1)
            await _until(hub, 1)
            new = msgspec.structs.replace(hub.options, authorization=_hub(*users).authorization)
            assert reload(hub, lambda: new)
            await _until(hub, links)
