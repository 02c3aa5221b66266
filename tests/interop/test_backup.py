"""Backups between phloem and nats-server in both directions, compared message by message."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from click.testing import CliRunner
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from phloem.shared.jetstream import archive
from phloem.shared.server import stream_backup
from phloem.shared.server.stream_backup import BackupError, JetStreamApi
from phloem.shared.server.stream_command import stream
from phloem.shared.wire.s2 import Encoder
from tests.support.phloem_server import ForkedPhloemServer, PhloemServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

COUNT = 100  # messages, each of which is asked for by itself
KINDS: dict[str, Any] = {"real": RealServer, "ours": ForkedPhloemServer}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    folder = tmp_path_factory.mktemp("servers")
    made: dict[str, ServerProcess] = {}
    try:
        for name, kind in KINDS.items():
            config = f'server_name: {name}\njetstream {{ store_dir: "{folder / name / "js"}" }}\n'
            made[name] = kind(config, folder / name)
        yield made
    finally:
        for server in made.values():
            server.end()


@pytest.fixture
async def clients(servers: dict[str, ServerProcess]) -> AsyncIterator[dict[str, Client]]:
    made = {name: await nats.connect(f"nats://127.0.0.1:{s.port('nats')}") for name, s in servers.items()}
    yield made
    for client in made.values():
        for one in await client.jetstream().streams_info():
            await client.jetstream().delete_stream(one.config.name)
        await client.close()


async def filled(client: Client, storage: str, count: int, *, ack_wait_s: float = 30) -> None:
    """Messages of many sizes, with and without headers, with holes, and two consumers in the middle of things."""
    js = client.jetstream()
    await js.add_stream(
        StreamConfig(name="B", subjects=["b.>"], storage=storage, metadata={"purpose": "test"})  # type: ignore[arg-type]
    )
    for i in range(count):
        headers = {"N": str(i), "Nats-Msg-Id": f"id{i}"} if i % 3 == 0 else None
        body = (b"reading %d " % i) * (i % 50)
        await js.publish(f"b.{i % 7}", body, headers=headers)
    for seq in (1, 5, 6, count):
        await js.delete_msg("B", seq)
    consumer = ConsumerConfig(durable_name="worker", ack_policy=AckPolicy.EXPLICIT, filter_subject="b.*")
    consumer.ack_wait = ack_wait_s
    await js.add_consumer("B", consumer)
    await js.add_consumer("B", ConsumerConfig(durable_name="idle", ack_policy=AckPolicy.EXPLICIT))
    pull = await js.pull_subscribe_bind("worker", "B")
    got = await pull.fetch(10)
    for message in (got[0], got[1], got[3]):
        await message.ack_sync()


async def contents(client: Client) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Every message, the state, how far each consumer is."""
    js = client.jetstream()
    info = await js.stream_info("B")
    messages = []
    for seq in range(1, info.state.last_seq + 1):
        try:
            m = await js.get_msg("B", seq)
        except nats.js.errors.NotFoundError:
            continue
        messages.append((seq, m.subject, m.data, m.headers, m.time))
    consumers = {}
    for one in await js.consumers_info("B"):
        floor, delivered = one.ack_floor, one.delivered
        assert floor is not None
        assert delivered is not None
        consumers[one.name] = (
            (floor.consumer_seq, floor.stream_seq),
            (delivered.consumer_seq, delivered.stream_seq),
            one.num_ack_pending,
            one.num_pending,
        )
    state = {
        "messages": info.state.messages,
        "bytes": info.state.bytes,
        "first_seq": info.state.first_seq,
        "last_seq": info.state.last_seq,
    }
    return messages, state, consumers


