"""A week of a device and its hub in simulated time: what the first days need is what the last one needs."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from phloem.edge.app import Edge
from phloem.hub.app import Hub
from phloem.shared.limits import SECOND_NS
from phloem.shared.testing.manual_clock import ManualClock
from tests.interop.forward.test_forward import TIMEOUT_S
from tests.interop.links import Cable

HOUR_NS = 3600 * SECOND_NS
DAYS, WARM_DAYS = 16, 9  # a week, when what is kept of the time before it has filled up
EACH = 40  # messages of an hour; some five generations of the journal a day
PAYLOAD = b'{"ts":1780000000000,"id":"boiler","t":21.500,"h":45.00,"p":1013.00,"bat":3.300,"q":"good"}'


MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in MALLINFO.split())


class Used(NamedTuple):
    """``blocks`` of Python's objects, ``bytes`` of everything that malloc has given out."""

    blocks: int
    bytes: int


def used() -> Used:
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _Mallinfo
    gc.collect()
    info = library.mallinfo2()
    return Used(sys.getallocatedblocks(), int(info.uordblks) + int(info.hblkhd))


def servers(folder: Path, clock: ManualClock, port: int | None) -> Hub | Edge:
    config = {"listen": "127.0.0.1:-1", "server_name": "HUB" if port is None else "dev1"}
    if port is None:
        more: dict[str, object] = {
            "leafnodes": {"listen": "127.0.0.1:-1"},
            "jetstream": {"store_dir": str(folder / "hub"), "domain": "hub"},
        }
        return Hub(config | more, clock=clock)
    more = {
        "leafnodes": {
            "reconnect": "20ms",
            "remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"], "ignore_discovered_servers": True}],
        },
        # Its clock stands still while it is up, so that pauses before an attempt would grow
        "phloem": {"link": {"reconnect_max": "20ms"}},
        "jetstream": {"store_dir": str(folder / "edge"), "domain": "dev1"},
        "forward": {
            "alarm": {"subjects": ["alarm.>"], "class": "alarm"},
            "tele": {"subjects": ["tele.>"], "max_age": "48h"},
        },
    }
    return Edge(config | more, clock=clock)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
async def test_a_week_needs_no_more_memory_than_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hour the link is cut, messages are stored, and the link comes back and takes them."""
    monkeypatch.setattr(Edge, "generation_bytes", 1 << 16)
    monkeypatch.setattr(Hub, "generation_bytes", 1 << 16)
    clock = ManualClock()
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest keeps what is logged
    readings = list[Used]()
    async with (
        servers(tmp_path, clock, None) as top,
        Cable(top.leaf_port) as cable,
        servers(tmp_path, clock, cable.port) as device,
    ):
        at_edge, at_hub = await device.connect(), await top.connect()
        below, above = at_edge.jetstream(), at_hub.jetstream()
        for hour in range(DAYS * 24):
            await cable.cut()
            clock.advance(HOUR_NS)
            for i in range(EACH):
                await below.publish(
                    f"{'tele' if i else 'alarm'}.{i % 5}", b"%b %d" % (PAYLOAD, hour * EACH + i)
                )
            cable.restore()
            await _has(above, "FLEET_tele", (hour + 1) * (EACH - 1))
            await above.purge_stream("FLEET_tele", keep=100)
            await above.purge_stream("FLEET_alarm", keep=10)
            if hour % 24 == 23:
                readings.append(used())
        info = await above.stream_info("FLEET_alarm")
        assert info.state.last_seq == DAYS * 24
        await at_edge.close()
        await at_hub.close()
    warm, last = readings[WARM_DAYS - 1], readings[-1]
    # what lies in the two journals differs from day to day; a few objects a session would be thousands
    assert last.bytes < warm.bytes + (1 << 17), readings
    assert last.blocks < warm.blocks + 5 * (DAYS - WARM_DAYS) * 24, readings


async def _has(js: JetStreamContext, stream: str, last: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with contextlib.suppress(NotFoundError):  # the first message makes it
                if (await js.stream_info(stream)).state.last_seq >= last:
                    return
            await asyncio.sleep(0.01)
