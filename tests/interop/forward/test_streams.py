"""Streams that are forwarded, and what their owner does with them meanwhile."""

from pathlib import Path

import pytest
from nats.js.api import RetentionPolicy

from phloem.shared.errors import ConfigError
from tests.interop.forward.test_forward import edge, hub, stored
from tests.interop.links import Cable


async def test_a_stream_that_is_deleted_and_made_again_is_another_store(tmp_path: Path) -> None:
    async with (
        hub(tmp_path) as top,
        edge(
            tmp_path,
            top.leaf_port,
            {"tele": {"stream": "READINGS"}, "log": {"subjects": ["log.>"]}},
            ["READINGS"],
        ) as device,
    ):
        at_edge, at_hub = await device.connect(), await top.connect()
        below, above = at_edge.jetstream(), at_hub.jetstream()
        for i in range(3):
            await below.publish("r.x", b"%d" % i)
        await stored(above, "FLEET_tele", 3)
        await below.delete_stream("READINGS")
        await below.publish("log.a", b"goes on")
        await stored(above, "FLEET_log", 1)
        await below.add_stream(name="READINGS", subjects=["r.>"])
        for i in range(3, 6):
            await below.publish("r.x", b"%d" % i)
        found = await stored(above, "FLEET_tele", 6)
        assert [data for _, data in found] == [b"%d" % i for i in range(6)]
        await at_edge.close()
        await at_hub.close()


async def test_purged_messages_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forward = {"tele": {"stream": "READINGS"}}
    async with (
        hub(tmp_path) as top,
        Cable(top.leaf_port) as cable,
        edge(tmp_path, cable.port, forward, ["READINGS"]) as device,
    ):
        at_edge, at_hub = await device.connect(), await top.connect()
        below = at_edge.jetstream()
        await cable.cut()
        for i in range(4):
            await below.publish("r.x", b"%d" % i)
        await below.purge_stream("READINGS")
        await below.publish("r.x", b"behind")
        cable.restore()
        found = await stored(at_hub.jetstream(), "FLEET_tele", 1)
        assert found == [("fleet.tele.dev1.r.x", b"behind")]
        assert "dev1 > tele: 4 messages will not come, 1 to 4" in caplog.text
        await at_edge.close()
        await at_hub.close()


async def test_a_work_queue_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with edge(tmp_path, 1, {"log": {"subjects": ["log.>"]}}) as device:
        client = await device.connect()
        await client.jetstream().add_stream(
            name="JOBS", subjects=["j.>"], retention=RetentionPolicy.WORK_QUEUE
        )
        await client.close()
    with pytest.raises(ConfigError, match='forward "jobs": stream "JOBS" has the retention "workqueue"'):
        async with edge(tmp_path, 1, {"jobs": {"stream": "JOBS"}}):
            pass
