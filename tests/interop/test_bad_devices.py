"""Devices that misbehave all at once, on the ports of a real ``phloem edge``: its memory stays what it is, each says
what is wrong with it, and the one that is well is heard as if it were alone."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.request import urlopen

import nats
from nats.aio.client import Client

from phloem.firmware_bridge.edgelink import frame, messages
from phloem.firmware_bridge.limits import PROCESS_WINDOW
from phloem.firmware_bridge.simulate import SimulatedSensor
from phloem.shared.clock import SystemClock
from phloem.shared.limits import SECOND_NS
from tests.interop.test_edgelink import EdgeProcess
from tests.soak.churn import read
from tests.support.plugged_board import make_stream

SECOND_OF_LINE = 92_160  # bytes of 921,600 baud
PIECE = 2048
GROWTH_BYTES_MAX = 2 << 20
LATE_NS_MAX = 2 * SECOND_NS  # two cores, and everything else that runs on them
FUNCTIONS = ("raising", "hanging")  # ports with a function of the user's
FLAPS = 10  # for each second of a line
CODE = """
import threading

def raises(reading):
    raise RuntimeError(f"no sense in {reading.value}")

def hangs(frame):
    threading.Event().wait()
"""


class Bad(NamedTuple):
    """A device: how its port is configured, what it says, and what figures and events come of that."""

    port: str
    says: Callable[[Random], bytes]
    counts: tuple[str, ...] = ()
    events: frozenset[str] = frozenset(("garbled",))


def _wrong_baud(rng: Random) -> bytes:
    """What eight times too slow a sender looks like: long runs of one level."""
    return bytes(rng.choices(b"\x00\x80\xe0\xf8\xfe\xff\x0a", (30, 9, 9, 9, 9, 30, 4), k=PIECE))


def _liar(rng: Random) -> bytes:
    """Frames that say they are longer than they are, or than anything may be."""
    return b"".join(
        b"\xaa" + rng.randrange(40, 1 << 16).to_bytes(2, "little") + rng.randbytes(9) for _ in range(170)
    )


def _lying_board(rng: Random) -> bytes:
    """EdgeLink with good checksums, of which nothing inside is true."""
    hello = messages.Hello(
        uid=b"\x07",
        epoch=rng.getrandbits(32),
        first=0,
        fresh=0,
        boot=1,
        reason=0,
        window=8,
        max_frame=0xFFFF,
        caps=0xFFFF,
        schema=rng.getrandbits(32),
        firmware="x" * 255,
    )
    said = [messages.encode(hello)]
    for _ in range(60):
        head = rng.randrange(0x10, 0x20)
        said.append(bytes([head]) + rng.choice((b"\xff\xff\xff\xff", b"")) + rng.randbytes(rng.randrange(24)))
    return b"".join(frame.wrap(one) for one in said)


def _long_lines(_rng: Random) -> bytes:
    return b"".join(b"%d.%0400d\n" % (number, 1) for number in range(PIECE // 404))


BAD = {
    "garbage": Bad("framing: line", lambda rng: rng.randbytes(PIECE)),
    "endless": Bad("framing: line", lambda rng: b"x" * PIECE, ("dropped_bytes", "resyncs")),
    "baud": Bad('decode { type: csv, columns: ["a", "b"] }', _wrong_baud, ("undecodable",)),
    "liar": Bad(
        'framing { type: length_prefix, length: u16le, start: "\\\\xaa", check: crc16_modbus }',
        _liar,
        ("dropped_bytes", "resyncs"),
    ),
    "board": Bad("protocol: edgelink", _lying_board, ("frames", "undecodable"), frozenset(("trouble",))),
    "dear": Bad(
        'decode { type: regex, pattern: "(?P<a>(x+x+)+y)" }',
        lambda rng: (b"x" * 60 + b"\n") * (PIECE // 61),
        ("undecodable",),
    ),
    "raising": Bad(
        'decode { type: csv, columns: ["a"] }\n process { function: "bad_code:raises", path: "@CODE@" }',
        _long_lines,
        ("unprocessed", "readings"),
        frozenset(("process_failed",)),
    ),
    "hanging": Bad(
        'process { function: "bad_code:hangs", path: "@CODE@", timeout: "20ms", queue: 16, on_failure: drop }',
        _long_lines,
        ("unprocessed", "process_ends"),
        frozenset(("process_failed",)),
    ),
    "flapping": Bad("framing: line", lambda rng: b"here again\n", ("losses",), frozenset(("lost",))),
}


class Rig:
    """The devices, and the edge from outside."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.rng, self.folder = SystemClock(), Random(11), folder
        (folder / "bad_code.py").write_text(CODE)
        self.devices = {
            name: SimulatedSensor(folder / name, self.clock, Random(1), name=name) for name in (*BAD, "good")
        }
        self.events: dict[str, list[str]] = {name: [] for name in BAD}
        self.late_ns = 0
        self._done = False

    def config(self) -> str:
        ports = {name: bad.port for name, bad in BAD.items()} | {"good": "framing: line"}
        blocks = "\n".join(
            f'{name} {{\n device: "{self.devices[name].link}"\n subject: "tele.{name}"\n {port}\n}}'
            for name, port in ports.items()
        )
        head = 'http: "127.0.0.1:-1"\njetstream { store_dir: "@FOLDER@/js" }\n'
        return f"{head}serial {{\n{blocks}\n}}\n".replace("@CODE@", str(self.folder))

    async def listen(self, client: Client) -> None:
        async def happened(message: Any) -> None:
            said, name = json.loads(message.data), message.subject.split(".")[1]
            if name in self.events and "event" in said:
                self.events[name].append(said["event"])

        for subject in ("tele.*.$port.*", "tele.*.$board", "tele.*.$board.*"):
            await client.subscribe(subject, cb=happened)
        self._good = await client.subscribe("tele.good")
        await client.flush()

    async def opened(self, client: Client) -> None:
        """What is said before the edge has a port open is lost, and a server is ready before its bridge answers."""
        for name in self.devices:
            while not await _is_open(client, name):
                pass

    async def storm(self, seconds: int) -> None:
        """So many seconds of all lines, as fast as the edge reads them; the good one says a line, and when it is heard
        the next one."""
        self._done = False
        good = asyncio.create_task(self._be_good())
        await asyncio.gather(
            *(self._pour(name, seconds) for name in BAD if name != "flapping"), self._flap(seconds * FLAPS)
        )
        self._done = True
        await good

    async def _pour(self, name: str, seconds: int) -> None:
        device, left = self.devices[name], seconds * SECOND_OF_LINE
        while left > 0:
            piece = BAD[name].says(self.rng)
            while not device.write(piece):  # noqa: ASYNC110  (the kernel's buffer tells nobody)
                await asyncio.sleep(0.004)
            left -= len(piece)
            await asyncio.sleep(0)  # the others have their turns, too

    async def _flap(self, times: int) -> None:
        device = self.devices["flapping"]
        for _ in range(times):
            device.plug()
            device.write(b"here again\n")
            await asyncio.sleep(0.005)
            device.unplug()

    async def _be_good(self) -> None:
        while not self._done:
            said_ns = self.clock.monotonic_ns()
            seq = self.devices["good"].emit()
            message = await self._good.next_msg(10)
            assert f" seq={seq} ".encode() in message.data
            self.late_ns = max(self.late_ns, self.clock.monotonic_ns() - said_ns)


