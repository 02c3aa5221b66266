"""``phloem demo`` as its user runs it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sampling import rest

TIMEOUT_S = 60.0
OLDER = re.compile(r"the alarm is at the hub, .* before ([\d,]+) older readings")


def demo(*words: str) -> list[str]:
    return [sys.executable, "-m", "phloem", "demo", *words]


def counts(output: str) -> dict[str, int]:
    """The summary."""
    rows = re.findall(r"^(\w+) +([\d,]+) +[a-z]", output, re.MULTILINE)
    return {name: int(value.replace(",", "")) for name, value in rows}


def children(pid: int) -> dict[str, int]:
    """What ``pid`` has started: hub and edge, by name."""
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    words = {int(child): Path(f"/proc/{child}/cmdline").read_text().split("\0") for child in ids}
    return {said[said.index("phloem") + 1]: child for child, said in words.items()}


class Demo(subprocess.Popen[str]):
    """A demo, and what it has said so far."""

    said = ""

    def hear(self, pattern: str) -> None:
        """Until it has said that."""
        assert self.stdout is not None
        while not re.search(pattern, self.said):
            line = self.stdout.readline()
            assert line, f"it has ended, and never said {pattern}:\n{self.said}"
            self.said += line


@pytest.fixture
def running() -> Iterator[Demo]:
    """A demo that has delivered its first lines."""
    process = Demo(demo("--plain", "--for", "5s"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.hear(r"at the hub [1-9]\d+,")
    yield process
    process.terminate()
    process.communicate(timeout=TIMEOUT_S)


def test_ends_by_itself_with_nothing_lost() -> None:
    done = subprocess.run(
        demo("--for", "3s", "--rate", "100"), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = counts(done.stdout)
    written = found["written"]
    assert 100 <= written <= 301  # 3 s of 100/s; a busy machine may begin late, never write more
    assert (found["read"], found["delivered"]) == (written, written)
    assert [found[name] for name in ("lost", "duplicated", "disordered")] == [0, 0, 0]
    assert found["historical"] > 0
    assert re.search(r"^alarms +[12] of [12] ", done.stdout, re.MULTILINE)
    assert f"\nread {written:,}, delivered {written:,}, lost 0, duplicated 0\n" in done.stdout
    told = [line.partition(" s  ")[2] for line in done.stdout.splitlines()]
    kinds = ("the cable is cut", "the cable is mended", "the alarm is at the hub", "caught up")
    places = [next(i for i, line in enumerate(told) if line.startswith(kind)) for kind in kinds]
    assert places == sorted(places)
    # How many it overtook depends on the machine: a slow one may have the whole backlog of this short run in one piece.
    passed = [int(found[1].replace(",", "")) for found in map(OLDER.search, told) if found]
    assert len(passed) == found["alarms"]
    assert sum(passed) == found["overtaken"]


def test_ctrl_c_while_the_cable_is_cut_gives_the_same_summary(running: Demo) -> None:
    started = children(running.pid)
    assert started.keys() == {"hub", "edge"}
    running.hear("the cable is cut")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=TIMEOUT_S)
    found = counts(out)
    assert (running.returncode, err) == (0, "")
    assert found["delivered"] == found["written"] >= 10
    assert (found["lost"], found["duplicated"]) == (0, 0)
    assert [pid for pid in started.values() if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize("name", ["hub", rest("edge")])
def test_a_child_that_dies_is_one_line(running: Demo, name: str) -> None:
    started = children(running.pid)
    os.kill(started[name], signal.SIGKILL)
    _, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 1
    assert re.fullmatch(rf"phloem demo: the {name} was killed by signal 9: .*\n", err)
    assert [pid for pid in started.values() if Path(f"/proc/{pid}").exists()] == []
