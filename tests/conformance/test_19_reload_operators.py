"""Reloading claims that a configuration preloads, and what else may change with operators (security_ops 1.6, 2.10)."""

import json
import re

from tests.support.brokers import Broker, Brokers
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key
from tests.support.rawclient import RawClient

from phloem.shared.security.claims import OPEN_LIMITS, Permission, Permissions
from phloem.shared.security.nkeys import Prefix

WORLD = OperatorWorld()
A, B = WORLD.a, AccountKeys(WORLD, "B")
SIGNER = key(Prefix.ACCOUNT)
VIOLATION = "Authorization Violation"


async def greeted(broker: Broker) -> RawClient:
    client = await broker.connect()
    await client.expect_info()
    return client


async def connected(broker: Broker, user: UserKeys) -> RawClient:
    client = await greeted(broker)
    client.send(f"CONNECT {user.connect(client.info)}\r\nPING\r\n")
    await client.expect("PONG\r\n")
    return client


async def refused(broker: Broker, user: UserKeys) -> None:
    async with await greeted(broker) as client:
        client.send(f"CONNECT {user.connect(client.info)}\r\n")
        await client.expect_error(VIOLATION, closes=True)


async def test_an_account_comes(broker: Brokers) -> None:
    server = broker.own(WORLD.config(A.token()))
    async with await connected(server, A.user()) as stays:
        await refused(server, B.user())
        assert server.process.reload(WORLD.config(A.token(), B.token())) == ""
        async with await connected(server, B.user()):
            pass
        await stays.expect_silence_until_pong()


async def test_an_account_goes(broker: Brokers) -> None:
    both, one = WORLD.config(A.token(), B.token()), WORLD.config(A.token())
    server = broker.own(both)
    async with await connected(server, A.user()) as stays, await connected(server, B.user()) as goes:
        assert server.process.reload(one) == ""
        await goes.expect_error(VIOLATION, closes=True)
        await refused(server, B.user())
        await stays.expect_silence_until_pong()
        assert server.process.reload(both) == ""
        async with await connected(server, B.user()):
            pass


async def test_claims_change(broker: Brokers) -> None:
    server = broker.own(WORLD.config(A.token()))
    user = A.user()
    async with await connected(server, user) as client:
        changed = A.token(default_permissions=Permissions(pub=Permission(deny=("x",))))
        assert server.process.reload(WORLD.config(changed)) == ""
        await client.expect_silence_until_pong()
    async with await connected(server, A.user()) as client:
        client.send("PUB x 0\r\n\r\n")
        await client.expect("-ERR 'Permissions Violation for Publish to \"x\"'\r\n")


async def test_a_signing_key_goes(broker: Brokers) -> None:
    server = broker.own(WORLD.config(A.token(signing_keys={SIGNER.public_key: None})))
    async with await connected(server, A.user()) as stays, await connected(server, A.user(by=SIGNER)) as goes:
        assert server.process.reload(WORLD.config(A.token())) == ""
        await goes.read_until_close()
        await stays.expect_silence_until_pong()


async def test_a_revoked_user_goes(broker: Brokers) -> None:
    server, user = broker.own(WORLD.config(A.token())), A.user()
    async with await connected(server, user) as goes, await connected(server, A.user()) as stays:
        revoking = A.token(revocations={user.pair.public_key: 1 << 33})
        assert server.process.reload(WORLD.config(revoking)) == ""
        assert (await goes.read_until_close()).startswith(b"-ERR")
        await stays.expect_silence_until_pong()
        await refused(server, user)


async def test_fewer_connections(broker: Brokers) -> None:
    server = broker.own(WORLD.config(A.token()))
    fewer = type(OPEN_LIMITS)(
        **{name: getattr(OPEN_LIMITS, name) for name in OPEN_LIMITS.__struct_fields__} | {"conn": 1}
    )
    async with await connected(server, A.user()), await connected(server, A.user()):
        assert server.process.reload(WORLD.config(A.token(limits=fewer))) == ""
    server.process.wait_for_log("maximum account active connections exceeded")


async def test_accounts_that_are_pinned(broker: Brokers) -> None:
    tokens = (A.token(), B.token())
    server = broker.own(WORLD.config(*tokens))
    async with await connected(server, A.user()) as stays, await connected(server, B.user()) as goes:
        pinned = WORLD.config(*tokens, more=f"resolver_pinned_accounts: [ {A.public} ]")
        assert server.process.reload(pinned) == ""
        await goes.expect_error(VIOLATION, closes=True)
        await stays.expect_silence_until_pong()
        await refused(server, B.user())
        async with await connected(server, WORLD.system.user()):
            pass
        assert server.process.reload(WORLD.config(*tokens)) == ""
        async with await connected(server, B.user()):
            pass


async def test_a_sentinel_comes_and_goes(broker: Brokers) -> None:
    config, bearer = WORLD.config(A.token()), A.user(bearer_token=True)
    server = broker.own(config)
    assert server.process.reload(f"{config}\ndefault_sentinel: {bearer.token}") == ""
    async with await greeted(server) as client:
        client.send(f"CONNECT {json.dumps({'verbose': False})}\r\nPING\r\n")
        await client.expect(re.compile(rb"PONG\r\n"))
    assert server.process.reload(config) == ""
    async with await greeted(server) as client:
        client.send(f"CONNECT {json.dumps({'verbose': False})}\r\n")
        await client.expect_error(VIOLATION, closes=True)


async def test_what_makes_no_sense_changes_nothing(broker: Brokers) -> None:
    token = A.token()
    config = WORLD.config(token)
    server = broker.own(config)
    async with await connected(server, A.user()) as stays:
        assert "invalid account JWT" in server.process.reload(config.replace(token, "eyJ.x.y"))
        assert "trust key" in server.process.reload(config + "\ntrusted: x")
        await stays.expect_silence_until_pong()
        async with await connected(server, A.user()):
            pass


async def test_another_resolver(broker: Brokers) -> None:
    """Who is connected stays; who comes is looked up in the new one; memory keeps none but its own."""
    one, other = (f'{{ type: full, dir: "@FOLDER@/{name}" }}' for name in ("one", "other"))
    server = broker.own(WORLD.config(A.token(), B.token(), resolver=one))
    async with await connected(server, A.user()) as stays:
        assert server.process.reload(WORLD.config(A.token(), resolver=other)) == ""
        await stays.expect_silence_until_pong()
        await refused(server, B.user())
        async with await connected(server, A.user()):
            pass
        assert server.process.reload(WORLD.config(A.token(), B.token())) == ""
        async with await connected(server, B.user()) as goes:
            assert server.process.reload(WORLD.config(A.token())) == ""
            await goes.expect_error(VIOLATION, closes=True)
        assert server.process.reload(WORLD.config(A.token(), B.token(), resolver=one)) == ""
        async with await connected(server, B.user()):
            pass
        await stays.expect_silence_until_pong()