@pytest.mark.parametrize("storage", ["file", "memory"])
@pytest.mark.parametrize(
    ("source", "target"), [("real", "ours"), ("ours", "real"), ("ours", "ours"), ("real", "real")]
)
async def test_there_and_back(
    clients: dict[str, Client], tmp_path: Path, source: str, target: str, storage: str
) -> None:
    await filled(clients[source], storage, COUNT)
    before = await contents(clients[source])
    seen: list[tuple[int, int]] = []
    meta, census = await stream_backup.backup(
        JetStreamApi(clients[source]),
        "B",
        tmp_path / "b",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (census.messages, census.known) == (COUNT - 4, True)
    assert meta["config"]["metadata"]["purpose"] == "test"
    assert seen[-1] == (census.plain_bytes, census.plain_bytes)
    await clients[source].jetstream().delete_stream("B")

    info = await stream_backup.restore(JetStreamApi(clients[target]), tmp_path / "b")
    assert "differs" not in info
    assert info["state"]["messages"] == COUNT - 4
    assert await contents(clients[target]) == before

    js = clients[target].jetstream()
    assert (await js.publish("b.new", b"")).seq == COUNT + 1
    pull = await js.pull_subscribe_bind("worker", "B")
    assert (await pull.fetch(1, timeout=10))[0].metadata.sequence.stream == 14
    with pytest.raises(BackupError, match="10130"):
        await stream_backup.restore(JetStreamApi(clients[target]), tmp_path / "b")


@pytest.mark.parametrize("kind", ["real", "ours"])
async def test_a_backup_of_nats_server_2_14(clients: dict[str, Client], kind: str) -> None:
    """``nats_2_14`` is what 2.14.6 sent of the stream that ``filled`` makes."""
    client = clients[kind]
    info = await stream_backup.restore(JetStreamApi(client), Path(__file__).parent / "nats_2_14")
    assert "differs" not in info
    messages, state, consumers = await contents(client)
    assert [m[0] for m in messages] == [seq for seq in range(2, 60) if seq not in (5, 6)]
    assert [m[2] or b"" for m in messages] == [
        (b"reading %d " % (m[0] - 1)) * ((m[0] - 1) % 50) for m in messages
    ]
    assert messages[2][3] == {"N": "3", "Nats-Msg-Id": "id3"}
    assert (state["messages"], state["first_seq"], state["last_seq"]) == (56, 2, 60)
    assert consumers == {"idle": ((0, 1), (0, 1), 0, 56), "worker": ((2, 3), (10, 13), 7, 46)}
    assert (await client.jetstream().publish("b.new", b"")).seq == 61


@pytest.mark.parametrize("target", ["real", "ours"])
async def test_outstanding_messages_come_again(
    clients: dict[str, Client], tmp_path: Path, target: str
) -> None:
    source = "ours" if target == "real" else "real"
    await filled(clients[source], "file", 100, ack_wait_s=1)
    await stream_backup.backup(JetStreamApi(clients[source]), "B", tmp_path / "b")
    await stream_backup.restore(JetStreamApi(clients[target]), tmp_path / "b")
    pull = await clients[target].jetstream().pull_subscribe_bind("worker", "B")
    # 2, 3 and 7 of 2, 3, 4, 7 ... 13 were acknowledged (1, 5 and 6 had been deleted)
    times: dict[int, int] = {}
    while len(times) < 7 + 86:
        for message in await pull.fetch(100, timeout=10):
            await message.ack()
            times[message.metadata.sequence.stream] = message.metadata.num_delivered
    assert {seq for seq, n in times.items() if n > 1} == {4, 8, 9, 10, 11, 12, 13}
    assert sorted(times) == [4, *range(8, 100)]


@pytest.mark.parametrize("kind", ["real", "ours"])
async def test_windows_and_chunks(clients: dict[str, Client], kind: str) -> None:
    """The smallest chunks, a window of three: no more than three are on their way."""
    client = clients[kind]
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="B", subjects=["b.>"]))
    rng = random.Random(1)
    for _ in range(12):
        await js.publish("b.x", rng.randbytes(1000))
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    wanted = {"deliver_subject": inbox, "chunk_size": 1, "window_size": 3072}
    await JetStreamApi(client).ask("STREAM.SNAPSHOT.B", wanted)
    waiting = [await subscription.next_msg(5) for _ in range(3)]
    assert [m.reply.rsplit(".", 2)[1:] for m in waiting] == [["1024", "1"], ["1024", "2"], ["1024", "3"]]
    await client.flush()
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.next_msg(0.05)
    sizes = []
    for m in waiting:
        await m.respond(b"")
    while True:
        m = await subscription.next_msg(5)
        if not m.data:
            break
        sizes.append(len(m.data))
        if m.reply:
            await m.respond(b"")
    assert set(sizes[:-1]) <= {1024}
    assert (m.headers or {}).get("Status") == "204"


