"""``phloem edge`` and ``phloem bridge -c`` as processes under a manager that is played: sockets, ready, reload, end."""

import os
import pty
import signal
import socket
import subprocess
import sys
import tty
from pathlib import Path

import pytest
from tests.support.manager import Manager

STOP_S = 30
# what systemd does between fork and exec: the listening socket becomes descriptor 3
BECOME = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
BECOME += "os.execv(sys.executable, [sys.executable, '-m', 'phloem', *sys.argv[2:]])"


@pytest.fixture
def manager(tmp_path: Path):
    with Manager(tmp_path / "notify") as it:
        yield it


def start(manager: Manager, given: int, names: str, *words: str) -> "subprocess.Popen[str]":
    env = os.environ | {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "600000",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": names,
    }
    argv = [sys.executable, "-c", BECOME, str(given), *words]
    return subprocess.Popen(argv, env=env, pass_fds=[given], stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]", manager: Manager) -> str:
    process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    _, log = process.communicate(timeout=STOP_S)
    assert process.returncode == 0, log
    return log


def test_an_edge(manager: Manager, tmp_path: Path) -> None:
    path, config = tmp_path / "nats.sock", tmp_path / "edge.conf"
    config.write_text(
        f'host: "127.0.0.1"\nport: -1\nphloem {{ unix_socket: "{path}" }}\njetstream {{ store_dir: "{tmp_path}/s" }}\n'
    )
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
        listening.bind(str(path))
        listening.listen()
        client.connect(str(path))  # before there is a broker
        process = start(manager, listening.fileno(), "phloem-edge.socket", "edge", "-c", str(config))
        ready = manager.wait_for("READY=1")
        assert ready[1].startswith("STATUS=disk budget")
        assert client.recv(5) == b"INFO "
        manager.wait_for("WATCHDOG=1")
        config.write_text(config.read_text() + "debug: true\n")
        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        assert "not used" not in manager.wait_for("READY=1")[1]
        config.write_text("no_such_key: 1\n")
        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        assert "not used, see the log" in manager.wait_for("READY=1")[1]
        assert "no_such_key" in end(process, manager)
    assert path.exists()


def test_a_bridge(manager: Manager, tmp_path: Path) -> None:
    """Its port is open before it starts, and goes to the manager again."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    config = tmp_path / "bridge.conf"
    device = os.ttyname(theirs)
    config.write_text(
        f'phloem {{ unix_socket: "{tmp_path}/none" }}\nserial {{ a {{ device: "{device}", subject: "a" }} }}\n'
    )
    process = start(manager, theirs, "serial-of-another-line", "bridge", "-c", str(config))
    try:
        assert manager.wait_for("FDSTOREREMOVE=1")[1] == "FDNAME=serial-of-another-line"
        manager.wait_for("READY=1")
        manager.wait_for("FDSTORE=1")
        (kept,) = manager.kept.values()
        assert os.fstat(kept).st_rdev == os.fstat(theirs).st_rdev
        manager.wait_for("STATUS=1 of 1 ports open, no broker") if not _told(manager, "1 of 1") else None
        end(process, manager)
        assert list(manager.kept.values()) == [kept], "it stays open"
    finally:
        os.close(ours)
        os.close(theirs)


def _told(manager: Manager, text: str) -> bool:
    return any(text in line for message in manager.heard for line in message)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port: 4222\n", "no use for port"),
        ('phloem { unix_socket: "/x", hub_domain: "h" }\n', "no use for phloem { hub_domain }"),
        ('serial { a { device: "a", subject: "a" } }\n', "device"),
        ("no_such_key: 1\n", "no_such_key"),
    ],
)
def test_what_a_bridge_refuses(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from phloem.edge.device.bridge_service import main

    config = tmp_path / "bridge.conf"
    config.write_text(text)
    assert main(["-c", str(config), "-t"]) == 1
    assert problem in capsys.readouterr().err
    config.write_text('serial { a { device: "/dev/a", subject: "a" } }\n')
    assert main(["-c", str(config), "-t"]) == 0


def test_the_login(tmp_path: Path) -> None:
    from phloem.edge.device.bridge_service import LOGIN, login, options_of, server_of
    from phloem.shared.errors import ConfigError

    config = tmp_path / "bridge.conf"
    config.write_text('phloem { unix_socket: "/run/x.sock" }\n')
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert login(None, environ) == ""
    assert server_of(options_of(str(config)), "") == "unix:///run/x.sock"
    (tmp_path / LOGIN).write_text("bridge:a@b/c\n")
    assert login(None, environ) == "bridge:a@b/c"
    assert server_of(options_of(str(config)), login(LOGIN, environ)) == "unix://bridge:a%40b%2Fc@/run/x.sock"
    (tmp_path / "other").write_text("nothing")
    for name in ("other", str(tmp_path / "none")):
        with pytest.raises(ConfigError):
            login(name, environ)


async def test_a_bridge_logs_in(tmp_path: Path) -> None:
    from random import Random

    from phloem.firmware_bridge.nats_publisher import NatsPublisher
    from phloem.shared.testing import server

    path = tmp_path / "nats.sock"
    options = {"authorization": {"user": "bridge", "password": "a@b"}, "phloem": {"unix_socket": str(path)}}
    async with (
        server(options) as broker,
        NatsPublisher([f"unix://bridge:a%40b@{path}"], Random(1)) as publisher,
    ):
        publisher.publish("x", b"1", {})
        await publisher.wait_idle()
        assert publisher.connected
        (client,) = broker.clients.open.values()
        assert client.kind == "STANDARD"
