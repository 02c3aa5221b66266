"""The server inside a program: it starts whole or not at all, and nothing of it is left behind the block."""

import asyncio
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

import phloem
from phloem.shared.errors import ConfigError, PortInUse
from phloem.shared.server.load import as_options
from phloem.shared.server.reload import reload
from phloem.shared.server.server import Server
from phloem.shared.testing import server
from tests.support.rawclient import Incoming, RawClient

CONNECT = '{"verbose":false,"pedantic":false,"headers":true}'
LOOP_TURNS = 10  # a transport that was closed lets go of its socket a turn later


class Belongings:
    """Tasks, threads and descriptors of this process, to compare with later."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> dict[str, set[str]]:
        folder = Path("/proc/self/fd")
        names = [(name, folder / name) for name in os.listdir(folder)]
        return {
            "tasks": {task.get_name() for task in asyncio.all_tasks()},
            # the loop's executor keeps its threads, as many as it once used at the same time
            "threads": {t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")},
            "descriptors": {f"{name} {os.readlink(path)}" for name, path in names if path.exists()},
        }

    async def assert_unchanged(self) -> None:
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        assert self._now() == self._before


async def raw(sock: socket.socket) -> RawClient:
    sock.setblocking(False)
    _, incoming = await asyncio.get_running_loop().create_connection(Incoming, sock=sock)
    return RawClient(incoming)


async def login(client: RawClient, user: str, password: str = "p") -> None:
    await client.handshake(f'{{"user":"{user}","pass":"{password}","verbose":false}}')


async def answer(message: Msg) -> None:
    await message.respond(b"answer")


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_the_first_example_of_the_readme() -> None:
    async with phloem.Server({"host": "127.0.0.1", "port": -1}) as broker:
        nc = await broker.connect()
        readings = await nc.subscribe("greenhouse.*")
        await nc.publish("greenhouse.temperature", b"21.5")
        message = await readings.next_msg(timeout=5)
        assert (message.subject, message.data) == ("greenhouse.temperature", b"21.5")
        await nc.close()


async def test_nothing_is_left_over(tmp_path: Path) -> None:
    before = Belongings()
    config = {
        "http": "127.0.0.1:-1",
        "host": "127.0.0.1",
        "port": -1,
        "leafnodes": {"host": "127.0.0.1", "port": -1},
        "phloem": {"unix_socket": str(tmp_path / "nats.sock")},
    }
    async with server(config) as broker:
        nc = await broker.connect()
        tcp = await RawClient.connect("127.0.0.1", broker.port)
        await tcp.handshake(CONNECT)
        assert len(broker.clients.open) == 2
        assert broker.monitor is not None
        tcp.close()
        await nc.close()
    await before.assert_unchanged()
    assert os.listdir(tmp_path) == []


async def test_two_linked_servers_leave_nothing() -> None:
    """The thread in which the loop resolves names is the loop's, which keeps it for the next name."""
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 0)
    before = Belongings()
    async with server(
        {"host": "127.0.0.1", "port": -1, "leafnodes": {"host": "127.0.0.1", "port": -1}}
    ) as hub:
        remotes = [{"urls": [f"nats-leaf://127.0.0.1:{hub.leaf_port}"]}]
        async with server({"host": "127.0.0.1", "port": -1, "leafnodes": {"remotes": remotes}}) as leaf:
            above, below = await hub.connect(), await leaf.connect()
            await above.subscribe("question", cb=answer)
            await above.flush()
            async with asyncio.timeout(20):
                while not hub.leafs.up or not leaf.leafs.up:
                    await below.flush()
                while True:
                    try:
                        assert (await below.request("question", timeout=5)).data == b"answer"
                    except NoRespondersError:  # the interest is still on its way
                        continue
                    break
            await below.close()
            await above.close()
    await before.assert_unchanged()


async def test_clients_see_the_end_and_leave_nothing() -> None:
    before = Belongings()
    async with server() as broker:
        client = await RawClient.connect("127.0.0.1", broker.port)
        await client.handshake(CONNECT)
        other = await raw(broker.connect_socket())
        await other.handshake(CONNECT)
    await client.expect_close()
    await other.expect_close()
    client.close()
    other.close()
    await before.assert_unchanged()


@pytest.mark.parametrize("taken", ["clients", "leafnodes", "monitoring"])
async def test_a_taken_port_starts_nothing(taken: str, caplog: pytest.LogCaptureFixture) -> None:
    before = Belongings()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        config: dict[str, Any] = {"host": "127.0.0.1", "port": -1}
        config |= {
            "clients": {"port": port},
            "leafnodes": {"leafnodes": {"host": "127.0.0.1", "port": port}},
            "monitoring": {"http": f"127.0.0.1:{port}"},
        }[taken]
        with pytest.raises(PortInUse) as caught:
            async with server(config):
                pytest.fail("it started")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "address already in use" in str(caught.value)
    assert "\n" not in str(caught.value)
    await before.assert_unchanged()


async def test_what_cannot_work_is_refused_before_anything_opens() -> None:
    before = Belongings()
    with pytest.raises(ConfigError, match="ping_inteval"):
        async with server({"port": -1, "ping_inteval": "2m"}):
            pytest.fail("it started")
    await before.assert_unchanged()


async def test_two_servers_in_one_loop_know_nothing_of_each_other() -> None:
    async with server() as one, server() as two:
        assert one.port != two.port
        at_one, at_two = await raw(one.connect_socket()), await raw(two.connect_socket())
        for client in (at_one, at_two):
            await client.handshake(CONNECT)
            client.send("SUB here 1\r\n")
            await client.expect_silence_until_pong()
        at_one.send("PUB here 2\r\nhi\r\n")
        await at_one.expect("MSG here 1 2\r\nhi\r\n")
        await at_two.expect_silence_until_pong()
        at_one.close()
        at_two.close()


