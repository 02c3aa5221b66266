"""Settings of a device in a key-value bucket: read, watched, and changed by two programs without losing an update.

A key is a subject of the bucket's stream, and its revision is the sequence of its last message. ``update`` writes only
if nobody else has written since; whoever loses reads again and tries again.

Run it against ``phloem server -js -sd /tmp/store``:

    python docs/examples/key_value.py nats://127.0.0.1:4222
"""

import asyncio
import sys

import nats
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue


async def add(bucket: KeyValue, key: str, amount: int) -> None:
    """Add to a number, whoever else does so at the same time."""
    while True:
        entry = await bucket.get(key)
        number = int(entry.value or b"0") + amount
        try:
            await bucket.update(key, str(number).encode(), last=entry.revision)
        except KeyWrongLastSequenceError:
            continue
        return


async def main(url: str = "nats://127.0.0.1:4222") -> None:
    """Two programs count in one key, a third watches."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        bucket = await js.create_key_value(bucket="settings", history=5)
        await bucket.put("pump.speed", b"3")
        await bucket.create("pump.starts", b"0")
        watcher = await bucket.watchall()

        await asyncio.gather(*(add(bucket, "pump.starts", 1) for _ in range(10)))
        await bucket.delete("pump.speed")

        starts = await bucket.get("pump.starts")
        print(f"pump.starts = {(starts.value or b'').decode()}, revision {starts.revision}")
        try:
            await bucket.get("pump.speed")
        except KeyNotFoundError:
            print("pump.speed is deleted")
        seen: list[str] = []
        while len(seen) < 13:
            update = await watcher.updates(timeout=5)
            if update is None:
                print("that was what the bucket held when the watch began")
            else:
                seen.append(f"{update.key} {update.operation or 'PUT'}")
        print(f"the watcher's last news: {seen[-1]}")
        await watcher.stop()
        await js.delete_key_value("settings")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
