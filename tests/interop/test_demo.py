"""``phloem demo`` as its user runs it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 60.0


def demo(*words: str) -> list[str]:
    return [sys.executable, "-m", "phloem", "demo", *words]


def counts(output: str) -> dict[str, int]:
    """The summary."""
    rows = re.findall(r"^(written|read|stored|delivered|lost|duplicated) +([\d,]+) ", output, re.MULTILINE)
    return {name: int(value.replace(",", "")) for name, value in rows}


def children(pid: int) -> dict[str, int]:
    """What ``pid`` has started: hub and edge, by name."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{child}/cmdline").read_text().split("\0")[3]: int(child) for child in ids}


@pytest.fixture
def running() -> Iterator["subprocess.Popen[str]"]:
    """A demo that has delivered its first lines."""
    process = subprocess.Popen(
        demo("--plain", "--rate", "100"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not re.search(r"received [1-9]\d+ |^$", process.stdout.readline()):
        continue
    yield process
    process.terminate()
    process.communicate(timeout=TIMEOUT_S)


def test_ends_by_itself_with_nothing_lost() -> None:
    done = subprocess.run(
        demo("--for", "3s", "--plain"), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = counts(done.stdout)
    written = found["written"]
    assert 20 <= written <= 61  # 3 s of 20/s; a busy machine may begin late, never write more
    assert found == {
        "written": written,
        "read": written,
        "stored": written,
        "delivered": written,
        "lost": 0,
        "duplicated": 0,
    }
    assert re.search(r"^ +\d+ s  written .* link up, ", done.stdout, re.MULTILINE)


def test_ctrl_c_gives_the_same_summary(running: "subprocess.Popen[str]") -> None:
    started = children(running.pid)
    assert started.keys() == {"hub", "edge"}
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=TIMEOUT_S)
    found = counts(out)
    assert (running.returncode, err) == (0, "")
    assert found["delivered"] == found["written"] >= 10
    assert [pid for pid in started.values() if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize("name", ["hub", "edge"])
def test_a_child_that_dies_is_one_line(running: "subprocess.Popen[str]", name: str) -> None:
    started = children(running.pid)
    os.kill(started[name], signal.SIGKILL)
    _, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert re.fullmatch(rf"phloem demo: the {name} was killed by signal 9: .*\n", err)
    assert [pid for pid in started.values() if Path(f"/proc/{pid}").exists()] == []
