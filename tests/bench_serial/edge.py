"""An edge on one core: started, measured from outside, asked what it has."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nats
from nats.aio.client import Client
from nats.js.api import StreamConfig

from tests.bench_serial.loads import Load
from tests.support.server_process import ServerProcess

STREAM, SOCKET = "BENCH", "nats.sock"
START_S = 20
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
    """``phloem bridge -c`` on ``core`` alone, with all ports open; its process number."""
    (folder / "bridge.conf").write_text(text)
    command = ["taskset", "-c", str(core), sys.executable, "-m", "phloem", "bridge", "-c"]
    path = folder / "bridge.log"
    with path.open("w") as log:
        bridge = subprocess.Popen([*command, str(folder / "bridge.conf")], stderr=log)
    try:
        until = time.monotonic() + START_S
        while (
            path.read_text().count("): open") < text.count("device:")
            or "connected to" not in path.read_text()
        ):
            assert time.monotonic() < until, path.read_text()
            time.sleep(0.05)
        yield bridge.pid
        said = path.read_text()
        assert "Traceback" not in said, said
    finally:
        bridge.terminate()
        bridge.wait()


class Programs(NamedTuple):
    """An edge, and the bridge that has its ports, if the load wants one: else that is process 0."""

    edge: EdgeProcess
    bridge: int

    def use(self) -> tuple[Use, Use]:
        """Of both, so far."""
        return use_of(self.edge.pid), use_of(self.bridge)


@contextmanager
def programs(load: Load, paths: Sequence[str], folder: Path, core: int) -> Iterator[Programs]:
    """Running, on ``core`` alone, until the end, at which neither has said anything bad."""
    with ExitStack() as stack:
        edge = stack.enter_context(EdgeProcess(config(load, paths, folder), folder, core))
        bridge = 0
        if load.bridge:
            bridge = stack.enter_context(bridge_process(bridge_config(load, paths, folder), folder, core))
        yield Programs(edge, bridge)
        assert "Traceback" not in edge.log, edge.log


def shares(before: tuple[Use, Use], after: tuple[Use, Use], port_seconds: float) -> dict[str, Any]:
    """What a ``Line`` says of processor and memory."""
    edge, bridge = (_since(then, now) for then, now in zip(before, after, strict=True))
    return {
        "cpu": (edge.cpu_s + bridge.cpu_s) / port_seconds,
        "system": (edge.system_s + bridge.system_s) / port_seconds,
        "bridge": bridge.cpu_s / port_seconds,
        "resident_bytes": edge.resident_bytes + bridge.resident_bytes,
    }


def _since(then: Use, now: Use) -> Use:
    return Use(now.cpu_s - then.cpu_s, now.system_s - then.system_s, now.resident_bytes)


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
