"""JetStream over the ends of its server: what a client was told holds when the server is there again, whatever the
date is then; what is deleted or too large says so to whoever waits for it. With an unmodified nats-py throughout.
"""

import random
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.errors import MaxPayloadError
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, KeyWrongLastSequenceError

from phloem.shared.testing import ManualClock, server
from tests.support.sampling import rest

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 24 * 3600 * SECOND_NS
MIB = 1 << 20
TASKS = 60
RUNS_AT_MOST = 400


def config(folder: Path, **more: object) -> dict[str, Any]:
    return {"jetstream": {"store_dir": str(folder)}, **more}


async def seqs(js: JetStreamContext, stream: str) -> tuple[int, int, int]:
    state = (await js.stream_info(stream)).state
    return state.messages, state.first_seq, state.last_seq


async def test_streams_consumers_and_message_ids_outlive_the_server(tmp_path: Path) -> None:
    async with server(config(tmp_path)) as first, await nats.connect(first.client_url) as client:
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s.*"])
        for number in range(5):
            await js.publish("s.a", b"%d" % number, headers={"Nats-Msg-Id": f"id{number}"})
        puller = await js.pull_subscribe("s.a", durable="C", stream="S", config=ConsumerConfig(ack_wait=1))
        messages = await puller.fetch(3)
        await messages[1].ack_sync()
        await js.delete_msg("S", 5)
    async with server(config(tmp_path)) as second, await nats.connect(second.client_url) as client:
        js = client.jetstream()
        assert await seqs(js, "S") == (4, 1, 5)
        again = await js.publish("s.a", b"again", headers={"Nats-Msg-Id": "id1"})
        assert (again.seq, again.duplicate) == (2, True)
        info = await js.consumer_info("S", "C")
        assert info.delivered is not None
        assert info.ack_floor is not None
        assert (info.num_ack_pending, info.num_pending) == (2, 1)
        assert (info.delivered.stream_seq, info.ack_floor.stream_seq) == (3, 0)
        puller = await js.pull_subscribe_bind("C", stream="S")
        # who holds the two may still be at work: they come again after ack_wait from the start
        handed = set()
        while len(handed) < 3:
            for message in await puller.fetch(3 - len(handed), timeout=10):
                handed.add((message.metadata.sequence.stream, message.metadata.num_delivered))
                await message.ack()
        assert handed == {(1, 2), (3, 2), (4, 1)}
        assert (await js.publish("s.a", b"new")).seq == 6  # a sequence is never used again


async def test_a_bucket_outlives_the_server(tmp_path: Path) -> None:
    async with server(config(tmp_path)) as first, await nats.connect(first.client_url) as client:
        bucket = await client.jetstream().create_key_value(bucket="B", history=3)
        for value in (b"1", b"2", b"3", b"4"):
            await bucket.put("k", value)
        await bucket.put("gone", b"x")
        await bucket.delete("gone")
    async with server(config(tmp_path)) as second, await nats.connect(second.client_url) as client:
        bucket = await client.jetstream().key_value("B")
        assert [entry.value for entry in await bucket.history("k")] == [b"2", b"3", b"4"]
        assert await bucket.keys() == ["k"]
        with pytest.raises(KeyWrongLastSequenceError):
            await bucket.update("k", b"5", last=3)
        assert await bucket.update("k", b"5", last=4) == 7


async def test_a_clock_that_jumps_back_loses_nothing(tmp_path: Path) -> None:
    """A device without a battery for its clock: after a restart the date is years ago."""
    clock = ManualClock()
    async with server(config(tmp_path), clock=clock) as first, await nats.connect(first.client_url) as client:
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s.*"], max_age=3600, duplicate_window=60)
        for number in range(3):
            await js.publish("s.a", headers={"Nats-Msg-Id": f"id{number}"})
    clock.set_wall_ns(clock.wall_ns() - 20 * YEAR_NS)
    async with (
        server(config(tmp_path), clock=clock) as second,
        await nats.connect(second.client_url) as client,
    ):
        js = client.jetstream()
        assert await seqs(js, "S") == (3, 1, 3)
        assert (await js.publish("s.b", b"now")).seq == 4
        puller = await js.pull_subscribe("s.*", durable="C", stream="S")
        messages = await puller.fetch(4)
        assert [message.metadata.sequence.stream for message in messages] == [1, 2, 3, 4]
        clock.set_wall_ns(clock.wall_ns() + 20 * YEAR_NS)
        assert (await js.publish("s.b", b"later")).seq == 5


