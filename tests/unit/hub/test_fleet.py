"""A deployment's folder: what is in it, who gets in with what it gives out, and what an interruption leaves behind."""

import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.hub.deployments import NOW_S, deployment, enrolled, login

from phloem.hub.fleet import creation
from phloem.hub.fleet import folder as files
from phloem.hub.fleet.configurations import edge_text
from phloem.hub.fleet.creation import renew_certificate
from phloem.hub.fleet.enrolment import Bundle, active_keys, check_names, enroll, revoke, sign_account
from phloem.hub.fleet.folder import Folder, locked
from phloem.hub.fleet.permissions import ROLE, why_not_a_name
from phloem.hub.fleet.register import keys_of
from phloem.shared.errors import ConfigError, CredentialsRefused
from phloem.shared.security.claims import AccountClaims, OperatorClaims, Permission, Permissions
from phloem.shared.security.creds import credentials
from phloem.shared.security.issue import new_user
from phloem.shared.security.nkeys import Prefix
from phloem.shared.security.tokens import decode_as, encode
from phloem.shared.security.validation import validate
from phloem.shared.server.conf.parser import Value, parse_text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment that nobody changes."""
    return deployment(tmp_path_factory.mktemp("made"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return deployment(tmp_path)


def test_nobody_else_can_read_it(made: Path) -> None:
    everything = [made, *made.rglob("*")]
    assert {stat.S_IMODE(one.stat().st_mode) for one in everything if one.is_dir()} == {0o700}
    assert {stat.S_IMODE(one.stat().st_mode) for one in everything if one.is_file()} == {0o600}


def test_every_secret_is_listed(made: Path) -> None:
    """So that ``phloem devices`` looks at the mode of each."""
    secret = [
        str(one.relative_to(made))
        for one in made.rglob("*")
        if one.is_file() and (b"PRIVATE KEY" in one.read_bytes() or one.suffix in (".nk", ".creds"))
    ]
    assert sorted(secret) == sorted(files.SECRETS)


def test_the_hubs_folder_has_no_secret_but_its_own(made: Path) -> None:
    with locked(made) as folder:
        names = {*folder.tokens()}
    assert {str(one.relative_to(made / "hub")) for one in (made / "hub").rglob("*") if one.is_file()} == {
        "hub.conf",
        "hub.pem",
        "hub.key",
        "operator.jwt",
        *(f"jwt/{name}.jwt" for name in names),
    }


def test_the_operator_is_strict_and_all_claims_make_sense(made: Path) -> None:
    operator = decode_as((made / files.OPERATOR_TOKEN).read_text(), OperatorClaims)
    assert operator.nats.strict_signing_key_usage
    assert operator.iss == operator.sub
    assert not list(validate(operator, NOW_S).blocking(times=True) or ())
    with locked(made) as folder:
        for name, token in folder.tokens().items():
            claims = decode_as(token, AccountClaims)
            assert (claims.sub, claims.iss) == (name, operator.nats.signing_keys[0])
            assert not validate(claims, NOW_S).blocking(times=True)
            assert (made / files.HUB_TOKENS / f"{name}.jwt").read_text() == token
        assert operator.nats.system_account == folder.deployment.system


def plain(value: Value) -> Any:
    """What a configuration says, without where."""
    match value.data:
        case dict() as entries:
            return {key: plain(entry) for key, entry in entries.items()}
        case list() as items:
            return [plain(item) for item in items]
    return value.data


def parse(text: str) -> dict[str, Any]:
    return {key: plain(value) for key, value in parse_text(text).items()}


def test_the_files_are_configurations(made: Path) -> None:
    hub = parse((made / files.HUB_CONFIG).read_text())
    assert hub["http"] == "127.0.0.1:8222", "monitoring asks for no password"
    assert hub["resolver"]["type"] == "full"
    assert hub["leafnodes"]["tls"] == hub["tls"]
    text = edge_text("pump1", "/x", ["tls://hub:7422"], encrypt=True)
    assert "key: $PHLOEM_STORE_KEY\n" in text
    edge = parse(edge_text("pump1", "/var/lib/phloem", ["tls://hub:7422", "tls://[::1]:7422"]))
    assert edge["jetstream"]["domain"] == edge["server_name"] == "pump1"
    assert edge["listen"] == "127.0.0.1:4222"
    (remote,) = edge["leafnodes"]["remotes"]
    assert remote["urls"] == ["tls://hub:7422", "tls://[::1]:7422"]
    assert remote["credentials"] == "/var/lib/phloem/device.creds"


def test_a_device_has_its_own_and_nothing_else(path: Path) -> None:
    with locked(path) as folder:
        for kind in ("LEAFNODE", "STANDARD"):
            rules = login(folder, enrolled(folder, "pump1"), kind=kind).rules
            assert rules is not None
            own = ["pump1", "pump1.>", "_INBOX_pump1.>"]
            twin = [
                "$JS.hub.API.CONSUMER.CREATE.KV_twin_desired.*.$KV.twin_desired.pump1.>",
                "$JS.hub.API.$KV.twin_reported.pump1.>",
            ]
            assert list(rules.publish.allow or ()) == [*own, "$PHL.UP.pump1", *twin, "$JS.R.*", "$JSC.R.*"]
            assert list(rules.subscribe.allow or ()) == [
                *own,
                "$PHL.DOWN.pump1",
                "$JS.pump1.API.>",
                "$JS.ACK.pump1.>",
                "$JS.FC.pump1.>",
            ]
        assert "connection type" in refusal(folder, enrolled(folder, "pump2"), kind="MQTT")


def test_a_deployment_that_is_older_learns_what_devices_may_do_by_now(path: Path) -> None:
    def allowed(folder: Folder) -> list[tuple[str, ...]]:
        account = folder.account()
        scopes = [scope for scope in account.nats.signing_keys.values() if scope is not None]
        (template,) = [scope.template for scope in scopes if scope.role == ROLE]
        return [tuple(side.allow or ()) for side in (template.pub, template.sub)]

    with locked(path) as folder:
        today = allowed(folder)
        account = folder.account()
        keys = dict(account.nats.signing_keys)
        for key, scope in keys.items():
            if scope is not None and scope.role == ROLE:
                older = msgspec.structs.replace(
                    scope.template,
                    pub=Permission(allow=("extra",), deny=("x",)),
                    sub=Permission(allow=("y",)),
                )
                keys[key] = msgspec.structs.replace(scope, template=older)
        older_account = msgspec.structs.replace(
            account, nats=msgspec.structs.replace(account.nats, signing_keys=keys)
        )
        with folder.key(files.OPERATOR_SIGNER, folder.deployment.operator_signer) as signer:
            folder.save_account(account.sub, encode(older_account, signer, NOW_S))
        sign_account(folder, (), NOW_S)
        assert allowed(folder) == [("extra", *today[0]), ("y", *today[1])]
        admin = [
            scope for scope in folder.account().nats.signing_keys.values() if scope and scope.role != ROLE
        ]
        assert admin[0].template.pub.allow is None


def test_one_inbox_for_all(tmp_path: Path) -> None:
    with locked(deployment(tmp_path, reply_inbox="_INBOX_fleet")) as folder:
        rules = login(folder, enrolled(folder, "pump1")).rules
    assert rules is not None
    assert "_INBOX_fleet.>" in (rules.publish.allow or ())
    assert "_INBOX_fleet.>" not in (rules.subscribe.allow or ())


@pytest.mark.parametrize("name", ["pump1", "P", "0", "a-b_c", "x" * 64])
def test_names(name: str) -> None:
    assert why_not_a_name(name) == ""


@pytest.mark.parametrize(
    "name",
    ["", "a.b", "*", ">", "a>", "a b", "a\n", "-a", "_a", "_INBOX", "$SYS", "pümp", "a/b", "..", "x" * 65],
)
def test_what_is_no_name(made: Path, name: str) -> None:
    assert why_not_a_name(name)
    with locked(made) as folder, pytest.raises(ConfigError):
        check_names(folder, ["ok", name], renew=True)


@pytest.mark.parametrize("name", ["{{name()}}", "hub", "API", "ack", "FC", "R"])
def test_what_means_something_else(name: str) -> None:
    assert why_not_a_name(name)


def test_names_that_are_taken(path: Path) -> None:
    with locked(path) as folder:
        enrolled(folder, "pump1")
        with pytest.raises(ConfigError, match="enrolled already"):
            check_names(folder, ["pump1"], renew=False)
        check_names(folder, ["pump1", "pump2"], renew=True)
        for renew in (False, True):
            with pytest.raises(ConfigError, match="capital letters"):
                check_names(folder, ["Pump1"], renew=renew)
            with pytest.raises(ConfigError, match="twice"):
                check_names(folder, ["a", "A"], renew=renew)


def test_revoked(path: Path) -> None:
    with locked(path) as folder:
        stolen, other = enrolled(folder, "pump1"), enrolled(folder, "pump2")
        revoke(folder, active_keys(folder, "pump1"), NOW_S)
        assert "revoked" in refusal(folder, stolen)
        login(folder, other)
        assert active_keys(folder, "pump1") == []
        assert folder.pending
        login(folder, enrolled(folder, "pump1"))
        with pytest.raises(ConfigError, match="no device"):
            active_keys(folder, "pump3")


def test_only_the_old_key(path: Path) -> None:
    with locked(path) as folder:
        old, new = enrolled(folder, "pump1"), enrolled(folder, "pump1")
        revoke(folder, active_keys(folder, "pump1", old_only=True), NOW_S)
        with pytest.raises(CredentialsRefused):
            login(folder, old)
        login(folder, new)
        assert active_keys(folder, "pump1", old_only=True) == []


def test_an_end_of_validity(path: Path) -> None:
    with locked(path) as folder:
        bundle = enrolled(folder, "pump1", expires_s=NOW_S + 60)
        assert login(folder, bundle, now_s=NOW_S + 59).expires_ns > 0
        assert "expired" in refusal(folder, bundle, now_s=NOW_S + 61)


def test_a_clock_that_was_set_back(path: Path) -> None:
    """A key stays revoked, and the account is newer than before: servers keep the newest."""
    with locked(path) as folder:
        bundle = enrolled(folder, "pump1")
        before = folder.account().iat
        revoke(folder, active_keys(folder, "pump1"), NOW_S - 100_000)
        assert folder.account().iat > before
        assert "revoked" in refusal(folder, bundle)


def test_an_account_that_lost_its_revocations_gets_them_back(path: Path) -> None:
    with locked(path) as folder:
        bundle, first = enrolled(folder, "pump1"), (path / files.ACCOUNT_TOKEN).read_bytes()
        revoke(folder, active_keys(folder, "pump1"), NOW_S)
        folder.write(files.ACCOUNT_TOKEN, first)
        login(folder, bundle)
        sign_account(folder, (), NOW_S)
        assert "revoked" in refusal(folder, bundle)


def test_an_account_of_somebody_else_is_not_signed(path: Path, made: Path) -> None:
    with locked(path) as folder:
        folder.write(files.ACCOUNT_TOKEN, (made / files.ACCOUNT_TOKEN).read_bytes())
        with pytest.raises(ConfigError, match="not the account of this folder"):
            sign_account(folder, (), NOW_S)
        folder.write(files.ACCOUNT_TOKEN, b"eyJhbGciOiJub25lIn0.e30.")
        with pytest.raises(ConfigError):
            sign_account(folder, (), NOW_S)


def refusal(folder: Folder, bundle: Bundle, **more: Any) -> str:
    """Why a device is not let in, as the server's log says it."""
    with pytest.raises(CredentialsRefused) as refused:
        login(folder, bundle, **more)
    return refused.value.reason.lower()


