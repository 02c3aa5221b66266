"""``phloem init``, ``enroll``, ``revoke``, ``push``, ``devices`` as commands: words, files, exit codes, no secrets."""

import io
import json
import re
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from phloem.hub.fleet.device_commands import devices, enroll, push, revoke
from phloem.hub.fleet.folder import SECRETS, locked
from phloem.hub.fleet.init_command import init
from phloem.hub.fleet.register import parse
from phloem.shared.errors import ConfigError
from phloem.shared.security.creds import credentials_in
from phloem.shared.security.tokens import decode
from phloem.shared.server.client_login import login_with
from phloem.shared.server.conf.parser import parse_file

SEED = re.compile(rb"S[OAU][A-Z2-7]{56}|PRIVATE KEY")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PHLOEM_FLEET", raising=False)
    return tmp_path


def run(command: click.Command, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(command, words)
    assert done.exit_code == code, (done.output, done.exception)
    assert not SEED.search(done.stdout.encode() + done.stderr.encode()), "no secret is shown"
    return done


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL that nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"tls://127.0.0.1:{taken.getsockname()[1]}"


def test_init() -> None:
    done = run(init, "--hub", "hub.example.com")
    assert "fleet: made, for a hub at hub.example.com." in done.stdout
    assert "  phloem hub -c fleet/hub/hub.conf\n  phloem enroll NAME\n" in done.stdout
    assert f'dir: "{Path("fleet/hub/jwt").absolute()}"' in Path("fleet/hub/hub.conf").read_text()
    again = run(init, code=1)
    assert (
        again.stderr == "phloem init: fleet is there already, and phloem init changes nothing that is there\n"
    )


def test_init_for_another_machine() -> None:
    done = run(init, "works", "--at", "/var/lib/phloem/", "--port", "4000", "--leaf-port", "7000")
    assert "copy works/hub to /var/lib/phloem" in done.stdout
    assert "phloem enroll NAME --config works" in done.stdout
    text = Path("works/hub/hub.conf").read_text()
    assert 'key_file: "/var/lib/phloem/hub.key"' in text
    assert "0.0.0.0:4000" in text
    assert "0.0.0.0:7000" in text
    run(enroll, "pump1", "--config", "works")
    assert f'"tls://{socket.gethostname()}:7000"' in Path("works/devices/pump1/edge.conf").read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--hub", "a b"], 1, "neither a host name nor an address"),
        (["--at", "relative"], 1, "begins with /"),
        (["--reply-inbox", "a.>"], 2, "not a subject without wildcards"),
        (["--port", "0"], 2, "--port"),
        (["--ca-key", "x"], 2, "goes with --renew-certificate"),
        (["--renew-certificate"], 1, "no deployment"),
        (["--renew-certificate", "--at", "/x"], 2, "--at does not go with"),
        (["--renew-admin", "--hub", "x"], 2, "--hub does not go with --renew-admin"),
        (["--renew-admin", "--renew-certificate"], 2, "does not go with"),
        (["--renew-admin", "--operator", "x"], 2, "--operator does not go with"),
        (["--server", "tls://x"], 2, "--server goes with --renew-admin"),
        (["--renew-certificate", "--reply-inbox", "x"], 2, "--reply-inbox does not go with"),
    ],
)
def test_init_with_wrong_words(words: list[str], code: int, told: str) -> None:
    assert told in run(init, *words, code=code).stderr
    assert not Path("fleet").exists()


def test_a_new_certificate() -> None:
    run(init, "--hub", "one")
    before = Path("fleet/hub/hub.pem").read_bytes(), Path("fleet/hub/hub.key").read_bytes()
    Path("fleet/offline/ca.key").rename("ca.key")
    assert "signs certificates" in run(init, "--renew-certificate", code=1).stderr
    assert (Path("fleet/hub/hub.pem").read_bytes(), Path("fleet/hub/hub.key").read_bytes()) == before
    done = run(init, "--renew-certificate", "--ca-key", "ca.key", "--hub", "two")
    assert "new, for one, two, valid until 20" in done.stdout
    assert Path("fleet/hub/hub.pem").read_bytes() != before[0]
    run(enroll, "pump1")
    assert 'urls: ["tls://one:7422", "tls://two:7422"]' in Path("fleet/devices/pump1/edge.conf").read_text()


