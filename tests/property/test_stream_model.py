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
from tests.property.stream_wires import MemoryWire, TcpWire
from tests.support.real_server import RealServer

CONFIG = 'jetstream { store_dir: "@FOLDER@/js" }\n'
EXAMPLES = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with RealServer(CONFIG, tmp_path_factory.mktemp("streams")) as server:
        yield server


def run(wire: MemoryWire | TcpWire, walk: Walk, stream: str) -> None:
    progress = Progress(wire, walk, stream)
    try:
        progress.run()
    except AssertionError as error:
        raise AssertionError(f"{error}\nafter {progress.done}\nmodel {progress.model}") from error


def in_memory(folder: Path, walk: Walk) -> None:
    wire = MemoryWire(folder)
    try:
        run(wire, walk, "S")
    finally:
        wire.stop()


@settings(EXAMPLES, max_examples=20)
@given(walk=walks("memory"))
def test_the_model_is_nats_servers(real: RealServer, walk: Walk) -> None:
    wire = TcpWire(real.port())
    stream = f"S{next(NUMBERS)}"
    try:
        run(wire, walk, stream)
    finally:
        wire.close()


@settings(EXAMPLES, max_examples=60)
@given(walk=walks("memory"))
def test_streams_in_memory(tmp_path_factory: pytest.TempPathFactory, walk: Walk) -> None:
    in_memory(tmp_path_factory.getbasetemp() / "walk", walk)


@settings(EXAMPLES, max_examples=60)
@given(walk=walks("file"))
def test_streams_on_disk(tmp_path_factory: pytest.TempPathFactory, walk: Walk) -> None:
    in_memory(tmp_path_factory.getbasetemp() / "walk", walk)
