"""A work queue shared by workers of which some die: every job is done, by whoever is left.

A stream with the retention ``workqueue`` removes a job when it has been acknowledged. All workers pull from one
durable consumer. A worker that dies acknowledges nothing; after ``ack_wait`` its jobs are handed to somebody else. A
worker that knows that it cannot do a job gives it back at once (``nak``), one that needs longer says so
(``in_progress``).

Run it against ``phloem server -js -sd /tmp/store``:

    python docs/examples/work_queue.py nats://127.0.0.1:4222
"""

import asyncio
import sys
from collections import Counter

import nats
from nats.errors import TimeoutError as NothingYet
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig

JOBS, BATCH = 60, 5
ACK_WAIT_S = 0.5  # a real queue takes longer than its longest job


class Board:
    """Who has done what."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.finished = asyncio.Event()

    def mark(self, job: str) -> None:
        """A job is done."""
        self.done[job] += 1
        if len(self.done) == JOBS:
            self.finished.set()


async def work(url: str, board: Board, *, dies: bool) -> None:
    """Take jobs and do them; a worker that ``dies`` takes a batch and is never heard of again."""
    async with await nats.connect(url) as nc:
        queue = await nc.jetstream().pull_subscribe_bind("workers", "JOBS")
        while not board.finished.is_set():
            try:
                jobs = await queue.fetch(BATCH, timeout=ACK_WAIT_S)
            except NothingYet:
                continue
            if dies:
                return
            for job in jobs:
                board.mark(job.data.decode())
                await job.ack_sync()


async def main(url: str = "nats://127.0.0.1:4222") -> None:
    """Six workers, of which three die."""
    async with await nats.connect(url) as nc:
        js = nc.jetstream()
        await js.add_stream(
            StreamConfig(name="JOBS", subjects=["jobs.>"], retention=RetentionPolicy.WORK_QUEUE)
        )
        await js.add_consumer("JOBS", ConsumerConfig(durable_name="workers", ack_wait=ACK_WAIT_S))
        for number in range(JOBS):
            await js.publish("jobs.resize", f"picture-{number}".encode())

        board = Board()
        async with asyncio.TaskGroup() as workers:
            for number in range(6):
                workers.create_task(work(url, board, dies=number % 2 == 0))
        print(f"{len(board.done)} of {JOBS} jobs done, though 3 of 6 workers died")
        print(f"left in the queue: {(await js.stream_info('JOBS')).state.messages}")
        await js.delete_stream("JOBS")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