def test_new_administrators(nowhere: str) -> None:
    run(init)
    before = {file: Path("fleet", file).read_bytes() for file in ("admin.creds", "system.creds")}
    Path("fleet/offline/system-signing.nk").rename("away")
    assert "system-signing.nk is not there" in run(init, "--renew-admin", "-s", nowhere, code=1).stderr
    assert {file: Path("fleet", file).read_bytes() for file in before} == before
    Path("away").rename("fleet/offline/system-signing.nk")
    done = run(init, "--renew-admin", "-s", nowhere, code=3)
    assert done.stdout == "fleet/admin.creds, fleet/system.creds: new; the old ones are revoked.\n"
    with locked(Path("fleet")) as folder:
        for file, name in (
            ("admin.creds", folder.deployment.account),
            ("system.creds", folder.deployment.system),
        ):
            old, new = (
                decode(credentials_in(c)[0]) for c in (before[file], Path("fleet", file).read_bytes())
            )
            revocations = folder.account(name).nats.revocations
            assert old.sub in revocations
            assert new.sub not in revocations
            assert folder.deployment.admins[name] == new.sub
        assert folder.pending


def test_enroll_shows_the_configuration_and_keeps_the_secret() -> None:
    run(init, "--hub", "hub")
    done = run(enroll, "pump1", "--expires", "52w")
    folder = Path("fleet/devices/pump1")
    assert done.stdout == (folder / "edge.conf").read_text()
    assert "phloem edge -c /var/lib/phloem/edge.conf" in done.stderr
    assert {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {
        "edge.conf": 0o600,
        "ca.pem": 0o600,
        "device.creds": 0o600,
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    token, _ = credentials_in((folder / "device.creds").read_bytes())
    claims = decode(token)
    assert (claims.name, claims.exp - claims.iat) == ("pump1", 52 * 7 * 86_400)
    (one,) = parse(Path("fleet/devices.txt").read_text(), "")
    assert (one.key, one.expires_s) == (claims.sub, claims.exp)
    again = run(enroll, "pump1", code=1)
    assert "enrolled already; --renew" in again.stderr
    login_with(folder / "device.creds")
    with pytest.raises(ConfigError, match="no credentials"):
        login_with("/dev/zero")


def test_enroll_some() -> None:
    run(init)
    done = run(enroll, "a", "b", "-o", "out")
    assert done.stdout == ""
    assert sorted(str(one) for one in Path("out").rglob("*.creds")) == [
        "out/a/device.creds",
        "out/b/device.creds",
    ]
    run(enroll, "c", "d", "-o", "out.tar")
    assert stat.S_IMODE(Path("out.tar").stat().st_mode) == 0o600
    with tarfile.open("out.tar") as tar:
        assert {entry.name: entry.mode for entry in tar} == {
            f"{name}/{file}": 0o600 for name in "cd" for file in ("edge.conf", "ca.pem", "device.creds")
        }
    assert "there already" in run(enroll, "e", "-o", "out.tar", code=1).stderr
    assert "there already" in run(enroll, "e", "-o", "out/a", code=1).stderr
    assert {one.name for one in parse(Path("fleet/devices.txt").read_text(), "")} == set("abcd")


def test_enroll_through_a_pipe() -> None:
    run(init)
    done = CliRunner().invoke(enroll, ["pump1", "-o", "-", "--at", "/etc/phloem"])
    assert done.exit_code == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout_bytes)) as tar:
        assert tar.getnames() == ["edge.conf", "ca.pem", "device.creds"]
        config = tar.extractfile("edge.conf")
        assert config is not None
        assert b'credentials: "/etc/phloem/device.creds"' in config.read()
    assert "phloem edge -c /etc/phloem/edge.conf" in done.stderr
    assert not Path("fleet/devices").exists()


def test_enroll_with_an_encrypted_store(monkeypatch: pytest.MonkeyPatch) -> None:
    run(init)
    assert "key: $PHLOEM_STORE_KEY" in run(enroll, "a", "--encrypt").stdout
    assert "cipher" not in run(enroll, "b").stdout
    monkeypatch.delenv("PHLOEM_STORE_KEY", raising=False)
    with pytest.raises(ConfigError, match="PHLOEM_STORE_KEY"):
        parse_file("fleet/devices/a/edge.conf")
    monkeypatch.setenv("PHLOEM_STORE_KEY", "k0123")
    parse_file("fleet/devices/a/edge.conf")


