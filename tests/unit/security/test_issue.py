"""What is issued is what was meant, and what is taken back is gone, also for those who are connected."""

from typing import Any

import msgspec
import pytest

from phloem.shared.errors import CredentialsRefused, InvalidJWT
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import issue
from phloem.shared.security.admission import Admitted, Peer, SubjectRules, UserRules, admit, present
from phloem.shared.security.claims import AccountClaims, OperatorClaims, Permission, Permissions
from phloem.shared.security.renewal import Leaves, renew
from phloem.shared.security.tokens import decode_as, encode, encode_base64url
from phloem.shared.security.trust import Account, Trust, verify_account
from phloem.shared.security.trust import account as signers_of
from phloem.shared.security.validation import validate
from tests.unit.security.keyring import ACCOUNT, OPERATOR, OPERATOR_SIGNER, OTHER, SCOPED, USER
from tests.unit.security.world import user

NOW_S = 1_790_000_000
DEVICE = issue.new_scope(
    SCOPED.public_key,
    "device",
    Permissions(pub=Permission(allow=("field.{{name()}}.>",)), sub=Permission(allow=("cmd.{{name()}}.>",))),
)
FIELD = issue.new_account(ACCOUNT.public_key, "FIELD", scopes=[DEVICE])
CLAIMS = issue.new_operator(OPERATOR.public_key, "Farm", [OPERATOR_SIGNER.public_key], OTHER.public_key)
TRUST = Trust.of([CLAIMS])


def known(claims: AccountClaims = FIELD) -> Account:
    """As a server has it."""
    token = encode(claims, OPERATOR_SIGNER, NOW_S)
    return signers_of(verify_account(token, TRUST, NOW_S), TRUST)


def enrolled(claims: AccountClaims = FIELD, signer: Any = SCOPED, made: Any = None) -> Admitted:
    """A device that came in."""
    device = made or issue.scoped_user(USER.public_key, ACCOUNT.public_key, "pump1")
    token = encode(device, signer, NOW_S)
    signature = encode_base64url(USER.sign(b"nonce"))
    peer = Peer("LEAFNODE", "10.0.0.1", b"nonce", signature)
    found = present(token, peer, NOW_S * SECOND_NS)
    return admit(found, known(claims), TRUST, peer, NOW_S * SECOND_NS)


def test_an_operator_is_sound_and_strict() -> None:
    claims = decode_as(encode(CLAIMS, OPERATOR, NOW_S), OperatorClaims)
    assert not list(validate(claims, NOW_S))
    assert TRUST.keys == {OPERATOR_SIGNER.public_key}


def test_a_device_gets_its_own_subjects() -> None:
    assert not list(validate(known().claims, NOW_S))
    assert enrolled().rules == UserRules(SubjectRules(("field.pump1.>",)), SubjectRules(("cmd.pump1.>",)))


def test_users_are_named() -> None:
    made = issue.scoped_user(USER.public_key, ACCOUNT.public_key, tags=["A", " a", "B:C "], exp_s=7)
    assert (made.name, made.nats.tags, made.exp) == (USER.public_key, ("a", "b:c"), 7)
    with pytest.raises(InvalidJWT, match="requires an account key for the accountId"):
        issue.scoped_user(USER.public_key, USER.public_key)
    with pytest.raises(InvalidJWT, match="requires an user key for the publicUserKey"):
        issue.scoped_user(ACCOUNT.public_key, ACCOUNT.public_key)


def test_a_plain_user() -> None:
    rights = Permissions(pub=Permission(allow=("a",)))
    made = issue.new_user(USER.public_key, "me", rights)
    assert made.nats.subs == made.nats.payload == -1
    assert made.nats.pub == rights.pub


