"""Streams and consumers against the model: every message, every number, over restarts and any amount of time.

``--walks 5000`` makes it longer. The model itself is held to nats-server, without what takes time.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from tests.property.stream_operations import Walk, walks
from tests.property.stream_walk import Progress
from tests.property.stream_wires import MemoryWire, TcpWire, Wire
from tests.support.real_server import RealServer
from tests.support.sampling import sampled

CONFIG = 'jetstream { store_dir: "@FOLDER@/js" }\n'
FEW = {"nats-server": (10, 50), "memory": (20, 100), "file": (14, 70)}  # walks in a sample, and in all


def run(wire: Wire, walk: Walk, stream: str) -> None:
    progress = Progress(wire, walk, stream)
    try:
        progress.run()
        progress.delete()
    except AssertionError as error:
        done = "\n  ".join(map(str, [walk.settings, *progress.done]))
        raise AssertionError(f"{error}\nafter\n  {done}") from error


class Memory:
    """One server for many walks, until one of them breaks it."""

    def __init__(self, folder: Path) -> None:
        self._folders = (folder / str(number) for number in itertools.count())
        self._numbers = itertools.count()
        self._wire: MemoryWire | None = None

    def run(self, walk: Walk) -> None:
        wire = self._wire = self._wire or MemoryWire(next(self._folders))
        try:
            run(wire, walk, f"S{next(self._numbers)}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._wire is not None:
            self._wire.stop()
        self._wire = None


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    memory = Memory(tmp_path)
    yield memory
    memory.stop()


def examples(request: pytest.FixtureRequest, kind: str, whole: bool) -> settings:
    count = request.config.getoption("--walks", default=0) or FEW[kind][whole]
    return settings(max_examples=count, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


@sampled
def test_the_model_is_nats_servers(tmp_path: Path, request: pytest.FixtureRequest, whole: bool) -> None:
    numbers = itertools.count()
    with RealServer(CONFIG, tmp_path) as real:

        @examples(request, "nats-server", whole)
        @given(walk=walks("memory"))
        def walk_it(walk: Walk) -> None:
            wire = TcpWire(real.port())
            try:
                run(wire, walk, f"S{next(numbers)}")
            finally:
                wire.close()

        walk_it()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("storage", ["memory", "file"])
@sampled
def test_streams_are_the_models(
    memory: Memory, storage: str, request: pytest.FixtureRequest, whole: bool
) -> None:
    @examples(request, storage, whole)
    @given(walk=walks(storage))
    def walk_it(walk: Walk) -> None:
        memory.run(walk)

    walk_it()
