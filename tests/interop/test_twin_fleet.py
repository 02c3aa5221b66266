"""The twin in a fleet: what a device's permissions let it do, the command line, and what a thief gets."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from phloem.shared.twin.names import HUB_DESIRED, HUB_REPORTED
from tests.interop.fleet import TIMEOUT_S, Done, Fleet, new_fleet, phloem
from tests.interop.test_twin import same, until

KINDS = [("phloem", "phloem"), ("nats-server", "phloem")]


@pytest.fixture(params=KINDS, ids=" ".join)
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with new_fleet(tmp_path, request.param) as made:
        yield made


async def cli(fleet: Fleet, *words: str) -> Done:
    folder = fleet.folder
    login = ("-s", fleet.url, "--creds", str(folder / "admin.creds"), "--tlsca", str(folder / "ca.pem"))
    return await phloem("fleet", words[0], *login, *words[1:])


async def test_a_fleet(fleet: Fleet) -> None:
    done = await cli(fleet, "setup")
    assert done.out == "twin_desired: there\ntwin_reported: there\n", done
    assert (await cli(fleet, "setup")).code == 0
    for name in ("pump1", "pump2"):
        await fleet.enroll(name)
    conf = fleet.place / "pump1" / "edge.conf"
    conf.write_text(conf.read_text() + "\ntwin { }\n")
    edge = await fleet.edge("pump1")
    up, down = await fleet.client(), await fleet.local(edge)
    js = up.jetstream(timeout=TIMEOUT_S)
    wanted, told = await js.key_value(HUB_DESIRED), await js.key_value(HUB_REPORTED)

    async def handle(msg: Msg) -> None:
        await msg.respond(b"did " + msg.data)

    await down.subscribe("cmd.act", cb=handle)
    await down.flush()
    done = await cli(fleet, "command", "pump1", "act", "--data", "it", "--id", "one", "--wait")
    assert (done.code, done.out) == (0, "one\ndid it\n"), done
    done = await cli(fleet, "command", "pump1", "act", "--id", "one")
    assert (done.code, done.err) == (1, "Error: pump1 has been given a command one already\n")
    await cli(fleet, "command", "pump2", "act", "--id", "two")  # is not there
    rows = [json.loads(line) for line in (await cli(fleet, "commands", "pump1", "--json")).out.splitlines()]
    assert [(row["id"], row["state"], row["result"]) for row in rows] == [("one", "done", "did it")]
    table = (await cli(fleet, "commands", "pump2")).out
    assert "two" in table
    assert "queued" in table
    here = await down.jetstream(timeout=TIMEOUT_S).key_value("desired")
    await wanted.put("pump1.a", b"1")
    await same(here, "a", b"1")
    assert not [key for key in await here.keys() if "two" in key]
    await (await down.jetstream(timeout=TIMEOUT_S).key_value("reported")).put("temp", b"20")
    await same(told, "pump1.temp", b"20")
    await thief(fleet)
    await until(lambda: told.get("pump1.temp"), await told.get("pump1.temp"))


async def thief(fleet: Fleet) -> None:
    """A link with the credentials of pump2: nothing of pump1 can be read or written, and nothing emptied."""
    folder, api, stream = fleet.place / "pump2", "$JS.hub.API", f"KV_{HUB_DESIRED}"
    forbidden = (
        f"{api}.CONSUMER.CREATE.{stream}.x.$KV.{HUB_DESIRED}.pump1.>",
        f"{api}.CONSUMER.CREATE.KV_{HUB_REPORTED}.x.$KV.{HUB_REPORTED}.pump2.>",
        f"{api}.CONSUMER.CREATE.{stream}.x",
        f"{api}.STREAM.INFO.{stream}",
        f"{api}.$KV.{HUB_REPORTED}.pump1.temp",
        f"{api}.$KV.{HUB_DESIRED}.pump2.command.x",
        f"{api}.DIRECT.GET.{stream}.$KV.{HUB_DESIRED}.pump2.command.two",
    )
    for subject in forbidden:
        wire = await fleet.thief(folder)
        wire.send(f"LS+ _INBOX_pump2.a\r\nLMSG {subject} _INBOX_pump2.a 2\r\n{{}}\r\nPING\r\n")
        lines = await wire.until(b"closed", b"PONG")
        assert not [line for line in lines if line.startswith((b"LMSG", b"HMSG"))], (subject, lines)
    wire = await fleet.thief(folder)
    wire.send("LS+ _INBOX_pump2.a\r\n")

    async def ask(subject: str, body: str, header: str = "") -> Any:
        block = f"NATS/1.0\r\n{header}\r\n\r\n" if header else ""
        sizes = f"{len(block)} {len(block) + len(body)}" if header else f"{len(body)}"
        wire.send(f"{'HMSG' if header else 'LMSG'} {subject} _INBOX_pump2.a {sizes}\r\n{block}{body}\r\n")
        return json.loads((await wire.until(b"{"))[-1])

    own = f"{api}.CONSUMER.CREATE.{stream}.x.$KV.{HUB_DESIRED}.pump2.>"
    config: dict[str, Any] = {"name": "x", "ack_policy": "none", "deliver_subject": "_INBOX_pump2.d"}
    theirs = f"$KV.{HUB_DESIRED}.pump1.>"
    for filters in ({"filter_subject": theirs}, {"filter_subjects": [theirs, f"$KV.{HUB_DESIRED}.pump2.>"]}):
        answer = await ask(own, json.dumps({"stream_name": stream, "config": config | filters}))
        assert "error" in answer, answer
    for rollup in ("all", "sub"):
        answer = await ask(f"{api}.$KV.{HUB_REPORTED}.pump2.x", "", f"Nats-Rollup: {rollup}")
        assert "error" in answer, answer
