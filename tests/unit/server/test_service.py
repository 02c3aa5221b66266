"""A server as a service of systemd: ready, status, watchdog, reload, sockets that were there before; fake manager."""

import asyncio
import io
import logging
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import phloem
from phloem.shared.errors import PortInUse
from phloem.shared.net.notify import Notifier
from phloem.shared.server import log
from phloem.shared.server.journal import JournalHandler, encode
from phloem.shared.server.run import Process
from phloem.shared.server.vitals import CommitWatch, Vitals, how_long, link_stuck, size_of
from tests.support.manager import Manager
from tests.support.rawclient import RawClient

CONNECT = '{"verbose":false}'
QUIET: dict[str, Any] = {"host": "127.0.0.1", "port": -1}
SECOND = 10**9


@pytest.fixture
def manager(tmp_path: Path):
    with Manager(tmp_path / "notify") as it:
        yield it


def test_the_writing_thread_moves_or_not() -> None:
    watch = CommitWatch()
    idle = {"failed": 0, "full": False, "waiting": 0, "batches": 3}
    assert watch.stuck(**idle) == ""
    assert watch.stuck(**idle) == "", "nothing waits for the disk"
    assert watch.stuck(**idle | {"waiting": 100}) == "", "it has only begun to wait"
    assert watch.stuck(**idle | {"waiting": 100, "batches": 4}) == "", "a batch went out"
    assert "not written" in watch.stuck(**idle | {"waiting": 100, "batches": 4})
    assert watch.stuck(**idle | {"waiting": 100, "batches": 4, "full": True}) == "", "tried again by itself"
    assert watch.stuck(**idle) == ""
    assert "refused" in watch.stuck(**idle | {"failed": 5})


def test_a_link_moves_or_not() -> None:
    def uplink(due_ns: int | None) -> Any:
        return SimpleNamespace(due_ns=due_ns, name="hub")

    assert link_stuck(uplink(None), 10**12) == "", "it is up"
    assert link_stuck(uplink(10**12), 10**12 + 60 * SECOND) == ""
    assert "hub" in link_stuck(uplink(10**12), 10**12 + 61 * SECOND)


async def test_ready_alive_reload_stop(manager: Manager) -> None:
    async with phloem.Server(QUIET) as server:
        vitals = Vitals(server, Notifier(manager.address, 60 * SECOND))
        vitals.begin()
        assert manager.all() == [["READY=1", "STATUS=0 clients"]]
        assert vitals.look()
        assert manager.all() == [["WATCHDOG=1"]], "the status is told when it changes"
        nc = await server.connect()
        assert vitals.look()
        assert manager.all() == [["WATCHDOG=1", "STATUS=1 client"]]
        vitals.reloading()
        vitals.reloaded(good=False)
        (begun, done) = manager.all()
        assert begun[0] == "RELOADING=1"
        assert begun[1].startswith("MONOTONIC_USEC=")
        assert done[0] == "READY=1"
        assert "not used, see the log" in done[1]
        vitals.reloading()
        vitals.reloaded(good=True)
        assert manager.all()[1] == ["READY=1", "STATUS=1 client"]
        await nc.close()
        vitals.end()
        assert manager.all() == [["STOPPING=1", "STATUS=stopping"]]


async def test_the_watchdog_starves_when_the_disk_refuses(manager: Manager, tmp_path: Path) -> None:
    async with phloem.Server(QUIET | {"jetstream": {"store_dir": str(tmp_path / "s")}}) as server:
        vitals = Vitals(server, Notifier(manager.address, 60 * SECOND))
        assert vitals.look()
        vitals._commit.stuck = lambda **_: "the disk refused"  # type: ignore[method-assign]
        assert not vitals.look()
        first, second = manager.all()
        assert first[0] == "WATCHDOG=1"
        assert second == ["STATUS=the disk refused, 0 clients"]


async def test_a_hub_that_is_away_is_no_reason(manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    config = QUIET | {"leafnodes": {"remotes": [{"urls": [f"nats-leaf://127.0.0.1:{port}"]}]}}
    async with phloem.Server(config) as server:
        vitals = Vitals(server, Notifier(manager.address, 60 * SECOND))
        assert vitals.look()
        (message,) = manager.all()
        assert message[1] == f"STATUS=link to 127.0.0.1:{port} down for less than a minute, 0 clients"


async def test_the_timer_looks(manager: Manager) -> None:
    async with phloem.Server(QUIET) as server:
        vitals = Vitals(server, Notifier(manager.address, 6_000_000))  # a look each millisecond
        vitals.begin()
        await asyncio.to_thread(manager.wait_for, "WATCHDOG=1")
        vitals.end()
        await asyncio.to_thread(manager.wait_for, "STOPPING=1")


async def test_a_reload_through_the_system_account_is_told(manager: Manager) -> None:
    async with phloem.Server(QUIET) as server:
        process = Process(server, lambda: server.options, Notifier(manager.address))
        process.reload()
        assert [message[0] for message in manager.all()] == ["RELOADING=1", "READY=1"]


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(59, "less than a minute"), (60, "1 min"), (3 * 3600 + 12 * 60, "3 h 12 min"), (90_000, "1 d 1 h")],
)
def test_how_long(duration_s: int, text: str) -> None:
    assert how_long(duration_s * SECOND) == text


