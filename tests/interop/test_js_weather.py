"""Mirrors and sources over a link that fails, in every pairing: nothing is lost, nothing comes twice, order is kept.

All ways of taking run at once, in both directions, under the same faults. A message counts once its origin has
acknowledged it. ``--cuts`` says how many faults there are; a seed says which, the same each time.
"""

import asyncio
import json
import random
from typing import Any

from nats.js import JetStreamContext

from tests.interop.pairs import (
    IN_EVERY_PAIRING,
    IN_PAIRINGS_WITH_OURS,
    TIMEOUT_S,
    Pair,
    Side,
    fresh,
    until,
)

Json = dict[str, Any]
WAYS = ("mirror", "source", "workqueue", "interest", "durable", "durable mirror")
RETENTION = {
    "workqueue": "workqueue",
    "interest": "interest",
    "durable": "workqueue",
    "durable mirror": "interest",
}


async def ask(js: JetStreamContext, subject: str, body: Json) -> Json:
    """An answer of the API that is no error."""
    msg = await js._nc.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=TIMEOUT_S)
    answer: Json = json.loads(msg.data)
    assert "error" not in answer, answer
    return answer


async def bodies(js: JetStreamContext, stream: str) -> list[tuple[str, bytes]]:
    """All messages of a stream, in order: subject and body."""
    state = (await js.stream_info(stream)).state
    seqs = [seq for seq in range(state.first_seq, state.last_seq + 1)] if state.messages else []
    gone = set(
        (await ask(js, f"STREAM.INFO.{stream}", {"deleted_details": True}))["state"].get("deleted") or ()
    )
    msgs = await asyncio.gather(*(js.get_msg(stream, seq) for seq in seqs if seq not in gone))
    return [(str(msg.subject), msg.data or b"") for msg in msgs]


class Flow:
    """One origin there, one stream here that takes from it."""

    def __init__(self, way: str, here: Side, there: Side) -> None:
        self.way, self.here, self.there = way, here, there
        self.origin, self.target = fresh("O"), fresh("T")
        self.sent: list[tuple[str, bytes]] = []

    async def begin(self) -> None:
        """Both streams, and a consumer where one is made beforehand."""
        there, here = await self.there.js(), await self.here.js()
        origin, target = self.origin, self.target
        retention = RETENTION.get(self.way, "limits")
        config = {"name": origin, "subjects": [f"{origin}.>"], "retention": retention}
        await ask(there, f"STREAM.CREATE.{origin}", config)
        source: Json = {"name": origin, "external": {"api": f"$JS.{self.there.domain}.API", "deliver": ""}}
        if self.way.startswith("durable"):
            source["consumer"] = {"name": "dd", "deliver_subject": f"in.{target}"}
            durable = {"durable_name": "dd", "ack_policy": "flow_control", "deliver_subject": f"in.{target}"}
            await ask(
                there,
                f"CONSUMER.CREATE.{origin}.dd",
                {"stream_name": origin, "config": durable, "action": ""},
            )
        taking = {"mirror": source} if "mirror" in self.way else {"sources": [source]}
        await ask(here, f"STREAM.CREATE.{target}", {"name": target, **taking})
        await until(lambda: self._info(here), lambda info: info["active"] >= 0)

    async def _info(self, here: JetStreamContext) -> Json:
        """What the target says of its origin."""
        info = await ask(here, f"STREAM.INFO.{self.target}", {})
        return dict(info["mirror"] if "mirror" in info else info["sources"][0])

    async def publish(self, count: int) -> None:
        js = await self.there.js()
        for _ in range(count):
            subject, body = f"{self.origin}.{len(self.sent) % 7}", b"%d" % len(self.sent)
            await js.publish(subject, body)
            self.sent.append((subject, body))

    async def arrived(self) -> None:
        """Everything is here, once and in order, and has gone from where it is not kept."""
        here, there = await self.here.js(), await self.there.js()
        await until(lambda: here.stream_info(self.target), lambda info: info.state.messages >= len(self.sent))
        assert await bodies(here, self.target) == self.sent, self.way
        if self.way in RETENTION:
            await until(lambda: there.stream_info(self.origin), lambda info: info.state.messages == 0)

    async def end(self) -> None:
        await (await self.here.js()).delete_stream(self.target)
        await (await self.there.js()).delete_stream(self.origin)


async def _flows(*ways: tuple[Side, Side]) -> list[Flow]:
    flows = [Flow(way, *sides) for way in WAYS for sides in ways]
    await asyncio.gather(*(flow.begin() for flow in flows))
    await _publish(flows, 5)
    await _arrived(flows)
    return flows


async def _publish(flows: list[Flow], count: int) -> None:
    await asyncio.gather(*(flow.publish(count) for flow in flows))


async def _arrived(flows: list[Flow]) -> None:
    await asyncio.gather(*(flow.arrived() for flow in flows))


@IN_PAIRINGS_WITH_OURS
async def test_an_end_that_is_killed(pair: Pair, cuts: int) -> None:
    """Hub and leaf in turn end without a word, in the middle of it, and come back with what they had stored.

    A stream of nats-server that takes from what was killed may stand still for ever (its origin's consumer counts from
    before, and what counts from before is ignored), or half a minute; so only ours has to show that it goes on.
    """
    flows = await _flows(
        *(sides for sides in (pair.sides(True), pair.sides(False)) if sides[0].kind == "ours")
    )
    for number in range(cuts):
        await _publish(flows, 10)
        side, start = ((pair.hub, pair.start_hub), (pair.leaf, pair.start_leaf))[number % 2]
        await pair.kill(side)
        others = [flow for flow in flows if flow.there is not side]
        await _publish(others, 10)
        await asyncio.to_thread(start)
        await _publish(flows, 5)
        await _arrived(flows)
    await asyncio.gather(*(flow.end() for flow in flows))


@IN_EVERY_PAIRING
async def test_faults_of_the_link(pair: Pair, cuts: int) -> None:
    """The link is cut, or swallows everything before it is cut, while messages come."""
    flows = await _flows(pair.sides(True), pair.sides(False))
    chance = random.Random(7)
    for number in range(cuts):
        at_once = asyncio.create_task(_publish(flows, chance.randrange(5, 20)))
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if number % 2:
            pair.cable.stall()
            await _publish(flows, chance.randrange(1, 8))
        pair.cable.cut()
        await at_once
        await _publish(flows, chance.randrange(1, 8))
        pair.cable.restore()
        if chance.random() < 0.5:
            await _publish(flows, 3)
        await _arrived(flows)
    await asyncio.gather(*(flow.end() for flow in flows))
