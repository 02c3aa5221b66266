"""A server as a process: signals, pid file and ports file, ``-t``, exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.phloem_server import ForkedPhloemServer
from tests.support.rawclient import RawClient

RUN_TIMEOUT_S = 30
CONNECT = '{"verbose":false,"protocol":1}'  # which is answered with another INFO


def phloem_server(*words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "phloem", "server", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "server"


async def test_hup_reads_the_file_again(folder: Path) -> None:
    with ForkedPhloemServer(
        'authorization { user: a, password: p }\nhttp: "127.0.0.1:-1"', folder
    ) as process:
        process.configure('authorization { user: b, password: p }\nhttp: "127.0.0.1:-1"')
        process.signal(signal.SIGHUP)
        process.wait_for_log("Reloaded server configuration")
        async with await RawClient.connect("127.0.0.1", process.port()) as client:
            await client.handshake('{"user":"b","pass":"p","verbose":false}')
        async with await RawClient.connect("127.0.0.1", process.port()) as client:
            await client.expect_info()
            client.send('CONNECT {"user":"a","pass":"p"}\r\nPING\r\n')
            await client.expect("-ERR 'Authorization Violation'\r\n")


async def test_hup_with_a_wrong_file_changes_nothing(folder: Path) -> None:
    with ForkedPhloemServer("max_payload: 2000", folder) as process:
        process.configure("max_payload: 10\nno_such_key: 1")
        process.signal(signal.SIGHUP)
        assert "no_such_key" in process.wait_for_log("Failed to reload server configuration: .*")[0]
        async with await RawClient.connect("127.0.0.1", process.port()) as client:
            await client.handshake(CONNECT)
            assert (await client.expect_info())["max_payload"] == 2000


def test_usr1_reopens_the_log_file(tmp_path: Path) -> None:
    """The pid file is a pipe here: once it gives the id, the signals have their handlers."""
    log, rotated, told = tmp_path / "log", tmp_path / "log.1", tmp_path / "pid"
    os.mkfifo(told)
    argv = [sys.executable, "-m", "phloem", "server", "-a", "127.0.0.1", "-p", "-1", "-l", str(log)]
    with subprocess.Popen([*argv, "-P", str(told)], stderr=subprocess.DEVNULL) as process:
        assert told.read_text() == str(process.pid)
        log.rename(rotated)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(RUN_TIMEOUT_S) == 0
    assert "Starting phloem" in rotated.read_text()
    assert "File log re-opened" in log.read_text()
    assert "Server Exiting" in log.read_text()


async def test_usr2_is_lame_duck_mode(folder: Path) -> None:
    with ForkedPhloemServer("", folder) as process:
        async with await RawClient.connect("127.0.0.1", process.port()) as client:
            await client.handshake(CONNECT)
            await client.expect_info()
            process.signal(signal.SIGUSR2)
            assert (await client.expect_info())["ldm"] is True
            await client.expect_silence_until_pong()
            process.wait_for_log("Entering lame duck mode")
    with ForkedPhloemServer("", folder) as process:
        process.signal(signal.SIGUSR2)
        assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_closes_clients_and_removes_the_ports_file(folder: Path, number: signal.Signals) -> None:
    pid_file = folder / "pid"
    with ForkedPhloemServer(f'pid_file: "{pid_file}"\nhttp: "127.0.0.1:-1"', folder) as process:
        assert pid_file.read_text() == str(process.pid)
        client = await RawClient.connect("127.0.0.1", process.port())
        await client.handshake(CONNECT)  # the ports file is written before the first client is served
        await client.expect_info()
        (ports,) = process.ports_files()
        urls = json.loads(ports.read_text())
        assert urls["nats"] == [f"nats://127.0.0.1:{process.port()}"]
        assert list(urls) == ["nats", "monitoring"]
        process.signal(number)
        await client.expect_close()
        assert process.wait() == 0
        assert process.ports_files() == []
        client.close()


def test_t_says_whether_the_file_is_right(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.conf", tmp_path / "wrong.conf"
    right.write_text("port: 4222\n")
    wrong.write_text("port: 4222\nno_such_key: 1\n")
    checked = phloem_server("-c", str(right), "-t")
    assert checked.returncode == 0
    assert "right.conf" in checked.stderr
    idle = tmp_path / "idle.conf"
    idle.write_text("jetstream {\n  unique_tag: az\n}\n")
    checked = phloem_server("-c", str(idle), "-t")
    assert checked.returncode == 0
    assert (
        'idle.conf:2:3: "unique_tag" has no effect: this server is not part of a cluster\n' in checked.stderr
    )
    refused = phloem_server("-c", str(wrong), "-t")
    assert refused.returncode == 1
    assert "no_such_key" in refused.stderr
    assert "wrong.conf:2" in refused.stderr


def test_a_taken_port_is_one_line_and_exit_code_1(folder: Path) -> None:
    with ForkedPhloemServer("", folder) as process:
        second = phloem_server("-a", "127.0.0.1", "-p", str(process.port()))
    assert second.returncode == 1
    (line,) = [line for line in second.stderr.splitlines() if "[FTL]" in line]
    assert "address already in use" in line
    assert "Traceback" not in second.stderr
