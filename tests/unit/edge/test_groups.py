"""Groups that a client sends: each behind the one before it, whole or not at all, and only what it may publish."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig
from tests.unit.bridge.rig import WAIT_S

from phloem.edge.app import Edge
from phloem.firmware_bridge.headers import Encoded, encode_headers

PATTERN = "tele.a.>"
USERS = {
    "users": [
        {"user": "all", "password": "x"},
        {"user": "readings", "password": "x", "permissions": {"publish": ["tele.>", "$JS.API.>"]}},
        {"user": "other", "password": "x", "permissions": {"publish": ["tele.b.>", "$JS.API.>"]}},
        {"user": "denied", "password": "x", "permissions": {"publish": {"deny": ["tele.*.secret"]}}},
    ]
}


class Rig:
    def __init__(self, edge: Edge, client: Client) -> None:
        self.edge, self.client = edge, client

    async def stream(self, **more: Any) -> None:
        config = StreamConfig(**{"name": "TELE", "subjects": ["tele.>"], **more})
        await self.client.jetstream().add_stream(config)

    async def group(
        self,
        number: int,
        after: int | None,
        messages: list[Encoded],
        *,
        pattern: str = PATTERN,
        who: str = "",
    ) -> dict[str, Any]:
        body = msgspec.msgpack.encode((pattern, number, after, messages))
        client = await self.login(who) if who else self.client
        try:
            answer = await client.request("$JS.API.PHLOEM.PLACE.TELE", body, timeout=WAIT_S)
        finally:
            if who:
                await client.close()
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def login(self, who: str) -> Client:
        return await nats.connect(self.edge.client_url, user=who, password="x", allow_reconnect=False)

    async def payloads(self) -> list[bytes]:
        state = (await self.client.jetstream().stream_info("TELE")).state
        numbers = range(state.first_seq, state.last_seq + 1) if state.messages else range(0)
        return [(await self.client.jetstream().get_msg("TELE", seq)).data or b"" for seq in numbers]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    config = {
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(tmp_path / "store")},
        "authorization": USERS,
    }
    async with Edge(config) as edge:
        client = await nats.connect(edge.client_url, user="all", password="x", allow_reconnect=False)
        yield Rig(edge, client)
        await client.close()


def readings(numbers: range, size: int = 1) -> list[Encoded]:
    header = encode_headers({"Phloem-Port": "s"})
    return [(f"tele.a.{number}".encode(), header, b"%d" % number * size) for number in numbers]


def code(answer: dict[str, Any]) -> int:
    return int(answer["error"]["err_code"])


async def test_one_behind_the_other_without_its_number(rig: Rig) -> None:
    await rig.stream()
    sent = [rig.group(7, 0, readings(range(2))), rig.group(8, None, readings(range(2, 5)))]
    assert await asyncio.gather(*sent) == [{"seq": 2, "count": 2}, {"seq": 5, "count": 3}]
    await rig.client.publish("tele.b.x", b"another board's")
    assert await rig.group(9, None, readings(range(5, 6))) == {"seq": 7, "count": 1}
    assert await rig.payloads() == [b"0", b"1", b"2", b"3", b"4", b"another board's", b"5"]


async def test_nothing_behind_a_group_that_was_refused_or_lost(rig: Rig) -> None:
    await rig.stream()
    assert code(await rig.group(1, 3, readings(range(2)))) == 10164
    assert code(await rig.group(2, None, readings(range(2, 4)))) == 10164
    assert await rig.group(3, 0, readings(range(2))) == {"seq": 2, "count": 2}
    assert code(await rig.group(5, None, readings(range(4, 5)))) == 10164  # 4 was lost
    assert code(await rig.group(4, None, readings(range(2, 4)), who="all")) == 10164  # of another connection
    assert await rig.group(4, None, readings(range(2, 4))) == {"seq": 4, "count": 2}
    await rig.client.jetstream().publish("tele.a.x", b"of an earlier process")
    assert code(await rig.group(5, None, readings(range(4, 5)))) == 10164
    assert code(await rig.group(6, None, readings(range(4, 5)))) == 10164
    assert await rig.payloads() == [b"0", b"1", b"2", b"3", b"of an earlier process"]


async def test_what_the_stream_does_not_take_ends_the_row(rig: Rig) -> None:
    await rig.stream(max_msg_size=100)
    messages = [*readings(range(2)), *readings(range(2, 3), size=100), *readings(range(3, 5))]
    behind = rig.group(2, None, readings(range(5, 6)))
    first, second = await asyncio.gather(rig.group(1, 0, messages), behind)
    assert first == {"seq": 2, "count": 2}
    assert code(second) == 10164
    assert await rig.payloads() == [b"0", b"1"]


async def test_patterns_that_have_subjects_in_common(rig: Rig) -> None:
    await rig.stream()
    assert await rig.group(1, 0, readings(range(1))) == {"seq": 1, "count": 1}
    assert await rig.group(1, 1, readings(range(1, 2)), pattern="tele.>") == {"seq": 2, "count": 1}
    assert code(await rig.group(2, None, readings(range(2, 3)))) == 10164
    assert await rig.group(3, 2, readings(range(2, 3))) == {"seq": 3, "count": 1}
    assert code(await rig.group(2, None, readings(range(3, 4)), pattern="tele.>")) == 10164


@pytest.mark.parametrize(("who", "count"), [("readings", 2), ("other", 0), ("denied", 0)])
async def test_only_what_a_client_may_publish(rig: Rig, who: str, count: int) -> None:
    await rig.stream()
    answer = await rig.group(1, 0, readings(range(2)), who=who)
    assert (answer["count"], answer["seq"]) == (count, count)


@pytest.mark.parametrize(
    "subject",
    [
        b"tele.b.1",
        b"tele.a",
        b"tele.a.>",
        b"tele.a.*",
        b"tele.a. x",
        b"tele.a.x\r\nPING",
        b"tele.a.",
        b"tele.a." + b"x" * 4_090,  # with it a line that no client may send
        b"tele.a." + b"x" * 70_000,
    ],
    ids=lambda subject: subject[:20].decode(),
)
async def test_only_subjects_of_its_pattern(rig: Rig, subject: bytes) -> None:
    await rig.stream()
    assert code(await rig.group(1, 0, [*readings(range(1)), (subject, b"", b"x")])) == 10003
    assert await rig.payloads() == []


async def test_a_subject_as_long_as_a_line_may_be(rig: Rig) -> None:
    await rig.stream()
    for number, size in enumerate((300, 4_089)):
        longest = [(b"tele.a." + b"x" * size, b"", b"%d" % size)]
        assert await rig.group(number, number, longest) == {"seq": number + 1, "count": 1}
    pattern = "tele.a." + "x" * 4_090
    assert code(await rig.group(3, 0, readings(range(1)), pattern=pattern)) == 10003
    assert await rig.payloads() == [b"300", b"4089"]


async def test_what_is_no_group(rig: Rig) -> None:
    await rig.stream()
    for body in (
        b"\xc1",
        b"[]",
        msgspec.msgpack.encode((PATTERN, 1)),
        msgspec.msgpack.encode((b"\xff", 1, 0, [])),
    ):
        answer = await rig.client.request("$JS.API.PHLOEM.PLACE.TELE", body, timeout=WAIT_S)
        assert code(json.loads(answer.data)) == 10025
    assert code(await rig.group(1, 0, [])) == 10003
    empty = await rig.client.request("$JS.API.PHLOEM.PLACE.-", b"", timeout=WAIT_S)
    assert empty.data == b"{}"
    await rig.client.jetstream().delete_stream("TELE")
    assert code(await rig.group(1, 0, readings(range(1)))) == 10059


@pytest.mark.parametrize("more", [{"allow_atomic": True, "mirror_direct": False}, {"retention": "interest"}])
async def test_streams_that_take_them_and_that_do_not(rig: Rig, more: dict[str, Any]) -> None:
    await rig.stream(**more)
    count = 0 if "retention" in more else 2
    assert (await rig.group(1, 0, readings(range(2))))["count"] == count
