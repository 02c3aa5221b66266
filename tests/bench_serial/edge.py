"""An edge on one core: started, measured from outside, asked what it has."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.bench_serial.loads import Load
from tests.support.server_process import ServerProcess

STREAM, SOCKET = "BENCH", "nats.sock"
_TICKS_S = os.sysconf("SC_CLK_TCK")


class Use(NamedTuple):
    """What a process has used so far, and what it holds."""

    cpu_s: float
    system_s: float
    resident_bytes: int


def use_of(pid: int) -> Use:
    """Of all its threads; 0: of no process."""
    if not pid:
        return Use(0.0, 0.0, 0)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]) / _TICKS_S, int(fields[12]) / _TICKS_S
    return Use(user + system, system, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def config(load: Load, paths: Sequence[str], folder: Path) -> str:
    """An edge with a port for each device, unless they are the bridge's."""
    jetstream = f'jetstream {{ store_dir: "{folder / "js"}" }}\n'
    if load.bridge:
        return f'phloem {{ unix_socket: "{folder / SOCKET}" }}\n{jetstream}'
    return jetstream + _ports(load, paths)


def bridge_config(load: Load, paths: Sequence[str], folder: Path) -> str:
    """The bridge beside it."""
    return f'phloem {{ unix_socket: "{folder / SOCKET}" }}\n{_ports(load, paths)}'


def _ports(load: Load, paths: Sequence[str]) -> str:
    blocks = "\n".join(
        f's{number} {{\n device: "{path}"\n subject: "bench.s{number}"\n baud: 921600\n {load.port}\n}}'
        for number, path in enumerate(paths)
    )
    return f"serial {{\n{blocks}\n}}\n"


class EdgeProcess(ServerProcess):
    """``phloem edge`` on ``core`` alone."""

    def __init__(self, text: str, folder: Path, core: int) -> None:
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})  # what is started has it from its first thread on
        try:
            super().__init__([sys.executable, "-m", "phloem", "edge"], text, folder)
        finally:
            os.sched_setaffinity(0, mine)


@contextmanager
def bridge_process(text: str, folder: Path, core: int) -> Iterator[int]:
    """``phloem bridge -c`` on ``core`` alone; its process number."""
    (folder / "bridge.conf").write_text(text)
    command = ["taskset", "-c", str(core), sys.executable, "-m", "phloem", "bridge", "-c"]
    with (folder / "bridge.log").open("w") as log:
        bridge = subprocess.Popen([*command, str(folder / "bridge.conf")], stderr=log)
    try:
        yield bridge.pid
        said = (folder / "bridge.log").read_text()
        assert "Traceback" not in said, said
    finally:
        bridge.terminate()
        bridge.wait()


async def connected(edge: EdgeProcess) -> Client:
    """A client that may look."""
    return await nats.connect(f"nats://127.0.0.1:{edge.port('nats')}", allow_reconnect=False)


async def make_stream(client: Client, load: Load) -> None:
    """Where readings go; what ports say of themselves has more tokens, or fewer."""
    subjects = ["bench.*"] if load.messages == 1 and load.line else ["bench.*.*"]
    await client.jetstream().add_stream(
        StreamConfig(name=STREAM, subjects=subjects if load.line else ["bench.>"], allow_atomic=True)
    )


async def stored(client: Client) -> int:
    """Messages in the stream."""
    return (await client.jetstream().stream_info(STREAM)).state.messages
