"""Chains of trust: what nsc made, who may sign for whom, revocations, activations, what a user may do at last."""

from typing import Any

import msgspec
import pytest

from phloem.shared import limits
from phloem.shared.errors import ConfigError, CredentialsRefused, InvalidJWT
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import creds
from phloem.shared.security.account_rules import tiers
from phloem.shared.security.admission import (
    Peer,
    ResponseRules,
    SubjectRules,
    UserRules,
    account_of,
    admit,
    least,
    present,
    user_rules,
)
from phloem.shared.security.claims import (
    OPEN_LIMITS,
    Account,
    AccountClaims,
    Activation,
    ActivationClaims,
    Import,
    JetStreamLimits,
    OperatorClaims,
    OperatorLimits,
    Permission,
    Permissions,
    ResponsePermission,
    TimeRange,
    UserClaims,
)
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import decode_as, encode, encode_base64url
from phloem.shared.security.trust import (
    Trust,
    activates,
    check_server_version,
    did_sign,
    is_revoked,
    verify_account,
)
from phloem.shared.security.trust import account as signers_of
from tests.unit.security.keyring import (
    ACCOUNT,
    GOLDEN,
    OPERATOR,
    OPERATOR_SIGNER,
    OTHER,
    SCOPED,
    SIGNER,
    USER,
)
from tests.unit.security.world import REVOKED, account, operator, scoped, user

NOW_S = 1_790_000_000
TRUST = Trust.of([operator()])


def peer(pair: KeyPair = USER, **other: Any) -> Peer:
    """Somebody who has the key."""
    signature = encode_base64url(pair.sign(b"nonce"))
    return Peer(
        **{"type": "STANDARD", "host": "127.0.0.1", "nonce": b"nonce", "signature": signature, **other}
    )


def nsc(name: str) -> bytes:
    """A file that nsc made."""
    return (GOLDEN / "nsc" / name).read_bytes()


class TestNsc:
    """An operator with strict signing keys, made by nsc; today is when it was made."""

    operator = decode_as(creds.token_in(nsc("operator.jwt")), OperatorClaims)
    trust = Trust.of([operator])
    now_s = operator.iat + 60
    field = nsc("field.jwt").decode().strip()

    def admitted(self, name: str) -> Any:
        token, pair = creds.credentials_in(nsc(name))
        who = peer(pair)
        claims = present(token, who, self.now_s * SECOND_NS)
        found = verify_account(self.field, self.trust, self.now_s, account_of(claims))
        return admit(claims, signers_of(found, self.trust), self.trust, who, self.now_s * SECOND_NS)

    def test_its_own_key_is_not_trusted(self) -> None:
        assert self.operator.nats.strict_signing_key_usage
        assert self.trust.keys == set(self.operator.nats.signing_keys) == self.trust.strict

    @pytest.mark.parametrize("name", ["field.jwt", "hub.jwt", "system.jwt"])
    def test_accounts(self, name: str) -> None:
        claims = verify_account(nsc(name).decode().strip(), self.trust, self.now_s)
        assert did_sign(self.operator, claims)
        assert claims.sub not in signers_of(claims, self.trust).signers
        with pytest.raises(InvalidJWT, match=r"^account validation failed$"):
            verify_account(nsc(name).decode().strip(), TRUST, self.now_s)

    def test_a_device(self) -> None:
        found = self.admitted("pump1.creds")
        assert found.rules == UserRules(
            SubjectRules(("field.pump1.>",), ("field.*.secret",)), SubjectRules(("_INBOX.>", "cmd.pump1.>"))
        )
        assert (found.max_payload, found.max_subscriptions, found.expires_ns) == (-1, -1, None)
        assert found.signing_key == found.user.iss
        assert not found.default_rules

    def test_a_revoked_user(self) -> None:
        with pytest.raises(CredentialsRefused) as caught:
            self.admitted("open.creds")
        assert caught.value.reason == "User authentication revoked"

    def test_an_import_with_its_activation(self) -> None:
        importer = decode_as(self.field, AccountClaims)
        exporter = signers_of(decode_as(nsc("hub.jwt").decode().strip(), AccountClaims), self.trust)
        (entry,) = importer.nats.imports
        assert entry is not None
        assert entry.token == creds.token_in(nsc("activation.jwt"))
        token = activates(exporter, importer.sub, entry, self.now_s, {})
        assert token is not None
        assert token.nats.subject == "weather.>"
        assert activates(exporter, importer.sub, entry, self.now_s, {"*": token.iat}) is None
        assert activates(exporter, importer.sub, entry, self.now_s, {importer.sub: token.iat - 1}) is not None
        assert activates(exporter, exporter.name, entry, self.now_s, {}) is None


