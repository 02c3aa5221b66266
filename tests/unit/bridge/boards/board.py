"""The two boards with one face: the C one is a process under sanitizers, the MicroPython one is in this process."""

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tests.unit.bridge.boards.building import ROOT, built

Channel = tuple[int, int, int, str, str]
Reading = tuple[int, str, Any]
COUNT: tuple[Channel, ...] = ((0, 5, 0, "count", "1"),)
ECHO_RESULT_MAX = 64


def _module(name: str) -> ModuleType:
    path = ROOT / "firmware_bridge" / "boards" / "micropython" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


edgelink = _module("edgelink")
edgelink_images = _module("edgelink_images")


class Board(Protocol):
    """What the tests do with a board. Its clock stands still between calls of ``tick``."""

    commands: list[tuple[str, bytes]]
    events: list[str]

    def tick(self, now_ms: int, data: bytes = b"") -> bytes:
        """Bytes come in, what is due goes out."""
        ...

    def put(self, *readings: Reading) -> bool: ...
    def log(self, level: int, text: str) -> bool: ...
    def room(self, count: int) -> None: ...
    def restart(self, random: int) -> None: ...
    def finish(self, status: int, result: bytes) -> None: ...
    def state(self) -> dict[str, int]: ...
    def unix_ms(self) -> int | None: ...
    def close(self) -> None: ...


class CBoard:
    """``el_sim``. Options are its own: ``ring=512, kept=True``."""

    def __init__(self, channels: tuple[Channel, ...] = COUNT, **options: object) -> None:
        words = [str(built("el_sim"))]
        for name, value in options.items():
            if value is not False:
                words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        for channel in channels:
            words += ["--channel", ",".join(map(str, channel))]
        self.commands: list[tuple[str, bytes]] = []
        self.events: list[str] = []
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *lines: str) -> list[str]:
        """The answers to these lines, together."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()
        answers, oks = [], 0
        while oks < len(lines):
            answer = self._process.stdout.readline()
            assert answer, f"el_sim is gone after {lines}"
            verb, _, rest = answer.rstrip("\n").partition(" ")
            if verb == "ok":
                oks += 1
            elif verb == "command":
                name, _, argument = rest.partition(" ")
                self.commands.append((name, bytes.fromhex(argument)))
            elif verb in ("image", "restart"):
                self.events.append(f"{verb} {rest}")
            else:
                answers.append(rest)
        return answers

    def tick(self, now_ms: int, data: bytes = b"") -> bytes:
        lines = [f"now {now_ms & 0xFFFFFFFF}"] + ([f"in {data.hex()}"] if data else []) + ["poll"]
        return bytes.fromhex(self.ask(*lines)[0])

    def put(self, *readings: Reading) -> bool:
        words = [
            f"{channel} {kind} {(value.hex() or '-') if isinstance(value, bytes) else value}"
            for channel, kind, value in readings
        ]
        return self.ask(" ".join(["put", *words])) == ["1"]

    def log(self, level: int, text: str) -> bool:
        return self.ask(f"log {level} {text}") == ["1"]

    def room(self, count: int) -> None:
        self.ask(f"room {count}")

    def lose_power_after(self, count: int) -> None:
        self.ask(f"lose {count}")

    def damage(self, at: int, xor: int) -> None:
        self.ask(f"damage {at} {xor}")

    def restart(self, random: int) -> None:
        self.ask(f"restart {random}")

    def finish(self, status: int, result: bytes) -> None:
        self.ask(f"finish {status} {result.hex()}")

    def state(self) -> dict[str, int]:
        pairs = (word.split("=") for word in self.ask("state")[0].split())
        return {name: int(value) for name, value in pairs}

    def unix_ms(self) -> int | None:
        known, value = self.ask("unix")[0].split()
        return int(value) if known == "1" else None

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(10) == 0


class _Place:
    """Where the MicroPython board's images go."""

    def __init__(self, events: list[str]) -> None:
        self._events, self._flash = events, bytearray()

    def begin(self, image: int, size: int, version: str) -> tuple[int, int]:
        self._events.append(f"image {version}")
        if size > 100_000:
            return edgelink_images.NO_ROOM, 0
        self._flash = bytearray(size)
        return edgelink_images.RECEIVING, 0

    def write(self, offset: int, data: bytes) -> bool:
        self._flash[offset : offset + len(data)] = data
        return True

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._flash[offset : offset + count])

    def restart(self, image: int) -> None:
        self._events.append(f"restart {image}")


class PyBoard:
    """``edgelink.py``, with el_sim's defaults."""

    def __init__(self, channels: tuple[Channel, ...] = COUNT, **options: Any) -> None:
        self.commands: list[tuple[str, bytes]] = []
        self.events: list[str] = []
        self._kinds = {channel[0]: channel[1] for channel in channels}
        self._now, self._room, self._out = 0, 1 << 60, bytearray()
        self._boot = options.get("boot", 1)

        def start(random: int) -> Any:
            frame = max(options.get("frame_in", 64), options.get("frame_out", 64))
            return edgelink.Board(
                self._write,
                bytes.fromhex(options.get("uid", "00")),
                options.get("firmware", "el_sim"),
                channels,
                now_ms=lambda: self._now,
                ring_bytes=options.get("ring", 1024),
                max_frame=frame,
                window=options.get("window", 4),
                retry_ms=options.get("retry", 200),
                boot=self._boot,
                epoch=0x10000 * random + 7,
                command=self._command,
                images=edgelink_images.Images(_Place(self.events)),
            )

        self._start: Callable[[int], Any] = start
        self.board = start(options.get("random", 1))

    def _write(self, data: bytes) -> int:
        taken = data[: self._room]
        self._room -= len(taken)
        self._out += taken
        return len(taken)

    def _command(self, name: str, argument: bytes) -> tuple[int, bytes]:
        self.commands.append((name, argument))
        if name == "echo":
            return (0, argument) if len(argument) <= ECHO_RESULT_MAX else (4, b"")
        return {"later": (3, b""), "fail": (2, b"why")}.get(name, (1, b""))

    def tick(self, now_ms: int, data: bytes = b"") -> bytes:
        self._now = now_ms & 0xFFFFFFFF
        if data:
            self.board.receive(data)
        self.board.poll()
        out, self._out = bytes(self._out), bytearray()
        return out

    def put(self, *readings: Reading) -> bool:
        values = {
            channel: value.decode() if self._kinds.get(channel) == 12 else value
            for channel, _, value in readings
        }
        return bool(self.board.put(values))

    def log(self, level: int, text: str) -> bool:
        return bool(self.board.log(level, text))

    def room(self, count: int) -> None:
        self._room = count

    def restart(self, random: int) -> None:
        self._boot += 1
        self._out = bytearray()
        self.board = self._start(random)

    def finish(self, status: int, result: bytes) -> None:
        self.board.finish(status, result)

    def state(self) -> dict[str, int]:
        board = self.board
        return {
            "waiting": board.waiting(),
            "welcomed": int(board.welcomed),
            "idle": int(board.idle()),
            "silence": board.silence_ms(),
            **vars(board.counts),
        }

    def unix_ms(self) -> int | None:
        unix: int | None = self.board.unix_ms()
        return unix

    def close(self) -> None:
        """Nothing to end."""


def program() -> Path:
    """``el_sim``, for what needs it as a process of its own."""
    return built("el_sim")
