"""The large store: filled once, weighed, closed, opened; and opened again after ``kill -9``.

Rules: every figure belongs to the whole store, never to a smaller one; opening is timed from the start of
the process to a message that a client has received, its consumer made in that time too.
"""

import os
import time

from tests.bench import weights
from tests.bench.generator import Figures
from tests.bench.loads import Load
from tests.bench.servers import Product, Store, running, store
from tests.bench.stages import Advance, Stage, make_streams, settled_bytes

FILL_CHUNK = 1_000_000  # messages of one run that fills: a line of progress after each
LATE_MESSAGES = 1_000  # published after a restart, so that a kill finds something new in the store
FIRST = ("js-push", "--no-acks", "--messages", "1")


def _fill(load: Load, stage: Stage, product: Product, advance: Advance) -> None:
    assert load.messages is not None
    for done in range(0, load.messages, FILL_CHUNK):
        advance(f"{product.name}: {done:,} of {load.messages:,} messages")
        count = min(FILL_CHUNK, load.messages - done)
        stage.run(*load.arguments, "--messages", str(count))


def _opened(product: Product, storage: Store, size: str, late: tuple[str, ...]) -> tuple[float, float]:
    """Seconds until ready and until a client has a message; then ``late`` is run, and the server killed."""
    os.sync()
    start_s = time.perf_counter()
    with running(product, storage=storage) as server:
        ready_s = time.perf_counter() - start_s
        stage = Stage(server, storage)
        stage.run_at_once(*FIRST, "--size", size)
        delivered_s = time.perf_counter() - start_s
        stage.run(*late)
        server.process.kill()
        server.process.wait()
    return ready_s, delivered_s


def large(load: Load, product: Product, sync_interval: str, advance: Advance) -> Figures:
    """All figures of one server. Raises LoadFailed or ServerFailed."""
    assert load.messages is not None
    assert load.scene is not None
    size = load.arguments[load.arguments.index("--size") + 1]
    with store(sync_interval) as storage:
        with running(product, storage=storage) as server:
            stage = Stage(server, storage)
            make_streams(stage, load.scene)
            _fill(load, stage, product, advance)
            settled_bytes(server.process.pid)
            resident = weights.resident_bytes(server.process.pid)
            anonymous = weights.anonymous_bytes(server.process.pid)
        disk = weights.disk_bytes(storage.directory)
        late = (*load.arguments, "--messages", str(LATE_MESSAGES))
        advance(f"{product.name}: opening {load.messages:,} messages")
        ready_s, open_s = _opened(product, storage, size, late)
        advance(f"{product.name}: opening {load.messages:,} messages after kill -9")
        _, open_killed_s = _opened(product, storage, size, late)
    return {
        "resident_mb": resident / 1e6,
        "anonymous_mb": anonymous / 1e6,
        "disk_per_message": disk / load.messages,
        "open_s": open_s,
        "from_ready_s": open_s - ready_s,
        "open_killed_s": open_killed_s,
    }
