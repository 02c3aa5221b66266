"""Groups that are put into a stream of the same process: all of it, or what is before the first that is not taken."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from tests.unit.bridge.rig import listen

from phloem.edge.app import Edge
from phloem.edge.kernel_requests import KernelRequests
from phloem.firmware_bridge.edgelink.stream import JetStream, Kept
from phloem.firmware_bridge.headers import Encoded, encode_headers
from phloem.firmware_bridge.timers import loop_call_later

PATTERN = "tele.a.>"


class Rig:
    """An edge with a stream, and who places messages in it."""

    def __init__(self, edge: Edge, client: Client) -> None:
        self.edge, self.client = edge, client
        self.requests = KernelRequests(edge, call_later=loop_call_later)

    async def stream(self, **more: Any) -> None:
        config = StreamConfig(name="TELE", subjects=["tele.>"], allow_atomic=True, **more)
        await self.client.jetstream().add_stream(config)

    def place(self, after: int, messages: list[Encoded]) -> tuple[int, int, "asyncio.Future[bool]"]:
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        return (*self.requests.place("TELE", PATTERN, after, messages, done.set_result), done)

    @property
    def visible(self) -> int:
        jetstream = self.edge.jetstream
        assert jetstream is not None
        return jetstream.accounts["$G"].streams["TELE"].log.visible_seq

    async def payloads(self) -> list[bytes]:
        found = []
        state = (await self.client.jetstream().stream_info("TELE")).state
        for seq in range(state.first_seq, state.last_seq + 1):
            found.append((await self.client.jetstream().get_msg("TELE", seq)).data or b"")
        return found


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    config = {"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(tmp_path / "store")}}
    async with Edge(config) as edge, listen(edge.client_url, "tele.a.2") as heard:
        rig = Rig(edge, heard.client)
        yield rig
        rig.requests.stop()


def group(numbers: range, size: int = 1) -> list[Encoded]:
    header = encode_headers({"Phloem-Port": "s"})
    return [(f"tele.a.{number}".encode(), header, b"%d" % number * size) for number in numbers]


async def test_in_their_place_at_once_and_durable_later(rig: Rig) -> None:
    await rig.stream()
    count, last, first = rig.place(0, group(range(3)))
    assert (count, last) == (3, 3)
    again = rig.place(3, group(range(3, 5)))
    assert again[:2] == (2, 5)
    assert not first.done()
    assert rig.visible == 0
    assert await first is True
    assert await again[2] is True
    assert rig.visible == 5
    assert await rig.payloads() == [b"0", b"1", b"2", b"3", b"4"]


async def test_only_behind_the_message_that_is_expected(rig: Rig) -> None:
    await rig.stream()
    assert rig.place(7, group(range(2)))[:2] == (0, 0)
    await rig.client.jetstream().publish("tele.b.x", b"another board's")
    assert rig.place(0, group(range(2)))[:2] == (2, 3)
    await rig.client.jetstream().publish("tele.a.x", b"of an earlier process")
    assert rig.place(3, group(range(2, 4)))[:2] == (0, 0)
    assert rig.place(4, group(range(2, 4)))[:2] == (2, 6)
    assert rig.place(4, group(range(4, 6)))[:2] == (0, 0)  # as a group would that came late


async def test_a_message_that_the_stream_refuses_ends_a_group(rig: Rig) -> None:
    await rig.stream(max_msg_size=100)
    messages = [*group(range(2)), *group(range(2, 3), size=100), *group(range(3, 5))]
    count, last, done = rig.place(0, messages)
    assert (count, last) == (2, 2)
    assert rig.place(2, group(range(5, 6)))[:2] == (1, 3)
    assert await rig.payloads() == [b"0", b"1", b"5"]  # nothing of what stood behind it
    assert not done.done()


async def test_a_stream_that_has_a_part_of_the_subjects_takes_what_is_before_the_others(rig: Rig) -> None:
    config = StreamConfig(name="TELE", subjects=["tele.a.0", "tele.a.2"])
    await rig.client.jetstream().add_stream(config)
    assert rig.place(0, group(range(3)))[:2] == (1, 1)
    assert await rig.payloads() == [b"0"]


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({"max_msgs": 2}, 3),  # the oldest go
        ({"max_msgs": 2, "discard": "new"}, 2),
        ({"max_bytes": 300, "discard": "new"}, 3),
        ({"sealed": False, "retention": "interest"}, 0),
        ({"republish": {"src": ">", "dest": "again.>"}}, 0),
    ],
)
async def test_what_limits_leave(rig: Rig, more: dict[str, Any], count: int) -> None:
    config = {"name": "TELE", "subjects": ["tele.>"], **more}
    answer = await rig.client.request("$JS.API.STREAM.CREATE.TELE", json.dumps(config).encode())
    assert b'"error"' not in answer.data
    assert rig.place(0, group(range(3)))[0] == count


async def test_no_such_stream(rig: Rig) -> None:
    assert rig.place(0, group(range(3)))[:2] == (0, 0)


async def test_the_stream_says_why_it_did_not_take_all_of_a_group(rig: Rig) -> None:
    """What ``place`` leaves is asked for in the other way, which has an answer for each trouble."""
    await rig.stream(max_msg_size=100)
    stream = JetStream(rig.requests, iter("abc").__next__)
    await found(stream)
    kept: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
    messages = [*group(range(2)), *group(range(2, 3), size=100), *group(range(3, 5))]
    assert stream.store(PATTERN, 0, messages, kept.set_result) is None
    answer = await kept
    assert (answer.stream_seq, answer.overtaken) == (None, False)
    assert answer.why
    assert await rig.payloads() == [b"0", b"1"]
    good: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
    assert stream.store(PATTERN, 2, group(range(3, 5)), good.set_result) == 4
    assert await good == Kept(4)


async def found(stream: JetStream) -> None:
    """A ledger asks that first, and the stream's name is known from then on."""
    last: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stream.last(PATTERN, last.set_result)
    assert (await last).why == ""


