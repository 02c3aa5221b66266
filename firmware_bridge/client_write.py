"""Many publishes as one write on a connection of nats-py.

nats-py takes a message at a time, as a mapping of headers, which costs a bridge with busy ports more than all else that
it does. Here header blocks are built already. Everything else of a connection, login and TLS included, is nats-py's;
what is used of its inside is in ``write`` and ``confirm``.
"""

import asyncio
from collections.abc import Iterable
from itertools import starmap

import nats.errors
from nats.aio.client import Client

from phloem.firmware_bridge.headers import Encoded


def operations(messages: Iterable[Encoded]) -> bytes:
    """Publishes as they stand on the wire. Behind a subject may be a blank and a reply subject."""
    return b"".join(starmap(_operation, messages))


def write(client: Client, data: bytes) -> None:
    """As ``Client._send_command`` and what follows it in a publish, but for the waiting: who writes bounds what is
    under way. On a connection that has ended nothing happens; ``confirm`` says so."""
    queue = client._flush_queue
    if queue is None or not client.is_connected:
        return
    client._pending.append(data)
    client._pending_data_size += len(data)
    if queue.empty():
        queue.put_nowait(asyncio.get_running_loop().create_future())


async def confirm(client: Client, data: bytes, timeout_s: float) -> None:
    """Write, and return when the server has answered a PING behind it. Raises nats.errors.Error.

    ``Client.flush`` also returns when nothing is read any more, and a PONG that comes when its caller was cancelled is
    an error to nats-py. Two PINGs, as nats-py writes its own past what waits: the first PONG may be that one's.
    """
    if not client.is_connected:
        raise nats.errors.ConnectionClosedError
    loop = asyncio.get_running_loop()
    answers = [loop.create_future(), loop.create_future()]
    client._pongs.extend(answers)
    write(client, data + b"PING\r\nPING\r\n")
    try:
        await asyncio.wait_for(asyncio.shield(answers[1]), timeout_s)
    except TimeoutError:
        raise nats.errors.TimeoutError from None


def _operation(to: bytes, header: bytes, payload: bytes) -> bytes:
    if not header:
        return b"PUB %b %d\r\n%b\r\n" % (to, len(payload), payload)
    size = len(header)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to, size, size + len(payload), header, payload)
