"""The NATS publisher against the real nats-server: away at first, killed, full backlog, refusals."""

import asyncio
import logging
import socket
from pathlib import Path
from random import Random

import nats
import nats.errors
import pytest
from tests.support.accepting import Accepting, streams
from tests.unit.bridge.rig import WAIT_S, Heard, ManualTimers, NatsServer, listen

from phloem.firmware_bridge import limits
from phloem.firmware_bridge.backlog import Backlog, size_of
from phloem.firmware_bridge.client_write import confirm
from phloem.firmware_bridge.headers import encode_headers
from phloem.firmware_bridge.nats_publisher import NatsPublisher


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "phloem.bridge")


def say(publisher: NatsPublisher, seq: int) -> None:
    publisher.publish("tele.x", b"v", {"Phloem-Seq": str(seq)})


async def seqs(heard: Heard, count: int) -> list[int]:
    return [(await heard.next()).seq for _ in range(count)]


async def test_a_killed_server_loses_nothing_and_is_one_warning(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    timers = ManualTimers()
    commands: asyncio.Queue[bytes] = asyncio.Queue()
    async with NatsPublisher([nats_server.url], Random(1), call_later=timers) as publisher:
        publisher.subscribe("cmd.x", commands.put_nowait)
        await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
        await nats_server.stop()
        for seq in range(1, 1001):
            say(publisher, seq)
        for _ in range(3):
            await timers.fire()
        await timers.waiting()
        assert publisher.backlog.dropped == 0
        assert len(publisher.backlog) == 1000

        await nats_server.start()
        async with listen(nats_server.url, "tele.x") as heard:
            await timers.fire()
            assert await seqs(heard, 1000) == list(range(1, 1001))
            await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
            await heard.client.publish("cmd.x", b"on")
            assert await asyncio.wait_for(commands.get(), WAIT_S) == b"on"
    [warning] = [record.getMessage() for record in caplog.records]
    assert nats_server.url in warning
    assert "trying again for ever" in warning


async def test_a_full_backlog_keeps_the_newest_and_warns_once(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    backlog = Backlog(10 * size_of((b"tele.x", encode_headers({"Phloem-Seq": "50"}), b"v")))
    async with (
        listen(nats_server.url, "tele.x") as heard,
        NatsPublisher([nats_server.url], Random(1), backlog=backlog) as publisher,
    ):
        for seq in range(1, 51):  # the publisher's task has not run yet
            say(publisher, seq)
        assert await seqs(heard, 10) == list(range(41, 51))
        assert publisher.backlog.dropped == 40
    assert ["backlog is full" in record.getMessage() for record in caplog.records] == [True]


async def test_leaving_delivers_what_is_queued(nats_server: NatsServer) -> None:
    async with listen(nats_server.url, "tele.x") as heard:
        async with NatsPublisher([nats_server.url], Random(1)) as publisher:
            for seq in range(1, 2001):
                say(publisher, seq)
        assert len(publisher.backlog) == 0
        assert await seqs(heard, 2000) == list(range(1, 2001))


async def test_a_server_that_refuses_us_is_tried_again(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """nats-py alone would end its life at the first refusal."""
    timers = ManualTimers()
    await nats_server.stop()
    await nats_server.start("--user", "somebody", "--pass", "else")
    url = nats_server.url.replace("nats://", "nats://me:secret@")
    async with NatsPublisher([url], Random(1), call_later=timers) as publisher:
        await timers.fire()
        await timers.waiting()
        await nats_server.stop()
        await nats_server.start()
        await timers.fire()
        await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
    [warning] = [record.getMessage() for record in caplog.records]
    assert "Authorization Violation" in warning
    assert "secret" not in warning


async def test_a_peer_that_does_not_speak_nats_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    said = iter([b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x" * 100_000, b"INFO {]\r\n", b"INFO\r\n"])

    async def speak(sock: socket.socket) -> None:
        async with streams(sock) as (_, writer):
            writer.write(next(said, b""))
            writer.close()
            await writer.wait_closed()

    timers = ManualTimers()
    async with (
        Accepting(speak) as stranger,
        NatsPublisher([f"127.0.0.1:{stranger.port}"], Random(1), call_later=timers),
    ):
        for _ in range(4):
            await timers.fire()
        await timers.waiting()
    assert len(caplog.records) == 1


async def test_a_message_above_the_servers_limit_is_dropped_alone(
    nats_server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "small.conf").write_text("max_payload: 1000")
    await nats_server.stop()
    await nats_server.start("-c", str(tmp_path / "small.conf"))
    async with (
        listen(nats_server.url, "tele.x") as heard,
        NatsPublisher([nats_server.url], Random(1)) as publisher,
    ):
        say(publisher, 1)
        publisher.publish("tele.x", b"x" * 1001, {"Phloem-Seq": "2"})
        fits = 1000 - len(encode_headers({"Phloem-Seq": "3"}))
        publisher.publish("tele.x", b"x" * (fits + 1), {"Phloem-Seq": "3"})
        publisher.publish("tele.x", b"x" * fits, {"Phloem-Seq": "4"})
        say(publisher, 5)
        assert await seqs(heard, 3) == [1, 4, 5]
    assert publisher.refused == 2
    assert ["lower max_frame_bytes" in record.getMessage() for record in caplog.records] == [True]


async def test_nothing_is_left_behind_without_a_server(nats_server: NatsServer) -> None:
    timers = ManualTimers()
    await nats_server.stop()
    before = asyncio.all_tasks()
    async with NatsPublisher([nats_server.url], Random(1), call_later=timers):
        await timers.fire()
        await timers.waiting()
    assert asyncio.all_tasks() == before


async def test_unsubscribed_is_unsubscribed(nats_server: NatsServer) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()
    async with (
        listen(nats_server.url, "nothing") as heard,
        NatsPublisher([nats_server.url], Random(1)) as publisher,
    ):
        unsubscribe = publisher.subscribe("cmd.a", got.put_nowait)
        publisher.subscribe("cmd.b", got.put_nowait)
        await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
        unsubscribe()
        await asyncio.wait_for(publisher.wait_idle(), WAIT_S)
        await heard.client.publish("cmd.a", b"a")
        await heard.client.publish("cmd.b", b"b")
        assert await asyncio.wait_for(got.get(), WAIT_S) == b"b"
        assert got.empty()


async def test_leaving_at_any_moment_ends(nats_server: NatsServer) -> None:
    """A cancellation can get lost inside nats-py; each number of steps meets another point."""
    tasks = asyncio.all_tasks()
    for steps in range(40):
        async with NatsPublisher([nats_server.url], Random(1)) as publisher:
            unsubscribe = publisher.subscribe("cmd.a", lambda _: None)
            if steps % 2:
                await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
            unsubscribe()
            for _ in range(steps):
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks


async def test_what_was_not_confirmed_is_sent_again() -> None:
    """A server that takes messages and dies before it answers the PING after them."""
    connections: list[list[bytes]] = []

    async def serve(sock: socket.socket) -> None:
        mine: list[bytes] = []
        connections.append(mine)
        async with streams(sock) as (reader, writer):
            await converse(mine, reader, writer)

    async def converse(mine: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"headers":true,"max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line.startswith(b"HPUB"):
                mine.append((await reader.readexactly(int(line.split()[-1]) + 2))[-3:-2])
            elif line.startswith(b"PING"):
                if mine and len(connections) == 1:
                    break
                writer.write(b"PONG\r\n")

    timers = ManualTimers()
    async with (
        Accepting(serve) as server,
        NatsPublisher([f"127.0.0.1:{server.port}"], Random(1), call_later=timers) as publisher,
    ):
        await asyncio.wait_for(publisher.wait_connected(), WAIT_S)
        publisher.publish("tele.x", b"1", {"Phloem-Seq": "1"})
        publisher.publish("tele.x", b"2", {"Phloem-Seq": "2"})
        await timers.waiting()
        publisher.publish("tele.x", b"3", {"Phloem-Seq": "3"})
        await timers.fire()
        await asyncio.wait_for(publisher.wait_idle(), WAIT_S)
    assert connections == [[b"1", b"2"], [b"1", b"2", b"3"]]


async def test_a_bug_ends_the_block_with_its_error(nats_server: NatsServer) -> None:
    async def publish_nonsense() -> None:
        async with NatsPublisher([nats_server.url], Random(1)) as publisher:
            publisher.publish_all([("tele.x", b"", b"")])  # type: ignore[list-item]
            await asyncio.wait_for(publisher.wait_idle(), WAIT_S)

    with pytest.raises(ExceptionGroup) as caught:
        await publish_nonsense()
    assert isinstance(caught.value.exceptions[0], TypeError)


async def test_requests_are_answered(nats_server: NatsServer) -> None:
    async with (
        NatsPublisher([nats_server.url], Random(1)) as publisher,
        listen(nats_server.url, "unused") as heard,
    ):
        publisher.serve("port", lambda payload, respond: respond(b"<" + payload + b">", {"A": "1"}))
        await asyncio.wait_for(publisher.wait_idle(), WAIT_S)
        await heard.client.publish("port", b"nobody waits")
        answer = await heard.client.request("port", b"state", timeout=WAIT_S)
        assert (answer.data, answer.headers) == (b"<state>", {"A": "1"})
        assert publisher.payload_max == heard.client.max_payload - limits.HEADERS_BYTES


async def test_a_pong_of_another_ping_confirms_nothing() -> None:
    """nats-py's own PING is written past a message that waits; the server answers that one first."""
    read, answer = asyncio.Event(), asyncio.Queue[None]()

    async def speak(sock: socket.socket) -> None:
        async with streams(sock) as (reader, writer):
            writer.write(b'INFO {"max_payload":1000}\r\n')
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\n")
            assert await reader.readuntil(b"PING\r\nPING\r\n") == b"PING\r\nPUB a 1\r\nx\r\nPING\r\nPING\r\n"
            read.set()
            for _ in range(3):
                await answer.get()
                writer.write(b"PONG\r\n")

    async with Accepting(speak) as server:
        client = await nats.connect(f"127.0.0.1:{server.port}", allow_reconnect=False)
        confirming = asyncio.create_task(confirm(client, b"PUB a 1\r\nx\r\n", WAIT_S))
        await asyncio.sleep(0)
        await client._send_ping()
        await asyncio.wait_for(read.wait(), WAIT_S)
        answer.put_nowait(None)
        for _ in iter(lambda: len(client._pongs) > 2, False):
            await asyncio.sleep(0)
        assert not confirming.done()
        answer.put_nowait(None)
        await confirming
        answer.put_nowait(None)
        await client.close()


async def test_a_connection_that_is_not_read_any_more_confirms_nothing(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    assert client._reading_task is not None
    client._reading_task.cancel()
    await asyncio.wait({client._reading_task})
    with pytest.raises(nats.errors.TimeoutError):
        await confirm(client, b"PUB a 1\r\nx\r\n", 0.05)
    await client.close()
    with pytest.raises(nats.errors.ConnectionClosedError):
        await confirm(client, b"", WAIT_S)
