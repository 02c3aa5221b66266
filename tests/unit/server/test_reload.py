"""Reloading is all or nothing, and what nats-server does not reload although it should."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from phloem import Server
from phloem.shared.server.load import load_mapping, merge
from phloem.shared.server.options import Options
from phloem.shared.server.reload import reload
from tests.support.rawclient import RawClient
from tests.unit.server.corpus_security import U2, U

LISTEN = {"listen": "127.0.0.1:-1"}


def options(**config: Any) -> Options:
    return merge(load_mapping({**LISTEN, **config}), {})


async def client_of(server: Server) -> RawClient:
    client = await RawClient.connect("127.0.0.1", server.port)
    await client.expect_info()
    client.send('CONNECT {"verbose":false}\r\n')
    return client


async def test_streams_that_cannot_be_kept_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = {"store_dir": str(tmp_path / "file" / "below")}
    async with Server(options()) as server, await client_of(server) as client:
        before = server.options
        wanted = options(
            jetstream=broken, max_payload=10, leafnodes={"remotes": [{"url": "nats://127.0.0.1:1"}]}
        )
        assert not reload(server, lambda: wanted)
        assert server.options is before
        assert server.jetstream is None
        client.send(b"SUB x 1\r\nPUB x 11\r\nhello world\r\n")
        await client.expect(b"MSG x 1 11\r\nhello world\r\n")
        assert not server.leafs.remotes.is_up(wanted.leafnodes.remotes[0])
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("leafnode remote")]


async def test_a_log_file_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    async with Server(options()) as server:
        before, handlers = server.options, list(logging.getLogger("phloem").handlers)
        assert not reload(server, lambda: options(log_file=str(tmp_path / "none" / "log"), max_payload=10))
        assert server.options is before
        assert logging.getLogger("phloem").handlers == handlers


async def test_a_first_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """With which nats-server 2.15.1 ends in a nil pointer."""
    caplog.set_level(logging.INFO)
    async with Server(options()) as server:
        assert reload(server, lambda: options(proxies={"trusted": [{"key": U}]}))
        assert f'Reloaded: proxies trusted keys ["{U}"] were added' in caplog.messages
        assert reload(server, lambda: options(proxies={"trusted": [{"key": U2}]}))
        assert f'Reloaded: proxies trusted keys ["{U}"] were removed' in caplog.messages
        assert reload(server, options)


async def test_mappings_that_are_gone_map_nothing() -> None:
    async with Server(options(mappings={"a": "b"})) as server, await client_of(server) as client:
        client.send(b"SUB a 1\r\nSUB b 2\r\nPUB a 0\r\n\r\n")
        await client.expect(b"MSG b 2 0\r\n\r\n")
        assert reload(server, options)
        client.send(b"PUB a 0\r\n\r\n")
        await client.expect(b"MSG a 1 0\r\n\r\n")


async def test_the_only_user_stays_when_something_else_changes() -> None:
    single = {"user": "a", "password": "p"}
    async with (
        Server(options(authorization=single)) as server,
        await RawClient.connect("127.0.0.1", server.port) as client,
    ):
        await client.expect_info()
        client.send('CONNECT {"verbose":false,"user":"a","pass":"p"}\r\n')
        await client.expect_silence_until_pong()
        assert reload(server, lambda: options(authorization=single, ping_max=5))
        await client.expect_silence_until_pong()


async def test_secrets_are_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = {"user": "a", "password": "hunter2"}
    async with Server(options(leafnodes={"listen": "127.0.0.1:-1"})) as server:
        assert reload(
            server, lambda: options(leafnodes={"listen": "127.0.0.1:-1"}, authorization={"users": [user]})
        )
        assert not reload(
            server, lambda: options(leafnodes={"listen": "127.0.0.1:-1", "authorization": user})
        )
        assert not reload(
            server, lambda: options(leafnodes={"listen": "127.0.0.1:-1", "authorization": {"users": [user]}})
        )
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"resolver": "MEMORY"}, {"resolver": {"type": "full", "dir": "x"}}),
        ({}, {"operators": []}),
    ],
)
async def test_differences_without_a_difference(before: dict[str, Any], after: dict[str, Any]) -> None:
    async with Server(options(**before)) as server:
        assert reload(server, lambda: options(**before))
        assert reload(server, lambda: options(**after))