class Interrupted(Exception):
    """The power fails."""


class Writes:
    """Counts what is written to the disk, and fails at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
        self.count, self._fail_at, self._write = 0, fail_at, files.write_secret
        for module in (files, creation):
            monkeypatch.setattr(module, "write_secret", self)

    def __call__(self, path: Path, content: bytes, *, replace: bool = False) -> None:
        if self.count == self._fail_at:
            raise Interrupted
        self.count += 1
        self._write(path, content, replace=replace)


def _interrupted(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], check: Callable[[], None]
) -> int:
    """Do ``work`` once for each write in it, which fails; the number of writes."""
    for fail_at in range(100):
        with monkeypatch.context() as patched:
            writes = Writes(patched, fail_at)
            try:
                work()
            except Interrupted:
                pass
            else:
                return writes.count
        check()
    raise AssertionError("it has no end")


def test_an_interrupted_init_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        assert not (tmp_path / "fleet").exists()

    assert _interrupted(monkeypatch, lambda: deployment(tmp_path), check) == 21, "as many as there are files"
    with locked(tmp_path / "fleet") as folder:
        login(folder, enrolled(folder, "pump1"))


def test_an_interrupted_enrolment_gives_nothing_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(path) as folder:

        def check() -> None:
            assert folder.devices() == ()

        assert _interrupted(monkeypatch, lambda: enrolled(folder, "pump1"), check) == 1
        assert [one.name for one in folder.devices()] == ["pump1"]


def test_an_interrupted_revocation_is_done_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever says that it is revoked, it is; and the next attempt finds the device."""
    with locked(path) as folder:
        bundle = enrolled(folder, "pump1")

        def check() -> None:
            (one,) = keys_of(folder.devices(), "pump1")
            try:
                login(folder, bundle)
            except CredentialsRefused:
                assert folder.pending
            else:
                assert not one.revoked_s
            assert active_keys(folder, "pump1") == ([] if one.revoked_s else [one])

        def work() -> None:
            revoke(folder, active_keys(folder, "pump1"), NOW_S)

        assert _interrupted(monkeypatch, work, check) == 4
        with pytest.raises(CredentialsRefused):
            login(folder, bundle)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    with pytest.raises(ConfigError, match="there already"):
        deployment(tmp_path)
    assert list((tmp_path / "fleet").iterdir()) == []
    (tmp_path / "fleet").rmdir()
    (tmp_path / "fleet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there already"):
        deployment(tmp_path)


