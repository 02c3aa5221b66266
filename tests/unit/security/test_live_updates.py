"""New claims of an account: nats-server sends away whom ours would, with the same words."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from phloem.shared.limits import SECOND_NS
from phloem.shared.security import issue
from phloem.shared.security.admission import Admitted, Peer, admit, present
from phloem.shared.security.claims import AccountClaims
from phloem.shared.security.renewal import Leaves, renew
from phloem.shared.security.tokens import encode, encode_base64url
from phloem.shared.security.trust import Trust, verify_account
from phloem.shared.security.trust import account as signers_of
from tests.support.rawclient import RawClient
from tests.support.real_server import RealServer
from tests.unit.security.keyring import ACCOUNT, OPERATOR, OTHER, SCOPED, SIGNER, USER
from tests.unit.security.world import account, operator, scoped, strict_account, user

NOW_S = int(time.time_ns() // SECOND_NS)  # nats-server has no other
TRUST = Trust.of([operator()])
BEFORE = account(NOW_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    preload = "\n".join(
        f"{claims.sub}: {encode(claims, OPERATOR, NOW_S)}" for claims in (BEFORE, strict_account())
    )
    config = f"operator: {encode(operator(), OPERATOR, NOW_S)}\nresolver: MEMORY\n"
    config += f"system_account: {OTHER.public_key}\nresolver_preload {{ {preload} }}"
    with RealServer(config, tmp_path_factory.mktemp("updates")) as one:
        yield one


async def logged_in(server: RealServer, token: str) -> RawClient:
    """A client with the user's key."""
    client = await RawClient.connect("127.0.0.1", server.port())
    info = await client.expect_info()
    sig = encode_base64url(USER.sign(info["nonce"].encode()))
    client.send(f"CONNECT {json.dumps({'verbose': False, 'jwt': token, 'sig': sig})}\r\nPING\r\n")
    await client.expect(re.compile(rb"PONG\r\n"))
    return client


async def pushed(system: RawClient, claims: AccountClaims) -> None:
    """The server has taken the claims."""
    token = encode(claims, OPERATOR, NOW_S)
    subject = f"$SYS.REQ.ACCOUNT.{claims.sub}.CLAIMS.UPDATE"
    system.send(f"PUB {subject} _INBOX.1 {len(token)}\r\n{token}\r\n")
    await system.expect(re.compile(rb'H?MSG _INBOX\.1 1 [\d ]+\r\n[^\r]*"code":200[^\r]*\r\n'))


def ours(token: str, after: AccountClaims) -> Admitted | Leaves:
    """What ours makes of somebody who came in before."""
    peer = Peer("STANDARD", "127.0.0.1", b"nonce", encode_base64url(USER.sign(b"nonce")))
    known = [
        signers_of(verify_account(encode(claims, OPERATOR, NOW_S), TRUST, NOW_S), TRUST)
        for claims in (BEFORE, after)
    ]
    found = present(token, peer, NOW_S * SECOND_NS)
    admitted = admit(found, known[0], TRUST, peer, NOW_S * SECOND_NS)
    return renew(admitted, *known)


def with_body(**fields: Any) -> AccountClaims:
    """The account with something else."""
    return msgspec.structs.replace(BEFORE, nats=msgspec.structs.replace(BEFORE.nats, **fields))


def without(key: str) -> AccountClaims:
    """Without a signing key."""
    keys = BEFORE.nats.signing_keys
    return with_body(signing_keys={name: keys[name] for name in keys if name != key})


def other_role() -> AccountClaims:
    """The scope is another one."""
    keys = BEFORE.nats.signing_keys
    scope = keys[SCOPED.public_key]
    assert scope is not None
    return with_body(signing_keys={**keys, SCOPED.public_key: msgspec.structs.replace(scope, role="x")})


NONE_LEFT = b"-ERR 'maximum subscriptions exceeded'\r\n"
NO_BEARERS = with_body(limits=msgspec.structs.replace(BEFORE.nats.limits, disallow_bearer=True))
REVOKED = issue.revoke(BEFORE, USER.public_key, NOW_S)
A = ACCOUNT.public_key
KINDS: dict[str, Callable[[], str]] = {
    "plain": lambda: encode(user()(NOW_S), ACCOUNT, NOW_S),
    "signed": lambda: encode(user(A)(NOW_S), SIGNER, NOW_S),
    "scoped": lambda: encode(scoped(tags=("team:x",))(NOW_S), SCOPED, NOW_S),
    "bearer": lambda: encode(user(bearer_token=True)(NOW_S), ACCOUNT, NOW_S),
}
CHANGES = {
    "nothing": BEFORE,
    "revoked": REVOKED,
    "all revoked": issue.revoke(BEFORE, "*", NOW_S),
    "revoked before": issue.revoke(BEFORE, USER.public_key, NOW_S - 1),
    "no bearers": NO_BEARERS,
    "signing key gone": without(SIGNER.public_key),
    "scope gone": without(SCOPED.public_key),
    "scope changed": other_role(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
async def test_who_stays(server: RealServer, kind: str, change: str) -> None:
    token, after = KINDS[kind](), CHANGES[change]
    wanted = ours(token, after)
    system = await logged_in(server, encode(user()(NOW_S), OTHER, NOW_S))
    try:
        system.send("SUB _INBOX.1 1\r\n")
        await system.expect_silence_until_pong()
        async with await logged_in(server, token) as client:
            await pushed(system, after)
            if isinstance(wanted, Admitted):
                await client.expect_silence_until_pong()
            elif wanted.wire_text:
                await client.expect_error(wanted.wire_text, closes=True)
            else:
                # nats-server may notice first that without the scope the user has no subscriptions left
                assert await client.read_until_close() in (b"", NONE_LEFT)
    finally:
        await pushed(system, BEFORE)
        system.close()