async def test_a_raw_socket_speaks_the_protocol() -> None:
    async with server({"server_name": "inside"}) as broker:
        client = await raw(broker.connect_socket())
        info = await client.expect_info()
        assert (info["server_name"], info["port"]) == ("inside", broker.port) or info["port"] == 0
        client.send(f"CONNECT {CONNECT}\r\nSUB a.* 9\r\nPUB a.b 3\r\nabc\r\nPING\r\n")
        await client.expect("MSG a.b 9 3\r\nabc\r\nPONG\r\n")
        client.close()


async def test_in_process_clients_and_others_share_subjects() -> None:
    async with server() as broker:
        nc = await broker.connect()
        inbox = await nc.subscribe("to.inside")
        await nc.flush()
        outside = await RawClient.connect("127.0.0.1", broker.port)
        await outside.handshake(CONNECT)
        outside.send("PUB to.inside 2\r\nhi\r\n")
        assert (await inbox.next_msg(timeout=5)).data == b"hi"
        outside.close()
        await nc.close()


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "nats.sock"
    async with server({"phloem": {"unix_socket": str(path), "unix_socket_mode": "0600"}}):
        assert path.stat().st_mode & 0o777 == 0o600
        async with await RawClient.connect(f"unix:{path}") as client:
            await client.handshake(CONNECT)
            await client.expect_silence_until_pong()
    assert not path.exists()


async def test_a_unix_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "nats.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with server({"phloem": {"unix_socket": str(path)}}):
        async with await RawClient.connect(f"unix:{path}") as client:
            await client.handshake(CONNECT)
        with pytest.raises(PortInUse, match="address already in use"):
            async with server({"phloem": {"unix_socket": str(path)}}):
                pytest.fail("it took a socket that is in use")
        assert path.exists()


@pytest.mark.skipif(not ipv6_works(), reason="no IPv6 on this machine")
@pytest.mark.parametrize(("host", "reached"), [("::1", ["::1"]), ("0.0.0.0", ["::1", "127.0.0.1"])])
async def test_ipv6(host: str, reached: list[str]) -> None:
    async with server({"host": host, "port": -1}) as broker:
        for address in reached:
            async with await RawClient.connect(address, broker.port) as client:
                await client.handshake(CONNECT)
                assert client.info["client_ip"] == address
        if host == "::1":
            assert broker.client_url == f"nats://[::1]:{broker.port}"


def users(*names: str, **more: Any) -> dict[str, Any]:
    known = [{"user": name, "password": "p"} for name in names]
    return {"host": "127.0.0.1", "port": -1, "authorization": {"users": known}, **more}


async def test_reload_closes_whom_it_no_longer_knows() -> None:
    async with server(users("stays", "goes")) as broker:
        stays = await raw(broker.connect_socket())
        goes = await raw(broker.connect_socket())
        await login(stays, "stays")
        await login(goes, "goes")
        assert reload(broker, lambda: as_options(users("stays")))
        await goes.expect_close()
        await stays.expect_silence_until_pong()
        stays.close()
        goes.close()


async def test_reload_takes_away_what_a_client_may_no_longer_hear() -> None:
    def config(*allowed: str) -> dict[str, Any]:
        user = {"user": "u", "password": "p", "permissions": {"subscribe": list(allowed)}}
        return {"host": "127.0.0.1", "port": -1, "authorization": {"users": [user]}}

    async with server(config("a", "b")) as broker:
        client = await raw(broker.connect_socket())
        await login(client, "u")
        client.send("SUB a 1\r\nSUB b 2\r\n")
        await client.expect_silence_until_pong()
        assert reload(broker, lambda: as_options(config("a")))
        await client.expect('-ERR \'Permissions Violation for Subscription to "b" (sid "2")\'\r\n')
        client.send("PUB b 1\r\nx\r\nPUB a 1\r\ny\r\n")
        await client.expect("MSG a 1 1\r\ny\r\n")
        client.close()


async def test_what_has_no_effect_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the server starts, and when its file is read again."""
    caplog.set_level(logging.INFO)
    config: dict[str, Any] = {
        "port": -1,
        "jetstream": {"store_dir": str(tmp_path), "meta_compact_sync": True},
    }
    told = '"meta_compact_sync" has no effect: this server is not part of a cluster'
    async with server(config) as broker:
        assert [text for text in caplog.messages if "no effect" in text] == [told]
        assert reload(broker, lambda: as_options(config | {"max_payload": 10}))
        assert [text for text in caplog.messages if "no effect" in text] == [told] * 2


@pytest.mark.parametrize("change", [{"max_pending": 1 << 20}, {"port": 4}, {"no_such_key": 1}])
async def test_a_failed_reload_changes_nothing(change: dict[str, Any]) -> None:
    async with server(users("u")) as broker:
        before, port = broker.options, broker.port
        client = await raw(broker.connect_socket())
        await login(client, "u")
        assert not reload(broker, lambda: as_options(users("other", max_payload=10) | change))
        assert (broker.options, broker.port) == (before, port)
        await client.expect_silence_until_pong()
        again = await raw(broker.connect_socket())
        await login(again, "u")
        client.close()
        again.close()


async def test_stop_may_be_called_again_and_by_several() -> None:
    before = Belongings()
    broker = Server({"host": "127.0.0.1", "port": -1})
    await broker.start()
    await asyncio.gather(broker.stop(), broker.stop(), broker.wait_stopped())
    await broker.stop()
    await before.assert_unchanged()
