"""Servers with JetStream as loads find them: streams made, messages in them; and what is measured there.

Rule: before every turn all that the page cache still holds is written (``os.sync``): what one server has
not synced itself would otherwise be written during the other's turn, by the other's syncs.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bench import weights
from tests.bench.generator import Figures, LoadFailed, run
from tests.bench.loads import Load, Scene
from tests.bench.servers import Deployment, Product, Server, Store, running, store

SETTLE_SECONDS, SETTLE_POLLS_MAX = 3.0, 10  # what a store puts off is written when it has been still so long
# So many messages fill what a store gathers before it moves it: what it does at its stop is theirs, too. Of
# fewer, a stop would be a cost of its own, hours apart in service.
STOP_COUNTS_MESSAGES_MIN = 10_000
RATE_KEPT_MIN = 0.9  # of a paced load, or it has not been measured
Advance = Callable[[str], None]


def silent(_: str) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True)
class Stage:
    """One server with the streams of a scene."""

    server: Server
    storage: Store

    def run(self, *arguments: str) -> Figures:
        """One run of the generator on a disk that has nothing left to write."""
        os.sync()
        return self.run_at_once(*arguments)

    def run_at_once(self, *arguments: str) -> Figures:
        """One run of the generator."""
        return run((*arguments, *Deployment(self.server, self.server).arguments()))


def make_streams(stage: Stage, scene: Scene) -> None:
    """Raises LoadFailed with the server's words where it refuses one, or has no JetStream."""
    for text in scene.streams:
        name = text.partition('"name": "')[2].partition('"')[0]
        stage.run("request", "--subject", f"$JS.API.STREAM.CREATE.{name}", "--body", text)


@contextmanager
def staged(scene: Scene, product: Product, sync_interval: str, advance: Advance = silent) -> Iterator[Stage]:
    """A fresh server, its streams made and filled."""
    with store(sync_interval, scene.cipher) as storage, running(product, storage=storage) as server:
        stage = Stage(server, storage)
        make_streams(stage, scene)
        for fill in scene.fills:
            advance(f"{scene.name}: filling {product.name}")
            stage.run(*fill.split())
        yield stage


def settled_bytes(pid: int) -> int:
    """Device writes once nothing more is written."""
    last = -1
    for _ in range(SETTLE_POLLS_MAX):
        written = weights.written_bytes(pid)
        if written == last:
            break
        last = written
        time.sleep(SETTLE_SECONDS)
    return last


def _stopped_bytes(pid: int) -> int:
    """Device writes of a server's whole life, read when it has ended and before its parent hears of it."""
    os.kill(pid, signal.SIGTERM)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return weights.written_bytes(pid)


def written(load: Load, stage: Stage, *, must_keep_rate: bool) -> Figures:
    """What a paced run makes the server write for each message, with what it puts off. Ends the server."""
    pid = stage.server.process.pid
    before = settled_bytes(pid)
    figures = stage.run(*load.arguments, "--messages", str(load.messages))
    rate = float(load.arguments[load.arguments.index("--rate") + 1])
    kept = figures["requests"] / figures["seconds"]
    if must_keep_rate and kept < RATE_KEPT_MIN * rate:
        raise LoadFailed(f"kept {kept:,.0f} of {rate:,.0f} msg/s")
    after = settled_bytes(pid)
    if figures["requests"] >= STOP_COUNTS_MESSAGES_MIN:
        after = _stopped_bytes(pid)
    return figures | {"written_per_message": (after - before) / figures["requests"]}
