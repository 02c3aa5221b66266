"""Where a consumer begins that is made while messages are still on their way to the disk, or before there are any."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from phloem.shared.server.jetstream.api import Request
from phloem.shared.server.jetstream.api_consumers import create
from phloem.shared.server.server import Server
from phloem.shared.testing import server
from tests.unit.server.test_js_restart import api, running
from tests.unit.server.test_js_restart import create as create_stream

TIMEOUT_S = 10.0


def consumer(broker: Server, **config: Any) -> dict[str, Any]:
    """What the API answers, before anything else happens."""
    assert broker.jetstream is not None
    wanted = {"stream_name": "S", "config": {"name": "C", "ack_policy": "none", **config}}
    account = broker.jetstream.accounts["$G"]
    return create(Request(account, "", ["S"], b"", b"", json.dumps(wanted).encode()))


async def delivered(client: Client, subject: str, last: int) -> list[tuple[int, int]]:
    """Stream sequence and pending of what a push consumer delivers, up to a sequence."""
    found: list[tuple[int, int]] = []
    subscription = await client.subscribe(subject)
    await client.flush()
    while not found or found[-1][0] < last:
        message: Msg = await subscription.next_msg(TIMEOUT_S)
        tokens = message.reply.split(".")
        found.append((int(tokens[5]), int(tokens[8])))
    return found


POLICIES = [
    ("last_per_subject", [(2, 1), (3, 0)]),
    ("last", [(2, 1), (3, 0)]),
    ("all", [(2, 1), (3, 0)]),
    ("new", [(3, 0)]),
]


@pytest.mark.parametrize(("policy", "expected"), POLICIES)
@pytest.mark.parametrize("before", [0, 1], ids=["the first message", "a new value"])
async def test_a_message_on_its_way_to_the_disk(
    tmp_path: Path, policy: str, expected: list[tuple[int, int]], before: int
) -> None:
    """It is there, and is handed out once, when it is on the disk."""
    async with (
        server({"jetstream": {"store_dir": str(tmp_path)}}) as broker,
        await broker.connect() as client,
    ):
        js = client.jetstream()
        await create_stream(client, "S", subjects=["s.*"], max_msgs_per_subject=1)
        if before:
            await js.publish("s.a", b"1")
        else:
            expected = [(seq - 1, pending) for seq, pending in expected]
        answers: list[dict[str, Any]] = []

        def work() -> None:
            broker.kernel.publish(broker.account("$G"), b"s.a", body=b"2")
            assert broker.jetstream is not None
            stream = broker.jetstream.accounts["$G"].streams["S"]
            assert (stream.log.visible_seq, stream.log.last_seq) == (before, before + 1)
            answers.append(consumer(broker, deliver_policy=policy, deliver_subject="d", filter_subject="s.*"))

        broker.do(work)
        if policy == "last_per_subject":  # whoever takes 0 for the end of what there was would drop the key
            assert answers[0]["num_pending"] == 1
        await js.publish("s.b", b"3")
        assert (await api(client, "CONSUMER.INFO.S.C"))["num_pending"] == len(expected)
        assert await delivered(client, "d", before + 2) == expected


async def test_made_before_the_first_message_and_crashed(tmp_path: Path) -> None:
    """Nothing counts twice because the stream was empty."""
    crashed = tmp_path / "copy"
    async with running(tmp_path / "one") as (client, js):
        await create_stream(client, "S", subjects=["s.*"])
        config = {"durable_name": "C", "deliver_policy": "last_per_subject", "filter_subject": "s.*"}
        await api(
            client,
            "CONSUMER.CREATE.S.C.s.*",
            stream_name="S",
            config={**config, "name": "C", "ack_policy": "explicit"},
        )
        for number in range(4):
            await js.publish(f"s.{number % 2}", b"")
        shutil.copytree(tmp_path / "one", crashed)
    async with running(crashed) as (client, js):
        assert (await api(client, "CONSUMER.INFO.S.C"))["num_pending"] == 4
        subscription = await js.pull_subscribe_bind("C", "S")
        messages = await subscription.fetch(4, timeout=TIMEOUT_S)
        assert [message.metadata.sequence.stream for message in messages] == [1, 2, 3, 4]
        assert (await api(client, "CONSUMER.INFO.S.C"))["num_pending"] == 0