async def test_who_listens_hears_it(tmp_path: Path) -> None:
    config = {"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(tmp_path / "store")}}
    async with Edge(config) as edge, listen(edge.client_url, "tele.a.2") as heard:
        rig = Rig(edge, heard.client)
        await rig.stream()
        rig.place(0, group(range(3)))
        message = await heard.next()
        rig.requests.stop()
    assert (message.subject, message.payload, message.headers["Phloem-Port"]) == ("tele.a.2", b"2", "s")


@pytest.mark.parametrize("more", [{"republish": {"src": ">", "dest": "again.>"}}, {"max_msg_size": 50}])
async def test_who_listens_hears_it_once_if_the_stream_does_not_take_it_at_once(
    tmp_path: Path, more: Any
) -> None:
    config = {"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(tmp_path / "store")}}
    async with Edge(config) as edge, listen(edge.client_url, "tele.a.>") as heard:
        rig = Rig(edge, heard.client)
        create = {"name": "TELE", "subjects": ["tele.>"], "allow_atomic": True, **more}
        await heard.client.request("$JS.API.STREAM.CREATE.TELE", json.dumps(create).encode())
        assert rig.place(0, group(range(3), size=30))[:2] == (0, 0)
        await heard.client.publish("tele.a.end", b"")
        assert (await heard.next()).subject == "tele.a.end"
        rig.requests.stop()


async def test_who_subscribes_while_others_hear_gets_its_own_number(rig: Rig) -> None:
    """What was placed is heard when the kernel is called next, and who hears it may subscribe as well."""
    kernel, account, heard = rig.edge.kernel, rig.edge.account(), list[bytes]()
    idents: dict[bytes, int] = {}

    def listens(to: bytes) -> None:
        idents[to] = kernel.subscribe(account, to, None, lambda subject, *_: heard.append(subject))

    await rig.stream()
    kernel.subscribe(account, b"tele.a.0", None, lambda *_: listens(b"later"))
    rig.place(0, group(range(1)))
    listens(b"first")
    assert idents.keys() == {b"first", b"later"}
    kernel.unsubscribe(idents[b"first"])
    kernel.publish_all(account, [(b"first", b"", b""), (b"later", b"", b"")])
    assert heard == [b"later"]
