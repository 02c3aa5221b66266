"""What a bridge to an MQTT broker has of an edge's streams: answers from the disk, refusals, streams that are there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.unit.bridge.rig import WAIT_S, ManualTimers, until

from phloem.edge.app import Edge
from phloem.edge.line import Line
from phloem.edge.mqtt.publisher import ANSWER_NS, StreamPublisher
from phloem.edge.mqtt.streams import stream_for
from phloem.firmware_bridge.mqtt.durable import Refused, Stored


class Rig(NamedTuple):
    edge: Edge
    line: Line
    publisher: StreamPublisher
    timers: ManualTimers

    async def put(self, subject: str, payload: bytes = b"1", **headers: str) -> Stored | Refused:
        outcome: asyncio.Future[Stored | Refused] = asyncio.get_running_loop().create_future()
        self.publisher.publish(subject, payload, list(headers.items()), outcome.set_result)
        return await asyncio.wait_for(outcome, WAIT_S)

    async def stream(self, name: str, **config: Any) -> None:
        await self.line.ask(f"$JS.API.STREAM.CREATE.{name}", {"name": name, **config})


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    options = {"listen": "127.0.0.1:-1", "server_name": "d", "jetstream": {"store_dir": str(tmp_path)}}
    async with Edge(options | {"max_payload": 1000}) as edge:
        timers = ManualTimers()
        line = Line(edge, edge.account(), "_INBOX_d")
        yield Rig(edge, line, StreamPublisher(line, call_later=timers), timers)
        line.close()


async def test_stored(rig: Rig) -> None:
    await rig.stream("S", subjects=["a.>"])
    assert await rig.put("a.b", b"1", A="b") == Stored("S", 1)
    assert await rig.put("a.c") == Stored("S", 2)
    assert rig.edge.jetstream is not None
    message = rig.edge.jetstream.accounts["$G"].streams["S"].log.read(1)
    assert message is not None
    assert (message.subject, message.header, message.payload) == (b"a.b", b"NATS/1.0\r\nA: b\r\n\r\n", b"1")


async def test_refusals(rig: Rig) -> None:
    await rig.stream("FULL", subjects=["f"], max_msgs=1, discard="new")
    await rig.stream("SMALL", subjects=["s"], max_msg_size=2)
    assert await rig.put("f") == Stored("FULL", 1)
    assert await rig.put("f") == Refused("maximum messages exceeded")
    assert await rig.put("s", b"123") == Refused("message size exceeds maximum allowed", final=True)
    assert await rig.put("nobody") == Refused("no stream keeps this subject")
    size = Refused("1020 bytes with headers, and max_payload is 1000", final=True)
    assert await rig.put("f", b"x" * 1000, A="bcd") == size
    subject = await rig.put("x" * 3000)
    assert isinstance(subject, Refused)
    assert subject.final


async def test_answers_of_somebody_who_is_no_stream(rig: Rig) -> None:
    said = {b"r.text": b"hello", b"r.json": b"{}", b"r.list": b"[]"}

    def heard(subject: bytes, reply: bytes, _header: bytes, _body: bytes) -> None:
        if subject in said:
            rig.line.send(reply.decode(), said[subject])

    rig.edge.kernel.subscribe(rig.edge.account(), b"r.>", None, heard)
    for subject in said:
        outcome = await rig.put(subject.decode())
        assert isinstance(outcome, Refused)
        assert not outcome.final
        assert "somebody who is no stream" in outcome.why


async def test_nobody_answers(rig: Rig) -> None:
    rig.edge.kernel.subscribe(rig.edge.account(), b"silent", None, lambda *_: None)
    waiting = asyncio.create_task(rig.put("silent"))
    timer = await rig.timers.waiting()
    assert timer.delay_ns == ANSWER_NS
    ((inbox, (done, _)),) = rig.publisher._waiting._waiting.items()
    rig.publisher._waiting._waiting[inbox] = done, 0  # as if the time had passed
    await rig.timers.fire()
    outcome = await waiting
    assert isinstance(outcome, Refused)
    assert outcome.why == "no stream has answered: none keeps this subject, or the disk does not write"


async def test_after_the_end_nobody_is_told(rig: Rig) -> None:
    replies, told = list[str](), list[object]()

    def heard(_subject: bytes, reply: bytes, _header: bytes, _body: bytes) -> None:
        replies.append(reply.decode())

    rig.edge.kernel.subscribe(rig.edge.account(), b"late", None, heard)
    rig.publisher.publish("late", b"", [], told.append)
    await until(lambda: bool(replies))
    rig.publisher.close()
    rig.line.send(replies[0], b'{"stream":"S","seq":1}')
    await rig.stream("S", subjects=["a"])
    assert await rig.put("a") == Stored("S", 1)  # which comes behind it
    assert told == []


async def test_streams(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    assert await stream_for(rig.line, "MQTT_h", "m.h.>", {"max_bytes": 9}) == "MQTT_h"
    assert await stream_for(rig.line, "MQTT_h", "m.h.>", {}) == "MQTT_h"
    assert await stream_for(rig.line, "MQTT_h", "n.h.>", {"max_bytes": 9}) == "MQTT_h"  # another subject
    found = await rig.line.ask("$JS.API.STREAM.INFO.MQTT_h")
    assert (found["config"]["subjects"], found["config"]["max_bytes"]) == (["m.h.>", "n.h.>"], 9)
    await rig.stream("ALL", subjects=["k.>"])
    assert await stream_for(rig.line, "MQTT_k", "k.h.>", {}) == "ALL"
    await rig.stream("A", subjects=["p.h.a"])
    assert await stream_for(rig.line, "MQTT_p", "p.h.>", {}) == ""
    await rig.stream("B", subjects=["p.h.b"])
    assert await stream_for(rig.line, "MQTT_p", "p.h.>", {}) == ""
    (first, second) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert first.startswith("A has a part of p.h.>: a message that no stream keeps makes")
    assert second.startswith("A, B has a part of")
