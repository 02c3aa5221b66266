"""Inside the other machine, with nothing but the package: what is acknowledged is there after the server was killed.

    /usr/bin/python3.11 -I smoke.py        prints one line for each thing that was looked at

No test framework is there, and no network but the machine's own loopback.
"""

import asyncio
import itertools
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/phloem/python")

import nats
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

PORT = 14222
MESSAGES, WINDOW, TAKEN = 1000, 100, 300
PATIENCE_S = 600.0  # emulated, on a machine with other work
SIZES = (0, 1, 127, 1000, 70_000)  # the last is kept on pages of its own
KILLS = 3


def payload(number: int) -> bytes:
    """Message ``number``, of one of the sizes."""
    size = SIZES[number % len(SIZES)]
    return (b"%d " % number).ljust(size, b"."[:1] if number % 2 else b"\xff")


async def unheard(_error: Exception) -> None:
    """Of a server that does not listen yet."""


class Server:
    """``phloem server`` with streams in a folder."""

    def __init__(self, folder: Path) -> None:
        self._conf = folder / "server.conf"
        self._conf.write_text(f'listen: "127.0.0.1:{PORT}"\njetstream {{ store_dir: "{folder}/store" }}\n')
        self.process: subprocess.Popen[bytes] | None = None

    def _begin(self) -> None:
        self.process = subprocess.Popen(["phloem", "server", "-c", str(self._conf)])

    async def start(self) -> nats.NATS:
        """A client of it, as soon as it answers; how long that took."""
        self._begin()
        end = time.monotonic() + PATIENCE_S
        while True:
            assert self.process is not None
            try:
                return await nats.connect(
                    f"nats://127.0.0.1:{PORT}",
                    connect_timeout=PATIENCE_S,
                    allow_reconnect=False,
                    error_cb=unheard,
                    max_reconnect_attempts=1,
                )
            except (OSError, nats.errors.Error):
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                await asyncio.sleep(1)

    def kill(self) -> None:
        """As a power cut does it to a process."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def publishing(client: nats.NATS, first: int, done: set[int]) -> list[asyncio.Task[None]]:
    """``MESSAGES`` from ``first`` on, so many on their way at once; those that were acknowledged go into ``done``."""
    stream = client.jetstream(timeout=PATIENCE_S)
    room = asyncio.Semaphore(WINDOW)

    async def one(number: int) -> None:
        async with room:
            await stream.publish(f"proof.{number % 7}", payload(number), headers={"Number": str(number)})
            done.add(number)

    return [asyncio.create_task(one(number)) for number in range(first, first + MESSAGES)]


async def publish_into_a_kill(client: nats.NATS, server: Server, first: int, done: set[int]) -> None:
    """The server ends in the middle of it; what it had acknowledged until then is in ``done``."""
    tasks = publishing(client, first, done)
    for acknowledged in itertools.islice(asyncio.as_completed(tasks), WINDOW):
        await acknowledged
    server.kill()
    async with asyncio.timeout(PATIENCE_S):
        # What came before the end of the connection is read first. A reset one ends without closed_cb.
        while not client.is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()  # nobody tells them that there is no server any more
    await asyncio.gather(*tasks, return_exceptions=True)


async def everything(client: nats.NATS) -> dict[int, bytes]:
    """What the stream has, by number, read by a consumer of its own."""
    stream = client.jetstream(timeout=PATIENCE_S)
    info = await stream.stream_info("PROOF")
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE, inactive_threshold=PATIENCE_S
    )  # else it is gone after 5 s
    reader = await stream.pull_subscribe("", stream="PROOF", config=config)
    found: dict[int, bytes] = {}
    left = info.state.messages
    while left:
        for message in await reader.fetch(min(left, 100), timeout=PATIENCE_S):
            assert message.headers is not None
            number = int(message.headers["Number"])
            assert number not in found, f"message {number} is there twice"
            found[number] = message.data
            left -= 1
    return found


async def durable(folder: Path) -> None:
    """Publish, take, kill, look; again and again."""
    server = Server(folder)
    client = await server.start()
    stream = client.jetstream(timeout=PATIENCE_S)
    await stream.add_stream(StreamConfig(name="PROOF", subjects=["proof.*"]))
    config = ConsumerConfig(durable_name="taker", ack_policy=AckPolicy.EXPLICIT, ack_wait=PATIENCE_S)
    taker = await stream.pull_subscribe("proof.*", durable="taker", stream="PROOF", config=config)
    acked: set[int] = set()
    for kill in range(KILLS):
        begin = time.monotonic()
        await asyncio.gather(*publishing(client, kill * MESSAGES, acked))
        took_s = time.monotonic() - begin
        taken = 0
        while taken < TAKEN:
            for message in await taker.fetch(min(100, TAKEN - taken), timeout=PATIENCE_S):
                await message.ack_sync(timeout=PATIENCE_S)
                taken += 1
        await publish_into_a_kill(client, server, 10**6 * (kill + 1), acked)
        await client.close()
        client = await server.start()
        found = await everything(client)
        assert acked <= set(found), f"lost after kill {kill + 1}: {sorted(acked - set(found))[:10]}"
        wrong = [number for number, data in found.items() if data != payload(number)]
        assert not wrong, f"not what was published: {wrong[:10]}"
        stream = client.jetstream(timeout=PATIENCE_S)
        info = await stream.consumer_info("PROOF", "taker")
        floor = info.ack_floor.consumer_seq if info.ack_floor else 0
        assert floor == TAKEN * (kill + 1), f"acknowledged by the consumer: {floor}"
        taker = await stream.pull_subscribe("proof.*", durable="taker", stream="PROOF", config=config)
        print(
            f"kill {kill + 1}: {len(acked)} acknowledged, {len(found)} found, 0 lost, 0 garbled, consumer at {floor}; "
            f"{MESSAGES / took_s:.0f} messages/s",
            flush=True,
        )
    await client.close()
    assert server.process is not None
    server.process.terminate()
    assert server.process.wait(PATIENCE_S) == 0, "a server that is told to end ends with 0"
    told("store check", "phloem", "store", "check", str(folder / "store/jetstream/phloem"))


def told(what: str, *words: str, fine: tuple[int, ...] = (0,)) -> None:
    """Runs a program; shows the end of what it prints if it does not end well."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode in fine, f"{what}: ended with {done.returncode}: {said[-2000:]}"
    print(f"{what}: {' '.join(said.splitlines()[-1:])}", flush=True)


def main() -> None:
    """All of it."""
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "python": platform.python_version(),
                "bits": platform.architecture()[0],
            }
        )
    )
    told("version", "phloem", "--version")
    told("doctor", "phloem", "doctor", fine=(0, 1))  # no services run in a folder, and it says so
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(durable(Path(folder)))
    print("sound", flush=True)


if __name__ == "__main__":
    main()
