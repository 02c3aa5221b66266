"""What is sent to a stream, what of it was acknowledged, and what is there after the plug was pulled."""

import asyncio
import contextlib
import json
import zlib
from collections import Counter
from typing import NamedTuple

import nats
from nats.errors import Error as ClientError
from nats.errors import TimeoutError as NoMoreError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError

STREAM, SUBJECT = "PROOF", "proof.readings"
WINDOW = 1000  # publishes that wait for their acknowledgement at most
SIZE = 128
PATIENCE_S = 240.0
BATCH = 500
PAUSE_S = 5.0  # without a confirmation, when no more is published
TRICKLE_S = 1.0
TRICKLE_PATIENCE_S = 10.0


class Found(NamedTuple):
    """What a stream holds."""

    ids: Counter[int]
    garbled: int
    whole: bool = True  # the stream itself is there


NOTHING = Found(Counter(), 0, whole=False)


def payload(number: int) -> bytes:
    """Message ``number``: nobody else's, and it can be seen whether it is whole."""
    text = f"{number:012d} ".encode().ljust(SIZE - 8, b".")
    return text + f"{zlib.crc32(text):08x}".encode()


def number_of(data: bytes) -> int | None:
    """Which message it is; None if it is none."""
    whole = len(data) == SIZE and f"{zlib.crc32(data[:-8]):08x}".encode() == data[-8:]
    return int(data[:12]) if whole else None


async def make_stream(port: int) -> None:
    """The stream, on file storage."""
    client = await nats.connect(f"nats://127.0.0.1:{port}", connect_timeout=PATIENCE_S)
    await client.jetstream(timeout=PATIENCE_S).add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT]))
    await client.close()


class Publisher:
    """Publishes message after message, from ``first`` on, until cut off. ``acked`` are those that the server
    has confirmed, ``sent`` is the number after the last."""

    def __init__(self, port: int, first: int) -> None:
        self._port = port
        self.sent = self._first = first
        self.acked: set[int] = set()
        self._room = asyncio.Event()
        self._ending = False

    def end(self) -> None:
        """Publish no more, and hear what was confirmed."""
        self._ending = True
        self._room.set()

    async def run(self) -> None:
        """Until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        await reader.readline()
        writer.write(b'CONNECT {"verbose":false,"protocol":1}\r\nSUB ack.* 1\r\nPING\r\n')
        reading = asyncio.create_task(self._read(reader, writer))
        try:
            while not (reading.done() or writer.is_closing() or self._ending):
                if self.sent - self._first - len(self.acked) >= WINDOW:
                    self._room.clear()
                    await self._room.wait()
                    continue
                data = payload(self.sent)
                writer.write(b"PUB %s ack.%d %d\r\n%s\r\n" % (SUBJECT.encode(), self.sent, len(data), data))
                self.sent += 1
                if not self.sent % 50:
                    await writer.drain()
                    await asyncio.sleep(0)
            if self._ending:
                await self._hear_out(reading)
        except OSError:
            pass
        finally:
            reading.cancel()
            writer.close()

    async def _hear_out(self, reading: asyncio.Task[None]) -> None:
        """Until all is confirmed, or nothing is for a while."""
        heard = -1
        while not reading.done() and heard < len(self.acked) < self.sent - self._first:
            heard = len(self.acked)
            await asyncio.wait({reading}, timeout=PAUSE_S)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Collect acknowledgements."""
        try:
            while line := await reader.readline():
                words = line.split()
                if words[:1] == [b"PING"]:
                    writer.write(b"PONG\r\n")
                if words[:1] != [b"MSG"]:
                    continue
                answer = json.loads((await reader.readexactly(int(words[-1]) + 2))[:-2])
                if answer.get("stream") == STREAM and "error" not in answer:
                    self.acked.add(int(words[1][4:]))
                    self._room.set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._room.set()


class Trickle:
    """Publishes one message after the other from ``first`` on, each with a pause, through ends and starts of the
    server, until cancelled. Each is sent once; ``acked`` and ``sent`` as of a publisher. ``gap_s``: the longest time
    without an acknowledgement."""

    def __init__(self, port: int, first: int) -> None:
        self._port = port
        self.sent = first
        self.acked: set[int] = set()
        self.gap_s = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        client = await nats.connect(
            f"nats://127.0.0.1:{self._port}",
            connect_timeout=PATIENCE_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=_told,
        )
        js = client.jetstream()
        last = loop.time()
        try:
            while True:
                number = self.sent
                self.sent += 1
                with contextlib.suppress(ClientError):
                    await js.publish(SUBJECT, payload(number), timeout=TRICKLE_PATIENCE_S)
                    self.acked.add(number)
                    self.gap_s, last = max(self.gap_s, loop.time() - last), loop.time()
                await asyncio.sleep(TRICKLE_S)
        finally:
            self.gap_s = max(self.gap_s, loop.time() - last)
            await client.close()


async def _told(_: Exception) -> None:
    """The client's errors are expected here: what was acknowledged is what is looked at."""


async def contents(port: int) -> Found:
    """Everything that the stream holds, read by a consumer."""
    client = await nats.connect(f"nats://127.0.0.1:{port}", connect_timeout=PATIENCE_S)
    js = client.jetstream(timeout=PATIENCE_S)
    ids: Counter[int] = Counter()
    garbled = 0
    try:
        try:
            wanted = (await js.stream_info(STREAM)).state.messages
        except NotFoundError:
            return NOTHING
        subscription = await js.pull_subscribe(SUBJECT, config=ConsumerConfig(ack_policy=AckPolicy.NONE))
        while sum(ids.values()) + garbled < wanted:
            try:
                messages = await subscription.fetch(BATCH, timeout=PATIENCE_S)
            except NoMoreError:
                break
            for message in messages:
                number = number_of(message.data)
                if number is None:
                    garbled += 1
                else:
                    ids[number] += 1
    finally:
        await client.close()
    return Found(ids, garbled)
