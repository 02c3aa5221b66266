"""The same answers from a running nats-server and from phloem: keys, their order, types, and values where they are set.

Both have a leaf linked to them, a stream with a consumer, and the same clients. Figures differ; what phloem has no part
in is named in ``THEIRS_ONLY``, what it adds in ``OURS_ONLY``.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.support.brokers import Broker
from tests.support.phloem_server import PhloemServer
from tests.support.real_server import RealServer
from tests.support.system import SysClient, system_client

CONFIG = """server_name: ONE
server_tags: ["a:b", "C"]
server_metadata { place: here }
jetstream { store_dir: "@FOLDER@/js", domain: hub, sync_interval: 2m }
accounts {
  "$SYS" { users: [ { user: sys, password: p } ] }
  A { jetstream: enabled, users: [ { user: a, password: p } ] }
}
leafnodes { listen: "127.0.0.1:-1", compression: off
  authorization { users: [ { user: l, password: p, account: A } ] } }
"""
LEAF = {"user": "l", "pass": "p", "name": "edge", "version": "2.10.0"}
# Of Go, and of switches that phloem does not have.
THEIRS_ONLY = {"git_commit", "feature_flags", "default_max_consumers"}
THEIRS_ONLY |= {"tls_timeout", "memstats", "default_stream_limits"}
OURS_ONLY = {"sync", "_phloem.sync", "store", "compress_ok", "tls_timeout", "memstats"}
VALUES = {"name", "host", "domain", "tags", "metadata", "ver", "jetstream", "kind", "type", "account", "acc"}
VALUES |= {
    "conns",
    "leafnodes",
    "total_conns",
    "leafnode_connections",
    "client_connections",
    "num_connections",
}
VALUES |= {
    "is_spoke",
    "client_type",
    "user",
    "name_tag",
    "limit",
    "offset",
    "max_payload",
    "proto",
    "streams",
}
VALUES |= {"consumers", "messages", "accounts", "status", "status_code", "active_accounts", "active_servers"}
SERVER, ACCOUNT = "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT"


class Pair(NamedTuple):
    """A client of each; theirs first."""

    theirs: SysClient
    ours: SysClient


async def _furnish(stack: AsyncExitStack, broker: Broker) -> SysClient:
    """The clients, the leaf and the stream; the one that asks is of the system account."""
    await stack.enter_async_context(await broker.leaf(json.dumps(LEAF)))
    a = await stack.enter_async_context(await system_client(broker, "a", name="n", lang="l", version="1"))
    a.subscribe("foo.*")
    await a.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    consumer = {"durable_name": "C", "ack_policy": "explicit"}
    await a.api("CONSUMER.DURABLE.CREATE.S.C", {"stream_name": "S", "config": consumer})
    await a.request("s.x", b"hello")
    async with await system_client(broker, "a", name="gone"):
        pass
    return await stack.enter_async_context(await system_client(broker, "sys", name="asker"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        clients = []
        for kind in (RealServer, PhloemServer):
            folder: Path = tmp_path_factory.mktemp(kind.__name__)
            process = stack.enter_context(kind(CONFIG, folder))
            clients.append(await _furnish(stack, Broker(process)))
        yield Pair(*clients)


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    return [without(inner, keys) for inner in value] if isinstance(value, list) else value


def shape(value: Any, path: str = "") -> list[str]:
    """Keys in their order and types, and values that have to be the same; of a list, its first element."""
    if isinstance(value, dict):
        return [path, *(line for name, inner in value.items() for line in shape(inner, f"{path}.{name}"))]
    if isinstance(value, list):
        return [f"{path}[]", *(line for inner in value[:1] for line in shape(inner, f"{path}[]"))]
    kind = "number" if type(value) in (int, float) else type(value).__name__
    return [f"{path} {value if path.rpartition('.')[2] in VALUES else kind}"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (f"{SERVER}.IDZ", None),
        (SERVER, None),
        (f"{SERVER}.STATSZ", None),
        (f"{SERVER}.VARZ", None),
        (f"{SERVER}.SUBSZ", None),
        (f"{SERVER}.SUBSZ", {"subscriptions": True, "account": "A", "test": "foo.x"}),
        (f"{SERVER}.CONNZ", {"acc": "A"}),
        (f"{SERVER}.CONNZ", {"acc": "A", "user": "a", "auth": True, "subscriptions": True}),
        (f"{SERVER}.CONNZ", {"acc": "A", "user": "a", "auth": True, "subscriptions_detail": True}),
        (f"{SERVER}.CONNZ", {"acc": "A", "state": 1, "auth": True}),
        (f"{SERVER}.ROUTEZ", None),
        (f"{SERVER}.GATEWAYZ", None),
        (f"{SERVER}.LEAFZ", None),
        (f"{SERVER}.LEAFZ", {"account": "B"}),
        (f"{SERVER}.ACCOUNTZ", None),
        (f"{SERVER}.ACCOUNTZ", {"account": "A"}),
        (f"{SERVER}.JSZ", None),
        (f"{SERVER}.JSZ", {"accounts": True, "streams": True, "consumer": True, "config": True}),
        (f"{SERVER}.HEALTHZ", {"account": "A", "stream": "S", "consumer": "C"}),
        (f"{SERVER}.HEALTHZ", {"account": "A", "stream": "S", "consumer": "D", "details": True}),
        (f"{SERVER}.PROFILEZ", None),
        (f"{SERVER}.EXPVARZ", None),
        (f"{SERVER}.RAFTZ", None),
        (f"{ACCOUNT}.A.CONNZ", None),
        (f"{ACCOUNT}.A.LEAFZ", None),
        (f"{ACCOUNT}.A.SUBSZ", {"test": "foo.x"}),
        (f"{ACCOUNT}.A.JSZ", None),
        (f"{ACCOUNT}.A.JSZ", {"streams": True, "consumer": True}),
        (f"{ACCOUNT}.A.INFO", None),
        (f"{ACCOUNT}.A.STATZ", None),
        (f"{ACCOUNT}.A.CONNS", None),
        (f"{ACCOUNT}.PING.STATZ", {"accounts": ["A"]}),
        ("$SYS.REQ.USER.INFO", None),
    ],
)
async def test_answers_have_the_same_shape(pair: Pair, subject: str, body: object) -> None:
    theirs, ours = await pair.theirs.ask(subject, body), await pair.ours.ask(subject, body)
    assert shape(without(ours, OURS_ONLY)) == shape(without(theirs, THEIRS_ONLY))
