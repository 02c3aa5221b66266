"""The boards with one face, each a process: C under sanitizers, MicroPython's module under this and its own Python.

Where a MicroPython is comes from the variable MICROPYTHON; without it that one is left out. EL_SIM is another el_sim,
such as one for another kind of processor.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.unit.bridge.boards.building import ROOT, built

PYTHON_BOARD = ROOT / "firmware_bridge" / "boards" / "micropython"
Channel = tuple[int, int, int, str, str]
Reading = tuple[int, str, Any]
COUNT: tuple[Channel, ...] = ((0, 5, 0, "count", "1"),)
LONG_WINDOW = "-DEL_WINDOW_MAX=64"
MICROPYTHON = os.environ.get("MICROPYTHON")


def _module(name: str) -> ModuleType:
    path = PYTHON_BOARD / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


edgelink = _module("edgelink")


def command_of(language: str) -> list[str]:
    """The program that is a board of this language."""
    sim = [str(Path(__file__).with_name("sim.py")), str(PYTHON_BOARD)]
    if language == "c":
        return [os.environ.get("EL_SIM") or str(built("el_sim"))]
    if language == "c, 64 frames":
        return [str(built("el_sim", LONG_WINDOW))]
    return [MICROPYTHON or "", *sim] if language == "micropython" else [sys.executable, "-S", *sim]


class Board:
    """A board whose clock stands still between calls of ``tick``. Options are ``el_sim``'s: ``ring=512, kept=True``."""

    def __init__(
        self, channels: tuple[Channel, ...] = COUNT, *, language: str = "c", **options: object
    ) -> None:
        words = command_of(language)
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
        """Bytes come in, what is due goes out."""
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
