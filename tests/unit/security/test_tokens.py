"""Claims of all kinds as tokens and back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.shared.errors import InvalidJWT
from phloem.shared.security.callout_claims import (
    AuthorizationRequestClaims,
    AuthorizationResponse,
    AuthorizationResponseClaims,
    ConnectOptions,
)
from phloem.shared.security.claims import (
    Account,
    AccountClaims,
    Activation,
    ActivationClaims,
    Claims,
    Export,
    Import,
    Operator,
    OperatorClaims,
    OperatorLimits,
    Permission,
    ResponsePermission,
    TimeRange,
    User,
    UserClaims,
    UserScope,
    WeightedMapping,
)
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import decode, decode_as, encode
from tests.unit.security.keyring import (
    ACCOUNT,
    CURVE,
    OPERATOR,
    OTHER,
    SERVER,
    SIGNER,
    USER,
    signed,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
SOME = st.lists(TEXT, max_size=3).map(tuple)
MAYBE = st.none() | st.lists(TEXT, min_size=1, max_size=3).map(tuple)  # an empty list is not written
STANDARD = {"aud": TEXT, "exp": INT64, "name": TEXT, "nbf": INT64}
PERMISSION = st.builds(Permission, allow=MAYBE, deny=MAYBE)
RIGHTS: dict[str, Any] = {
    "pub": PERMISSION,
    "sub": PERMISSION,
    "resp": st.none() | st.builds(ResponsePermission, max=INT64, ttl=INT64),
    "src": MAYBE,
    "times": st.none()
    | st.lists(st.builds(TimeRange, start=TEXT, end=TEXT), min_size=1, max_size=2).map(tuple),
    "subs": INT64,
    "bearer_token": st.booleans(),
    "allowed_connection_types": MAYBE,
}
KIND = st.sampled_from(["stream", "service"])
EXPORT = st.builds(
    Export,
    subject=TEXT,
    type=KIND,
    token_req=st.booleans(),
    revocations=st.dictionaries(TEXT, INT64, max_size=2),
)
SCOPE = st.builds(
    UserScope, key=st.just(SIGNER.public_key), role=TEXT, template=st.deferred(lambda: TEMPLATE)
)
TEMPLATE = st.builds(
    lambda **fields: msgspec.structs.replace(UserScope().template, **fields),
    **{**RIGHTS, "subs": st.integers(1, 9)},
).map(lambda template: msgspec.structs.replace(template, data=-1, payload=-1))
ACCOUNT_BODY = st.builds(
    Account,
    exports=st.lists(EXPORT, max_size=3).map(lambda found: tuple(sorted(found, key=lambda e: e.subject))),
    imports=st.lists(st.builds(Import, subject=TEXT, type=KIND, token=TEXT), max_size=1).map(tuple),
    limits=st.builds(OperatorLimits, subs=INT64, wildcards=st.booleans(), conn=INT64),
    signing_keys=st.fixed_dictionaries({}, optional={SIGNER.public_key: SCOPE, "other": st.none()}),
    revocations=st.dictionaries(TEXT, INT64, max_size=3),
    mappings=st.dictionaries(
        TEXT,
        st.lists(st.builds(WeightedMapping, subject=TEXT, weight=st.integers(0, 255)), max_size=2).map(tuple),
        max_size=2,
    ),
    tags=SOME,
)


def claims_of(kind: type[Claims], subject: str, body: Any, signer: KeyPair) -> Any:
    """Claims and who signs them."""
    return st.tuples(st.builds(kind, sub=st.just(subject), nats=body, **STANDARD), st.just(signer))


EVERY = st.one_of(
    claims_of(UserClaims, USER.public_key, st.builds(User, tags=SOME, **RIGHTS), ACCOUNT),
    claims_of(AccountClaims, ACCOUNT.public_key, ACCOUNT_BODY, OPERATOR),
    claims_of(
        OperatorClaims, OPERATOR.public_key, st.builds(Operator, signing_keys=SOME, tags=SOME), OPERATOR
    ),
    claims_of(ActivationClaims, OTHER.public_key, st.builds(Activation, subject=TEXT, kind=KIND), ACCOUNT),
    claims_of(
        AuthorizationResponseClaims, "x", st.builds(AuthorizationResponse, jwt=TEXT, error=TEXT), ACCOUNT
    ),
)


@given(EVERY, st.integers(1, 1 << 40))
def test_what_is_written_is_read(case: tuple[Any, KeyPair], now_s: int) -> None:
    claims, pair = case
    found: Any = decode(encode(claims, pair, now_s))
    body = msgspec.structs.replace(claims.nats, type=claims.TYPE, version=2)
    wanted = msgspec.structs.replace(claims, iss=pair.public_key, iat=now_s, jti=found.jti, nats=body)
    assert found == wanted


@pytest.mark.parametrize(
    ("claims", "pair", "text"),
    [
        (UserClaims(), ACCOUNT, "subject is not set"),
        (UserClaims(sub=ACCOUNT.public_key), ACCOUNT, "expected subject to be user public key"),
        (AccountClaims(sub=USER.public_key), OPERATOR, "expected subject to be account public key"),
        (OperatorClaims(sub=USER.public_key), OPERATOR, "expected subject to be an operator public key"),
        (ActivationClaims(sub=USER.public_key), ACCOUNT, "expected subject to be an account"),
        (UserClaims(sub=USER.public_key), OPERATOR, r"unable to validate expected prefixes - \[account\]"),
        (AccountClaims(sub=ACCOUNT.public_key), USER, r"expected prefixes - \[account operator\]"),
        (AuthorizationRequestClaims(sub="x"), CURVE, r"unable to validate expected prefixes - \[server\]"),
    ],
)
def test_what_cannot_be_issued(claims: Claims, pair: KeyPair, text: str) -> None:
    with pytest.raises(InvalidJWT, match=f"{text}$"):
        encode(claims, pair, 1)


def test_a_token_of_another_kind() -> None:
    token = encode(UserClaims(sub=USER.public_key), ACCOUNT, 1)
    for kind, text in (
        (AccountClaims, "not account claim"),
        (OperatorClaims, "not operator claim"),
        (ActivationClaims, "not activation claim"),
        (AuthorizationRequestClaims, "not an authorization request claim"),
        (AuthorizationResponseClaims, "not an authorization request claim"),
    ):
        with pytest.raises(InvalidJWT, match=f"^{text}$"):
            decode_as(token, kind)


def test_every_bit_of_the_signed_part_counts() -> None:
    token = encode(UserClaims(sub=USER.public_key, name="dev1"), ACCOUNT, 1)
    other = encode(UserClaims(sub=USER.public_key, name="dev2"), ACCOUNT, 1)
    header, payload, signature = token.split(".")
    for mixed in (
        f"{header}.{other.split('.')[1]}.{signature}",
        f"{header}.{payload}.{other.split('.')[2]}",
        f"{header}.{payload}.",
    ):
        with pytest.raises(InvalidJWT, match=r"^claim failed V2 signature verification$"):
            decode(mixed)


def test_the_issuer_has_to_be_who_signed() -> None:
    payload = f'{{"iss":"{ACCOUNT.public_key}","sub":"x","nats":{{"type":"user","version":2}}}}'
    assert decode(signed(payload, ACCOUNT)).sub == "x"
    with pytest.raises(InvalidJWT, match="V2 signature"):
        decode(signed(payload, OTHER))


def test_secrets_are_not_shown() -> None:
    options = ConnectOptions(user="u", pass_="geheim", auth_token="geheim", jwt="geheim", sig="geheim")
    request = AuthorizationRequestClaims(sub="x")
    shown = repr(
        msgspec.structs.replace(request, nats=msgspec.structs.replace(request.nats, connect_opts=options))
    )
    assert "geheim" not in shown
    assert "pass_=..." in shown
    assert "user='u'" in shown
    token = encode(
        msgspec.structs.replace(request, nats=msgspec.structs.replace(request.nats, connect_opts=options)),
        SERVER,
        1,
    )
    assert decode_as(token, AuthorizationRequestClaims).nats.connect_opts == options
    assert "geheim" not in repr(AuthorizationResponse(jwt="geheim"))
    assert "geheim" not in repr(Import(token="geheim"))
