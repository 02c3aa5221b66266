"""Leafs that log in with a key: JWTs, nkeys, limits of their account (security_ops.md 2.1, 2.10)."""

import json
import time

import msgspec
import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.operators import OperatorWorld, UserKeys, key, signature
from tests.support.rawleaf import RawLeaf

from phloem.shared.security.claims import OPEN_LIMITS, Permission
from phloem.shared.security.nkeys import KeyPair, Prefix

VIOLATION = "-ERR 'Authorization Violation'\r\n"
LISTEN = 'leafnodes { listen: "127.0.0.1:-1", compression: off %s }\n'

WORLD = OperatorWorld()
REVOKED = key(Prefix.USER)
CONFIG = WORLD.config(
    WORLD.a.token(revocations={REVOKED.public_key: int(time.time()) + 86_400}), more=LISTEN % ""
)


async def greeted(broker: Broker) -> RawLeaf:
    leaf = await RawLeaf.connect("127.0.0.1", broker.process.port("leafnodes"))
    await leaf.expect_info()
    assert len(leaf.info["nonce"]) == 15
    return leaf


def connect(leaf: RawLeaf, user: UserKeys, **more: object) -> None:
    shown = {"jwt": user.token, "sig": signature(user.pair, leaf.info["nonce"])}
    leaf.send(f"CONNECT {json.dumps({**shown, **more})}\r\n")


async def linked(leaf: RawLeaf) -> RawLeaf:
    await leaf.expect_info()
    await leaf.sync()
    return leaf


async def test_jwt(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, WORLD.a.user())
        await linked(leaf)
        assert leaf.info["remote_account"] == WORLD.a.public


async def test_permissions_are_told(broker: Brokers) -> None:
    user = WORLD.a.user(pub=Permission(allow=("up.>",)), sub=Permission(allow=("down.>",), deny=("down.no",)))
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, user)
        await linked(leaf)
        assert leaf.info["import"] == {"allow": ["down.>"], "deny": ["down.no"]}
        assert leaf.info["export"] == {"allow": ["up.>"]}


REFUSED = {
    "another account": OperatorWorld().a.user(),
    "revoked": WORLD.a.user(pair=REVOKED),
    "for clients": WORLD.a.user(allowed_connection_types=("STANDARD",)),
    "expired": WORLD.a.user(exp=1_700_000_000),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_jwt_refused(broker: Brokers, case: str) -> None:
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, REFUSED[case])
        await leaf.expect(VIOLATION)
        await leaf.expect_close()


@pytest.mark.parametrize(
    "changes", [{"sig": ""}, {"jwt": ""}, {"jwt": "x"}, {"account": "A"}], ids=json.dumps
)
async def test_malformed(broker: Brokers, changes: dict[str, str]) -> None:
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, WORLD.a.user(), **changes)
        await leaf.expect(VIOLATION)
        await leaf.expect_close()


async def test_leafs_only(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, WORLD.a.user(allowed_connection_types=("LEAFNODE",)))
        await linked(leaf)


async def test_links_of_the_account(broker: Brokers) -> None:
    token = WORLD.a.token(limits=msgspec.structs.replace(OPEN_LIMITS, leaf=1))
    server = broker.own(WORLD.config(token, more=LISTEN % ""))
    async with await greeted(server) as first, await greeted(server) as second:
        connect(first, WORLD.a.user())
        await linked(first)
        connect(second, WORLD.a.user())
        await second.expect("-ERR 'maximum account active connections exceeded'\r\n")
        await second.expect_close()


async def test_user_expires(broker: Brokers) -> None:
    async with await greeted(broker.shared(CONFIG)) as leaf:
        connect(leaf, WORLD.a.user(exp=int(time.time()) + 1))
        await linked(leaf)
        await leaf.expect("-ERR 'User Authentication Expired'\r\n")
        await leaf.expect_close()


USER, OTHER = key(Prefix.USER), key(Prefix.USER)
OF_THE_SERVER = f"authorization {{ users: [ {{ nkey: {USER.public_key} }} ] }}\n" + LISTEN % ""
OF_THE_LEAFS = LISTEN % f", authorization {{ nkey: {USER.public_key} }}"


@pytest.mark.parametrize("config", [OF_THE_SERVER, OF_THE_LEAFS], ids=["of the server", "of the leafs"])
@pytest.mark.parametrize("pair", [USER, OTHER], ids=["known", "unknown"])
async def test_nkey(broker: Brokers, config: str, pair: KeyPair) -> None:
    async with await greeted(broker.shared(config)) as leaf:
        shown = {"nkey": pair.public_key, "sig": signature(pair, leaf.info["nonce"])}
        leaf.send(f"CONNECT {json.dumps(shown)}\r\n")
        if pair is USER:
            await linked(leaf)
        else:
            await leaf.expect(VIOLATION)
            await leaf.expect_close()


async def test_nkey_that_did_not_sign(broker: Brokers) -> None:
    async with await greeted(broker.shared(OF_THE_LEAFS)) as leaf:
        shown = {"nkey": USER.public_key, "sig": signature(OTHER, leaf.info["nonce"])}
        leaf.send(f"CONNECT {json.dumps(shown)}\r\n")
        await leaf.expect(VIOLATION)
        await leaf.expect_close()