async def test_a_stream_deleted_while_it_is_read(tmp_path: Path) -> None:
    async with server(config(tmp_path)) as running, await nats.connect(running.client_url) as client:
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s.*"])
        for _ in range(3):
            await js.publish("s.a")
        puller = await js.pull_subscribe("s.a", durable="C", stream="S")
        (message,) = await puller.fetch(1)
        inbox = await client.subscribe("waiting")
        await client.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":9,"expires":30000000000}', "waiting")
        for _ in range(2):
            await inbox.next_msg(timeout=5)
        await js.delete_stream("S")
        last = await inbox.next_msg(timeout=5)
        assert last.headers is not None
        assert last.headers["Status"] == "409"
        await message.ack()  # of nobody any more
        await js.add_stream(name="S", subjects=["s.*"])
        assert (await js.publish("s.a")).seq == 1


async def test_a_message_that_is_too_large_is_refused(tmp_path: Path) -> None:
    limits = {"max_payload": 64 * MIB, "max_pending": 256 * MIB}
    async with (
        server(config(tmp_path, **limits)) as running,
        await nats.connect(running.client_url) as client,
    ):
        js = client.jetstream()
        await js.add_stream(name="S", subjects=["s.*"], max_msg_size=MIB)
        with pytest.raises(APIError) as refused:
            await js.publish("s.a", bytes(64 * MIB), timeout=30)
        assert (refused.value.code, refused.value.err_code) == (503, 10077)
        with pytest.raises(MaxPayloadError):
            await js.publish("s.a", bytes(64 * MIB + 1))
        assert (await js.publish("s.a", b"small")).seq == 1
        assert await seqs(js, "S") == (1, 1, 1)


@pytest.mark.parametrize("seed", [0, rest(1), rest(2)])
@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_a_work_queue_whose_workers_die(tmp_path: Path, storage: str, seed: int) -> None:
    """Every task is done at least once, and nothing that was done and confirmed is ever handed out again."""
    choice = random.Random(seed)
    async with server(config(tmp_path)) as running, await nats.connect(running.client_url) as client:
        js = client.jetstream()
        await js.add_stream(
            StreamConfig(name="W", subjects=["w.*"], retention=RetentionPolicy.WORK_QUEUE, storage=storage)
        )
        for number in range(TASKS):
            await js.publish(f"w.{number % 7}", b"%d" % number)
        await js.add_consumer("W", ConsumerConfig(durable_name="D", ack_policy="explicit", ack_wait=0.05))
        done = await _work(running.client_url, choice)
        assert done == set(range(TASKS))
        assert await seqs(js, "W") == (0, TASKS + 1, TASKS)


async def _work(url: str, choice: random.Random) -> set[int]:
    """Workers one after the other; each does some tasks and then ends well or dies with tasks in its hands."""
    done: set[int] = set()
    for _ in range(RUNS_AT_MOST):
        if len(done) == TASKS:
            break
        worker: Client = await nats.connect(url)
        puller = await worker.jetstream().pull_subscribe_bind("D", stream="W")
        for message in await puller.fetch(choice.randrange(1, 12), timeout=5):
            task = int(message.data)
            assert task not in done
            match choice.choice(["ack", "ack", "nak", "progress", "die"]):
                case "ack":
                    await message.ack_sync()
                    done.add(task)
                case "nak":
                    await message.nak()
                case "progress":
                    await message.in_progress()
                case _:
                    break
        await worker.close()
    return done