def test_enroll_for_this_machine() -> None:
    run(init)
    run(enroll, "a", "-o", "try", "--here")
    assert f'ca_file: "{Path("try").absolute()}/ca.pem"' in Path("try/edge.conf").read_text()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "Missing argument"),
        (["a.b"], 1, "letters, digits"),
        (["a", "a"], 1, "twice"),
        (["a", "--expires", "0d"], 2, "not a time such as 365d"),
        (["a", "--expires", "1y"], 2, "not a time such as 365d"),
        (["a", "--keep-old"], 2, "goes with --renew"),
        (["a", "--renew", "--keep-old", "--encrypt"], 2, "credentials alone"),
        (["a", "--here", "--at", "/x"], 2, "--here goes with a folder"),
        (["a", "--here", "-o", "-"], 2, "--here goes with a folder"),
        (["a", "--server", "tls://x"], 2, "--server goes with --renew"),
        (["a", "--at", "x"], 1, "begins with /"),
        (["a", "--config", "nowhere"], 1, "no deployment"),
    ],
)
def test_enroll_with_wrong_words(words: list[str], code: int, told: str) -> None:
    run(init)
    assert told in run(enroll, *words, code=code).stderr
    assert parse(Path("fleet/devices.txt").read_text(), "") == ()
    assert not Path("fleet/devices").exists()


def test_a_configuration_that_was_added_to_stays(nowhere: str) -> None:
    run(init)
    run(enroll, "pump1", "-o", "out")
    Path("out/edge.conf").write_text("mine")
    before = Path("out/device.creds").read_bytes()
    run(enroll, "pump1", "-o", "out", "--renew", "--server", nowhere, code=3)
    assert Path("out/edge.conf").read_text() == "mine"
    assert Path("out/device.creds").read_bytes() != before


def test_revoke_without_a_hub(nowhere: str) -> None:
    """The exit status says that the hub does not know; everything else is done."""
    run(init)
    run(enroll, "pump1")
    done = run(revoke, "pump1", "--server", nowhere, code=3)
    assert done.stdout == "pump1: 1 key revoked\n"
    assert f"  {nowhere}: " in done.stderr
    assert "phloem push" in done.stderr
    with locked(Path("fleet")) as folder:
        (one,) = folder.devices()
        assert one.revoked_s
        assert one.key in folder.account().nats.revocations
    assert "phloem push" in run(devices).stderr
    assert "phloem push" in run(enroll, "pump2").stderr
    assert run(revoke, "pump1", "-s", nowhere, code=3).stdout == "pump1: nothing left to revoke\n"
    assert "could not be told" in run(push, "-s", nowhere, code=3).stderr


def test_revoke_nobody(nowhere: str) -> None:
    run(init)
    run(enroll, "pump1")
    before = Path("fleet/account.jwt").read_bytes()
    done = run(revoke, "pump1", "pump2", "-s", nowhere, code=1)
    assert done.stderr == "phloem revoke: pump2: no device of this name was enrolled\n"
    assert Path("fleet/account.jwt").read_bytes() == before, "not one of them, if one is wrong"


def test_without_what_the_hub_asks_for(nowhere: str) -> None:
    """Credentials that were moved away are told like a hub that is not there: it is revoked here."""
    run(init)
    run(enroll, "pump1")
    Path("fleet/system.creds").unlink()
    done = run(revoke, "pump1", "-s", nowhere, code=3)
    assert "system.creds" in done.stderr


def test_devices(nowhere: str) -> None:
    run(init)
    run(enroll, "pump1", "pump2", "--expires", "12h")
    run(revoke, "pump2", "-s", nowhere, code=3)
    done = run(devices)
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["pump1", "active"],
        ["pump2", "revoked"],
    ]
    assert "pump1: the key ends 20" in done.stderr
    assert "pump2: the key" not in done.stderr
    listed = json.loads(run(devices, "--json").stdout)
    assert [(one["name"], one["state"], one["revoked"] is None) for one in listed] == [
        ("pump1", "active", True),
        ("pump2", "revoked", False),
    ]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_others_can_read(secret: str) -> None:
    run(init)
    assert run(devices).stderr == ""
    Path("fleet", secret).chmod(0o640)
    assert run(devices).stderr == f"fleet/{secret} can be read by others: chmod 600\n"


def test_the_folder_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    run(init, "works")
    monkeypatch.setenv("PHLOEM_FLEET", "works")
    run(enroll, "pump1")
    assert Path("works/devices/pump1").is_dir()


@pytest.mark.parametrize("command", [init, enroll, revoke, push, devices])
def test_help_teaches(command: click.Command) -> None:
    text = run(command, "--help").stdout
    assert max(map(len, text.splitlines())) <= 100
    if command not in (devices, push):
        assert f"  phloem {command.name} " in text
    if command in (enroll, revoke, push):
        assert "Exit status: 0" in text
