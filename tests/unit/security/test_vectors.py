"""The same as NATS's own libraries and nats-server, case by case; ``golden/vectors.go`` made the vectors."""

import base64
import json
from datetime import UTC

import msgspec
import pytest

from phloem.shared.errors import CredentialsRefused, InvalidJWT, NKeyError
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import creds, nkeys, restrictions, tokens, xkeys
from phloem.shared.security.activation import hash_id
from phloem.shared.security.claims import (
    Account,
    AccountClaims,
    Activation,
    ActivationClaims,
    GenericClaims,
    Permission,
    TimeRange,
    User,
    UserClaims,
    UserPermissionLimits,
)
from phloem.shared.security.go_values import to_json, to_plain
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.templates import expand
from phloem.shared.security.validation import validate
from tests.support.rows import each
from tests.unit.security.keyring import (
    ACCOUNT,
    BY_PUBLIC,
    CURVE,
    HEADER,
    LETTERS,
    OTHER,
    OTHER_CURVE,
    PAIRS,
    USER,
    golden,
    signed,
)

NOW_S = 1_790_000_000


def text_of(call: object, *arguments: object) -> str:
    """What it complains about."""
    assert callable(call)
    try:
        call(*arguments)
    except (InvalidJWT, NKeyError, CredentialsRefused) as error:
        return error.reason if isinstance(error, CredentialsRefused) else str(error)
    return ""


@each("case", golden("keys")["good"], ids=lambda case: case["public"][0])
def test_keys(case: dict[str, str]) -> None:
    pair = KeyPair.from_seed(case["seed"])
    assert pair.public_key == case["public"]
    assert pair.seed() == case["seed"].encode()
    assert pair.public_key in {known.public_key for known in PAIRS}
    if "signature" in case:
        assert pair.sign(b"phloem") == base64.b64decode(case["signature"])
        nkeys.verify(case["public"], b"phloem", base64.b64decode(case["signature"]))


@each("case", golden("keys")["bad"], ids=lambda case: repr(case["text"]))
def test_malformed_keys(case: dict[str, str]) -> None:
    assert text_of(nkeys.decode, case["text"]) == case["public"]
    assert text_of(KeyPair.from_seed, case["text"]) == case["seed"]


@each("case", golden("keys")["odd"], ids=lambda case: f"{case['key']} {case['signature']}")
def test_points_that_libraries_disagree_about(case: dict[str, object]) -> None:
    """Go and OpenSSL do not; libsodium would refuse them all."""
    public = nkeys.encode(nkeys.Prefix.USER, bytes.fromhex(str(case["key"])))
    signature = bytes.fromhex(str(case["signature"]))
    accepted = [n for n in range(8) if not text_of(nkeys.verify, public, bytes([n]), signature)]
    assert accepted == case["accepted"]


def test_sealed() -> None:
    sealed = base64.b64decode(golden("keys")["sealed"])
    assert xkeys.seal(CURVE, b"a secret", OTHER_CURVE.public_key, bytes([7]) * 24) == sealed
    assert xkeys.unseal(OTHER_CURVE, sealed, CURVE.public_key) == b"a secret"


@each("token", golden("tokens")["tokens"])
def test_tokens_are_read_and_written(token: str) -> None:
    claims = tokens.decode(token)
    assert tokens.encode(claims, BY_PUBLIC[claims.iss], claims.iat) == token


def test_generic_token() -> None:
    token = golden("tokens")["generic"]
    claims = tokens.decode_generic(token)
    assert claims.nats == {"accounts": [ACCOUNT.public_key], "version": 2}
    assert tokens.encode(claims, BY_PUBLIC[claims.iss], claims.iat) == token
    with pytest.raises(InvalidJWT, match="V1 signature"):  # as their own Decode has it
        tokens.decode(token)


@each("case", golden("tokens")["v1"], ids=lambda case: case["claims"]["name"])
def test_version_1(case: dict[str, str]) -> None:
    assert json.loads(to_json(to_plain(tokens.decode(case["token"])))) == case["claims"]


@each("case", golden("tokens")["hashes"], ids=lambda case: case["subject"])
def test_hash_of_an_activation(case: dict[str, str]) -> None:
    claims = ActivationClaims(
        iss=ACCOUNT.public_key, sub=OTHER.public_key, nats=Activation(subject=case["subject"])
    )
    assert hash_id(claims) == case["hash"]