def test_revoking() -> None:
    twice = issue.revoke(issue.revoke(FIELD, USER.public_key, 7), USER.public_key, 5)
    assert twice.nats.revocations == {USER.public_key: 7}
    everybody = issue.revoke(issue.revoke(twice, "later", 20), "*", 10)
    assert everybody.nats.revocations == {"*": 10, "later": 20}
    assert issue.clear_revocation(everybody, "*").nats.revocations == {"later": 20}


def test_a_revoked_device_stays_out_until_it_is_enrolled_again() -> None:
    gone = issue.revoke(FIELD, USER.public_key, NOW_S)
    with pytest.raises(CredentialsRefused) as caught:
        enrolled(gone)
    assert caught.value.reason == "User authentication revoked"
    assert enrolled(issue.revoke(FIELD, USER.public_key, NOW_S - 1)).account == ACCOUNT.public_key


def changed(**fields: Any) -> Account:
    """The account with something else."""
    return known(msgspec.structs.replace(FIELD, nats=msgspec.structs.replace(FIELD.nats, **fields)))


def test_nothing_changes_for_those_whom_it_does_not_concern() -> None:
    admitted = enrolled()
    assert renew(admitted, known(), known()) == admitted
    assert renew(admitted, known(), known(issue.revoke(FIELD, OTHER.public_key, NOW_S + 9))) == admitted
    assert renew(admitted, known(), known(issue.revoke(FIELD, USER.public_key, NOW_S - 1))) == admitted


REVOKED = Leaves("User Authentication Revoked", "Credentials Revoked")
SILENT = Leaves("", "Authentication Failure")


def test_those_who_have_to_go() -> None:
    admitted, before = enrolled(), known()
    assert renew(admitted, before, known(issue.revoke(FIELD, USER.public_key, NOW_S))) == REVOKED
    assert renew(admitted, before, known(issue.revoke(FIELD, "*", NOW_S))) == REVOKED
    assert renew(admitted, before, changed(signing_keys={})) == SILENT
    other = msgspec.structs.replace(DEVICE, role="other")
    assert renew(admitted, before, changed(signing_keys={SCOPED.public_key: other})) == SILENT
    assert renew(admitted, before, changed(signing_keys={SCOPED.public_key: None})) == SILENT
    more = {SCOPED.public_key: DEVICE, OTHER.public_key: None}
    assert renew(admitted, before, changed(signing_keys=more)) == admitted


def test_a_bearer_where_it_is_no_longer_allowed() -> None:
    trust_all = issue.new_account(ACCOUNT.public_key, "FIELD", signing_keys=[OTHER.public_key])
    admitted = enrolled(trust_all, OTHER, user(ACCOUNT.public_key, bearer_token=True)(NOW_S))
    limits = msgspec.structs.replace(FIELD.nats.limits, disallow_bearer=True)
    after = changed(limits=limits, signing_keys=trust_all.nats.signing_keys)
    assert renew(admitted, known(trust_all), after) == Leaves(
        "Authorization Violation", "Authentication Failure"
    )


def test_limits_and_default_permissions_follow_the_account() -> None:
    trust_all = issue.new_account(ACCOUNT.public_key, "FIELD", signing_keys=[OTHER.public_key])
    admitted = enrolled(trust_all, OTHER, user(ACCOUNT.public_key, payload=10)(NOW_S))
    assert (admitted.max_payload, admitted.max_subscriptions, admitted.rules) == (10, -1, None)
    after = changed(
        limits=msgspec.structs.replace(FIELD.nats.limits, payload=50, subs=3),
        signing_keys=trust_all.nats.signing_keys,
        default_permissions=Permissions(sub=Permission(deny=("x",))),
    )
    found = renew(admitted, known(trust_all), after)
    assert isinstance(found, Admitted)
    assert (found.max_payload, found.max_subscriptions) == (10, 3)
    assert found.rules == UserRules(None, SubjectRules(None, ("x",)))
    called = renew(admitted, known(trust_all), after, by_callout=True)
    assert isinstance(called, Admitted)
    assert called.max_payload == 50
