"""``el_sim --live``: a board as a process with a clock, which is killed and begins again with its ring in a file."""

import os
import select
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tests.unit.bridge.boards.board import command_of
from tests.unit.bridge.boards.host import Host
from tests.unit.bridge.boards.test_lossy import values

SILENCE_S_MAX = 10


def _serve(host: Host, source: int, sink: int, enough: Callable[[], bool]) -> None:
    """Be the host on two descriptors until ``enough``, or until the board's end is closed."""
    begin = time.monotonic_ns()
    while not enough():
        ready, _, _ = select.select([source], [], [], SILENCE_S_MAX)
        assert ready, "the board is silent"
        data = os.read(source, 4096)
        if not data:
            return
        answer = host.tick((time.monotonic_ns() - begin) // 1_000_000, data) + host.sync()
        try:
            os.write(sink, answer)
        except BrokenPipeError:
            return


def _start(ring: Path, frames: int, boot: int) -> subprocess.Popen[bytes]:
    words = ["--live", "--every", "1", "--frames", str(frames), "--ring-file", str(ring), "--boot", str(boot)]
    return subprocess.Popen([*command_of("c"), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_killed_and_begun_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    host = Host(1)
    for boot in range(1, 4):
        with _start(tmp_path / "ring", 1_000_000, boot) as board:
            assert board.stdin
            assert board.stdout
            wanted = len(values(host)) + 20
            _serve(
                host,
                board.stdout.fileno(),
                board.stdin.fileno(),
                lambda wanted=wanted: len(values(host)) >= wanted,
            )  # type: ignore[misc]
            board.kill()
    with _start(tmp_path / "ring", 10, 4) as board:
        assert board.stdin
        assert board.stdout
        _serve(host, board.stdout.fileno(), board.stdin.fileno(), lambda: False)
        assert board.wait(SILENCE_S_MAX) == 0
    assert len(host.durable) == 1
    assert host.gaps == []
    got = values(host)
    starts = [at for at, value in enumerate(got) if value == 0]
    assert len(starts) == 4, "each life counts from 0"
    for begin, end in pairwise([*starts, len(got)]):
        assert got[begin:end] == list(range(end - begin))


def test_on_a_pseudo_terminal(tmp_path: Path) -> None:
    host, link = Host(1), tmp_path / "board"
    words = [*command_of("c"), "--live", "--every", "1", "--frames", "10", "--pty", str(link)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as board:
        assert board.stdout
        while not link.is_symlink():
            assert board.poll() is None
        port = os.open(link, os.O_RDWR | os.O_NOCTTY)
        try:
            _serve(host, port, port, lambda: len(values(host)) == 10)
        finally:
            os.close(port)
        assert board.wait(SILENCE_S_MAX) == 0
    assert values(host) == list(range(10))
