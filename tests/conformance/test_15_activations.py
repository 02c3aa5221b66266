"""Imports of accounts with JWTs (security_ops.md 2.10.2): activations, revocations, and changes while it runs."""

import json
import re
import time
from typing import Any

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys
from tests.support.rawclient import RawClient

from phloem.shared.security.claims import Activation, ActivationClaims, Export, Import
from phloem.shared.security.tokens import encode

FULL = '{ type: full, dir: "@FOLDER@/jwt" }'
ANSWER = re.compile(rb"MSG in.x 9 +\d+\r\n\{.*\}\r\n")


class World:
    """An exporter and an importer of one operator, on a server of their own."""

    def __init__(self, broker: Brokers) -> None:
        self.operator = OperatorWorld()
        self.exporter, self.importer = AccountKeys(self.operator, "E"), AccountKeys(self.operator, "I")
        self._brokers = broker
        self._system: RawClient | None = None
        self._broker: Broker | None = None

    def start(self, *tokens: str) -> None:
        self._broker = self._brokers.own(self.operator.config(*tokens, resolver=FULL))

    def activation(self, subject: str, kind: str, *, exp: int = 0) -> str:
        claims = ActivationClaims(
            sub=self.importer.public,
            exp=exp,
            nats=Activation(subject=subject, kind=kind),  # type: ignore[arg-type]
        )
        return encode(claims, self.exporter.pair, int(time.time()) - 10)

    def exports(self, **more: Any) -> str:
        return self.exporter.token(
            exports=(
                Export(subject="open.>", type="stream"),
                Export(subject="priv.>", type="stream", token_req=True, **more),
                Export(subject="svc.>", type="service", token_req=True, **more),
            )
        )

    def imports(self, token: str = "", service: str = "") -> str:
        account = self.exporter.public
        return self.importer.token(
            imports=(
                Import(subject="open.>", account=account, type="stream", local_subject="far.open.>"),
                Import(subject="priv.*", account=account, type="stream", token=token),
                Import(
                    subject="svc.*", account=account, type="service", token=service, local_subject="ask.*"
                ),
            )
        )

    async def client(self, user: UserKeys) -> RawClient:
        assert self._broker is not None
        client = await self._broker.connect()
        await client.expect_info()
        client.send(f"CONNECT {user.connect(client.info)}\r\nPING\r\n")
        await client.expect("PONG\r\n")
        return client

    async def update(self, account: AccountKeys, token: str) -> None:
        """A new JWT of an account, through the system account."""
        system = await self.client(self.operator.system.user())
        async with system:
            subject = f"$SYS.REQ.ACCOUNT.{account.public}.CLAIMS.UPDATE"
            system.send(f"SUB in.x 9\r\nPUB {subject} in.x {len(token)}\r\n{token}\r\n")
            answer = await system.expect(ANSWER)
            assert json.loads(answer.split(b"\r\n")[1])["data"]["code"] == 200


@pytest.fixture
def world(broker: Brokers) -> World:
    return World(broker)


async def heard(world: World, asker: RawClient, owner: RawClient) -> set[str]:
    """Which of the three imports work."""
    asker.send(b"SUB far.open.x 1\r\nSUB priv.x 2\r\nPING\r\n")
    await asker.expect(b"PONG\r\n")
    owner.send(b"SUB svc.* 3\r\nPUB open.x 1\r\no\r\nPUB priv.x 1\r\np\r\nPING\r\n")
    await owner.expect(b"PONG\r\n")
    asker.send(b"PUB ask.x 1\r\ns\r\nUNSUB 1\r\nUNSUB 2\r\nPING\r\n")
    text = await asker.expect(re.compile(rb"(MSG .*\r\n.\r\n)*PONG\r\n"))
    owner.send(b"UNSUB 3\r\nPING\r\n")
    text += await owner.expect(re.compile(rb"(HMSG svc.x 3 (.+\r\n)*\r\ns\r\n)?PONG\r\n"))
    names = {b"MSG far.open.x": "open", b"MSG priv.x": "priv", b"HMSG svc.x": "svc"}
    return {name for mark, name in names.items() if mark in text}


async def test_activations(world: World) -> None:
    world.start(
        world.exports(),
        world.imports(world.activation("priv.>", "stream"), world.activation("svc.>", "service")),
    )
    async with await world.client(world.importer.user()) as i, await world.client(world.exporter.user()) as e:
        assert await heard(world, i, e) == {"open", "priv", "svc"}


@pytest.mark.parametrize("wrong", ["none", "over"])
async def test_without_a_good_one(world: World, wrong: str) -> None:
    token = ""
    if wrong == "over":
        token = world.activation("priv.>", "stream", exp=int(time.time()) - 5)
    world.start(world.exports(), world.imports(token))
    async with await world.client(world.importer.user()) as i, await world.client(world.exporter.user()) as e:
        assert await heard(world, i, e) == {"open"}


async def test_changes_while_it_runs(world: World) -> None:
    world.start(world.exports(), world.imports())
    good = world.imports(world.activation("priv.>", "stream"), world.activation("svc.>", "service"))
    async with await world.client(world.importer.user()) as i, await world.client(world.exporter.user()) as e:
        assert await heard(world, i, e) == {"open"}
        await world.update(world.importer, good)
        assert await heard(world, i, e) == {"open", "priv", "svc"}
        revoked = {world.importer.public: int(time.time())}
        await world.update(world.exporter, world.exports(revocations=revoked))
        assert await heard(world, i, e) == {"open"}
        await world.update(world.exporter, world.exporter.token())
        assert await heard(world, i, e) == set()
