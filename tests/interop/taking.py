"""A stream here that takes from one over there, in every way there is, and what has to be true of it in the end."""

import asyncio
import json
from typing import Any

from nats.js import JetStreamContext

from tests.interop.pairs import TIMEOUT_S, Side, fresh, until

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


async def flows_of(*ways: tuple[Side, Side]) -> list[Flow]:
    """All ways of taking for each (here, there); they work."""
    flows = [Flow(way, *sides) for way in WAYS for sides in ways]
    await asyncio.gather(*(flow.begin() for flow in flows))
    await publish(flows, 5)
    await arrived(flows)
    return flows


async def publish(flows: list[Flow], count: int) -> None:
    """That many messages to the origin of each."""
    await asyncio.gather(*(flow.publish(count) for flow in flows))


async def arrived(flows: list[Flow]) -> None:
    """All of them have what was sent."""
    await asyncio.gather(*(flow.arrived() for flow in flows))


async def end(flows: list[Flow]) -> None:
    """Their streams go."""
    await asyncio.gather(*(flow.end() for flow in flows))