def test_no_deployment(tmp_path: Path, path: Path) -> None:
    for other in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigError, match="no deployment"), locked(other):
            pass
    (path / files.DEPLOYMENT).write_text("{}")
    with pytest.raises(ConfigError, match="missing required field"), locked(path):
        pass


def test_a_key_that_was_moved_away_or_exchanged(path: Path) -> None:
    with locked(path) as folder:
        bundle = enrolled(folder, "pump1")
        (path / files.OPERATOR_SIGNER).write_bytes((path / files.OPERATOR_KEY).read_bytes())
        with pytest.raises(ConfigError, match="is not the key"):
            revoke(folder, active_keys(folder, "pump1"), NOW_S)
        (path / files.OPERATOR_SIGNER).write_text("nonsense")
        with pytest.raises(ConfigError, match="no nkey seed found"):
            revoke(folder, active_keys(folder, "pump1"), NOW_S)
        (path / files.DEVICE_SIGNER).unlink()
        with pytest.raises(ConfigError, match="is not there"):
            enrolled(folder, "pump2")
        login(folder, bundle)
        assert [one.name for one in folder.devices()] == ["pump1"]


def test_nothing_day_to_day_needs_what_is_locked_away(path: Path) -> None:
    for one in (path / "offline").iterdir():
        one.unlink()
    with locked(path) as folder:
        enrolled(folder, "pump1")
        revoke(folder, active_keys(folder, "pump1"), NOW_S)
        with pytest.raises(ConfigError, match="signs certificates"):
            renew_certificate(folder, ["hub"], path / files.AUTHORITY_KEY, NOW_S)


