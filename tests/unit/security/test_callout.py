"""Auth callouts: with nats-server asking and ours answering, and every answer that does not count."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from phloem.shared.errors import CredentialsRefused
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.admission import Peer, SubjectRules
from phloem.shared.security.callout import (
    AUDIENCE,
    Asked,
    admit_answered,
    answer,
    answered_account,
    request,
    sealed_request,
)
from phloem.shared.security.callout_claims import (
    AuthorizationRequest,
    AuthorizationRequestClaims,
    AuthorizationResponse,
    AuthorizationResponseClaims,
)
from phloem.shared.security.claims import (
    OPEN_LIMITS,
    OPEN_USER,
    Account,
    AccountClaims,
    ExternalAuthorization,
    Permission,
    TimeRange,
    User,
    UserClaims,
)
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import decode_as, encode
from phloem.shared.security.trust import Trust
from phloem.shared.security.trust import account as signers_of
from phloem.shared.security.xkeys import seal, unseal
from tests.support.rawclient import RawClient
from tests.support.real_server import RealServer
from tests.unit.security.keyring import ACCOUNT, CURVE, OTHER, OTHER_CURVE, SCOPED, SERVER, SIGNER, USER
from tests.unit.security.world import account, user

NOW_S = 1_790_000_000
NOW_NS = NOW_S * SECOND_NS
PEER = Peer("STANDARD", "127.0.0.1", b"nonce")
CONFIGURED = Asked("AUTH", USER.public_key, SERVER.public_key, issuer=ACCOUNT.public_key)
OPERATED = Asked(
    ACCOUNT.public_key,
    USER.public_key,
    SERVER.public_key,
    signers=account(NOW_S).nats.signing_keys,
    callout=ExternalAuthorization(auth_users=(USER.public_key,), allowed_accounts=(OTHER.public_key,)),
)
SEALED = CONFIGURED._replace(xkey=CURVE.public_key)


def response(user_token: str = "", signer: KeyPair = ACCOUNT, now_s: int = NOW_S, **fields: Any) -> bytes:
    """An answer."""
    top = {"sub": USER.public_key, "aud": SERVER.public_key, "exp": 0} | {
        key: fields.pop(key) for key in ("sub", "aud", "exp") if key in fields
    }
    body = AuthorizationResponse(jwt=user_token, **fields)
    return encode(AuthorizationResponseClaims(nats=body, **top), signer, now_s).encode()


def token(claims: UserClaims | None = None, signer: KeyPair = ACCOUNT, **fields: Any) -> str:
    """A user."""
    made = claims or user()(NOW_S)
    return encode(msgspec.structs.replace(made, **fields), signer, NOW_S)


def reason(body: bytes, asked: Asked = CONFIGURED, curve: KeyPair | None = None) -> str:
    """Why an answer lets nobody in."""
    with pytest.raises(CredentialsRefused) as caught:
        answered_account(answer(body, asked, curve, PEER, NOW_NS), asked)
    return caught.value.reason


def test_an_answer_that_counts() -> None:
    found = answer(response(token(aud="APP")), CONFIGURED, None, PEER, NOW_NS)
    assert answered_account(found, CONFIGURED) == "APP"
    granted = AccountClaims(sub="APP", nats=Account(limits=msgspec.structs.replace(OPEN_LIMITS, subs=7)))
    admitted = admit_answered(found, CONFIGURED, signers_of(granted, Trust()), NOW_NS)
    assert (admitted.account, admitted.max_subscriptions, admitted.rules) == ("APP", 7, None)


INVALID = "Authorization response had validation errors: "
VIOLATION = "Auth callout violation: auth callout response is not for "
NEVER = (TimeRange(start="12:00:00", end="12:00:00"),)
ELSE = {pair: KeyPair(pair.prefix, b"w" * 32).public_key for pair in (USER, SERVER)}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", 'Auth callout violation: "no reason supplied" on account "AUTH"'),
        (b"x", "Expected 3 chunks"),
        (response(error="nope"), "Auth callout service returned an error: nope"),
        (response(), f"{INVALID}Error or Jwt is required"),
        (response("x", error="y"), f"{INVALID}Only Error or Jwt can be set"),
        (response("x", sub=ELSE[USER]), f"{VIOLATION}expected user"),
        (response("x", sub="x"), f"{INVALID}Subject must be a user public key"),
        (response("x", aud=ELSE[SERVER]), f"{VIOLATION}server"),
        (response(token(), exp=NOW_S - 1), f"{INVALID}claim is expired"),
        (response("x"), "Expected 3 chunks"),
        (
            response(token(signer=OTHER)),
            'Wrong issuer for auth callout response on account "AUTH", '
            f'expected "{ACCOUNT.public_key}" got "{OTHER.public_key}"',
        ),
        (
            response(token(user(ACCOUNT.public_key)(NOW_S))),
            'Error non operator mode account "AUTH": attempted to use issuer_account',
        ),
        (response(token(exp=NOW_S - 1)), "Error validating user JWT: claim is expired"),
        (response(token(user(proxy_required=True)(NOW_S))), "Proxy connection required"),
        (
            response(token(user(times=NEVER)(NOW_S))),
            'Authorized user on account "AUTH" outside of valid connect times',
        ),
        (
            response(token(user(allowed_connection_types=("X",))(NOW_S))),
            'Authorized user on account "AUTH" using invalid connection type',
        ),
        (response(response(error="x").decode()), "Not user claim"),
        (token().encode(), "Not an authorization request claim"),
    ],
)
def test_answers_that_do_not_count(body: bytes, text: str) -> None:
    assert reason(body) == text


def test_another_user_than_asked_for() -> None:
    other = KeyPair(USER.prefix, b"w" * 32)
    text = f'Expected authorized user of "{USER.public_key}" but got "{other.public_key}" on account "AUTH"'
    assert reason(response(token(sub=other.public_key))) == text


def test_operator_mode() -> None:
    trust = Trust.of([], [OTHER_OPERATOR])
    claims = msgspec.structs.replace(account(NOW_S), iss=OTHER_OPERATOR)
    known = signers_of(claims, trust)
    scope_user = UserClaims(sub=USER.public_key, name="x", nats=User(issuer_account=ACCOUNT.public_key))
    found = answer(response(token(scope_user, SCOPED), SIGNER), OPERATED, None, PEER, NOW_NS)
    assert answered_account(found, OPERATED) == ACCOUNT.public_key
    admitted = admit_answered(found, OPERATED, known, NOW_NS)
    assert admitted.rules is not None
    assert admitted.rules.publish == SubjectRules(("d.x.>",))
    assert admitted.max_subscriptions == -1  # the account's; the scope's 5 do not count here
    elsewhere = answer(response(token(signer=OTHER)), OPERATED, None, PEER, NOW_NS)
    assert answered_account(elsewhere, OPERATED) == OTHER.public_key
    with pytest.raises(CredentialsRefused) as caught:
        admit_answered(elsewhere, OPERATED, known, NOW_NS)
    assert caught.value.reason == f'User JWT issuer "{OTHER.public_key}" is not known'
    assert reason(response(token(), OTHER), OPERATED) == "Auth callout signing key is unknown"
    strict = OPERATED._replace(callout=ExternalAuthorization())
    text = f'Account "{OTHER.public_key}" not permitted as valid account option for auth callout'
    assert reason(response(token(signer=OTHER)), strict) == f'{text} for account "{ACCOUNT.public_key}"'
    any_account = OPERATED._replace(callout=ExternalAuthorization(allowed_accounts=("*",)))
    assert answered_account(elsewhere, any_account) == OTHER.public_key


OTHER_OPERATOR = KeyPair(SERVER.prefix.OPERATOR, b"w" * 32).public_key


def test_sealed_both_ways() -> None:
    """CURVE is the service's, OTHER_CURVE the server's."""
    asked = request(SEALED, AuthorizationRequest(), SERVER, NOW_NS, 2 * SECOND_NS)
    sealed = sealed_request(asked, SEALED, OTHER_CURVE, bytes(24))
    opened = decode_as(unseal(CURVE, sealed, OTHER_CURVE.public_key).decode(), AuthorizationRequestClaims)
    assert (opened.aud, opened.sub, opened.exp) == (AUDIENCE, ACCOUNT.public_key, NOW_S + 2)
    assert opened.nats.user_nkey == USER.public_key
    good = response(token(aud="APP"))
    for body in (good, seal(CURVE, good, OTHER_CURVE.public_key, bytes(24))):
        assert answer(body, SEALED, OTHER_CURVE, PEER, NOW_NS).aud == "APP"
    text = 'Error decrypting auth callout response on account "AUTH": nkeys: could not decrypt input'
    assert reason(seal(OTHER_CURVE, good, CURVE.public_key, b"n" * 24)[:-1], SEALED, OTHER_CURVE) == text
    text = 'Error decrypting auth callout response on account "AUTH": nkeys: encrypted input is not valid'
    assert reason(b"zzz", SEALED, OTHER_CURVE) == text


CONFIG = f"""
accounts {{ AUTH {{ users: [ {{ user: auth, password: auth }} ] }}, APP {{}} }}
authorization {{ timeout: 5, auth_callout {{
  issuer: {ACCOUNT.public_key}, account: AUTH, auth_users: [ auth ]%s }} }}
