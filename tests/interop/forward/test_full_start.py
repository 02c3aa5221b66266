"""An edge that starts on a full disk with other ``forward`` blocks than before: it starts, says what it cannot do,
keeps what it has, and does it when there is room."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.js.errors import APIError

from phloem.edge.app import Edge
from phloem.edge.forward import start
from phloem.shared.errors import ConfigError
from phloem.shared.store import generations
from tests.interop.forward.test_forward import TIMEOUT_S, hub, stored
from tests.interop.forward.test_reload import configured, numbers, publish, reload

TELE, LOG = {"subjects": ["tele.>"]}, {"subjects": ["log.>"]}
MORE = {"subjects": ["tele.>", "more.>"]}


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not is_so():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.005)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether there is room for the journal."""
    make_file = generations.make_file
    room = [True]

    def made(path: str, size: int) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make_file(path, size)

    monkeypatch.setattr(generations, "make_file", made)
    monkeypatch.setattr(generations, "RETRY_S", 0.01)
    monkeypatch.setattr(start, "LATE_S", 0.01)
    return lambda there: room.__setitem__(0, there)


async def test_it_starts_and_catches_up(
    tmp_path: Path, disk: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = configured(tmp_path, 1)
    async with Edge(nowhere({"tele": TELE})) as edge:
        client = await edge.connect()
        await publish(client.jetstream(), "tele.a", 0, 1, 2)
        await client.close()
    async with hub(tmp_path) as top:
        disk(False)
        made = configured(tmp_path, top.leaf_port)
        async with Edge(made({"tele": MORE, "log": LOG}, disk={"budget": 0})) as edge:
            assert 'forward "tele": stream "FORWARD_tele" cannot be changed' in caplog.text
            assert 'forward "log": stream "FORWARD_log" cannot be made' in caplog.text
            assert caplog.text.count("it is done when there is room") == 2
            assert edge.device_figures()["forward"]["put_off"] == ["log", "tele"]
            client, at_hub = await edge.connect(), await top.connect()
            js, above = client.jetstream(), at_hub.jetstream()
            assert (await js.stream_info("FORWARD_tele")).state.messages == 3
            with pytest.raises(APIError, match="insufficient"):
                await js.publish("tele.a", b"refused")
            disk(True)
            await until(lambda: edge.device_figures()["forward"]["put_off"] == [])
            assert (await js.stream_info("FORWARD_tele")).config.subjects == ["tele.>", "more.>"]
            await publish(js, "more.a", 3)
            await publish(js, "log.a", 7)
            assert numbers(await stored(above, "FLEET_tele", 4)) == [0, 1, 2, 3]
            assert numbers(await stored(above, "FLEET_log", 1)) == [7]
            await client.close()
            await at_hub.close()


async def test_a_reload_without_room_is_refused_and_what_was_put_off_stays_so(
    tmp_path: Path, disk: Callable[[bool], None]
) -> None:
    made = configured(tmp_path, 1)
    async with Edge(made({"tele": TELE})):
        pass
    disk(False)
    async with Edge(made({"tele": MORE})) as edge:
        with pytest.raises(ConfigError, match='stream "FORWARD_log" cannot be made'):
            reload(edge, made({"tele": MORE, "log": LOG}))
        assert edge.device_figures()["forward"]["put_off"] == ["tele"]
        reload(edge, made({"tele": TELE}))  # as the disk has it: there is nothing to put off
        assert edge.device_figures()["forward"]["put_off"] == []


async def test_what_can_never_work_is_refused_at_the_start(tmp_path: Path) -> None:
    made = configured(tmp_path, 1)
    bounded = {"store_dir": str(tmp_path / "edge"), "domain": "dev1", "max_file_store": 1 << 20}
    with pytest.raises(ConfigError, match='stream "FORWARD_tele" cannot be made'):
        async with Edge(made({"tele": {**TELE, "max_bytes": 1 << 30}}, jetstream=bounded)):
            pass
