"""A board on a pseudo-terminal, an edge with JetStream: readings in the stream, commands and their answers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from tests.support.plugged_board import UID, Plugged, make_stream, plugged, stored
from tests.unit.bridge.rig import WAIT_S, listen

from phloem.edge.app import Edge
from phloem.edge.ports import port_settings
from phloem.shared.clock import SystemClock
from phloem.shared.errors import ConfigError
from phloem.shared.server.load import load_mapping, merge


def config(tmp_path: Path) -> dict[str, Any]:
    port = {
        "device": str(tmp_path / "tty"),
        "subject": "tele.s",
        "command_subject": "cmd.s",
        "protocol": "edgelink",
    }
    return {
        "listen": "127.0.0.1:-1",
        "jetstream": {"store_dir": str(tmp_path / "store")},
        "serial": {"s": port},
    }


async def until(client: Client, subject: str, ask: bytes) -> Any:
    """An answer, once somebody serves the subject."""
    while True:
        try:
            return await client.request(subject, ask, timeout=WAIT_S)
        except NoRespondersError:
            await asyncio.sleep(0)


@pytest.mark.parametrize("atomic", [True, False])
async def test_readings_are_in_the_stream_once_and_in_order(tmp_path: Path, atomic: bool) -> None:
    prefix = f"tele.s.{UID.hex()}"
    async with plugged(tmp_path / "tty") as board:
        board.measure(range(10))
        async with Edge(config(tmp_path)) as edge, listen(edge.client_url, "unused") as heard:
            await make_stream(heard.client, atomic=atomic)
            first = await stored(heard.client, 20)
        board.measure(range(10, 20))  # nobody is there
        async with Edge(config(tmp_path)) as edge, listen(edge.client_url, "unused") as heard:
            board.measure(range(20, 30))
            everything = await stored(heard.client, 60)
            while board.board.ring.frames:  # noqa: ASYNC110  (acknowledged a moment after it was stored)
                await asyncio.sleep(0.001)
            info = await heard.client.jetstream().stream_info("TELE", subjects_filter=f"{prefix}.>")
    assert sum((info.state.subjects or {}).values()) == 60
    assert everything[:20] == first
    assert [data for subject, data, _ in everything if subject == f"{prefix}.count"] == [
        b'{"v":%d}' % number for number in range(30)
    ]
    assert everything[42][:2] == (f"{prefix}.temperature", b'{"v":2.1,"u":"Cel"}')
    headers = everything[42][2]
    assert (headers["Phloem-Port"], headers["Phloem-Seq"], headers["Phloem-Part"]) == ("s", "21", "1/2")
    assert int(headers["Phloem-Time-Error"]) < 10**9
    assert abs(int(headers["Phloem-Time"]) - SystemClock().wall_ns()) < 60 * 10**9


async def test_commands_are_answered(tmp_path: Path) -> None:
    async with (
        plugged(tmp_path / "tty") as board,
        Edge(config(tmp_path)) as edge,
        listen(edge.client_url, "unused") as heard,
    ):
        await make_stream(heard.client, atomic=True)
        done = await until(heard.client, f"cmd.s.{UID.hex()}", b"led on 3")
        unknown = await until(heard.client, f"cmd.s.{UID.hex()}", b"jump")
    assert (done.data, done.headers["Phloem-Status"]) == (b"is on 3", "done")
    assert unknown.headers["Phloem-Status"] == "unknown_command"
    assert board.done == [("led", b"on 3"), ("jump", b"")]


async def test_without_a_stream_the_board_keeps_its_readings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with plugged(tmp_path / "tty") as board, Edge(config(tmp_path)) as edge:
        board.measure(range(3))
        async with listen(edge.client_url, "unused") as heard:
            await _said(caplog, "cannot be stored: no stream has")
            assert len(board.board.ring.frames) == 3
            await make_stream(heard.client, atomic=True)
            assert len(await stored(heard.client, 6)) == 6


async def test_what_a_board_says_beside_its_readings(tmp_path: Path) -> None:
    board = Plugged(tmp_path / "tty")
    async with (
        Edge(config(tmp_path)) as edge,
        listen(edge.client_url, "tele.s.$board.>") as boards,
        listen(edge.client_url, "tele.s.$log.>") as logs,
    ):
        await make_stream(boards.client, atomic=True)
        async with board.sensor:
            board.turn()
            joined = await boards.next()
            board.sensor.write(b"too hot\n" + board.board.log(2, "fan on", board.now()))
            said = [await logs.next(), await logs.next()]
            board.stop()
    assert joined.subject == f"tele.s.$board.{UID.hex()}"
    assert json.loads(joined.payload)["firmware"] == "simulated 1"
    assert [json.loads(message.payload) for message in said] == [
        {"text": "too hot", "level": None},
        {"text": "fan on", "level": 2},
    ]


async def test_a_stream_that_is_deleted_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        plugged(tmp_path / "tty") as board,
        Edge(config(tmp_path)) as edge,
        listen(edge.client_url, "unused") as heard,
    ):
        await make_stream(heard.client, atomic=True)
        board.measure(range(3))
        await stored(heard.client, 6)
        await heard.client.jetstream().delete_stream("TELE")
        board.measure(range(3, 6))
        await _said(caplog, "cannot be stored")
        await make_stream(heard.client, atomic=False)
        again = await stored(heard.client, 6)
    assert [headers["Phloem-Seq"] for _, _, headers in again] == ["3", "3", "4", "4", "5", "5"]


async def _said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    while not any(text in record.getMessage() for record in caplog.records):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("framing", "raw"),
        ("decode", "json"),
        ("idle_gap", "20ms"),
        ("max_frame_bytes", 99),
    ],
)
def test_what_a_protocol_says_itself_is_refused(tmp_path: Path, setting: str, value: object) -> None:
    block = {**config(tmp_path)["serial"]["s"], setting: value}
    with pytest.raises(ConfigError, match="means nothing with protocol edgelink"):
        port_settings(merge(load_mapping({"serial": {"s": block}}), {}))


@pytest.mark.parametrize("subject", ["tele.s", "tele.s.do", "cmd.*"])
def test_where_commands_cannot_be(tmp_path: Path, subject: str) -> None:
    block = {**config(tmp_path)["serial"]["s"], "command_subject": subject}
    with pytest.raises(ConfigError, match="command_subject"):
        port_settings(merge(load_mapping({"serial": {"s": block}}), {}))


def test_a_protocol_that_is_none(tmp_path: Path) -> None:
    block = {**config(tmp_path)["serial"]["s"], "protocol": "edge"}
    with pytest.raises(ConfigError):
        port_settings(merge(load_mapping({"serial": {"s": block}}), {}))