def test_a_station_that_only_enrolls(path: Path, tmp_path: Path) -> None:
    station = tmp_path / "station"
    station.mkdir()
    for file in (files.DEVICE_SIGNER, files.DEPLOYMENT, files.REGISTER, files.AUTHORITY):
        (station / file).parent.mkdir(exist_ok=True)
        shutil.copy(path / file, station / file)
    with locked(station) as there, locked(path) as here:
        login(here, enrolled(there, "pump1"))
        with pytest.raises(ConfigError):
            revoke(there, active_keys(there, "pump1"), NOW_S)


def test_a_device_signer_makes_devices_only(path: Path) -> None:
    """Whoever gets hold of it can ask for more, and is let in with nothing: a scope's users have no permissions."""

    with locked(path) as folder:
        bundle = enrolled(folder, "pump1")
        with (
            folder.key(files.DEVICE_SIGNER, folder.deployment.device_signer) as signer,
            creation.new_key(Prefix.USER) as user,
        ):
            claims = new_user(user.public_key, "pump1", Permissions(pub=Permission(allow=(">",))))
            body = msgspec.structs.replace(claims.nats, issuer_account=folder.deployment.account)
            token = encode(msgspec.structs.replace(claims, nats=body), signer, NOW_S)
            with pytest.raises(CredentialsRefused):
                login(folder, bundle._replace(creds=credentials(token, user)))


def _enroll_some(path: Path, first: int) -> None:
    for number in range(first, first + 5):
        with locked(path) as folder:
            enroll(folder, {f"pump{number}": "/x"}, 0, NOW_S)


def test_many_at_a_time(path: Path) -> None:
    """Each sees what the others have done: nobody is lost. Threads hold the lock as processes do."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(partial(_enroll_some, path), (0, 5, 10, 15)))
    with locked(path) as folder:
        assert sorted(one.name for one in folder.devices()) == sorted(f"pump{number}" for number in range(20))


def test_secrets_are_overwritten(path: Path) -> None:
    with locked(path) as folder:
        bundle = enrolled(folder, "pump1")
    assert b"SEED" in bundle.creds
    bundle.wipe()
    assert not any(bundle.creds)


@pytest.mark.parametrize("place", ["relative", "/a$b", '/a"b', "/a\\b", "/a\nb"])
def test_places_that_a_configuration_cannot_name(path: Path, place: str) -> None:
    with locked(path) as folder, pytest.raises(ConfigError):
        enroll(folder, {"pump1": place}, 0, NOW_S)
    with locked(path) as folder:
        assert folder.devices() == ()
