"""A hub that is nats-server 2.9.10, as Debian 12 has it: what works with a leaf of today's works with ours.

``OLD_NATS_SERVER`` names its program, as from ``apt-get download nats-server && dpkg -x nats-server*.deb .``.
"""

import asyncio
from pathlib import Path

import pytest
from nats.js import JetStreamContext

from tests.interop.pairs import OLD_BINARY, TIMEOUT_S, Pair, Side, fresh, until
from tests.interop.taking import Json, ask, bodies
from tests.interop.test_js_setups import SETUPS

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not OLD_BINARY, reason="OLD_NATS_SERVER names no nats-server of 2.9"),
]


async def _take(here: Side, there: Side, kind: str, retention: str, pair: Pair) -> None:
    """From before, while linked, and over a cut; the old ones lose of a work queue what is under way in a cut."""
    js, far = await here.js(), await there.js()
    origin, target = fresh("O"), fresh("T")
    await far.add_stream(name=origin, subjects=[f"{origin}.>"], retention=retention)
    sent = await _publish(far, origin, 0, 10)
    source: Json = {"name": origin, "external": {"api": f"$JS.{there.domain}.API", "deliver": ""}}
    taking: Json = {"mirror": source} if kind == "mirror" else {"sources": [source]}
    await ask(js, f"STREAM.CREATE.{target}", {"name": target, **taking})
    await until(lambda: js.stream_info(target), lambda info: info.state.messages == 10)
    sent += await _publish(far, origin, 10, 20)
    await until(lambda: js.stream_info(target), lambda info: info.state.messages == 20)
    if retention == "limits":
        pair.cable.cut()
        sent += await _publish(far, origin, 20, 30)
        pair.cable.restore()
        await until(lambda: js.stream_info(target), lambda info: info.state.messages == 30)
    assert await bodies(js, target) == sent


async def _publish(js: JetStreamContext, origin: str, first: int, end: int) -> list[tuple[str, bytes]]:
    sent = [(f"{origin}.{number}", b"%d" % number) for number in range(first, end)]
    for subject, body in sent:
        await js.publish(subject, body)
    return sent


@pytest.mark.parametrize("leaf", ["real", "ours"])
async def test_an_old_hub(leaf: str, pairs_folder: Path) -> None:
    pair = await asyncio.to_thread(lambda: Pair("old", leaf, pairs_folder, configs=SETUPS["domains"].configs))
    try:
        await pair.linked()
        for here, there in (pair.sides(True), pair.sides(False)):
            js = (await here.client()).jetstream(domain=there.domain, timeout=TIMEOUT_S)
            name = fresh("S")
            await js.add_stream(name=name, subjects=[f"{name}.>"])
            await until(lambda js=js, name=name: js.publish(f"{name}.a", b"x"), lambda _: True)
            puller = await js.pull_subscribe(f"{name}.a", durable="C", stream=name)
            (msg,) = await puller.fetch(1, timeout=TIMEOUT_S)
            await msg.ack_sync(timeout=TIMEOUT_S)
        for here, there in (pair.sides(True), pair.sides(False)):
            for kind in ("mirror", "source"):
                await _take(here, there, kind, "limits", pair)
            await _take(here, there, "source", "workqueue", pair)
    finally:
        for side in (pair.hub, pair.leaf):
            await side.hang_up()
        await asyncio.to_thread(pair.stop)
