"""Operators, accounts and users that ``nsc`` made, and the documentation's examples of resolvers.

Chapters "JWTs", "Account lookup using Resolver", "Memory Resolver Tutorial" and "Mixed Authentication" of "Securing
NATS". What ``nsc`` wrote is in the folder ``nsc``; nothing of it is changed but ports and paths. The documented pair of
servers is joined by routes, which a lone server does without: their ``cluster`` blocks are left out.
"""

import asyncio
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.logins import let_in, send_connect, synced, turned_away
from tests.support.rawclient import RawClient
from tests.support.server_process import StartFailed

from phloem.shared.security.creds import credentials_in
from phloem.shared.security.nkeys import KeyPair

NSC = Path(__file__).parent / "nsc"
MEMORY = (NSC / "memory.conf").read_text()
FULL = (NSC / "full.conf").read_text()
SENSORS, WITHOUT_S1, HUB = (
    (NSC / f"{name}.jwt").read_text() for name in ("SENSORS", "SENSORS-without-s1", "HUB")
)
SENSORS_ID = "ADWG56VK7YNHX757TPJQBVERNDRRIZWXMHKGXDKJNK32ERI7Y76XNEYH"
RESOLVER = """
resolver: {
    type: full
    # Directory in which account jwt will be stored
    dir: './jwt'
    # In order to support jwt deletion, set to true
    # If the resolver type is full delete will rename the jwt.
    # This is to allow manual restoration in case of inadvertent deletion.
    # To restore a jwt, remove the added suffix .delete and restart or send a reload signal.
    # To free up storage you must manually delete files with the suffix .delete.
    allow_delete: false
    # Interval at which a nats-server with a nats based account resolver will compare
    # it's state with one random nats based account resolver in the cluster and if needed,
    # exchange jwt and converge on the same set of jwt.
    interval: "2m"
    # limit on the number of jwt stored, will reject new jwt once limit is hit.
    limit: 1000
}
"""
CACHE = """
resolver: {
    type: cache
    # Directory in which account jwt will be store
    dir: "./"
    # limit on the number of jwt stored, will evict old jwt once limit is hit.
    limit: 1000
    # How long to hold on to a jwt before discarding it. 
    ttl: "2m"
}
"""  # noqa: W291
URL = """
resolver: URL(http://localhost:9090/jwt/v1/accounts/)
"""


def _documented(name: str) -> str:
    """A configuration of the chapter, without its port and its routes."""
    text = (NSC / name).read_text()
    return re.sub(r"cluster \{.*?\n\}\n", "", re.sub(r"^port = \d+\n", "", text), flags=re.DOTALL)


def _login(name: str) -> tuple[KeyPair, dict[str, str]]:
    token, pair = credentials_in((NSC / f"{name}.creds").read_bytes())
    return pair, {"jwt": token}


async def creds(server: Broker, name: str, **fields: object) -> RawClient:
    """Somebody who logs in with a creds file."""
    pair, said = _login(name)
    return await let_in(server, pair, **said, **fields)


async def refused(server: Broker, name: str) -> None:
    pair, said = _login(name)
    await turned_away(server, pair, **said)


@pytest.fixture
def memory(broker: Brokers) -> Broker:
    return broker.shared(MEMORY)


@pytest.mark.parametrize("name", ["operator1", "page", "s1", "s2", "sys"])
async def test_creds(memory: Broker, name: str) -> None:
    (await creds(memory, name)).close()


async def test_a_revoked_user(memory: Broker) -> None:
    await refused(memory, "thief")


async def test_a_stolen_jwt(memory: Broker) -> None:
    """A JWT alone is worth nothing, except a bearer's."""
    for name in ("operator1", "s1", "s2", "sys"):
        await turned_away(memory, **_login(name)[1])
        await turned_away(memory, _login("page")[0], **_login(name)[1])
    (await let_in(memory, **_login("page")[1])).close()


async def test_what_a_device_may_do(memory: Broker) -> None:
    """By its own permissions, or by the template of the key that signed it."""
    for name in ("s1", "s2"):
        other = "s2" if name == "s1" else "s1"
        async with await creds(memory, name) as device:
            device.send(
                f"PUB readings.{name}.t 0\r\n\r\nPUB readings.{other}.t 0\r\n\r\nSUB set.{other} 1\r\nSUB > 2\r\n"
            )
            await device.expect(
                f"-ERR 'Permissions Violation for Publish to \"readings.{other}.t\"'\r\n"
                f"-ERR 'Permissions Violation for Subscription to \"set.{other}\"'\r\n"
                "-ERR 'Permissions Violation for Subscription to \">\"'\r\n"
            )
            await synced(device)


