"""A new version with a copy of the store, and the command that asks for it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.hub.deployments import deployment

from phloem import Server
from phloem.commands import phloem_command
from phloem.edge.upgrade.machine import UpgradeError
from phloem.edge.upgrade.rehearsal import alone, rehearse
from phloem.shared.server.load import load, merge

CONFIG = """\
listen: "127.0.0.1:4222"
http: "127.0.0.1:8222"
pid_file: "{folder}/pid"
phloem {{ unix_socket: "{folder}/sock" }}
jetstream {{ store_dir: "{folder}/live" }}
leafnodes {{ remotes: [ {{ urls: ["nats-leaf://127.0.0.1:1"] }} ] }}
forward {{ readings {{ subjects: ["r.>"] }} }}
serial {{ climate {{ device: "/dev/null", subject: "r.climate" }} }}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "edge.conf"
    path.write_text(CONFIG.format(folder=tmp_path))
    return str(path)


def test_nothing_reaches_out(config: str, tmp_path: Path) -> None:
    options = alone(merge(load(config), {}), tmp_path / "copy")
    assert options.host == "127.0.0.1"
    assert options.port == -1
    assert not options.leafnodes.remotes
    assert not options.serial
    assert not options.forward
    assert not options.phloem.unix_socket
    assert not options.pid_file
    assert options.jetstream is not None
    assert options.jetstream.store_dir == f"{tmp_path}/copy"


async def filled(folder: Path) -> None:
    async with Server({"listen": "127.0.0.1:-1", "jetstream": {"store_dir": str(folder)}}) as server:
        js = server.jetstream
        assert js is not None
        js.store.put(b"upgrade/test", b"here")


def test_a_good_copy(config: str, tmp_path: Path) -> None:
    import asyncio

    asyncio.run(filled(tmp_path / "copy"))
    before = {path.name for path in tmp_path.iterdir()}
    rehearse(tmp_path / "copy", config)
    assert {path.name for path in tmp_path.iterdir()} == before
    done = CliRunner().invoke(phloem_command, ["upgrade", "--rehearse", str(tmp_path / "copy"), "-c", config])
    assert done.exit_code == 0, done.output
    assert done.output == "0 messages; all is well\n"


def test_a_copy_that_is_damaged(config: str, tmp_path: Path) -> None:
    store = tmp_path / "copy/jetstream/phloem"
    store.mkdir(parents=True)
    (store / "data.mdb").write_bytes(b"x" * 40960)
    with pytest.raises(UpgradeError, match=r"data\.mdb"):
        rehearse(tmp_path / "copy", config)


def test_a_version_that_cannot_start(config: str, tmp_path: Path) -> None:
    class Bad(Server):
        async def start(self) -> None:
            raise OSError("a bad version")

    with pytest.raises(UpgradeError, match="a bad version"):
        rehearse(tmp_path / "copy", config, Bad)


def test_without_a_store_there_is_nothing_to_rehearse(tmp_path: Path) -> None:
    path = tmp_path / "edge.conf"
    path.write_text("port: -1\n")
    with pytest.raises(UpgradeError, match="no jetstream"):
        rehearse(tmp_path, str(path))


def test_a_hub_of_phloem_init(tmp_path: Path) -> None:
    """Its accounts are in a folder of JWTs, which the live hub goes on to use: it is left as it is."""
    hub = deployment(tmp_path) / "hub"
    before = {path: path.read_bytes() for path in hub.rglob("*") if path.is_file()}
    config = str(hub / "hub.conf")
    copy = tmp_path / "copy"
    copy.mkdir()
    options = alone(merge(load(config), {}), copy)
    assert options.resolver is not None
    assert options.resolver.dir == f"{copy}/jwt"
    assert sorted(path.name for path in (copy / "jwt").iterdir()) == sorted(
        path.name for path in (hub / "jwt").iterdir()
    )
    assert options.leafnodes.port == 0
    assert options.tls is None or not options.tls.handshake_first
    rehearse(copy, config)
    assert {path: path.read_bytes() for path in hub.rglob("*") if path.is_file()} == before


def test_tokens_that_cannot_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(deployment(tmp_path) / "hub/hub.conf")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(UpgradeError, match=r"hub/jwt cannot be copied to .*/copy/jwt: .*No space left"):
        rehearse(tmp_path / "copy", config)


def test_the_command_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = CliRunner().invoke(phloem_command, ["upgrade"])
    assert done.exit_code == 1
    assert "sudo phloem upgrade" in done.output


def test_another_one_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    from phloem.edge.upgrade import command

    monkeypatch.setattr(command, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(command, "environment_of", lambda _: {})
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = CliRunner().invoke(phloem_command, ["upgrade"])
    assert done.exit_code == 1
    assert "another phloem upgrade is at work" in done.output
