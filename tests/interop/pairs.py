"""A hub and a leaf, each of either kind, with JetStream on both sides and a cable between them that can fail.

The four pairings are of (hub, leaf): nats-server with itself is the control, which says what is right. Servers are
processes, so that they can be killed, and are shared by all tests of a pairing; tests keep apart by their names.
Accounts: A has JetStream on both sides; B only at the hub, and its leaf side names the hub's domain as its default; I
is A again, over a link on which the leaf asks for isolation.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ExternalStream

from tests.support.phloem_server import ForkedPhloemServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

TIMEOUT_S = 60.0
ASK_AGAIN_S = 0.005  # else asking takes the time of whoever has to make it true
OLD_BINARY = os.environ.get("OLD_NATS_SERVER", "")  # Debian 12's nats-server 2.9.10, where there is one


def _old(config: str, folder: Path) -> ServerProcess:
    return ServerProcess([OLD_BINARY], config, folder)


KINDS: dict[str, Callable[[str, Path], ServerProcess]] = {
    "real": RealServer,
    "ours": ForkedPhloemServer,
    "old": _old,
}
PAIRINGS = [(hub, leaf) for hub in ("real", "ours") for leaf in ("real", "ours")]


CONTROL = ("real", "real")  # what it does is right; it changes with the version of nats-server only


def _among(pairings: list[tuple[str, str]], *, slow: tuple[str, str] | None = None) -> pytest.MarkDecorator:
    """A test for each of these, one of them perhaps for make test-long; all that share servers are in one worker."""
    params = [
        pytest.param(
            (hub, leaf),
            id=f"{hub}-{leaf}",
            marks=[
                pytest.mark.xdist_group(f"pair {hub} {leaf}"),
                *([pytest.mark.slow] if (hub, leaf) == slow else []),
            ],
        )
        for hub, leaf in pairings
    ]
    return pytest.mark.parametrize("pair", params, indirect=True)


IN_EVERY_PAIRING = _among(PAIRINGS, slow=CONTROL)
AND_THE_CONTROL = _among(PAIRINGS)
IN_PAIRING_OF_THE_EDGE = _among([("real", "ours")])
IN_PAIRINGS_WITH_OURS = _among([pairing for pairing in PAIRINGS if "ours" in pairing])
BOTH_WAYS = pytest.mark.parametrize(
    "up", [True, False], ids=["up", "down"]
)  # up: the hub asks, the leaf is asked
T = TypeVar("T")
_NUMBERS = itertools.count(1)

HUB = """
server_name: HUB
jetstream { store_dir: "@FOLDER@/js", domain: hub, sync_interval: always }
leafnodes { listen: "127.0.0.1:%(leaf_port)s" }
accounts {
  A { jetstream: enabled, users: [ { user: a, password: p } ] }
  B { jetstream: enabled, users: [ { user: b, password: p } ] }
  I { jetstream: enabled, users: [ { user: i, password: p } ] }
}
"""
LEAF = """
server_name: EDGE
jetstream { store_dir: "@FOLDER@/js", domain: edge, sync_interval: always }
leafnodes { reconnect: "50ms", remotes: [
  { url: "nats-leaf://a:p@127.0.0.1:%(port)d", account: A }
  { url: "nats-leaf://b:p@127.0.0.1:%(port)d", account: B }
  { url: "nats-leaf://i:p@127.0.0.1:%(port)d", account: I, request_isolation: true }
] }
default_js_domain { B: hub }
accounts {
  A { jetstream: enabled, users: [ { user: a, password: p } ] }
  B { users: [ { user: b, password: p } ] }
  I { jetstream: enabled, users: [ { user: i, password: p } ] }
}
"""


def fresh(word: str) -> str:
    """A name that no other test has."""
    return f"{word}{next(_NUMBERS)}"


async def until(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], object]) -> T:
    """Ask until the answer is right; TimeoutError with the last answer."""
    last: object = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    last = answer = await ask()
                except (NatsTimeoutError, NoRespondersError, nats.js.errors.Error) as error:
                    last = error
                    continue
                if wanted(answer):
                    return answer
                await asyncio.sleep(ASK_AGAIN_S)
    except TimeoutError:
        raise TimeoutError(f"last seen: {last}") from None


class Cable:
    """A TCP proxy in a thread of its own, for servers that outlive an event loop.

    ``cut`` ends all connections and refuses new ones; ``stall`` lets nothing through, and nobody is told; ``restore``
    ends either: what was held back by a stall goes on its way.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def restore(self) -> None:
        self._run(self._restore())

    def cut(self) -> None:
        self._run(self._cut())

    def stall(self) -> None:
        self._run(self._stall())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    async def _restore(self) -> None:
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _stall(self) -> None:
        self._flows.clear()

    async def _end(self) -> None:
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection("127.0.0.1", self.target)
        except ConnectionError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, back))
                group.create_task(self._copy(onward, writer))
        finally:
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class Side:
    """One of the two servers, and clients of it."""

    def __init__(self, kind: str, domain: str, folder: Path) -> None:
        self.kind, self.domain, self.folder = kind, domain, folder
        self.process: ServerProcess
        self._clients: list[Client] = []
        self._js: dict[str, JetStreamContext] = {}

    def start(self, config: str) -> None:
        self.process = KINDS[self.kind](config, self.folder)

    async def client(self, user: str = "a", **options: Any) -> Client:
        """A client of an account; it ends with the test."""
        url = f"nats://{user}:p@127.0.0.1:{self.process.port()}"
        client = await nats.connect(url, **options)
        self._clients.append(client)
        return client

    async def js(self, user: str = "a") -> JetStreamContext:
        """This side's own JetStream, asked on this side."""
        if user not in self._js:
            self._js[user] = (await self.client(user)).jetstream(timeout=TIMEOUT_S)
        return self._js[user]

    async def hang_up(self) -> None:
        self._js.clear()
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    @property
    def external(self) -> ExternalStream:
        """How the other side reaches this one's streams."""
        return ExternalStream(api=f"$JS.{self.domain}.API")


