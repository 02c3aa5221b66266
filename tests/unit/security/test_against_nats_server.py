"""Who nats-server lets in with a JWT, ours does, and says the same of those it does not."""

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from phloem.shared.errors import CredentialsRefused
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.admission import Peer, account_of, admit, present
from phloem.shared.security.tokens import encode
from phloem.shared.security.trust import Trust, verify_account
from phloem.shared.security.trust import account as signers_of
from tests.support.rawclient import RawClient
from tests.support.real_server import RealServer
from tests.support.rows import each
from tests.unit.security.keyring import ACCOUNT, OPERATOR, OPERATOR_SIGNER, OTHER
from tests.unit.security.world import CASES, Case, account, operator, strict_account

NOW_S = int(time.time_ns() // SECOND_NS)  # nats-server has no other
TOKENS = {
    ACCOUNT.public_key: encode(account(NOW_S), OPERATOR, NOW_S),
    OTHER.public_key: encode(strict_account(), OPERATOR_SIGNER, NOW_S),
}
TRUST = Trust.of([operator()])
NOT_FOUND = "Account JWT lookup error"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    preload = "\n".join(f"{name}: {token}" for name, token in TOKENS.items())
    config = f"operator: {encode(operator(), OPERATOR, NOW_S)}\nresolver: MEMORY\ndebug: true\n"
    with RealServer(f"{config}resolver_preload {{ {preload} }}", tmp_path_factory.mktemp("claims")) as one:
        yield one


def ours(case: Case, nonce: bytes) -> str:
    """What ours says of it, nothing if it lets it in."""
    peer = Peer("STANDARD", "127.0.0.1", nonce, case.sig(case.key, nonce))
    local = datetime.now().astimezone().tzinfo
    assert local is not None
    try:
        claims = present(case.presented(NOW_S), peer, NOW_S * SECOND_NS)
        name = account_of(claims)
        if name not in TOKENS:
            return NOT_FOUND
        found = signers_of(verify_account(TOKENS[name], TRUST, NOW_S, name), TRUST)
        admit(claims, found, TRUST, peer, NOW_S * SECOND_NS, local)
    except CredentialsRefused as refused:
        return refused.reason
    return ""


@each("case", CASES, ids=lambda case: case.name)
async def test_who_comes_in(server: RealServer, case: Case) -> None:
    async with await RawClient.connect("127.0.0.1", server.port()) as client:
        info = await client.expect_info()
        nonce = info["nonce"].encode()
        connect = {"verbose": False, "jwt": case.presented(NOW_S), "sig": case.sig(case.key, nonce)}
        client.send(f"CONNECT {json.dumps(connect)}\r\nPING\r\n")
        reason = ours(case, nonce)
        if not reason:
            await client.expect(re.compile(rb"PONG\r\n"))
            return
        await client.expect("-ERR 'Authorization Violation'\r\n")
        await client.expect_close()
        shown = re.escape(reason.partition(":")[0].partition(" 127.")[0])
        server.wait_for_log(rf"cid:{info['client_id']} - (\"[^\"]*\" - )?{shown}")