def test_size_of() -> None:
    assert [size_of(size) for size in (0, 999, 1500, 41_000_000)] == ["0 B", "999 B", "1.5 KB", "41 MB"]


# --- sockets that systemd listens on ---------------------------------------------------------------------


async def test_sockets_of_systemd_are_used(tmp_path: Path) -> None:
    path = tmp_path / "nats.sock"
    tcp, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    more = socket.create_server(("127.0.0.1", 0))
    unix.bind(str(path))
    unix.listen()
    port, other = tcp.getsockname()[1], more.getsockname()[1]
    for sock in (tcp, unix, more):
        sock.setblocking(False)
    early = await RawClient.connect("127.0.0.1", port)  # before anybody accepts
    server = phloem.Server({"host": "127.0.0.1", "port": port, "phloem": {"unix_socket": str(path)}})
    server.inherited = [tcp, unix, more]
    async with server:
        await early.handshake(CONNECT)
        early.close()
        for address in (f"unix:{path}", f"127.0.0.1:{other}"):
            at, _, number = address.rpartition(":")
            client = await (
                RawClient.connect(address) if at == "unix" else RawClient.connect(at, int(number))
            )
            async with client:
                await client.handshake(CONNECT)
    assert path.exists(), "the path is systemd's"


async def test_a_socket_unit_that_contradicts_is_told(tmp_path: Path) -> None:
    tcp = socket.create_server(("127.0.0.1", 0))
    server = phloem.Server({"host": "0.0.0.0", "port": tcp.getsockname()[1]})
    server.inherited = [tcp]
    with pytest.raises(PortInUse, match="ListenStream="):
        await server.start()
    assert tcp.fileno() == -1


# --- the journal -------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def logger():
    before = list(log.LOGGER.handlers), log.LOGGER.level, log.LOGGER.propagate
    log.LOGGER.handlers = []
    yield logging.getLogger("phloem.leaf")
    for handler in log.LOGGER.handlers:
        handler.close()
    log.LOGGER.handlers, log.LOGGER.level, log.LOGGER.propagate = before


def priority(_level: int) -> int:
    return 4


def use(handler: logging.Handler) -> None:
    log.LOGGER.addHandler(handler)
    log.LOGGER.setLevel(logging.DEBUG)


def test_fields_of_several_lines_have_their_length() -> None:
    assert encode({"A": "1", "B": "x\ny"}) == b"A=1\nB\n\x03\0\0\0\0\0\0\0x\ny\n"


def test_a_record_has_fields(journal: socket.socket, logger: logging.Logger) -> None:
    use(JournalHandler(priority, journal.getsockname()))
    logger.warning("Link to %s: down", "hub", extra={"hub-name": "h", "up_s": 5})
    fields = dict(line.split("=", 1) for line in journal.recv(10_000).decode().rstrip("\n").split("\n"))
    assert fields["MESSAGE"] == "Link to hub: down"
    assert fields["PRIORITY"] == "4"
    assert fields["PHLOEM_LOGGER"] == "phloem.leaf"
    assert fields["PHLOEM_TEMPLATE"] == "Link to %s: down"
    assert fields["PHLOEM_HUB_NAME"] == "h"
    assert fields["PHLOEM_UP_S"] == "5"
    assert fields["CODE_FUNC"] == "test_a_record_has_fields"
    logger.info("fine")
    assert b"CODE_" not in journal.recv(10_000)


def test_a_large_record_goes_as_a_file(journal: socket.socket, logger: logging.Logger) -> None:
    use(JournalHandler(priority, journal.getsockname()))
    logger.info("%s", "x" * 1_000_000)
    _, (descriptor,), _, _ = socket.recv_fds(journal, 100, 1)
    with open(descriptor, "rb") as file:
        file.seek(0)
        assert file.read().startswith(b"MESSAGE=" + b"x" * 1_000_000 + b"\nPRIORITY=4\n")


def test_without_a_journal_it_goes_to_stderr(
    journal: socket.socket, logger: logging.Logger, tmp_path: Path
) -> None:
    stream = io.StringIO()
    path = journal.getsockname()
    use(JournalHandler(priority, path, stream))
    journal.close()
    logger.info("one\ntwo")
    assert stream.getvalue() == "<4>one\n<4>two\n"
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:  # journald is back
        again.bind(path)
        logger.info("three")
        assert b"MESSAGE=three\n" in again.recv(10_000)
    with pytest.raises(OSError):  # noqa: PT011  (which one depends on the system)
        JournalHandler(priority, str(tmp_path / "none"))


def test_auto_is_the_journal_under_systemd(
    journal: socket.socket, logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "JOURNAL", journal.getsockname())
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.configure(phloem.Server().options, stream)
        logger.error("low disk")
        stream.seek(0)
        assert stream.read() == ""
        assert b"MESSAGE=low disk\nPRIORITY=3\n" in journal.recv(10_000)
