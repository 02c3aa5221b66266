"""The effects on a device, with systemctl and dpkg that are played, and a real broker where it is asked."""

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.support.certificates import Certificates

from phloem import Server
from phloem.edge.device.patient import Patient
from phloem.edge.upgrade.device import Device, environment_of
from phloem.edge.upgrade.machine import UpgradeError
from phloem.edge.upgrade.package import Said

UNITS = ("phloem-edge.socket", "phloem-edge.service", "phloem-bridge.service")


class Played:
    """Programs: what they said last, by their words up to where they differ."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.says: dict[str, Said] = {}
        self.states = dict.fromkeys(UNITS, "active")
        self.pid, self.restarts = os.getpid(), 0
        self.times: dict[str, tuple[int, int]] = {}  # by unit: started and ready, in microseconds
        self.disabled: set[str] = set()

    def __call__(self, words: Sequence[str], more: Mapping[str, str]) -> Said:
        text = " ".join(words)
        for start, said in self.says.items():
            if text.startswith(start):
                return said
        if "is-enabled" in words:
            return Said(int(words[-1] in self.disabled), "")
        if words[1:2] == ["show"]:
            state = self.states.get(words[-1], "inactive")
            started, ready = self.times.get(words[-1], (0, 0))
            return Said(
                0,
                f"ActiveState={state}\nMainPID={self.pid}\nNRestarts={self.restarts}\nResult=exit-code\n"
                f"ExecMainStartTimestampMonotonic={started}\nActiveEnterTimestampMonotonic={ready}\n",
            )
        self.ran.append(text)
        return Said(0, "")


def configured(root: Path, text: str) -> Patient:
    (root / "etc/phloem").mkdir(parents=True)
    (root / "etc/phloem/edge.conf").write_text(text)
    return Patient(root)


def device(root: Path, run: Played, text: str = 'listen: "127.0.0.1:1"\n', **more: Path | None) -> Device:
    told: list[str] = []
    return Device(more.get("deb"), told.append, lambda *_: None, run=run, root=root, patient=configured(root, text),
                  copy_to=more.get("copy_to"))  # fmt: skip


def test_services_in_order(tmp_path: Path) -> None:
    run = Played()
    run.disabled = {"phloem-bridge.service"}
    here = device(tmp_path, run)
    here.stop()
    here.start()
    here.restart()
    assert run.ran == [
        "systemctl stop phloem-edge.socket phloem-edge.service",
        "systemctl start --no-block phloem-edge.socket phloem-edge.service",
        "systemctl daemon-reload",
        "systemctl cat phloem-edge.socket",
        "systemctl start --no-block phloem-edge.socket",
        "systemctl restart --no-block phloem-edge.service",
    ]


def test_another_socket_is_restarted_with_what_it_is_for(tmp_path: Path) -> None:
    run = Played()
    here = device(tmp_path, run)
    run.says["systemctl cat"] = Said(0, "ListenStream=4223")
    here.restart()
    assert run.ran[-1] == f"systemctl restart --no-block {' '.join(UNITS)}"
    here.restart()
    assert run.ran[-1] == f"systemctl restart --no-block {' '.join(UNITS[1:])}"
    del run.says["systemctl cat"]  # the version before has come back, and its socket with it
    here.restart()
    assert run.ran[-1] == f"systemctl restart --no-block {' '.join(UNITS)}"


def test_a_hub_has_its_own_unit(tmp_path: Path) -> None:
    (tmp_path / "etc/phloem").mkdir(parents=True)
    (tmp_path / "etc/phloem/hub.conf").write_text('listen: "127.0.0.1:1"\n')
    run = Played()
    Device(None, print, lambda *_: None, run=run, root=tmp_path, patient=Patient(tmp_path)).stop()
    assert run.ran == ["systemctl stop phloem-hub.service"]


def test_what_systemctl_refuses(tmp_path: Path) -> None:
    run = Played()
    run.says["systemctl stop"] = Said(5, "Unit is masked.")
    with pytest.raises(UpgradeError, match=r"stopping the broker failed \(5\): Unit is masked"):
        device(tmp_path, run).stop()


def test_health_is_what_systemd_says_first(tmp_path: Path) -> None:
    run = Played()
    here = device(tmp_path, run)
    run.states["phloem-edge.service"] = "activating"
    run.restarts = 2
    assert here.health() == (0, 2, "phloem-edge.service is activating (exit-code)", 0)


def test_how_long_what_serves_took_to_start(tmp_path: Path) -> None:
    run = Played()
    run.times = {
        "phloem-edge.service": (20_000_000, 95_500_000),
        "phloem-bridge.service": (20_000_000, 110_000_000),
    }
    here = device(tmp_path, run)
    assert here.health().start_ns == 75_500_000_000
    here._was_active = {"phloem-bridge.service"}
    assert here.health().start_ns == 90_000_000_000, "the bridge has to be there again as well"


def test_a_broker_that_does_not_answer(tmp_path: Path) -> None:
    pid, _, why, _ = device(tmp_path, Played(), f'phloem {{ unix_socket: "{tmp_path}/s" }}\n').health()
    assert pid == os.getpid()
    assert why.startswith("it does not answer: ")


@pytest.mark.parametrize("login", ["", "authorization { user: a, password: b }\n"])
async def test_a_broker_that_answers(tmp_path: Path, login: str) -> None:
    import asyncio

    path = tmp_path / "s"
    text = f'listen: "127.0.0.1:-1"\nphloem {{ unix_socket: "{path}" }}\n{login}'
    here = device(tmp_path, Played(), text)
    (tmp_path / "server.conf").write_text(text)
    async with Server(tmp_path / "server.conf"):
        assert (await asyncio.to_thread(here.health)).why == ""


@pytest.mark.parametrize("demand", ["", "verify: true"])
async def test_a_broker_that_says_nothing_before_a_handshake(tmp_path: Path, demand: str) -> None:
    import asyncio

    made = Certificates(tmp_path / "certificates")
    text = f"""\