@pytest.mark.parametrize("kind", ["real", "ours"])
async def test_a_small_snapshot_ends_without_a_status(clients: dict[str, Client], kind: str) -> None:
    client = clients[kind]
    await client.jetstream().add_stream(StreamConfig(name="B", subjects=["b.>"]))
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    answer = await JetStreamApi(client).ask("STREAM.SNAPSHOT.B", {"deliver_subject": inbox})
    assert list(answer) == ["type", "config", "state"]
    assert list(answer["config"]["metadata"]) == ["_nats.req.level"]
    first, last = await subscription.next_msg(5), await subscription.next_msg(5)
    assert (bool(first.data), first.reply) == (True, "")
    assert (last.data, last.headers) == (b"", None)


ERRORS = [
    ("STREAM.SNAPSHOT.NONE", {"deliver_subject": "x"}, "10059"),
    ("STREAM.SNAPSHOT.B", None, "10003"),
    ("STREAM.SNAPSHOT.B", {"deliver_subject": "x.*"}, "10015"),
    ("STREAM.SNAPSHOT.B", {"deliver_subject": ""}, r"10003|10015"),
    ("STREAM.SNAPSHOT.B", {"deliver_subject": "x", "bogus": 1}, "10025"),
    ("STREAM.RESTORE.B", None, "10003"),
    ("STREAM.RESTORE.B", {"config": {"name": "C"}, "state": {}}, "10056"),
    ("STREAM.RESTORE.B", {"config": {"name": "B"}, "state": {}}, "10130"),
    ("STREAM.RESTORE.C", {"config": {"name": "C", "retention": "bogus"}, "state": {}}, "10025"),
]


@pytest.mark.parametrize("kind", ["real", "ours"])
@pytest.mark.parametrize(("what", "body", "code"), ERRORS)
async def test_errors(clients: dict[str, Client], kind: str, what: str, body: Any, code: str) -> None:
    await clients[kind].jetstream().add_stream(StreamConfig(name="B", subjects=["b.>"]))
    with pytest.raises(BackupError, match=code):
        await JetStreamApi(clients[kind]).ask(what, body)


