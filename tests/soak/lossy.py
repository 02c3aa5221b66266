"""A board, and a line to it that damages what it carries: ``el_sim`` on pipes, a pseudo-terminal, a thread between."""

import contextlib
import os
import select
import subprocess
import threading
import tty
from pathlib import Path
from random import Random

from tests.unit.bridge.boards.building import built
from tests.unit.bridge.boards.line import Line

READ_BYTES = 4096


class LossyBoard:
    """Its ring is a file, so that it survives ``kill``; ``link`` is what a host opens, through all its lives."""

    def __init__(self, folder: Path, seed: int, errors: float) -> None:
        self._ours, self._theirs = (
            os.openpty()
        )  # the far end stays open: the line does not go when the board does
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.link, self._ring = os.ttyname(self._theirs), folder / "ring"
        self._line = Line(Random(seed), errors)
        self._process: subprocess.Popen[bytes] | None = None
        self._carrier: threading.Thread | None = None
        self.lives = 0

    def start(self, frames: int = 0) -> None:
        """A life; it ends by itself when so many frames are durable (0: never)."""
        self.lives += 1
        words = ["--live", "--every", "1", "--ring-file", str(self._ring), "--boot", str(self.lives)]
        words += ["--random", str(self.lives), "--frames", str(frames), "--window", "8"]
        self._process = subprocess.Popen(
            [str(built("el_sim")), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._carrier = threading.Thread(target=self._carry, args=(self._process,), daemon=True)
        self._carrier.start()

    def kill(self) -> None:
        """As a power cut does it; what it has kept is kept."""
        assert self._process is not None
        self._process.kill()
        self.wait()

    def wait(self, timeout_s: float | None = None) -> int:
        """Until this life is over."""
        assert self._process is not None
        assert self._carrier is not None
        code = self._process.wait(timeout_s)
        self._carrier.join()
        self._process = None
        return code

    def close(self) -> None:
        """The line goes."""
        if self._process is not None:
            self.kill()
        os.close(self._ours)
        os.close(self._theirs)

    def _carry(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        says, hears = process.stdout.fileno(), process.stdin.fileno()
        try:
            while True:
                ready, _, _ = select.select([says, self._ours], [], [])
                if says in ready:
                    data = os.read(says, READ_BYTES)
                    if not data:
                        break
                    self._write(self._line.carry(data))
                if self._ours in ready:
                    os.write(hears, self._line.carry(os.read(self._ours, READ_BYTES)))
        except BrokenPipeError:
            pass
        process.stdin.close()
        process.stdout.close()

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # no host reads: a line loses that, too
            os.write(self._ours, data)
