"""A firmware image in an object store: put in pieces, read back, and its digest compared on the way.

An object is a stream's messages of 128 KiB and one that describes it, with a SHA-256 digest. The client compares the
digest when it reads.

Run it against ``phloem server -js -sd /tmp/store``:

    python docs/examples/object_store.py nats://127.0.0.1:4222
"""

import asyncio
import hashlib
import sys

import nats
from nats.js.api import ObjectMeta
from nats.js.errors import ObjectNotFoundError

IMAGE = bytes(range(256)) * 4096  # 1 MiB


async def main(url: str = "nats://127.0.0.1:4222") -> None:
    """Store an image, look at it, read it, delete it."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        store = await js.create_object_store("firmware")
        info = await store.put(
            "pump-2.1.bin", IMAGE, meta=ObjectMeta(description="for pumps of the second series")
        )
        print(f"{info.name}: {info.size:,} bytes in {info.chunks} pieces, {info.description}")

        found = await store.get("pump-2.1.bin")
        same = hashlib.sha256(found.data or b"").digest() == hashlib.sha256(IMAGE).digest()
        print(f"read back: {'the same' if same else 'damaged'}")

        await store.delete("pump-2.1.bin")
        try:
            await store.get("pump-2.1.bin")
        except ObjectNotFoundError:
            print("deleted")
        await js.delete_object_store("firmware")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