def test_keys_to_trust() -> None:
    assert TRUST.keys == {OPERATOR.public_key, OPERATOR_SIGNER.public_key}
    assert TRUST.strict == frozenset()
    assert Trust.of([], [OPERATOR.public_key]).keys == {OPERATOR.public_key}
    with pytest.raises(ConfigError, match="required to be a valid public operator nkey"):
        Trust.of([], [ACCOUNT.public_key])


def test_an_account_by_somebody_else() -> None:
    own = encode(account(NOW_S), ACCOUNT, NOW_S)
    with pytest.raises(InvalidJWT, match=r"^account validation failed$"):
        verify_account(own, TRUST, NOW_S)
    good = encode(account(NOW_S), OPERATOR_SIGNER, NOW_S)
    assert verify_account(good, TRUST, NOW_S, ACCOUNT.public_key).name == "A"
    with pytest.raises(InvalidJWT, match=r"^account validation failed$"):
        verify_account(good, TRUST, NOW_S, OTHER.public_key)


def test_an_expired_account() -> None:
    claims = msgspec.structs.replace(account(NOW_S), exp=NOW_S)
    token = encode(claims, OPERATOR, NOW_S)
    found = signers_of(verify_account(token, TRUST, NOW_S), TRUST)
    with pytest.raises(CredentialsRefused) as caught:
        admit(given_user(user()), found, TRUST, peer(), NOW_S * SECOND_NS)
    assert caught.value.reason == "Account JWT has expired"
    with pytest.raises(InvalidJWT, match=r"^account validation failed$"):
        verify_account(token, TRUST, NOW_S + 1)


def given_user(make: Any, pair: KeyPair = ACCOUNT) -> UserClaims:
    """As it comes out of its token."""
    return decode_as(encode(make(NOW_S), pair, NOW_S), UserClaims)


def known_account(claims: AccountClaims | None = None) -> Any:
    """As it comes out of its token."""
    token = encode(claims or account(NOW_S), OPERATOR, NOW_S)
    return signers_of(verify_account(token, TRUST, NOW_S), TRUST)


def test_default_permissions_are_the_accounts() -> None:
    found = admit(given_user(user()), known_account(), TRUST, peer(), NOW_S * SECOND_NS)
    assert found.default_rules
    assert found.rules == UserRules(None, SubjectRules(("default.>",)))
    assert found.signing_key == ""


def test_a_scope_gives_rules_and_limits() -> None:
    claims = given_user(scoped(tags=("team:blue", "team:red")), SCOPED)
    found = admit(claims, known_account(), TRUST, peer(), NOW_S * SECOND_NS)
    assert found.rules == UserRules(
        SubjectRules(("d.dev1.>",)),
        SubjectRules(("t.blue", "t.red"), ("x",)),
        ResponseRules(2, limits.ALLOW_RESPONSES_TTL_NS),
    )
    assert found.max_subscriptions == 5
    assert found.signing_key == SCOPED.public_key


def test_a_scope_without_the_tag_denies_everything() -> None:
    found = admit(given_user(scoped(), SCOPED), known_account(), TRUST, peer(), NOW_S * SECOND_NS)
    assert found.rules is not None
    assert found.rules.subscribe == SubjectRules((), ("x", ">"))


@pytest.mark.parametrize(
    ("permissions", "rules"),
    [
        (Permissions(), None),
        (Permissions(pub=Permission(allow=(), deny=())), None),
        (Permissions(pub=Permission(deny=("a",))), UserRules(SubjectRules(None, ("a",)))),
        (Permissions(pub=Permission(allow=(), deny=("a",))), UserRules(SubjectRules((), ("a",)))),
        (
            Permissions(resp=ResponsePermission()),
            UserRules(SubjectRules(()), None, ResponseRules(1, 120 * SECOND_NS)),
        ),
        (
            Permissions(pub=Permission(allow=("a",)), resp=ResponsePermission(max=-1, ttl=5)),
            UserRules(SubjectRules(("a",)), None, ResponseRules(-1, 5)),
        ),
    ],
)
def test_rules(permissions: Permissions, rules: UserRules | None) -> None:
    assert user_rules(permissions) == rules


def test_the_least_of_limits() -> None:
    assert least(-1, -1) == -1
    assert least(-1, 5) == least(5, -1) == least(7, 5) == 5
    assert least(0, -1) == 0
    assert least(1 << 40, -1) == (1 << 31) - 1


