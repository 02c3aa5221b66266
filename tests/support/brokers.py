"""Servers under test, one per implementation and configuration, shared by all tests that can share.

``Brokers.shared(config)`` starts a server the first time a configuration is asked for and keeps it
until the session ends; tests keep apart by using subjects of their own. ``Brokers.own(config)`` is
for a test that changes or ends its server.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.phloem_server import ForkedPhloemServer
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

IMPLEMENTATIONS: dict[str, Callable[..., ServerProcess]] = {
    "nats-server": RealServer,
    "phloem": ForkedPhloemServer,
}


WORLDS = 150
_NUMBERS = range(WORLDS)
WORLDS_CONFIG = (
    'server_name: HUB\nleafnodes { listen: "127.0.0.1:-1", compression: off\n  authorization { users: [\n'
    + "".join(f"    {{ user: l{n}, password: p, account: W{n} }}\n" for n in _NUMBERS)
    + "  ] } }\naccounts {\n"
    + "".join(f"  W{n} {{ users: [ {{ user: c{n}, password: p }} ] }}\n" for n in _NUMBERS)
    + "}\n"
)


class Broker:
    """A running server as a test sees it: something to connect to."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process

    async def connect(self) -> RawClient:
        """A connection to the client port; nothing is read yet."""
        return await RawClient.connect("127.0.0.1", self.process.port("nats"))

    async def client(self, connect: str = '{"verbose":false,"pedantic":false,"headers":true}') -> RawClient:
        """A client that has read INFO, sent ``CONNECT`` and seen that it was accepted."""
        client = await self.connect()
        await client.handshake(connect)
        return client

    async def leaf(self, connect: str = "{}") -> RawLeaf:
        """A leaf link played by the test: INFO and connect INFO read, own CONNECT sent, link in sync."""
        leaf = await RawLeaf.connect("127.0.0.1", self.process.port("leafnodes"))
        await leaf.handshake(connect)
        return leaf


class World:
    """An account that one test has for itself: nothing that another test left behind can be seen in it."""

    def __init__(self, broker: Broker, number: int) -> None:
        self._broker, self._number = broker, number

    async def client(self, **connect: object) -> RawClient:
        """A client of this account, with headers unless ``connect`` says otherwise."""
        fields = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "user": f"c{self._number}",
            "pass": "p",
        }
        return await self._broker.client(json.dumps({**fields, **connect}))

    async def leaf(self, **connect: object) -> RawLeaf:
        """A leaf link bound to this account; ``connect`` is all it says beside its credentials."""
        return await self._broker.leaf(json.dumps({**connect, "user": f"l{self._number}", "pass": "p"}))


class Brokers:
    """All servers of one implementation that a session has started."""

    def __init__(self, implementation: str, folder: Path) -> None:
        self.implementation = implementation
        self._start_process = IMPLEMENTATIONS[implementation]
        self._folder = folder
        self._numbers = itertools.count()
        self._shared: dict[str, Broker] = {}
        self._own: list[Broker] = []
        self._worlds = iter(_NUMBERS)
        self._taken = itertools.count()

    def shared(self, config: str = "", files: Mapping[str, bytes] | None = None) -> Broker:
        """The server with this configuration that the whole session shares; ``files`` as for :meth:`own`."""
        if config not in self._shared:
            self._shared[config] = self._start(config, files)
        return self._shared[config]

    def world(self) -> World:
        """A fresh account on a hub that all worlds share."""
        return World(self.shared(WORLDS_CONFIG), next(self._worlds))

    def number(self, below: int) -> int:
        """A number that nobody else has got; there are ``below`` of them."""
        taken = next(self._taken)
        assert taken < below
        return taken

    def own(
        self, config: str = "", files: Mapping[str, bytes] | None = None, flags: Sequence[str] = ()
    ) -> Broker:
        """A server for one test alone, ended after it; ``files`` lie in the folder that it runs in."""
        self._own.append(self._start(config, files, flags))
        return self._own[-1]

    def stop_own(self) -> None:
        """End the servers that a test has for itself as an operator would: what they have to write, they write."""
        while self._own:
            self._own.pop().process.stop()

    def kill_own(self) -> None:
        """The same when the test is over: nobody looks at them any more."""
        while self._own:
            self._own.pop().process.end()

    def stop(self) -> None:
        """End every server."""
        self.kill_own()
        for broker in self._shared.values():
            broker.process.end()

    def _start(
        self, config: str, files: Mapping[str, bytes] | None = None, flags: Sequence[str] = ()
    ) -> Broker:
        folder = self._folder / f"server{next(self._numbers)}"
        return Broker(self._start_process(config, folder, files, flags))