@pytest.mark.parametrize("kind", ["real", "ours"])
@pytest.mark.parametrize("harm", ["flipped", "cut off", "no stream at all"])
async def test_a_damaged_backup_leaves_nothing(
    clients: dict[str, Client], tmp_path: Path, kind: str, harm: str
) -> None:
    await filled(clients[kind], "file", COUNT)
    await stream_backup.backup(JetStreamApi(clients[kind]), "B", tmp_path / "b")
    await clients[kind].jetstream().delete_stream("B")
    data = tmp_path / "b" / "stream.tar.s2"
    good = bytearray(data.read_bytes())
    if harm == "flipped":
        good[len(good) // 2] ^= 0x10
    data.write_bytes(
        {"flipped": good, "cut off": good[: len(good) // 2], "no stream at all": b"hello" * 99}[harm]
    )
    with pytest.raises(BackupError, match=r"10062"):
        await stream_backup.restore(JetStreamApi(clients[kind]), tmp_path / "b")
    if kind == "ours":
        assert await clients[kind].jetstream().streams_info() == []


async def test_backups_are_not_overwritten(clients: dict[str, Client], tmp_path: Path) -> None:
    await filled(clients["ours"], "memory", 10)
    await stream_backup.backup(JetStreamApi(clients["ours"]), "B", tmp_path, consumers=False)
    with pytest.raises(BackupError, match="already has a backup"):
        await stream_backup.backup(JetStreamApi(clients["ours"]), "B", tmp_path)


# nats-server tells of a stream and of its restoring by two loops, in whichever order they get there.
@pytest.mark.parametrize("kind", [pytest.param("real", marks=pytest.mark.flaky(reruns=2)), "ours"])
async def test_advisories(clients: dict[str, Client], tmp_path: Path, kind: str) -> None:
    client = clients[kind]
    heard = await client.subscribe("$JS.EVENT.ADVISORY.STREAM.*.B")
    await filled(client, "file", 10)
    await stream_backup.backup(JetStreamApi(client), "B", tmp_path / "b")
    await client.jetstream().delete_stream("B")
    await stream_backup.restore(JetStreamApi(client), tmp_path / "b")
    words = [(await heard.next_msg(5)).subject.split(".")[4] for _ in range(7)]
    assert words == [
        "CREATED",
        "SNAPSHOT_CREATE",
        "SNAPSHOT_COMPLETE",
        "DELETED",
        "RESTORE_CREATE",
        "CREATED",
        "RESTORE_COMPLETE",
    ]


async def test_others_have_their_turn(clients: dict[str, Client], tmp_path: Path) -> None:
    """While a snapshot is sent the server answers others."""
    client = clients["ours"]
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="B", subjects=["b.>"], storage="memory"))  # type: ignore[arg-type]
    for i in range(3000):
        await client.publish("b.x", b"%d" % i * 100)
    await client.flush()
    task = asyncio.create_task(stream_backup.backup(JetStreamApi(client), "B", tmp_path / "b"))
    while not task.done():
        await client.flush()
    assert (await task)[1].messages == 3000


def ours_in(folder: Path) -> PhloemServer:
    return ForkedPhloemServer(f'jetstream {{ store_dir: "{folder / "js"}" }}\n', folder)


async def test_what_was_restored_outlives_the_server(clients: dict[str, Client], tmp_path: Path) -> None:
    await filled(clients["real"], "file", 100)
    before = await contents(clients["real"])
    await stream_backup.backup(JetStreamApi(clients["real"]), "B", tmp_path / "b")
    server = ours_in(tmp_path / "own")
    client = await nats.connect(f"nats://127.0.0.1:{server.port()}")
    await stream_backup.restore(JetStreamApi(client), tmp_path / "b")
    await client.close()
    server.signal(signal.SIGKILL)
    server.wait()
    server.stop()
    with ours_in(tmp_path / "own") as again:
        client = await nats.connect(f"nats://127.0.0.1:{again.port()}")
        assert await contents(client) == before
        await client.close()


async def test_a_crash_in_the_middle_leaves_nothing(clients: dict[str, Client], tmp_path: Path) -> None:
    js = clients["real"].jetstream()
    await js.add_stream(StreamConfig(name="B", subjects=["b.>"]))
    for _ in range(200):
        await js.publish("b.x", random.randbytes(1000))
    meta, _ = await stream_backup.backup(JetStreamApi(clients["real"]), "B", tmp_path / "b")
    server = ours_in(tmp_path / "own")
    client = await nats.connect(f"nats://127.0.0.1:{server.port()}")
    answer = await JetStreamApi(client).ask("STREAM.RESTORE.B", meta)
    half = (tmp_path / "b" / "stream.tar.s2").read_bytes()[: 100 << 10]
    await client.request(answer["deliver_subject"], half, timeout=5)
    assert await client.jetstream().streams_info() == []
    await client.close()
    server.signal(signal.SIGKILL)
    server.wait()
    server.stop()
    with ours_in(tmp_path / "own") as again:
        client = await nats.connect(f"nats://127.0.0.1:{again.port()}")
        assert await client.jetstream().streams_info() == []
        await stream_backup.restore(JetStreamApi(client), tmp_path / "b")
        assert (await client.jetstream().stream_info("B")).state.messages == 200
        await client.close()


async def test_the_command(
    servers: dict[str, ServerProcess], clients: dict[str, Client], tmp_path: Path
) -> None:
    await filled(clients["ours"], "file", 50)
    url = f"nats://127.0.0.1:{servers['ours'].port('nats')}"

    async def run(*words: str) -> tuple[int, str]:
        command = [*words[:1], "-s", url, *words[1:]]
        done = await asyncio.to_thread(CliRunner().invoke, stream, command)
        return done.exit_code, " ".join(done.output.split())

    code, said = await run("backup", "B", str(tmp_path / "b"))
    assert code == 0
    assert "B: 46 messages up to sequence 50, " in said
    code, said = await run("restore", str(tmp_path / "b"))
    assert code == 1
    assert said.endswith("Error: stream name already in use, cannot restore (10130)")
    await clients["ours"].jetstream().delete_stream("B")
    (tmp_path / "b" / "stream.tar.s2").rename(tmp_path / "b" / "stream.arc.s2")
    code, said = await run("restore", str(tmp_path / "b"))
    assert code == 0
    assert said.endswith("B: 46 messages, sequences 2 to 50, 2 consumers")
    code, said = await run("ls")
    assert (code, "B b.> file 46" in said) == (0, True)
    code, said = await run("info", "NONE")
    assert (code, said) == (1, "Error: stream not found (10059)")


@pytest.mark.parametrize("source", ["real", "ours"])
async def test_ttls_and_schedules_go_on(clients: dict[str, Client], tmp_path: Path, source: str) -> None:
    config = {
        "name": "B",
        "subjects": ["b.>"],
        "allow_msg_ttl": True,
        "allow_msg_schedules": True,
        "allow_rollup_hdrs": True,
    }
    await JetStreamApi(clients[source]).ask("STREAM.CREATE.B", config)
    js = clients[source].jetstream()
    await js.publish("b.never", b"", headers={"Nats-TTL": "never"})
    await js.publish("b.short", b"", headers={"Nats-TTL": "2s"})
    await js.publish(
        "b.plan", b"now", headers={"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "b.made"}
    )
    await stream_backup.backup(JetStreamApi(clients[source]), "B", tmp_path / "b")
    await clients[source].jetstream().delete_stream("B")
    await stream_backup.restore(JetStreamApi(clients["ours"]), tmp_path / "b")
    js = clients["ours"].jetstream()
    made = await js.subscribe("b.made", ordered_consumer=True)
    assert (await made.next_msg(10)).data == b"now"
    while (await js.stream_info("B", subjects_filter="b.short")).state.subjects:
        await made.next_msg(10)
    assert (await js.get_last_msg("B", "b.never")).seq == 1


def archived(*entries: bytes, consumers: int = 0) -> bytes:
    """A snapshot made by hand."""
    state = {"messages": 9, "first_seq": 1, "last_seq": 9, "consumer_count": consumers}
    encoder = Encoder()
    content = archive.MAGIC + archive.document(archive.STATE, 1, state) + b"".join(entries) + archive.END
    return encoder.feed(content) + encoder.flush()


HOSTILE = [
    (archived(archive.entry(b"b.x\r\nPUB a 1", 1, 1, b"", b"")), "message sequence 1 has no valid subject"),
    (archived(archive.entry(b"b.*", 1, 1, b"", b"")), "message sequence 1 has no valid subject"),
    (archived(archive.entry(b"b.x", 1, 1, b"NATS/1.0\r\n", b"")), "message sequence 1 has no valid headers"),
    (
        archived(*[archive.entry(b"b.x", 1, seq, b"", b"") for seq in (3, 2)]),
        "message sequence 2 out of order",
    ),
    (
        archived(archive.entry(b"b.x", 1, 1, b"", bytes(2 << 20))),
        "message sequence 1 exceeds maximum payload size",
    ),
    (
        archived(archive.document(b"consumers/a.b", 1, {"config": {}, "state": {}}), consumers=1),
        'failed to add consumer "a.b": no name for a consumer',
    ),
]


@pytest.mark.parametrize(("data", "text"), HOSTILE, ids=[text for _, text in HOSTILE])
async def test_what_would_do_harm(clients: dict[str, Client], data: bytes, text: str) -> None:
    api = JetStreamApi(clients["ours"])
    config = {"name": "B", "subjects": ["b.>"]}
    answer = await api.ask("STREAM.RESTORE.B", {"config": config, "state": {}})
    for at in range(0, len(data), 64 << 10):
        await api.client.request(answer["deliver_subject"], data[at : at + (64 << 10)], timeout=5)
    last = await api.client.request(answer["deliver_subject"], b"", timeout=5)
    with pytest.raises(BackupError) as caught:
        stream_backup.plain_answer(last.data)
    assert str(caught.value) == f"restore failed: {text} (10062)"
    assert await clients["ours"].jetstream().streams_info() == []
