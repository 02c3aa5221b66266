"""A pipeline without a program in the middle: subjects are mapped, and what is stored is published again.

Devices publish ``raw.<site>.<device>``. The stream RAW maps that to ``readings.<device>.<site>``, so that whoever wants
one device finds all its sites under one prefix. What was stored is republished, headers only, under ``live.``: for
dashboards that only want to know that something is new, and where.

Run it against ``phloem server -js -sd /tmp/store``:

    python docs/examples/pipeline.py nats://127.0.0.1:4222
"""

import asyncio
import sys

import nats
from nats.js.api import RePublish, StreamConfig, SubjectTransform

SENT = (("north", "pump", "21.5"), ("south", "pump", "22.0"), ("north", "valve", "open"))


async def main(url: str = "nats://127.0.0.1:4222") -> None:
    """Publish three readings and look at what becomes of them."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        await js.add_stream(
            StreamConfig(
                name="RAW",
                subjects=["raw.*.*"],
                subject_transform=SubjectTransform(
                    src="raw.*.*", dest="readings.{{wildcard(2)}}.{{wildcard(1)}}"
                ),
                republish=RePublish(src="readings.>", dest="live.>", headers_only=True),
            )
        )
        dashboard = await nc.subscribe("live.>")
        await nc.flush()

        for site, device, value in SENT:
            await js.publish(f"raw.{site}.{device}", value.encode())
        for _ in SENT:
            event = await dashboard.next_msg(timeout=5)
            headers = event.headers or {}
            print(f"{event.subject}: message {headers['Nats-Sequence']} of {headers['Nats-Stream']}")

        pumps = await js.subscribe("readings.pump.*", stream="RAW")
        for _ in range(2):
            reading = await pumps.next_msg(timeout=5)
            print(f"{reading.subject} = {reading.data.decode()}")
        await js.delete_stream("RAW")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
