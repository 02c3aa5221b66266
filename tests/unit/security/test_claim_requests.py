"""What a resolver keeps and deletes, and its words when it does not: nats-server is asked beside ours."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from phloem.shared.limits import SECOND_NS
from phloem.shared.security.claim_requests import ClaimsRefused, operator_keys, to_delete, to_store
from phloem.shared.security.claims import (
    AccountClaims,
    Export,
    GenericClaims,
    Operator,
    OperatorClaims,
    UserClaims,
)
from phloem.shared.security.nkeys import KeyPair
from phloem.shared.security.tokens import encode, encode_base64url
from tests.support.rawclient import RawClient
from tests.support.real_server import RealServer
from tests.unit.security.keyring import ACCOUNT, OPERATOR, OPERATOR_SIGNER, OTHER, USER
from tests.unit.security.world import account, strict_account, user

NOW_S = int(time.time_ns() // SECOND_NS)  # nats-server has no other
SYSTEM = OTHER.public_key
CLAIMS = OperatorClaims(
    sub=OPERATOR.public_key,
    nats=Operator(
        signing_keys=(OPERATOR_SIGNER.public_key,), system_account=SYSTEM, strict_signing_key_usage=True
    ),
)
MINE = account(NOW_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("resolver")
    signer = KeyPair(OTHER.prefix, b"s" * 32).public_key
    system = strict_account()
    body = msgspec.structs.replace(system.nats, signing_keys={signer: None})
    token = encode(msgspec.structs.replace(system, nats=body), OPERATOR_SIGNER, NOW_S)
    config = f"operator: {encode(CLAIMS, OPERATOR, NOW_S)}\nresolver_preload {{ {SYSTEM}: {token} }}\n"
    config += f'resolver {{ type: full, dir: "{folder}/jwt", allow_delete: true }}'
    with RealServer(config, folder) as one:
        yield one


async def asked(server: RealServer, subject: str, body: str) -> dict[str, Any]:
    """What nats-server answers to somebody of the system account."""
    signer = KeyPair(OTHER.prefix, b"s" * 32)
    token = encode(user(SYSTEM)(NOW_S), signer, NOW_S)
    async with await RawClient.connect("127.0.0.1", server.port()) as client:
        info = await client.expect_info()
        sig = encode_base64url(USER.sign(info["nonce"].encode()))
        client.send(f"CONNECT {json.dumps({'verbose': False, 'jwt': token, 'sig': sig})}\r\nPING\r\n")
        await client.expect(re.compile(rb"PONG\r\n"))
        client.send(f"SUB _INBOX.1 1\r\nPUB {subject} _INBOX.1 {len(body)}\r\n{body}\r\n")
        found = await client.expect(re.compile(rb"MSG _INBOX\.1 1 +\d+\r\n[^\r]*\r\n"))
        answer = json.loads(found.split(b"\r\n")[1])
        assert isinstance(answer, dict)
        return answer


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Account and description; nothing if it is done."""
    try:
        call()
    except ClaimsRefused as refused:
        return refused.account, refused.description
    return "", ""


def with_body(**fields: Any) -> AccountClaims:
    """The account with something else."""
    return msgspec.structs.replace(MINE, nats=msgspec.structs.replace(MINE.nats, **fields))


TWO_MISTAKES = with_body(
    cluster_traffic="x", exports=(Export(subject="a b", type="stream"), Export(subject="b", type="service"))
)
UPDATES = {
    "good": encode(MINE, OPERATOR_SIGNER, NOW_S),
    "expired": encode(msgspec.structs.replace(MINE, exp=5), OPERATOR_SIGNER, NOW_S),
    "by itself": encode(MINE, ACCOUNT, NOW_S),
    "by an identity that must not": encode(MINE, OPERATOR, NOW_S),
    "wrong twice": encode(TWO_MISTAKES, OPERATOR_SIGNER, NOW_S),
    "wrong and by an identity": encode(TWO_MISTAKES, OPERATOR, NOW_S),
    "a user": encode(UserClaims(sub=USER.public_key), ACCOUNT, NOW_S),
    "nothing": "x",
    "changed": encode(MINE, OPERATOR_SIGNER, NOW_S)[:-5] + "AAAAA",
    "another account": encode(
        msgspec.structs.replace(MINE, sub=KeyPair(ACCOUNT.prefix, b"w" * 32).public_key),
        OPERATOR_SIGNER,
        NOW_S,
    ),
}


@pytest.mark.parametrize("named", [False, True], ids=["update", "update of one"])
@pytest.mark.parametrize("case", UPDATES)
async def test_updates(server: RealServer, case: str, named: bool) -> None:
    token, name = UPDATES[case], ACCOUNT.public_key if named else ""
    subject = f"$SYS.REQ.ACCOUNT.{name}.CLAIMS.UPDATE" if named else "$SYS.REQ.CLAIMS.UPDATE"
    error = (await asked(server, subject, token)).get("error", {})
    ours = refusal(lambda: to_store(token, CLAIMS, NOW_S, name))
    assert ours == (error.get("account", ""), error.get("description", ""))


def request(accounts: object, signer: KeyPair = OPERATOR_SIGNER, sub: str = "") -> str:
    """A request to delete."""
    body = {"accounts": accounts} if accounts is not None else {}
    return encode(GenericClaims(sub=sub or signer.public_key, nats=body), signer, NOW_S)


DELETES = {
    "none": request([]),
    "by an identity that must not": request([], OPERATOR),
    "by an account": request([], ACCOUNT),
    "not self-signed": request([], sub=OPERATOR.public_key),
    "no list": request("x"),
    "nothing asked": request(None),
    "not an account": request([USER.public_key]),
    "a number": request([5]),
    "the system account": request([SYSTEM]),
    "no token": "x",
}


@pytest.mark.parametrize("case", DELETES)
async def test_deletes(server: RealServer, case: str) -> None:
    token = DELETES[case]
    error = (await asked(server, "$SYS.REQ.CLAIMS.DELETE", token)).get("error", {})
    ours = refusal(lambda: to_delete(token, operator_keys(CLAIMS), SYSTEM, allowed=True))
    assert ours == (error.get("account", ""), error.get("description", ""))


def test_what_is_deleted() -> None:
    token = request([ACCOUNT.public_key, OTHER.public_key])
    keys = operator_keys(CLAIMS)
    assert to_delete(token, keys, "", allowed=True) == (ACCOUNT.public_key, OTHER.public_key)
    _, text = refusal(lambda: to_delete(token, keys, "", allowed=False))
    assert text.endswith("failed - delete must be enabled in server config")
    lenient = msgspec.structs.replace(
        CLAIMS, nats=msgspec.structs.replace(CLAIMS.nats, strict_signing_key_usage=False)
    )
    assert operator_keys(lenient) == keys | {OPERATOR.public_key}