class Pair:
    """Hub and leaf, linked through a cable."""

    def __init__(self, hub: str, leaf: str, folder: Path, *, configs: tuple[str, str] = (HUB, LEAF)) -> None:
        self._configs = configs
        name = fresh(f"{hub}-{leaf}-")
        self.hub = Side(hub, "hub", folder / f"{name}-hub")
        self.leaf = Side(leaf, "edge", folder / f"{name}-edge")
        self._stack = contextlib.ExitStack()
        self._leaf_port = "-1"
        self.start_hub()
        self.cable = self._stack.enter_context(Cable(int(self._leaf_port)))
        self.start_leaf()

    def start_hub(self) -> None:
        """Again after ``kill``, with what it had stored, where it was."""
        self.hub.start(self._configs[0] % {"leaf_port": self._leaf_port})
        self._leaf_port = str(self.hub.process.port("leafnodes"))

    def start_leaf(self) -> None:
        self.leaf.start(self._configs[1] % {"port": self.cable.port})

    def stop(self) -> None:
        self.leaf.process.end()
        self.hub.process.end()
        self._stack.close()

    async def kill(self, side: Side) -> None:
        """One end is gone from one moment to the next, as with power, except that its disk has what it was given."""
        await side.hang_up()
        side.process.signal(signal.SIGKILL)
        await asyncio.to_thread(side.process.stop)

    def sides(self, up: bool) -> tuple[Side, Side]:
        """Who asks, and who is asked."""
        return (self.hub, self.leaf) if up else (self.leaf, self.hub)

    async def linked(self, user: str = "a") -> None:
        """Return when requests cross the link both ways."""
        clients = [await side.client(user) for side in (self.hub, self.leaf)]
        for one, other in (clients, clients[::-1]):
            await reach(one, other)


async def reach(requester: Client, responder: Client) -> None:
    """Return when a request gets from one client to the other and its answer back."""
    subject = fresh("probe.")

    async def answer(msg: Msg) -> None:
        await msg.respond(b"")

    subscription = await responder.subscribe(subject, cb=answer)
    await responder.flush()
    await until(lambda: requester.request(subject, b"", timeout=0.2), lambda _: True)
    await subscription.unsubscribe()
