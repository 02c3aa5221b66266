"""Many publishes as one write on a connection of nats-py.

nats-py takes a message at a time, as a mapping of headers, which costs a bridge with busy ports more than all else that
it does. Here header blocks are built already. Everything else of a connection, login and TLS included, is nats-py's;
what is used of its inside is in ``write``.
"""

import asyncio
from collections.abc import Iterable
from itertools import starmap

from nats.aio.client import Client

from phloem.firmware_bridge.headers import Encoded


def operations(messages: Iterable[Encoded]) -> bytes:
    """Publishes as they stand on the wire. Behind a subject may be a blank and a reply subject."""
    return b"".join(starmap(_operation, messages))


def write(client: Client, data: bytes) -> None:
    """As ``Client._send_command`` and what follows it in a publish, but for the waiting: who writes bounds what is
    under way. On a connection that has ended nothing happens; ``flush`` says so."""
    queue = client._flush_queue
    if queue is None or not client.is_connected:
        return
    client._pending.append(data)
    client._pending_data_size += len(data)
    if queue.empty():
        queue.put_nowait(asyncio.get_running_loop().create_future())


def _operation(to: bytes, header: bytes, payload: bytes) -> bytes:
    if not header:
        return b"PUB %b %d\r\n%b\r\n" % (to, len(payload), payload)
    size = len(header)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, size, size + len(payload), header, payload)
