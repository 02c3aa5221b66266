"""``--stream`` of ``phloem init`` and ``enroll``: credentials that forward into streams of a nats-server, and nothing
else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from tests.interop.fleet import TIMEOUT_S, Fleet, new_fleet, phloem
from tests.interop.links import Inbox

FORWARD = """
phloem {{ forward_to: jetstream }}
forward {{ tele {{ subjects: ["{name}.tele.>"], to: "{stream}" }} }}
"""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with new_fleet(tmp_path, ("nats-server", "phloem")) as made:
        yield made


async def device(fleet: Fleet, name: str, stream: str, *words: str) -> JetStreamContext:
    """A device that forwards, enrolled with these words; a program's JetStream on it."""
    folder = await fleet.enroll(name, *words)
    config = folder / "edge.conf"
    config.write_text(config.read_text() + FORWARD.format(name=name, stream=stream))
    return (await fleet.local(await fleet.edge(name))).jetstream()


async def come(top: JetStreamContext, stream: str, count: int) -> list[tuple[str, bytes]]:
    """What the hub's stream has when it has so many."""
    reader = await top.subscribe("fleet.>", stream=stream, ordered_consumer=True)
    found = [await reader.next_msg(timeout=TIMEOUT_S) for _ in range(count)]
    await reader.unsubscribe()
    return [(one.subject, one.data) for one in found]


async def test_what_was_named_is_forwarded_into_and_nothing_else_is_possible(fleet: Fleet) -> None:
    admin = await fleet.client()
    top = admin.jetstream()
    for name in ("pump1", "pump2"):
        await top.add_stream(name=f"TELE_{name}", subjects=[f"fleet.tele.{name}.>"], allow_atomic=True)
    await top.add_stream(name="SECRETS", subjects=["secrets.>"])
    below = await device(fleet, "pump1", "TELE_pump1", "--stream", "TELE_{name}")
    for i in range(1, 101):
        await below.publish("pump1.tele.t", b"%d" % i)
    assert await come(top, "TELE_pump1", 100) == [
        ("fleet.tele.pump1.pump1.tele.t", b"%d" % i) for i in range(1, 101)
    ]
    await top.publish("fleet.tele.pump2.x", b"of another")

    refused = [
        "fleet.tele.pump2.x",
        "secrets.x",
        "$JS.hub.API.STREAM.MSG.GET.TELE_pump2",
        "$JS.hub.API.STREAM.INFO.TELE_pump2",
        "$JS.hub.API.STREAM.MSG.GET.SECRETS",
        "$JS.hub.API.STREAM.MSG.GET.KV_twin_desired",
        "$JS.hub.API.STREAM.CREATE.TELE_pump1",
        "$JS.hub.API.STREAM.UPDATE.TELE_pump1",
        "$JS.hub.API.STREAM.DELETE.TELE_pump1",
        "$JS.hub.API.STREAM.PURGE.TELE_pump1",
        "$JS.hub.API.STREAM.MSG.DELETE.TELE_pump1",
        "$JS.hub.API.STREAM.NAMES",
        "$JS.hub.API.CONSUMER.CREATE.TELE_pump1.c",
        "$JS.hub.API.DIRECT.GET.TELE_pump1",
        "$JS.API.STREAM.MSG.GET.TELE_pump1",
    ]
    heard = await Inbox.of(admin, "fleet.>", "secrets.>")
    for subject in refused:
        body = '{"seq":1}'
        thief = await fleet.thief(fleet.place / "pump1")
        thief.send(f"LS+ _INBOX_pump1.a\r\nLMSG {subject} _INBOX_pump1.a {len(body)}\r\n{body}\r\nPING\r\n")
        lines = await thief.until(b"closed", b"PONG")
        assert not any(line.startswith((b"LMSG", b"HMSG")) for line in lines), subject
        assert lines[-1] == b"closed" or subject.startswith("$JS.API"), subject
    thief = await fleet.thief(fleet.place / "pump1")
    asked = '{"last_by_subj":"fleet.tele.pump1.>"}'
    thief.send("LS+ _INBOX_pump1.a\r\nLMSG fleet.tele.pump1.own 1\r\nx\r\n")
    thief.send(f"LMSG $JS.hub.API.STREAM.MSG.GET.TELE_pump1 _INBOX_pump1.a {len(asked)}\r\n{asked}\r\n")
    await thief.until(b"LMSG _INBOX_pump1.a")
    assert (await heard.next()).subject == "fleet.tele.pump1.own"
    assert (await top.stream_info("TELE_pump2")).state.messages == 1
    assert (await top.stream_info("SECRETS")).state.messages == 0


async def test_streams_can_be_named_when_the_folder_is_made(tmp_path: Path) -> None:
    """And credentials of before hold what was allowed since: it is the signing key's."""
    async with new_fleet(tmp_path, ("nats-server", "phloem"), "--stream", "FLEET_tele") as fleet:
        top = (await fleet.client()).jetstream()
        await top.add_stream(name="FLEET_tele", subjects=["fleet.tele.>"])
        await top.add_stream(name="LATER", subjects=["fleet.later.>"])
        below = await device(fleet, "pump1", "FLEET_tele")
        await below.publish("pump1.tele.t", b"1")
        assert await come(top, "FLEET_tele", 1) == [("fleet.tele.pump1.pump1.tele.t", b"1")]
        ask = "LS+ _INBOX_pump1.a\r\nLMSG $JS.hub.API.STREAM.INFO.LATER _INBOX_pump1.a 0\r\n\r\n"
        thief = await fleet.thief(fleet.place / "pump1")
        thief.send(ask)
        await thief.until(b"closed")
        await fleet.enroll("pump2", "--stream", "LATER")
        thief = await fleet.thief(fleet.place / "pump1")
        thief.send(ask)
        assert (await thief.until(b"closed", b"LMSG _INBOX_pump1.a"))[-1] != b"closed"


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "a b", "{names}", "KV_$x", "x" * 129])
async def test_a_name_that_would_be_more_than_one_stream_is_none(tmp_path: Path, name: str) -> None:
    done = await phloem("init", tmp_path / "fleet", "--stream", name)
    assert done.code == 2
    assert "is not a stream's name" in done.err
    assert not (tmp_path / "fleet").exists()