tls {{
  {made.server.block}
  ca_file: "{made.ca_file}"
  handshake_first: true
  {demand}
}}
"""
    (tmp_path / "server.conf").write_text(f'listen: "127.0.0.1:-1"\n{text}')
    async with Server(tmp_path / "server.conf") as server:
        here = device(tmp_path, Played(), f'listen: "127.0.0.1:{server.port}"\n{text}')
        assert (await asyncio.to_thread(here.health)).why == ""
    assert "it does not answer: " in here.health().why


def test_a_broker_that_does_not_shake_hands(tmp_path: Path) -> None:
    import threading

    made = Certificates(tmp_path / "certificates")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        text = f'listen: "127.0.0.1:{port}"\ntls {{ {made.server.block}\n handshake_first: true }}\n'
        here = device(tmp_path, Played(), text)

        def serve() -> None:
            peer, _ = listening.accept()
            with peer, contextlib.suppress(ConnectionResetError):  # the greeting was not for it
                peer.sendall(b"INFO {}\r\n")
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        assert here.health().why.startswith("it does not answer: ")
        thread.join()


def test_a_machine_with_both_is_a_hub_when_the_hub_is_enabled(tmp_path: Path) -> None:
    (tmp_path / "etc/phloem").mkdir(parents=True)
    for name in ("hub", "edge"):
        (tmp_path / f"etc/phloem/{name}.conf").write_text(f'server_name: {name}\nlisten: "127.0.0.1:1"\n')
    assert not Patient(tmp_path).is_hub, "what the package makes of every machine"
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "phloem-hub.service").symlink_to("/usr/lib/systemd/system/phloem-hub.service")
    patient = Patient(tmp_path)
    assert patient.is_hub
    assert patient.broker is not None
    assert patient.broker.server_name == "hub"
    assert not Patient(tmp_path, edge=str(tmp_path / "etc/phloem/edge.conf")).is_hub


def test_a_broker_that_hangs_up_or_says_something_else(tmp_path: Path) -> None:
    import threading

    path = str(tmp_path / "s")
    here = device(tmp_path, Played(), f'phloem {{ unix_socket: "{path}" }}\n')
    for answer, expected in ((b"HTTP/1.1 400\r\n", "it does not greet"), (b"INFO {}\r\n", "it hangs up")):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()

            def serve(listening: socket.socket = listening, answer: bytes = answer) -> None:
                peer, _ = listening.accept()
                with peer:
                    peer.sendall(answer)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1000):
                        pass

            thread = threading.Thread(target=serve)
            thread.start()
            assert here.health().why == expected
            thread.join()
        os.unlink(path)


async def test_a_bridge_that_served_has_to_serve(tmp_path: Path) -> None:
    import asyncio

    run = Played()
    path = tmp_path / "s"
    text = f'listen: "127.0.0.1:-1"\nphloem {{ unix_socket: "{path}" }}\n'
    here = device(tmp_path, run, text)
    (tmp_path / "server.conf").write_text(text)
    async with Server(tmp_path / "server.conf"):
        run.states["phloem-bridge.service"] = "failed"
        assert (await asyncio.to_thread(here.health)).why == "", "it did not serve before either"
        here._was_active = {"phloem-bridge.service"}
        assert "phloem-bridge.service is failed" in (await asyncio.to_thread(here.health)).why


def test_the_broker_goes_on_with_its_environment(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77/environ").write_bytes(
        b"STORE_KEY=secret\0NOTIFY_SOCKET=/x\0CREDENTIALS_DIRECTORY=/run/c\0odd\0"
    )
    run = Played()
    run.says["systemctl show -p MainPID --value phloem-edge.service"] = Said(0, "77\n")
    assert environment_of(run, tmp_path) == {"STORE_KEY": "secret", "CREDENTIALS_DIRECTORY": "/run/c"}
    run.says.clear()
    assert environment_of(lambda *_: Said(1, ""), tmp_path) == {"CREDENTIALS_DIRECTORY": "/etc/credstore"}


def test_a_copy_of_the_store_and_where_it_goes(tmp_path: Path) -> None:
    store = tmp_path / "data/jetstream/phloem"
    store.mkdir(parents=True)
    (store / "data.mdb").write_bytes(b"x" * 5000)
    stick = tmp_path / "stick"
    stick.mkdir()
    here = device(tmp_path / "r", Played(), f'jetstream {{ store_dir: "{tmp_path}/data" }}\n', copy_to=stick)
    for _ in range(2):
        here.copy()
    copied = stick / "phloem-upgrade-store/jetstream/phloem/data.mdb"
    assert copied.read_bytes() == b"x" * 5000
    here.tidy()
    assert list(stick.iterdir()) == []


def test_no_room_is_said_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phloem.edge.upgrade import copying

    run = Played()
    run.says["dpkg-deb --show"] = Said(0, "phloem\n0.5.0\nall\n40000\n")
    store = tmp_path / "data/jetstream/phloem"
    store.mkdir(parents=True)
    here = device(tmp_path / "r", run, f'jetstream {{ store_dir: "{tmp_path}/data" }}\n', deb=Path("/x.deb"))
    (tmp_path / "r/usr").mkdir()
    monkeypatch.setattr(copying, "size", lambda _: 1 << 60)
    monkeypatch.setattr(copying, "shares", lambda *_: False)
    with pytest.raises(UpgradeError, match=r"a copy of the store needs .* are missing; --copy-to"):
        here.unpack()
    assert not any("--extract" in words for words in run.ran)
