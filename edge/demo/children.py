"""The hub and the edge of the demo: ``python -m phloem ...`` on free loopback ports, ended by their handles.

* Each child writes its ports file into a folder of its own; that it is there means that the child is ready.
* Children are in a session of their own: Ctrl-C is for the demo, which ends them when all has arrived.
* A child that ends by itself is an error with the last line of its log.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from phloem.shared.errors import PhloemError

START_TIMEOUT_S = 20.0  # a cold start on a small board takes seconds
STOP_TIMEOUT_S = 5.0
LOOK_AGAIN_S = 0.02


class DemoError(PhloemError):
    """The demo cannot go on; one line for its user."""


class Child:
    """A running child and its URLs by kind: nats, leafnodes, monitoring."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.name, self._process, self._folder = name, process, folder
        self.urls: dict[str, list[str]] = {}

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def url(self, kind: str) -> str:
        """The first URL of this kind."""
        return self.urls[kind][0]

    def check(self) -> None:
        """Raise DemoError if the child has ended."""
        code = self._process.returncode
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            lines = (self._folder / "log").read_text(errors="replace").splitlines()
            last = lines[-1] if lines else "it said nothing"
            raise DemoError(f"the {self.name} {how}: {last}")

    async def ready(self, unless: Callable[[], None]) -> None:
        """Wait until the child has said where it listens; ``unless`` may raise what ends the wait."""
        path = self._folder / f"phloem_{self.pid}.ports"
        for _ in range(round(START_TIMEOUT_S / LOOK_AGAIN_S)):
            unless()
            self.check()
            if path.exists():
                self.urls = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        raise DemoError(f"the {self.name} was not ready within {START_TIMEOUT_S:.0f} s")

    async def stop(self) -> None:
        """End it: politely, then not. Returns when it is gone."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def start(name: str, config: str, folder: Path, unless: Callable[[], None]) -> AsyncIterator[Child]:
    """``phloem <name>`` with this configuration, ready inside the block and gone after it."""
    home = folder / name
    home.mkdir()
    file = home / f"{name}.conf"
    file.write_text(f'listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\nports_file_dir: "{home}"\n{config}')
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "phloem", name, "-c", str(file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    child = Child(name, process, home)
    try:
        await child.ready(unless)
        yield child
    finally:
        await child.stop()
