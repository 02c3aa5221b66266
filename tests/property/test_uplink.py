"""The task behind a remote: whatever an attempt comes to, and whatever has a bug, the next one follows."""

import asyncio
import random
import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from phloem.shared import limits
from phloem.shared.clock import SystemClock
from phloem.shared.errors import LinkError
from phloem.shared.leaf.reconnect import Redial
from phloem.shared.leaf.solicit import Hub
from phloem.shared.net.dialer import TookTooLong
from phloem.shared.server import uplink as under_test
from phloem.shared.server.options import Options
from phloem.shared.server.options_leafnodes import Remote
from phloem.shared.server.uplink import Uplink

TIMEOUT_S = 20
HUB = Hub("ID", "HUB", "1", True)

STORIES = st.lists(
    st.sampled_from(
        (
            "refused",
            "late",
            "bug in dial",
            "bug in begin",
            "closed",
            "lost",
            "bounced",
            "bug in on_up",
            "stale end",
        )
    ),
    max_size=12,
)


class Conn:
    """A connection that ends when it is told to, and says so in its turn of the loop."""

    def __init__(self, uplink: Uplink, link: Any) -> None:
        self.closed = False
        self._uplink, self._link = uplink, link
        self.stats = {"rtt_ns": 0, "in_msgs": 0, "out_msgs": 0}

    def close(self, *_: object) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._uplink.ended, self._link)


class World:
    """What an Uplink sees of a server; each attempt comes to what the story says next."""

    def __init__(self, story: list[str]) -> None:
        self.story = list(story)
        self.attempts = 0
        self.over = asyncio.Event()
        self.clock = SystemClock()
        self.rng = random.Random(1)
        self.options = Options()
        self.leafs = SimpleNamespace(meter=SimpleNamespace(overhead=lambda _: None))
        self.links: list[Any] = []
        redial = Redial(["nats://a:1"], self.rng, reconnect_ns=0, no_randomize=True, ignore_discovered=True)
        self.uplink = Uplink(cast("Any", self), cast("Any", self), Remote(urls=("nats://a:1",)), redial)
        self.uplink.on_up.append(self.told)
        self.now = ""

    def schedule(self) -> None:
        pass

    def told(self) -> None:
        if self.now == "bug in on_up":
            raise RuntimeError("a bug of whoever is told")

    async def dial(self, *_: object) -> tuple[socket.socket, str, int]:
        self.attempts += 1
        if not self.story:
            self.over.set()
            await asyncio.Event().wait()
        self.now = self.story.pop(0)
        match self.now:
            case "refused":
                raise LinkError("connection refused")
            case "late":
                raise TookTooLong("i/o timeout")
            case "bug in dial":
                raise ZeroDivisionError
        return socket.socket(), "a", 1

    def begin(self, uplink: Uplink, _url: object, sock: socket.socket, _ip: str, _port: int) -> Any:
        if self.now == "bug in begin":
            raise KeyError("a bug")
        sock.close()
        link = SimpleNamespace()
        link.conn = Conn(uplink, link)
        self.links.append(link)
        asyncio.get_running_loop().call_soon(self.happen, link)
        return link

    def happen(self, link: Any) -> None:
        if self.now != "closed":
            self.uplink.came_up(link, HUB)
        if self.now == "stale end" and len(self.links) > 1:
            self.uplink.ended(self.links[-2])  # of a link that is long over
            assert self.uplink.up
        if self.now == "bounced":
            self.uplink.bounce("to see")
        else:
            link.conn.close()


@settings(max_examples=examples(150))
@given(STORIES)
def test_the_next_attempt_follows(story: list[str]) -> None:
    async def run(patch: pytest.MonkeyPatch) -> None:
        world = World(story)
        patch.setattr(under_test, "dial", world.dial)
        task = asyncio.create_task(world.uplink.keep())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await world.over.wait()
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert world.attempts == len(story) + 1
        assert world.uplink.ups == sum(
            what not in ("refused", "late", "bug in dial", "bug in begin", "closed") for what in story
        )
        assert not world.uplink.up

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "LINK_BUG_PAUSE_NS", 0)
        asyncio.run(run(patch))