async def test_a_stream_between_accounts(memory: Broker) -> None:
    async with await creds(memory, "operator1") as hub, await creds(memory, "s1") as device:
        hub.send("SUB field.readings.> 1\r\nSUB readings.> 2\r\n")
        await synced(hub)
        device.send("PUB readings.s1.t 4\r\n21.5\r\n")
        await hub.expect("MSG field.readings.s1.t 1 4\r\n21.5\r\n")
        await synced(hub)


async def test_a_mapping(memory: Broker) -> None:
    """Permission is asked for the subject that it becomes, so the device may not."""
    async with await creds(memory, "s1") as device:
        device.send("PUB raw.s1 1\r\n1\r\n")
        await device.expect("-ERR 'Permissions Violation for Publish to \"readings.s1\"'\r\n")


async def test_a_service_with_an_activation(memory: Broker) -> None:
    """With an activation; the device answers once."""
    async with await creds(memory, "operator1") as hub, await creds(memory, "s2") as device:
        device.send("SUB set.s2 1\r\n")
        hub.send("SUB nsc.inbox 1\r\n")
        await synced(device, hub)
        hub.send("PUB do.set.s2 nsc.inbox 2\r\non\r\n")
        got = await device.expect(
            re.compile(rb"HMSG set\.s2 1 (_R_\S+) \d+ \d+\r\nNATS/1\.0\r\n[^\r]+\r\n\r\non\r\n")
        )
        reply = got.split(b" ")[3].decode()
        device.send(f"PUB {reply} 4\r\ndone\r\nPUB {reply} 5\r\nagain\r\n")
        await hub.expect("MSG nsc.inbox 1 4\r\ndone\r\n")
        await device.expect(re.compile(rb"-ERR 'Permissions Violation for Publish to \"_R_[^\"]+\"'\r\n"))
        await synced(hub)


async def test_the_page_only_listens(memory: Broker) -> None:
    async with await creds(memory, "page") as page:
        page.send("SUB field.readings.> 1\r\nSUB do.> 2\r\n")
        await page.expect("-ERR 'Permissions Violation for Subscription to \"do.>\"'\r\n")
        await synced(page)


async def push(server: Broker, token: str) -> dict[str, object]:
    """What the resolver answers to an account's JWT."""
    async with await creds(server, "sys") as system:
        system.send(f"SUB nsc.pushed 1\r\nPUB $SYS.REQ.CLAIMS.UPDATE nsc.pushed {len(token)}\r\n{token}\r\n")
        got = await system.expect(re.compile(rb"MSG nsc\.pushed 1 +\d+\r\n\{.*?\}\r\n", re.DOTALL))
        answer: dict[str, object] = json.loads(got[got.index(b"{") :])
        return answer


@pytest.mark.parametrize("resolver", ["nsc", "documented"])
async def test_full_resolver(broker: Brokers, resolver: str) -> None:
    """Empty but for the system account; accounts are pushed, and a revocation acts at once."""
    config = (
        FULL
        if resolver == "nsc"
        else re.sub(r"resolver \{.*?\n\}\n", lambda _: RESOLVER, FULL, flags=re.DOTALL)
    )
    assert ("limit" in config) == (resolver == "documented")
    server = broker.own(config)
    await refused(server, "s1")
    for token in (HUB, SENSORS):
        answer = await push(server, token)
        assert answer["data"]["code"] == 200, answer  # type: ignore[index]
    async with await creds(server, "s1") as device, await creds(server, "operator1") as hub:
        hub.send("SUB field.readings.> 1\r\n")
        await synced(hub)
        device.send("PUB readings.s1.t 0\r\n\r\n")
        await hub.expect("MSG field.readings.s1.t 1 0\r\n\r\n")
        await push(server, WITHOUT_S1)
        await device.expect("-ERR 'User Authentication Revoked'\r\n")
        await device.expect_close()
        await synced(hub)
    await refused(server, "s1")
    (await creds(server, "s2")).close()