@pytest.mark.parametrize(
    ("exp_s", "times", "left_s"),
    [
        (0, None, None),
        (100, None, 100),
        (0, ("00:00:00", "23:59:59"), None),
        (10, ("00:00:00", "23:59:59"), 10),
    ],
)
def test_until_when(exp_s: int, times: tuple[str, str] | None, left_s: int | None) -> None:
    spans = (TimeRange(start=times[0], end=times[1]),) if times else None
    made = user(times=spans, times_location="UTC")(NOW_S)
    claims = given_user(lambda _now: msgspec.structs.replace(made, exp=exp_s and NOW_S + exp_s))
    found = admit(claims, known_account(), TRUST, peer(), NOW_S * SECOND_NS)
    day_end_ns = (86_399 - NOW_S % 86_400) * SECOND_NS
    wanted = day_end_ns if times and left_s is None else left_s and left_s * SECOND_NS
    assert found.expires_ns == wanted


@pytest.mark.parametrize(
    ("revocations", "issued_s", "revoked"),
    [
        ({}, 5, False),
        ({"U": 4}, 5, False),
        ({"U": 5}, 5, True),
        ({"U": 6}, 5, True),
        ({"X": 9}, 5, False),
        ({"*": 5}, 5, True),
        ({"*": 4, "U": 4}, 5, False),
        ({"*": 9, "U": 1}, 5, True),
        ({"U": 0}, 0, True),
    ],
)
def test_revocations(revocations: dict[str, int], issued_s: int, revoked: bool) -> None:
    assert is_revoked(revocations, "U", issued_s) is revoked


def test_a_user_issued_after_the_revocation_comes_in() -> None:
    claims = account(NOW_S)
    since = msgspec.structs.replace(
        claims, nats=msgspec.structs.replace(claims.nats, revocations={REVOKED.public_key: NOW_S - 1})
    )
    who = given_user(user(key=REVOKED))
    admit(who, known_account(since), TRUST, peer(REVOKED), NOW_S * SECOND_NS)
    with pytest.raises(CredentialsRefused) as caught:
        admit(who, known_account(), TRUST, peer(REVOKED), NOW_S * SECOND_NS)
    assert caught.value.reason == "User authentication revoked"


def test_pinned_accounts() -> None:
    who = given_user(user(issuer_account=ACCOUNT.public_key), SIGNER)
    assert account_of(who, {ACCOUNT.public_key}) == account_of(who) == ACCOUNT.public_key
    with pytest.raises(CredentialsRefused) as caught:
        account_of(who, {SIGNER.public_key})
    assert caught.value.reason == f"Account {ACCOUNT.public_key} not listed as operator pinned account"


def test_a_sentinel_stands_in_for_no_token_only() -> None:
    sentinel = encode(user(bearer_token=True)(NOW_S), ACCOUNT, NOW_S)
    expired = encode(msgspec.structs.replace(user()(NOW_S), exp=5), ACCOUNT, NOW_S)
    who = peer()
    assert present("", who, NOW_S * SECOND_NS, sentinel).nats.bearer_token
    assert present("eyJx.y.z", who, NOW_S * SECOND_NS, sentinel).nats.bearer_token
    with pytest.raises(CredentialsRefused) as caught:
        present(expired, who, NOW_S * SECOND_NS, sentinel)
    assert caught.value.reason == "User JWT no longer valid: claim is expired"


def test_a_proxy_may_be_required() -> None:
    token = encode(user(proxy_required=True)(NOW_S), ACCOUNT, NOW_S)
    assert present(token, peer(proxied=True), NOW_S * SECOND_NS).nats.proxy_required
    with pytest.raises(CredentialsRefused) as caught:
        present(token, peer(), NOW_S * SECOND_NS)
    assert caught.value.reason == "proxy connection required"


def test_a_strict_operator_refuses_the_accounts_own_key() -> None:
    strict = operator()
    body = msgspec.structs.replace(strict.nats, strict_signing_key_usage=True)
    trust = Trust.of([msgspec.structs.replace(strict, nats=body)])
    assert trust.keys == {OPERATOR_SIGNER.public_key}
    token = encode(account(NOW_S), OPERATOR_SIGNER, NOW_S)
    found = signers_of(verify_account(token, trust, NOW_S), trust)
    with pytest.raises(CredentialsRefused) as caught:
        admit(given_user(user()), found, trust, peer(), NOW_S * SECOND_NS)
    assert caught.value.reason == "User JWT issuer is not known"
    signed = given_user(user(issuer_account=ACCOUNT.public_key), SIGNER)
    assert admit(signed, found, trust, peer(), NOW_S * SECOND_NS).signing_key == SIGNER.public_key
    with pytest.raises(CredentialsRefused) as caught:
        admit(signed, known_account(), trust, peer(), NOW_S * SECOND_NS)
    assert caught.value.reason == "Account JWT not signed by trusted operator"


ACTIVATION = ActivationClaims(sub=OTHER.public_key, nats=Activation(subject="a.*", kind="stream"))


