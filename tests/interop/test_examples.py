"""Every file of docs/examples does what it says, against a broker with a store."""

import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from phloem.shared.testing.broker import server

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXPECTED = {
    "exactly_once": ["sent 6, stored 3", "counted 23 litres, 0 to come, 0 not acknowledged"],
    "work_queue": ["60 of 60 jobs done, though 3 of 6 workers died", "left in the queue: 0"],
    "pipeline": [
        "live.pump.north: message 1 of RAW",
        "live.pump.south: message 2 of RAW",
        "live.valve.north: message 3 of RAW",
        "readings.pump.north = 21.5",
        "readings.pump.south = 22.0",
    ],
    "key_value": [
        "pump.starts = 10, revision 12",
        "pump.speed is deleted",
        "that was what the bucket held when the watch began",
        "the watcher's last news: pump.speed DEL",
    ],
    "object_store": [
        "pump-2.1.bin: 1,048,576 bytes in 8 pieces, for pumps of the second series",
        "read back: the same",
        "deleted",
    ],
}


def example(name: str) -> Callable[[str], Awaitable[None]]:
    """The ``main`` of an example."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[str], Awaitable[None]] = module.main
    return main


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_example(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with server({"jetstream": {"store_dir": str(tmp_path)}}) as broker:
        await example(name)(broker.client_url)
    assert capsys.readouterr().out.splitlines() == EXPECTED[name]
