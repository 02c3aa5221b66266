"""Files with secrets: written for their owner alone, read as they were written."""

import os
import stat
from pathlib import Path

import pytest

from phloem.shared import limits
from phloem.shared.errors import ConfigError, InvalidJWT, NKeyError
from phloem.shared.security import creds
from phloem.shared.security.claims import UserClaims
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode
from phloem.shared.server.secret_files import read_secret, write_secret
from tests.unit.security.keyring import ACCOUNT, GOLDEN, OPERATOR, OTHER, SERVER, USER

TOKEN = encode(UserClaims(sub=USER.public_key), ACCOUNT, 5)


@pytest.mark.parametrize("name", ["pump1.creds", "open.creds"])
def test_creds_of_nsc(name: str) -> None:
    content = (GOLDEN / "nsc" / name).read_bytes()
    token, pair = creds.credentials_in(content)
    assert creds.token_in(content) == token
    assert creds.user_key_in(content).public_key == pair.public_key
    assert bytes(creds.credentials(token, pair)) == content


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (TOKEN.encode(), InvalidJWT),
        (b"---a---\n" + TOKEN.encode() + b"\n---b---\n", InvalidJWT),
        (b"---a---\nx\n---b---\n---c---\nSUAAA\n---d---\n", NKeyError),
    ],
)
def test_a_leaf_link_needs_both(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        creds.credentials_in(content)


def test_creds_are_of_one_user() -> None:
    with pytest.raises(InvalidJWT, match=r"^nkey seed does not match the jwt subject$"):
        creds.credentials(TOKEN, KeyPair(Prefix.USER, b"v" * 32))
    with pytest.raises(NKeyError, match=r"^nkey seed is not an user seed$"):
        creds.credentials(TOKEN, ACCOUNT)
    with pytest.raises(InvalidJWT, match=r"^expected 3 chunks$"):
        creds.credentials("x", USER)


@pytest.mark.parametrize(("pair", "kind"), [(USER, "USER"), (ACCOUNT, "ACCOUNT"), (OPERATOR, "OPERATOR")])
def test_seeds(pair: KeyPair, kind: str) -> None:
    text = creds.decorated_seed(pair)
    assert f"-----BEGIN {kind} NKEY SEED-----\n{pair.seed().decode()}\n------END".encode() in text
    assert creds.key_in(text).public_key == pair.public_key
    assert creds.key_in(pair.seed() + b"\n").public_key == pair.public_key
    with pytest.raises(NKeyError, match=r"^seed is not an operator, account or user seed$"):
        creds.decorated_seed(SERVER)


def test_tokens() -> None:
    assert creds.decorated_token(TOKEN).startswith(b"-----BEGIN NATS USER JWT-----\n")
    assert creds.token_in(creds.decorated_token(TOKEN)) == TOKEN


def test_nobody_else_can_read_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.creds"
    before = os.umask(0)
    try:
        write_secret(path, creds.credentials(TOKEN, USER))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert creds.credentials_in(read_secret(path))[0] == TOKEN
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.creds"]


def test_a_secret_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "seed"
    write_secret(path, b"one")
    with pytest.raises(FileExistsError):
        write_secret(path, b"two")
    assert read_secret(path) == b"one"
    path.chmod(0o644)
    write_secret(path, bytearray(b"two"), replace=True)
    assert read_secret(path) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["seed"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    path = tmp_path / "seed"
    path.symlink_to(target)
    with pytest.raises(FileExistsError):
        write_secret(path, b"secret")
    write_secret(path, b"secret", replace=True)
    assert target.read_bytes() == b"kept"
    assert not path.is_symlink()


@pytest.mark.parametrize("size", [0, 1, 5000, limits.CREDENTIALS_BYTES])
def test_secrets_of_all_sizes(tmp_path: Path, size: int) -> None:
    write_secret(tmp_path / "x", b"s" * size)
    assert read_secret(tmp_path / "x") == b"s" * size


def test_no_secret_is_that_large(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(limits.CREDENTIALS_BYTES + 1))
    with pytest.raises(ConfigError, match="no credentials"):
        read_secret(path)
    with pytest.raises(ConfigError, match="no credentials"):
        read_secret("/dev/zero")


def test_a_pipe_is_read_to_its_end() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"s" * 3000)
    os.close(write_end)
    try:
        assert read_secret(f"/proc/self/fd/{read_end}") == b"s" * 3000
    finally:
        os.close(read_end)


def test_another_account_is_no_user() -> None:
    with pytest.raises(NKeyError, match="doesn't contain an user seed nkey"):
        creds.user_key_in(creds.decorated_seed(OTHER))
