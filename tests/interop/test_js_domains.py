"""JetStream of the other side of a leaf link, through its domain; what crosses and what does not (wire 2.7)."""

import asyncio
import contextlib

import pytest
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    StreamConfig,
)
from nats.js.errors import NoKeysError, NotFoundError

from tests.interop.pairs import AND_THE_CONTROL, BOTH_WAYS, IN_EVERY_PAIRING, TIMEOUT_S, Pair, fresh, until


async def _across(pair: Pair, up: bool) -> tuple[JetStreamContext, JetStreamContext]:
    """JetStream of the far side: asked from here through its domain, and asked over there."""
    here, there = pair.sides(up)
    return (await here.client()).jetstream(domain=there.domain, timeout=TIMEOUT_S), await there.js()


@AND_THE_CONTROL
@BOTH_WAYS
async def test_streams(pair: Pair, up: bool) -> None:
    js, there = await _across(pair, up)
    name = fresh("S")
    made = await js.add_stream(name=name, subjects=[f"{name}.>"], allow_direct=True)
    assert made.did_create
    for number in range(5):
        ack = await there.publish(f"{name}.{number}", b"%d" % number)
    assert ack.domain == pair.sides(up)[1].domain
    assert (await js.stream_info(name)).state.messages == 5
    assert name in {info.config.name for info in await js.streams_info()}
    assert await js.find_stream_name_by_subject(f"{name}.x") == name
    assert (await js.get_msg(name, 2)).data == b"1"
    assert (await js.get_last_msg(name, f"{name}.4")).seq == 5
    got = await js.get_msg(name, 3, direct=True)
    assert (got.subject, got.data) == (f"{name}.2", b"2")
    assert (await js.get_last_msg(name, f"{name}.3", direct=True)).data == b"3"
    assert (
        await js.update_stream(StreamConfig(name=name, subjects=[f"{name}.>"], max_msgs=3))
    ).config.max_msgs == 3
    assert await js.delete_msg(name, 4)
    assert await js.purge_stream(name)
    assert (await js.stream_info(name)).state.messages == 0
    assert await js.delete_stream(name)
    with pytest.raises(NotFoundError):
        await js.stream_info(name)


@IN_EVERY_PAIRING
@BOTH_WAYS
async def test_publish_across_and_pull(pair: Pair, up: bool) -> None:
    """A stream's subject is interest like any other; answers and acknowledgements find back."""
    js, there = await _across(pair, up)
    name = fresh("S")
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await until(lambda: js.publish(f"{name}.first", b""), lambda _: True)
    for number in range(20):
        ack = await js.publish(f"{name}.a", b"%d" % number, headers={"N": str(number)})
        assert (ack.stream, ack.domain) == (name, pair.sides(up)[1].domain)
    puller = await js.pull_subscribe(f"{name}.a", durable="C", stream=name)
    got = []
    while len(got) < 20:
        for msg in await puller.fetch(7, timeout=TIMEOUT_S):
            assert (msg.subject, msg.headers) == (f"{name}.a", {"N": msg.data.decode()})
            got.append(int(msg.data))
            await msg.ack_sync(timeout=TIMEOUT_S)
    assert got == list(range(20))
    info = await js.consumer_info(name, "C")
    assert (info.num_ack_pending, info.ack_floor.consumer_seq) == (0, 20)
    assert [one.name for one in await js.consumers_info(name)] == ["C"]
    assert await js.delete_consumer(name, "C")
    assert (await there.stream_info(name)).state.consumer_count == 0


@IN_EVERY_PAIRING
@BOTH_WAYS
async def test_push_with_flow_control(pair: Pair, up: bool) -> None:
    """More than one window of flow control, acknowledged and not, and heartbeats in the silence behind it."""
    js, there = await _across(pair, up)
    name = fresh("S")
    await there.add_stream(name=name, subjects=[f"{name}.>"], storage="memory")
    await asyncio.gather(*(there.publish(f"{name}.{number}", bytes(4096)) for number in range(300)))
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, flow_control=True, idle_heartbeat=0.2
    )
    pushed = await js.subscribe(f"{name}.>", stream=name, config=config)
    seqs = [(await pushed.next_msg(timeout=TIMEOUT_S)).metadata.sequence.stream for _ in range(300)]
    assert seqs == list(range(1, 301))
    acked = await js.subscribe(
        f"{name}.>", stream=name, durable="D", config=ConsumerConfig(max_ack_pending=10)
    )
    for seq in range(1, 51):
        msg = await acked.next_msg(timeout=TIMEOUT_S)
        assert msg.metadata.sequence.stream == seq
        await msg.ack()
    await until(lambda: js.consumer_info(name, "D"), lambda info: info.ack_floor.stream_seq >= 50)
    ordered = await js.subscribe(f"{name}.>", stream=name, ordered_consumer=True)
    for seq in range(1, 301):
        assert (await ordered.next_msg(timeout=TIMEOUT_S)).metadata.sequence.stream == seq