def test_creds_as_written_by_nsc() -> None:
    written = golden("tokens")["creds"]
    token = creds.token_in(written.encode())
    assert creds.credentials(token, USER).decode() == written


WORDS = ("json: cannot unmarshal", "invalid character")  # Go's path of types, and where it first notices


@each("case", golden("decoded")["signed"], ids=lambda case: case["payload"][-80:])
def test_decoding_and_validation(case: dict[str, object]) -> None:
    pair = LETTERS[str(case["signer"])]
    token = signed(str(case["payload"]), pair, str(case.get("header", HEADER)))
    wanted = str(case["error"])
    found = text_of(tokens.decode, token)
    if not wanted.startswith(WORDS):
        assert found == wanted
    else:
        assert found.startswith(WORDS)
        assert found.partition(" into ")[0] == wanted.partition(" into ")[0]
    if not wanted:
        issues = [list(issue) for issue in validate(tokens.decode(token), NOW_S)]
        assert sorted(issues) == sorted(case["issues"])  # type: ignore[call-overload]


@each("case", golden("decoded")["plain"], ids=lambda case: repr(case["token"])[-40:])
def test_malformed_tokens(case: dict[str, str]) -> None:
    found = text_of(tokens.decode, case["token"])
    assert found == case["error"]


@each("case", golden("templates")["cases"], ids=repr)
def test_templates(case: dict[str, object]) -> None:
    allow = deny = None
    wanted = case["list"]
    entries = tuple(wanted) if isinstance(wanted, list) else None
    if case["where"] == "allow":
        allow = entries
    else:
        deny = entries
    template = UserPermissionLimits(pub=Permission(allow=allow, deny=deny))
    user = UserClaims(
        name=str(case["name"]),
        sub=USER.public_key,
        nats=User(tags=tuple(golden("templates")["tags"]), issuer_account=ACCOUNT.public_key),
    )
    account = AccountClaims(
        name="The-Account", sub=ACCOUNT.public_key, nats=Account(tags=("region:eu", "region:us"))
    )
    if case["error"]:
        assert text_of(expand, template, user, account) == case["error"]
        return
    got = expand(template, user, account)
    assert list(got.pub.allow or ()) == (case["allow"] or [])
    assert list(got.pub.deny or ()) == (case["deny"] or [])
    if case["where"] == "allow" and wanted:  # an empty list allows nothing, none at all allows everything
        assert (got.pub.allow is None) == (case["allow"] is None)


@each("case", golden("restrictions")["times"], ids=lambda case: f"{case['zone']} {case['times']}")
def test_times_of_the_day(case: dict[str, object]) -> None:
    ends = case["times"]
    assert isinstance(ends, list)
    times = [TimeRange(start=start, end=end) for start, end in zip(ends[::2], ends[1::2], strict=True)]
    at = case["for_s"]
    assert isinstance(at, dict)
    for now, for_s in at.items():
        window = restrictions.within_times(times, str(case["zone"]), int(now) * SECOND_NS, UTC)
        assert (window.for_ns // SECOND_NS if window.open else -1) == for_s, now


@each("case", golden("restrictions")["sources"], ids=lambda case: f"{case['src']} {case['host']}")
def test_networks(case: dict[str, object]) -> None:
    networks, host = case["src"], case["host"]
    assert networks is None or isinstance(networks, list)
    assert restrictions.from_network(networks, str(host)) is case["ok"]


@each("case", golden("creds"), ids=lambda case: repr(case["content"])[:60])
def test_creds_are_read_tolerantly(case: dict[str, str]) -> None:
    content = case["content"].encode()
    assert creds.token_in(content) == case["token"].strip()
    assert text_of(creds.key_in, content) == case["seed_error"]
    assert text_of(creds.user_key_in, content) == case["user_error"]
    if "public" in case:
        assert creds.key_in(content).public_key == case["public"]


def test_generic_claims_keep_their_body() -> None:
    claims = GenericClaims(sub="x", nats={"type": "mine", "list": [1, {"a": None}]})
    token = tokens.encode(claims, USER, NOW_S)
    assert tokens.decode_generic(token).nats == {"type": "mine", "list": [1, {"a": None}], "version": 2}
    assert msgspec.json.decode(tokens.decode_base64url(token.split(".")[1]))["iss"] == USER.public_key