async def test_full_resolver_keeps_accounts(broker: Brokers) -> None:
    """They are files; a server that starts over the same folder has them."""
    first = broker.own(FULL)
    await push(first, SENSORS)
    (await creds(first, "s1")).close()
    kept = {f"jwt/{path.name}": path.read_bytes() for path in (first.process.folder / "jwt").glob("*.jwt")}
    assert len(kept) == 2
    first.process.stop()
    again = FULL.replace("'./jwt'", f"'{first.process.folder}/jwt'")
    (await creds(broker.own(again), "s1")).close()


async def test_full_resolver_refuses_strangers(broker: Brokers) -> None:
    """What is no JWT is refused; an account of another operator cannot be used."""
    server = broker.own(FULL)
    assert "error" in await push(server, "nonsense")
    assert "error" in await push(server, SENSORS[:-4] + "AAAA")
    pair, said = _login("documented")
    await turned_away(server, pair, **said)


async def test_cache_resolver(broker: Brokers) -> None:
    """Alone it has what was preloaded, and asks in vain for the rest."""
    config = re.sub(r"resolver \{.*?\n\}\n", lambda _: CACHE, FULL, flags=re.DOTALL)
    server = broker.own(config)
    (await creds(server, "sys")).close()


class _Accounts(http.server.BaseHTTPRequestHandler):
    """An account server: JWTs by public key."""

    tokens: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        name = self.path.removeprefix("/jwt/v1/accounts/")
        body = self.tokens.get(name, "").encode()
        self.send_response(200 if body or not name else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def account_server() -> Iterator[int]:
    _Accounts.tokens = dict(re.findall(r"^\s*(A[A-Z2-7]{55}): (\S+)$", MEMORY, re.MULTILINE))
    server = http.server.ThreadingHTTPServer(("localhost", 0), _Accounts)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


async def test_url_resolver(broker: Brokers, account_server: int) -> None:
    head = MEMORY[: MEMORY.index("resolver: MEMORY")]
    config = head + URL.replace("9090", str(account_server))
    server = await asyncio.to_thread(broker.own, config)
    for name in ("operator1", "s1", "s2"):
        (await creds(server, name)).close()
    await refused(server, "thief")
    await refused(server, "documented")


async def test_url_resolver_that_nobody_serves(broker: Brokers) -> None:
    head = MEMORY[: MEMORY.index("resolver: MEMORY")]
    with pytest.raises(StartFailed):
        await asyncio.to_thread(broker.own, head + URL.replace("9090", "1"))


async def test_documented_operator(broker: Brokers) -> None:
    """JWTs of version 1: the user has permissions, and no limits."""
    server = broker.shared(_documented("documented-operator.conf"))
    async with await creds(server, "documented") as client:
        client.send("SUB test.x 1\r\nSUB other 2\r\nPUB test.x 2\r\nhi\r\nPUB other 0\r\n\r\n")
        await client.expect("-ERR 'Permissions Violation for Subscription to \"other\"'\r\n")
        await client.expect("MSG test.x 1 2\r\nhi\r\n")
        await client.expect("-ERR 'Permissions Violation for Publish to \"other\"'\r\n")
    await turned_away(server, **_login("documented")[1])
    await refused(server, "operator1")


async def test_documented_nkeys(broker: Brokers) -> None:
    """The same user by its key, in the configuration of the other server; accounts are called by their keys."""
    server = broker.shared(_documented("documented-nkeys.conf"))
    pair, _ = _login("documented")
    client = await server.connect()
    async with client:
        await client.expect_info()
        send_connect(client, pair, nkey=pair.public_key, protocol=1)
        await client.expect("PONG\r\n")
        info = await client.expect_info()
        assert info["remote_account"] == "ADFB2JXYTXOJEL6LNAXDREUGRX35BOLZI3B4PFFAC7IRPR3OA4QNKBN2"
    await turned_away(server, KeyPair(pair.prefix, bytes(32)), nkey=pair.public_key)


@pytest.mark.parametrize(
    "changed",
    [
        MEMORY.replace("resolver: MEMORY", ""),
        MEMORY + "accounts { A { users: [ { user: a, password: a } ] } }",
        MEMORY.replace("operator: eyJ", "operator: eyK"),
        re.sub(
            r"system_account: \S+",
            "system_account: ADWG56VK7YNHX757TPJQBVERNDRRIZWXMHKGXDKJNK32ERI7Y76XNEYH",
            MEMORY,
        ),
    ],
    ids=["no resolver", "accounts as well", "no operator", "another system account"],
)
def test_configurations_that_do_not_start(broker: Brokers, changed: str) -> None:
    with pytest.raises(StartFailed):
        broker.own(changed)