@IN_EVERY_PAIRING
@BOTH_WAYS
async def test_key_value(pair: Pair, up: bool) -> None:
    """Read and watched from afar; written through the domain's own subjects, because ``$KV`` does not cross."""
    js, there = await _across(pair, up)
    name = fresh("B")
    far = await js.create_key_value(KeyValueConfig(bucket=name, history=3))
    near = await there.key_value(name)
    watcher = await far.watchall()
    assert await watcher.updates(timeout=TIMEOUT_S) is None
    await near.put("k", b"1")
    seen = await watcher.updates(timeout=TIMEOUT_S)
    assert seen is not None
    assert (seen.key, seen.value) == ("k", b"1")
    assert (await far.get("k")).value == b"1"
    nc = js._nc
    answer = await nc.request(f"{js._prefix}.$KV.{name}.k", b"2", timeout=TIMEOUT_S)
    assert b'"seq":2' in answer.data
    seen = await watcher.updates(timeout=TIMEOUT_S)
    assert seen is not None
    assert (seen.key, seen.value, seen.revision) == ("k", b"2", 2)
    await near.delete("k")
    seen = await watcher.updates(timeout=TIMEOUT_S)
    assert seen is not None
    assert seen.operation == "DEL"
    revisions: list[int | None] = []
    async with asyncio.timeout(TIMEOUT_S):
        while (
            not revisions
        ):  # nats-py takes a history for empty if its own task has not run when the answer is there
            with contextlib.suppress(NoKeysError):
                revisions = [entry.revision for entry in await far.history("k")]
    assert revisions == [1, 2, 3]
    with pytest.raises(NoRespondersError):
        await nc.request(f"$KV.{name}.k", b"x", timeout=TIMEOUT_S)
    await watcher.stop()


@IN_EVERY_PAIRING
@BOTH_WAYS
async def test_objects(pair: Pair, up: bool) -> None:
    js, there = await _across(pair, up)
    name = fresh("B")
    far = await js.create_object_store(name, ObjectStoreConfig())
    near = await there.object_store(name)
    content = bytes(range(256)) * 2000
    await near.put("o", content)
    assert (await far.get("o")).data == content
    await far.put("p", content)
    assert (await near.get("p")).data == content


@IN_EVERY_PAIRING
async def test_what_is_asked_without_a_domain_stays(pair: Pair) -> None:
    """Each side is asked about itself, once, by whatever name it has; nobody answers for a domain that is not there."""
    for side in (pair.hub, pair.leaf):
        client = await side.client()
        js = client.jetstream(timeout=TIMEOUT_S)
        assert (await js.account_info()).domain == side.domain
        own = client.jetstream(domain=side.domain, timeout=TIMEOUT_S)
        assert (await own.account_info()).domain == side.domain
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        for subject in ("$JS.API.INFO", f"$JS.{side.domain}.API.INFO"):
            await client.publish(subject, b"", reply=inbox)
            assert side.domain.encode() in (await answers.next_msg(timeout=TIMEOUT_S)).data
        await pair.linked()
        assert not answers.pending_msgs, "an answer of the other side as well"
        with pytest.raises(NoRespondersError):
            await client.request("$JS.nowhere.API.INFO", b"", timeout=TIMEOUT_S)


@IN_EVERY_PAIRING
async def test_subjects_of_jetstream_that_do_not_cross(pair: Pair) -> None:
    """Neither requests nor what is published, not even to those who listen to everything."""
    for here, there in (pair.sides(True), pair.sides(False)):
        sender, listener = await here.client(), await there.client()
        heard = await listener.subscribe(">")
        await pair.linked()
        await pair.linked()
        mark = fresh("mark.")
        for subject in (
            "$KV.b.k",
            "$OBJ.b.k",
            "$JS.API.STREAM.INFO.none",
            f"$JS.{here.domain}.API.INFO",
            mark,
        ):
            await sender.publish(subject, b"")
        got: list[str] = []
        while mark not in got:
            got.append((await heard.next_msg(timeout=TIMEOUT_S)).subject)
        crossed = [subject for subject in got if subject.startswith("$")]
        assert [subject for subject in crossed if not subject.startswith("$JS.EVENT.")] == []


@IN_EVERY_PAIRING
async def test_an_account_without_streams_of_its_own(pair: Pair) -> None:
    """The leaf side of B has no JetStream and takes the hub's for its own."""
    await pair.linked("b")
    js = (await pair.leaf.client("b")).jetstream(timeout=TIMEOUT_S)
    name = fresh("S")
    assert (await js.account_info()).domain == "hub"
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    ack = await until(lambda: js.publish(f"{name}.a", b"x"), lambda _: True)
    assert ack.domain == "hub"
    assert (await (await pair.hub.js("b")).stream_info(name)).state.messages == 1
    bucket = await js.create_key_value(KeyValueConfig(bucket=name))
    await until(lambda: bucket.put("k", b"v"), lambda _: True)
    assert (await bucket.get("k")).value == b"v"


@IN_EVERY_PAIRING
async def test_isolation(pair: Pair) -> None:
    """A link whose leaf asked to be told of no other leafs carries its JetStream as any other does."""
    await pair.linked("i")
    for here, there in (pair.sides(True), pair.sides(False)):
        js = (await here.client("i")).jetstream(domain=there.domain, timeout=TIMEOUT_S)
        name = fresh("S")
        await js.add_stream(name=name, subjects=[f"{name}.>"])
        await until(lambda js=js, name=name: js.publish(f"{name}.a", b"x"), lambda _: True)
        assert (await js.get_msg(name, 1)).data == b"x"
