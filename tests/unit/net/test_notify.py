"""sd_notify: what a service says, with a socket that stands for systemd."""

import os
import socket
import threading
from pathlib import Path

import pytest
from tests.support.manager import Manager

from phloem.shared.net import notify
from phloem.shared.net.inherited import listening, take
from phloem.shared.net.notify import Extending, Notifier, extend_until_taken


@pytest.fixture
def manager(tmp_path: Path):
    with Manager(tmp_path / "notify") as it:
        yield it


def test_messages(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.ready("2 clients")
    notifier.alive()
    notifier.alive("link down\nfor 3 h")
    notifier.status("1 client")
    notifier.reloading(5_000_000)
    notifier.stopping()
    notifier.extend(1.5, "opening")
    assert manager.all() == [
        ["READY=1", "STATUS=2 clients"],
        ["WATCHDOG=1"],
        ["WATCHDOG=1", "STATUS=link down for 3 h"],
        ["STATUS=1 client"],
        ["RELOADING=1", "MONOTONIC_USEC=5000", "STATUS=reading the configuration"],
        ["STOPPING=1", "STATUS=stopping"],
        ["EXTEND_TIMEOUT_USEC=1500000", "STATUS=opening"],
    ]


def test_a_descriptor_is_kept_and_given_up(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert notifier.keep("serial-a", theirs.fileno())
        manager.hear()
        theirs.close()
        ours.send(b"still open")
        with socket.socket(fileno=os.dup(manager.kept["serial-a"])) as kept:
            assert kept.recv(100) == b"still open"
        notifier.forget("serial-a")
        manager.hear()
        assert ours.recv(1) == b"", "closed with the last descriptor"


def test_nobody_listens(tmp_path: Path) -> None:
    assert not Notifier()
    assert not Notifier().send("READY=1")
    gone = Notifier(str(tmp_path / "none"))
    assert gone
    assert not gone.send("READY=1")


def test_a_manager_that_hangs_is_not_waited_for(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    sent = [notifier.send("STATUS=" + "x" * 10_000) for _ in range(2_000)]
    assert sent[0]
    assert not sent[-1]


def test_the_environment_is_taken(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": "7",
        "HOME": "/",
    }
    notifier = Notifier.of(environ, 7)
    assert notifier.watchdog_ns == 30 * 10**9
    assert environ == {"HOME": "/"}
    assert not Notifier.of(environ, 7)


@pytest.mark.parametrize(
    "environ",
    [
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "-3"},
        {"NOTIFY_SOCKET": "/x"},
        {"WATCHDOG_USEC": "30000000"},
    ],
)
def test_no_watchdog(environ: dict[str, str]) -> None:
    assert Notifier.of(environ, 7).watchdog_ns == 0


def test_an_abstract_address() -> None:
    name = f"phloem-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        assert Notifier(f"@{name}").send("READY=1")
        assert sock.recv(100) == b"READY=1"


def test_more_time_is_asked_for_while_something_moves(manager: Manager) -> None:
    done = [0]
    extending = Extending(Notifier(manager.address), "opening the store", lambda: done[0])
    done[0] = 1
    assert extending.look()
    assert not extending.look(), "nothing has been done since"
    done[0] = 2
    assert extending.look()
    assert manager.all() == [
        ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=opening the store, 5 s so far"],
        ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=opening the store, 15 s so far"],
    ]


def test_the_thread_ends_with_the_block(manager: Manager) -> None:
    with Extending(Notifier(manager.address), "opening") as extending:
        assert extending._thread is not None
        assert extending._thread.is_alive()
    assert not extending._thread.is_alive()
    with Extending(Notifier(), "opening") as extending:
        assert extending._thread is None, "without systemd there is none"


def test_a_start_asks_for_time_until_the_address_is_taken(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "EXTEND_EVERY_S", 0.01)
    environ = {"NOTIFY_SOCKET": manager.address}
    extend_until_taken(environ)
    (thread,) = (each for each in threading.enumerate() if each.name == "starting")
    while not (said := manager.hear()):  # something moves: this loop
        pass
    assert said == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=starting, 0 s so far"]
    assert thread.is_alive()
    Notifier.of(environ, os.getpid())
    thread.join()
    assert environ == {}


def test_a_start_without_systemd_asks_nobody() -> None:
    extend_until_taken({})
    assert "starting" not in {each.name for each in threading.enumerate()}


def test_where_no_thread_can_be_had_the_work_is_done(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with Extending(Notifier(manager.address), "closing the store") as extending:
        assert extending._thread is None
    assert manager.all() == []


def passed(*numbers: int, names: str = "", pid: int = 7) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": names}


def test_descriptors_are_taken_once() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        environ = passed(reading, names="serial-a")
        assert take(environ, 7, first=reading) == [("serial-a", reading)]
        assert not os.get_inheritable(reading)
        assert take(environ, 7) == []
    finally:
        os.close(reading)
        os.close(writing)


def test_descriptors_of_somebody_else() -> None:
    assert take(passed(3, pid=8), 7) == []
    assert take({"LISTEN_PID": "7", "LISTEN_FDS": "x"}, 7) == []
    assert take({}, 7) == []


def test_only_listening_sockets_are_listeners(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        (tmp_path / "file").open("w") as file,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        descriptors = [
            one
            for each in (server, file, datagrams)
            for one in take({"LISTEN_PID": "7", "LISTEN_FDS": "1"}, 7, first=os.dup(each.fileno()))
        ]
        (found,) = listening(descriptors)
        assert found.getsockname() == server.getsockname()
        assert not found.getblocking()
        found.close()
        for descriptor in descriptors[1:]:
            os.close(descriptor.number)