async def _is_open(client: Client, name: str) -> bool:
    try:
        return bool((await _state(client, name))["state"] == "open")
    except nats.errors.NoRespondersError:
        return False


async def _state(client: Client, name: str) -> dict[str, Any]:
    answer = await client.request(f"tele.{name}.$port", b"state", timeout=10)
    found: dict[str, Any] = json.loads(answer.data)
    return found


def _counters(edge: EdgeProcess) -> dict[tuple[str, str], int]:
    """Those of ports in /metrics, by name and port."""
    port = int(edge.wait_for_log(r"Starting http monitor on \S*:(\d+)")[1])
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(r'^phloem_port_(\w+)_total\{port="(\w+)"\} (\d+)$', text, re.MULTILINE)
    return {(name, port): int(count) for name, port, count in found}


def _processes(edge: EdgeProcess) -> int:
    """Those that the edge has started and not ended."""
    tasks = Path(f"/proc/{edge.pid}/task").iterdir()
    return sum(len((task / "children").read_text().split()) for task in tasks)


async def test_everything_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for device in rig.devices.values():
        device.plug()
    with EdgeProcess(rig.config(), tmp_path / "edge") as edge:
        client = await nats.connect(f"nats://127.0.0.1:{edge.port('nats')}", allow_reconnect=False)
        await make_stream(client, atomic=True)
        await rig.listen(client)
        await rig.opened(client)
        await rig.storm(1)
        before = read(edge)
        await rig.storm(3)
        after = read(edge)
        figures = {name: await _state(client, name) for name in rig.devices}
        metrics, processes = await asyncio.to_thread(_counters, edge), _processes(edge)
        await client.close()
        log = edge.log
    for device in rig.devices.values():
        device.unplug()
    assert after.resident_bytes - before.resident_bytes < GROWTH_BYTES_MAX
    assert after.descriptors <= before.descriptors + 1  # the one that flaps may be open now
    assert rig.late_ns < LATE_NS_MAX
    assert figures["good"]["resyncs"] == 0
    assert processes <= len(FUNCTIONS), "one for each, however often it was ended"
    for name in FUNCTIONS:
        assert metrics["unprocessed", name] > 0
        assert figures[name]["process_waiting"] <= 256 + PROCESS_WINDOW
    assert metrics["process_ends", "hanging"] > 0
    assert metrics["process_ends", "raising"] == 0, "what raises is not ended for it"
    for name, bad in BAD.items():
        assert all(figures[name][count] > 0 for count in bad.counts), (name, figures[name])
        assert bad.events <= set(rig.events[name]), (name, rig.events[name])
        assert len(rig.events[name]) < 40, "each trouble is said once"
    assert log.count("[WRN]") < 60
    assert "Traceback" not in log
    assert "bug" not in log
