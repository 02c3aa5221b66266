"""A damaged file, a damaged message, a full disk: the server starts, serves what is there, and says what is wrong."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, ServerError, ServiceUnavailableError

import phloem.shared.store.generations as generations
from phloem.shared.net.http import Request
from phloem.shared.server.monitor.pages import Monitor
from phloem.shared.server.server import Server
from phloem.shared.store.folder import make_file
from phloem.shared.store.repair import repair
from phloem.shared.testing import server
from tests.unit.store.damage import break_leaf

PAYLOAD = os.urandom(4000)


def config(folder: Path) -> dict[str, Any]:
    return {"jetstream": {"store_dir": str(folder)}}


def healthz(broker: Server) -> tuple[int, list[str]]:
    answer = Monitor(broker.source).answer(Request("GET", "/healthz", b"details=1"))
    return answer.status, [error["error"] for error in json.loads(answer.body).get("errors", [])]


async def readable(js: JetStreamContext, stream: str) -> int:
    state = (await js.stream_info(stream)).state
    for seq in range(state.first_seq, state.last_seq + 1):
        try:
            assert (await js.get_msg(stream, seq)).data == PAYLOAD
        except (APIError, ServerError):
            continue
    return state.messages


async def filled(folder: Path) -> Path:
    """Two streams, moved into LMDB; its folder."""
    async with server(config(folder)) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        for name in ("ONE", "TWO"):
            await js.add_stream(name=name, subjects=[f"{name}.>"])
            for number in range(60):
                await js.publish(f"{name}.{number % 3}", PAYLOAD)
    return folder / "jetstream" / "phloem"


async def test_one_damaged_stream_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = await filled(tmp_path)
    break_leaf(folder / "data.mdb", 1)
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        assert await readable(js, "TWO") == 60
        assert (await js.publish("TWO.x", PAYLOAD)).seq == 61
        assert 0 < await readable(js, "ONE") < 60
        with pytest.raises(ServiceUnavailableError, match="phloem store check") as refused:
            await js.publish("ONE.x", PAYLOAD)
        assert refused.value.err_code == 10077
        status, errors = healthz(broker)
        assert status == 503
        told = [text for text in errors if text.startswith("JetStream stream '$G > ONE' is read-only")]
        assert len(told) == 1
        assert "sequences 1 to " in told[0]
        assert not [text for text in errors if "TWO" in text]
        line = [r.getMessage() for r in caplog.records if "Stream '$G > ONE' is read-only" in r.getMessage()]
        assert len(line) == 1
        assert "of sequences 1 to " in line[0]
    repair(folder)
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        assert (await client.jetstream().publish("ONE.x", PAYLOAD)).seq == 61
        assert healthz(broker) == (200, [])


async def test_purging_makes_it_usable_again(tmp_path: Path) -> None:
    folder = await filled(tmp_path)
    break_leaf(folder / "data.mdb", 1)
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        await js.purge_stream("ONE")
        assert (await js.publish("ONE.x", PAYLOAD)).seq == 61
        assert not [text for text in healthz(broker)[1] if "read-only" in text]
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        assert await readable(client.jetstream(), "ONE") == 1
        assert healthz(broker) == (200, [])


async def test_a_damaged_message_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = await filled(tmp_path)
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        await client.jetstream().publish("ONE.mark", b"a payload of its own")
    data = (folder / "data.mdb").read_bytes()
    (folder / "data.mdb").write_bytes(data.replace(b"a payload of its own", b"a payload of its OWN"))
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        for name in ("ONE", "TWO"):
            assert await readable(js, name) == (61 if name == "ONE" else 60)
            await js.publish(f"{name}.x", PAYLOAD)  # what is new is not endangered by it
        status, errors = healthz(broker)
        assert status == 503
        assert len(errors) == 1
        assert "'$G > ONE' has damaged messages, sequences 61 to 61" in errors[0]
        assert [r for r in caplog.records if "message 61 of log 1 (stream $G > ONE)" in r.getMessage()]


async def test_a_full_disk_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)

    def full(path: str, size: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(generations, "make_file", full)
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    async with server(config(tmp_path)) as broker, await nats.connect(broker.client_url) as client:
        js = client.jetstream()
        assert await readable(js, "ONE") == 60
        with pytest.raises(ServiceUnavailableError, match="insufficient storage resources") as refused:
            await js.publish("ONE.x", PAYLOAD)
        assert refused.value.err_code == 10077
        with pytest.raises(ServiceUnavailableError, match="insufficient resources") as refused:
            await js.add_stream(name="NEW", subjects=["new"])
        assert refused.value.err_code == 10023
        assert healthz(broker) == (503, ["JetStream store has no space: nothing new is taken"])
        monkeypatch.setattr(generations, "make_file", make_file)
        while healthz(broker)[0] != 200:
            await client.flush()
        assert (await js.publish("ONE.x", PAYLOAD)).seq == 61
        await js.add_stream(name="NEW", subjects=["new"])
