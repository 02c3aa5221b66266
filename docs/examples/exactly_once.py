"""A meter reading is counted exactly once, though it is sent twice and its worker dies after counting.

Two things make it so. The publisher gives each message an id (``Nats-Msg-Id``): what it sends again because it did not
hear the acknowledgement is not stored again. The consumer acknowledges with a *double ack*: ``ack_sync`` returns when
the server has noted it, so that what was counted is not handed out again.

Run it against ``phloem server -js -sd /tmp/store``:

    python docs/examples/exactly_once.py nats://127.0.0.1:4222
"""

import asyncio
import sys

import nats
from nats.js.api import ConsumerConfig, StreamConfig

READINGS = (("m1-0001", 5), ("m1-0002", 7), ("m1-0003", 11))


async def main(url: str = "nats://127.0.0.1:4222") -> None:
    """Send every reading twice, count it once."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        await js.add_stream(StreamConfig(name="METER", subjects=["meter.>"], duplicate_window=120))

        for ident, litres in READINGS:
            message = str(litres).encode()
            first = await js.publish("meter.m1", message, headers={"Nats-Msg-Id": ident})
            again = await js.publish("meter.m1", message, headers={"Nats-Msg-Id": ident})
            assert again.duplicate
            assert again.seq == first.seq
        stored = (await js.stream_info("METER")).state.messages
        print(f"sent {2 * len(READINGS)}, stored {stored}")

        config = ConsumerConfig(ack_wait=30, max_deliver=5)
        worker = await js.pull_subscribe("meter.>", durable="billing", config=config)
        total = 0
        for message_ in await worker.fetch(len(READINGS)):
            total += int(message_.data)
            await message_.ack_sync()
        left = await worker.consumer_info()
        print(f"counted {total} litres, {left.num_pending} to come, {left.num_ack_pending} not acknowledged")

        await js.delete_stream("METER")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