"""
SEALING = f", xkey: {CURVE.public_key}"


@pytest.fixture(scope="module", params=["", SEALING], ids=["plain", "sealed"])
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with RealServer(CONFIG % request.param, tmp_path_factory.mktemp("callout")) as server:
        yield server


MESSAGE = re.compile(rb"H?MSG \$SYS\.REQ\.USER\.AUTH 1 (\S+) (?:(\d+) )?(\d+)\r\n")


async def _asked(service: RawClient) -> tuple[str, AuthorizationRequestClaims, str]:
    """Reply subject, request and the server's curve key."""
    head = await service.expect(MESSAGE)
    found = MESSAGE.match(head)
    assert found is not None
    headers, total = int(found[2] or 0), int(found[3])
    body = await service.expect(re.compile(rb".{%d}\r\n" % total, re.DOTALL))
    xkey = re.search(rb"Nats-Server-Xkey: *(\S+)", body[:headers])
    plain = body[headers:total]
    if xkey is not None:
        plain = unseal(CURVE, plain, xkey[1].decode())
    claims = decode_as(plain.decode(), AuthorizationRequestClaims)
    return found[1].decode(), claims, xkey[1].decode() if xkey else ""


@pytest.mark.parametrize("let_in", [True, False])
async def test_nats_server_asks_and_ours_answers(asking: RealServer, let_in: bool) -> None:
    port = asking.port()
    async with await RawClient.connect("127.0.0.1", port) as service:
        await service.handshake('{"verbose":false,"user":"auth","pass":"auth","headers":true}')
        service.send("SUB $SYS.REQ.USER.AUTH 1\r\n")
        await service.expect_silence_until_pong()
        async with await RawClient.connect("127.0.0.1", port) as client:
            info = await client.expect_info()
            client.send(
                'CONNECT {"verbose":false,"user":"u","pass":"p","name":"me","protocol":1}\r\nPING\r\n'
            )
            reply, asked, xkey = await _asked(service)
            body = asked.nats
            assert asked.aud == AUDIENCE
            assert asked.iss == body.server_id.id == info["server_id"]
            assert (body.connect_opts.user, body.connect_opts.pass_) == ("u", "p")
            assert body.client_info.name == "me"
            now_s = asked.iat
            rights = msgspec.structs.replace(OPEN_USER, pub=Permission(allow=("let.in",)))
            fields = {name: getattr(rights, name) for name in rights.__struct_fields__}
            made = UserClaims(sub=body.user_nkey, aud="APP", name="u", nats=User(**fields))
            said = {"error": "nope"} if not let_in else {}
            given_token = encode(made, ACCOUNT, now_s) if let_in else ""
            back = response(given_token, now_s=now_s, sub=body.user_nkey, aud=body.server_id.id, **said)
            if xkey:
                back = seal(CURVE, back, xkey, b"n" * 24)
            service.send(f"PUB {reply} {len(back)}\r\n".encode() + back + b"\r\n")
            if not let_in:
                await client.expect_error("Authorization Violation", closes=True)
                return
            await client.expect("PONG\r\n")
            await client.expect_info()
            assert json.loads(json.dumps(client.info))["remote_account"] == "APP"
            client.send("PUB let.in 0\r\n\r\nPUB keep.out 0\r\n\r\n")
            await client.expect_error('Permissions Violation for Publish to "keep.out"', closes=False)
