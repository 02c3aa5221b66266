"""--signal over a made-up /proc."""

import os
import signal
from pathlib import Path

import pytest

from phloem.shared.errors import ConfigError
from phloem.shared.server.signals import running, send_signal

COMMANDS = {
    101: ["/v/bin/python", "/v/bin/phloem", "server", "-p", "1"],
    102: ["python3", "-m", "phloem", "edge"],
    103: ["python3.11", "-X", "dev", "-m", "phloem", "hub"],
    104: ["/usr/bin/python3", "/usr/bin/nats-server", "-p", "2"],
    105: ["/usr/bin/nats-server", "-p", "3"],
    106: ["vim", "phloem", "server"],
    107: [""],
    110: ["/usr/bin/python3.11", "-I", "/usr/lib/phloem/start.py", "bridge", "-c", "/etc/phloem/bridge.conf"],
    111: ["/usr/bin/python3.11", "-I", "/usr/lib/other/start.py", "bridge"],
    109: ["python3", "-m", "phloem", "bridge"],
}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, words in COMMANDS.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes("\0".join([*words, ""]).encode())
    (tmp_path / "108").mkdir()  # ended meanwhile
    (tmp_path / "meminfo").touch()
    return tmp_path


@pytest.fixture
def sent() -> list[tuple[int, int]]:
    return []


def send(request: str, command: str, proc: Path, sent: list[tuple[int, int]]) -> None:
    send_signal(request, command, proc=proc, kill=lambda pid, number: sent.append((pid, number)))


def test_running(proc: Path) -> None:
    assert running("server", proc) == [101, 104]
    assert running("edge", proc) == [102]
    assert running("hub", proc) == [103]
    assert running("bridge", proc) == [109, 110]


def test_this_process_is_not_meant(proc: Path) -> None:
    (proc / str(os.getpid())).mkdir()
    (proc / str(os.getpid()) / "cmdline").write_bytes(b"python\0-m\0phloem\0edge\0--signal\0reload\0")
    assert running("edge", proc) == [102]


@pytest.mark.parametrize(
    ("request_text", "command", "expected"),
    [
        ("reload", "edge", [(102, signal.SIGHUP)]),
        ("stop=999", "server", [(999, signal.SIGKILL)]),
        ("ldm=10*", "server", [(101, signal.SIGUSR2), (104, signal.SIGUSR2)]),
        ("quit=*", "hub", [(103, signal.SIGINT)]),
        ("term", "hub", [(103, signal.SIGTERM)]),
        ("reopen", "hub", [(103, signal.SIGUSR1)]),
    ],
)
def test_sent(
    proc: Path, sent: list[tuple[int, int]], request_text: str, command: str, expected: list[tuple[int, int]]
) -> None:
    send(request_text, command, proc, sent)
    assert sent == expected


def test_pid_file(proc: Path, tmp_path: Path, sent: list[tuple[int, int]]) -> None:
    (tmp_path / "pid").write_text("4711\n")
    send(f"reload={tmp_path / 'pid'}", "server", proc, sent)
    assert sent == [(4711, signal.SIGHUP)]


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("foo", 'unknown signal "foo"'),
        ("reload=abc", "invalid pid: abc"),
        ("reload=-1", "invalid pid: -1"),
        ("reload=1=2", "invalid signal parameters: [2]"),
        ("reload", "multiple phloem server processes running:\n101\n104"),
        ("reload=77*", "no phloem server processes running"),
    ],
)
def test_refused(proc: Path, sent: list[tuple[int, int]], request_text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        send(request_text, "server", proc, sent)
    assert str(caught.value) == message
    assert sent == []


def test_the_system_refuses(proc: Path) -> None:
    def kill(pid: int, number: int) -> None:
        raise ProcessLookupError(3, "No such process")

    with pytest.raises(ConfigError) as caught:
        send_signal("stop=999999", "server", proc=proc, kill=kill)
    assert str(caught.value) == 'signal "stop" 999999: no such process'