@pytest.mark.parametrize(
    ("claims", "pair", "entry", "good"),
    [
        ({}, ACCOUNT, {}, True),
        ({"nats": {"issuer_account": ACCOUNT.public_key}}, SIGNER, {}, True),
        ({"nats": {"issuer_account": ACCOUNT.public_key}}, OTHER, {}, False),
        ({"nats": {"issuer_account": OTHER.public_key}}, ACCOUNT, {}, False),
        ({}, SIGNER, {}, False),
        ({"exp": NOW_S + 1}, ACCOUNT, {}, True),
        ({"exp": NOW_S}, ACCOUNT, {}, False),
        ({"nbf": NOW_S + 1}, ACCOUNT, {}, False),
        ({"sub": ACCOUNT.public_key}, ACCOUNT, {}, False),
        ({"nats": {"kind": "service"}}, ACCOUNT, {}, False),
        ({"nats": {"subject": "b.*"}}, ACCOUNT, {}, False),
        ({}, ACCOUNT, {"subject": "a.b"}, True),
        ({}, ACCOUNT, {"subject": "a.>"}, True),  # as there; that it is exported is asked elsewhere
        ({}, ACCOUNT, {"subject": "a.b.c"}, False),
        ({}, ACCOUNT, {"token": ""}, False),
        ({}, ACCOUNT, {"token": "x"}, False),
        ({}, ACCOUNT, {"account": OTHER.public_key}, False),
    ],
)
def test_activations(claims: dict[str, Any], pair: KeyPair, entry: dict[str, Any], good: bool) -> None:
    body = msgspec.structs.replace(ACTIVATION.nats, **claims.pop("nats", {}))
    token = encode(msgspec.structs.replace(ACTIVATION, nats=body, **claims), pair, NOW_S)
    wanted = {"subject": "a.*", "account": ACCOUNT.public_key, "type": "stream", "token": token, **entry}
    found = activates(known_account(), OTHER.public_key, Import(**wanted), NOW_S, None)
    assert (found is not None) is good


def test_jetstream_limits() -> None:
    assert tiers(OPEN_LIMITS) == {}
    assert tiers(OperatorLimits(disk_storage=5)) == {
        "": JetStreamLimits(
            disk_storage=5, max_ack_pending=-1, mem_max_stream_bytes=-1, disk_max_stream_bytes=-1
        )
    }
    limited = JetStreamLimits(mem_storage=1, max_ack_pending=3)
    tiered = OperatorLimits(tiered_limits={"R1": limited, "R3": JetStreamLimits()})
    assert tiers(tiered)["R1"].max_ack_pending == 3
    assert tiers(tiered)["R3"].mem_storage == 0
    assert tiers(OperatorLimits(tiered_limits={"R1": JetStreamLimits(streams=5)})) == {}


@pytest.mark.parametrize(
    ("asserted", "text"),
    [
        ("", ""),
        ("2.15.1", ""),
        ("2.9.99", ""),
        ("1.99.0", ""),
        ("2.15.2", "expected update version 2 > server update version 1"),
        ("2.16.0", "expected minor version 16 > server minor version 15"),
        ("3.0.0", "expected major version 3 > server major version 2"),
        ("x", "expects version x got error instead: asserted server version must be of the form"),
    ],
)
def test_the_server_has_to_be_new_enough(asserted: str, text: str) -> None:
    made = operator()
    body = msgspec.structs.replace(made.nats, assert_server_version=asserted)
    claims = msgspec.structs.replace(made, nats=body)
    if not text:
        check_server_version(claims, "2.15.1-RC.1")
        return
    with pytest.raises(ConfigError, match=text):
        check_server_version(claims, "2.15.1-RC.1")


def test_who_an_operator_vouches_for() -> None:
    made = operator()
    by_signer = msgspec.structs.replace(account(NOW_S), iss=OPERATOR_SIGNER.public_key)
    by_itself = msgspec.structs.replace(by_signer, iss=OPERATOR.public_key)
    assert did_sign(made, by_signer)
    assert did_sign(made, by_itself)
    assert not did_sign(made, msgspec.structs.replace(by_signer, iss=ACCOUNT.public_key))
    strict = msgspec.structs.replace(
        made, nats=msgspec.structs.replace(made.nats, strict_signing_key_usage=True)
    )
    assert not did_sign(strict, by_itself)
    assert did_sign(strict, msgspec.structs.replace(strict, iss=OPERATOR.public_key))


def test_account_without_anything() -> None:
    bare = AccountClaims(sub=ACCOUNT.public_key, nats=Account())
    who = admit(given_user(user()), known_account(bare), TRUST, peer(), NOW_S * SECOND_NS)
    assert (who.rules, who.max_payload, who.max_subscriptions) == (None, 0, 0)
