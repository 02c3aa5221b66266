"""Everybody who is refused hears the same at the same time and has cost the same work, whatever was wrong.

The clock is set by hand: nothing is heard a nanosecond before the step is over, and everything when it is. Counted are
verifications of signatures where the library does them.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from phloem.shared.accounts.auth import STANDARD, Authenticator, Candidate, Credentials
from phloem.shared.kernel import Reason
from phloem.shared.limits import REFUSAL_STEP_NS, SECOND_NS
from phloem.shared.security.claims import User, UserClaims
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.server.options_auth import User as ConfiguredUser
from phloem.shared.server.refusals import moment_ns
from phloem.shared.server.server import Server
from phloem.shared.testing import ManualClock
from phloem.shared.testing import server as running
from tests.support.operators import AccountKeys, OperatorWorld, UserKeys, key, signature, subject
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf

VIOLATION = "-ERR 'Authorization Violation'\r\n"
START_NS = 1_800_000_000 * SECOND_NS
NOW_S = START_NS // SECOND_NS
LEAFS = {"listen": "127.0.0.1:-1", "compression": "off"}

Shown = Callable[[str], Mapping[str, object]]  # from INFO's nonce to what CONNECT shows


class Heard(NamedTuple):
    """What refusing somebody was."""

    after_ns: int
    verifications: int


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys of all verifications."""
    keys: list[bytes] = []
    real = ed25519.Ed25519PublicKey

    class Counted:
        @staticmethod
        def from_public_bytes(data: bytes) -> ed25519.Ed25519PublicKey:
            keys.append(data)
            return real.from_public_bytes(data)

    monkeypatch.setattr(ed25519, "Ed25519PublicKey", Counted)
    return keys


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  (what changes tells nobody)
            await asyncio.sleep(0)


async def refused(
    server: Server, clock: ManualClock, shown: Shown, verified: list[bytes], *, leaf: bool = False
) -> Heard:
    """Log in, and be refused: when the clock says so, and not before."""
    refusals, began_ns = server.login.refusals, clock.monotonic_ns()
    peer: RawClient | RawLeaf
    if leaf:
        peer = await RawLeaf.connect("127.0.0.1", server.leaf_port)
    else:
        peer = await RawClient.connect("127.0.0.1", server.port)
    async with peer:
        await peer.expect_info()
        verified.clear()
        said = {"verbose": False, **shown(str(peer.info.get("nonce", "")))}
        peer.send(f"CONNECT {json.dumps(said)}\r\nPING\r\n")
        await until(lambda: len(refusals) == 1)
        clock.advance(REFUSAL_STEP_NS - 1)
        assert len(refusals) == 1
        clock.advance(1)
        assert len(refusals) == 0
        await peer.expect(VIOLATION)
        await peer.expect_close()
        return Heard(clock.monotonic_ns() - began_ns, len(verified))


# --- JWTs --------------------------------------------------------------------------------------------------

WORLD = OperatorWorld()
B, UNKNOWN = AccountKeys(WORLD, "B"), AccountKeys(WORLD, "UNKNOWN")
STRANGER, REVOKED, FORGER = key(Prefix.USER), key(Prefix.USER), key(Prefix.ACCOUNT)
USER = WORLD.a.user()
FORGED = WORLD.sign(UserClaims(sub=USER.pair.public_key, nats=User(issuer_account=WORLD.a.public)), FORGER)
OPERATED = {
    "operator": WORLD.token,
    "resolver": "MEMORY",
    "resolver_preload": {
        subject(token): token
        for token in (
            WORLD.system.token(iat=NOW_S),
            WORLD.a.token(iat=NOW_S, revocations={REVOKED.public_key: NOW_S}),
            B.token(iat=NOW_S),
        )
    },
    "resolver_pinned_accounts": [WORLD.a.public, UNKNOWN.public],
    "leafnodes": LEAFS,
    "ping_interval": "100h",
}


def by_jwt(token: str, pair: KeyPair) -> Shown:
    return lambda nonce: {"jwt": token, "sig": signature(pair, nonce)}


def of(user: UserKeys) -> Shown:
    return by_jwt(user.token, user.pair)


JWTS: dict[str, Shown] = {
    "nothing": lambda _: {},
    "no JWT": by_jwt("eyJnot.a.jwt", USER.pair),
    "an account's JWT": by_jwt(B.token(), USER.pair),
    "a JWT that was changed": by_jwt(USER.token[:-4] + "AAAA", USER.pair),
    "a JWT without its signature": by_jwt(USER.token.rpartition(".")[0] + ".", USER.pair),
    "expired": of(WORLD.a.user(exp=NOW_S - 1)),
    "not pinned": of(B.user()),
    "not pinned, bad signature": by_jwt(B.user().token, STRANGER),
    "unknown account": of(UNKNOWN.user()),
    "unknown account, bad signature": by_jwt(UNKNOWN.user().token, STRANGER),
    "account that is a user": of(WORLD.a.user(by=FORGER, issuer_account=STRANGER.public_key)),
    "foreign issuer": by_jwt(FORGED, USER.pair),
    "bad signature": by_jwt(USER.token, STRANGER),
    "no signature": lambda _: {"jwt": USER.token},
    "half a signature": lambda nonce: {"jwt": USER.token, "sig": signature(USER.pair, nonce)[:40]},
    "signature that is none": lambda _: {"jwt": USER.token, "sig": "&"},
    "another type": of(WORLD.a.user(allowed_connection_types=("WEBSOCKET",))),
    "revoked": of(WORLD.a.user(pair=REVOKED, iat=NOW_S - 1)),
    "from elsewhere": of(WORLD.a.user(src=("10.0.0.0/8",))),
    "scope that is not": of(WORLD.a.user(scoped=True, by=FORGER)),
}


@pytest.mark.parametrize("leaf", [False, True], ids=["client", "leaf"])
async def test_jwts(verified: list[bytes], leaf: bool) -> None:
    clock = ManualClock(wall_ns=START_NS)
    async with running(OPERATED, clock=clock) as server:
        await refused(server, clock, JWTS["foreign issuer"], verified)  # from now on the account is known
        heard = {
            kind: await refused(server, clock, shown, verified, leaf=leaf) for kind, shown in JWTS.items()
        }
        assert heard == dict.fromkeys(JWTS, Heard(REFUSAL_STEP_NS, 2))
        assert server.login.pinned_account_fails == 2


async def test_a_good_login_does_not_wait(verified: list[bytes]) -> None:
    clock = ManualClock(wall_ns=START_NS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(OPERATED, clock=clock))
        bad, good = [
            await stack.enter_async_context(await RawClient.connect("127.0.0.1", server.port))
            for _ in range(2)
        ]
        await bad.expect_info()
        await good.expect_info()
        bad.send('CONNECT {"verbose":false}\r\nPING\r\n')
        await until(lambda: len(server.login.refusals) == 1)
        good.send(f"CONNECT {USER.connect(good.info)}\r\nPING\r\n")
        await good.expect("PONG\r\n")
        assert len(server.login.refusals) == 1


# --- nkeys, passwords, tokens ----------------------------------------------------------------------------------

KNOWN, BEHIND, ELSEWHERE = (key(Prefix.USER) for _ in range(3))


def by_nkey(public: str, pair: KeyPair) -> Shown:
    return lambda nonce: {"nkey": public, "sig": signature(pair, nonce)}


def says(**shown: object) -> Shown:
    return lambda _: shown


CONFIGURED: dict[str, tuple[Mapping[str, Any], Mapping[str, Shown], int]] = {
    "nkeys": (
        {
            "authorization": {
                "users": [
                    {"nkey": KNOWN.public_key},
                    {"nkey": BEHIND.public_key, "proxy_required": True},
                    {"nkey": ELSEWHERE.public_key, "allowed_connection_types": ["WEBSOCKET"]},
                ]
            }
        },
        {
            "unknown": by_nkey(STRANGER.public_key, STRANGER),
            "no key": by_nkey("UNONE", STRANGER),
            "bad signature": by_nkey(KNOWN.public_key, STRANGER),
            "no signature": says(nkey=KNOWN.public_key),
            "signature that is none": says(nkey=KNOWN.public_key, sig="&"),
            "without its proxy": by_nkey(BEHIND.public_key, BEHIND),
            "without its proxy, bad signature": by_nkey(BEHIND.public_key, STRANGER),
            "not for clients": by_nkey(ELSEWHERE.public_key, ELSEWHERE),
        },
        1,
    ),
    "passwords": (
        {
            "accounts": {
                "A": {"users": [{"user": "a", "password": "right"}, {"user": "b", "password": "right"}]},
                "B": {
                    "users": [{"user": "w", "password": "right", "allowed_connection_types": ["WEBSOCKET"]}]
                },
            }
        },
        {
            "unknown user": says(user="nobody", **{"pass": "right"}),
            "wrong": says(user="a", **{"pass": "wrong"}),
            "none": says(user="b"),
            "nothing": says(),
            "a token": says(auth_token="right"),
            "not for clients": says(user="w", **{"pass": "right"}),
        },
        0,
    ),
    "single": (
        {"authorization": {"user": "a", "password": "right"}},
        {"unknown user": says(user="b", **{"pass": "right"}), "wrong": says(user="a", **{"pass": "x"})},
        0,
    ),
    "token": (
        {"authorization": {"token": "right"}},
        {"wrong": says(auth_token="wrong"), "none": says(), "a user": says(user="right")},
        0,
    ),
}


@pytest.mark.parametrize("leaf", [False, True], ids=["client", "leaf"])
@pytest.mark.parametrize("case", CONFIGURED)
async def test_configured(case: str, leaf: bool, verified: list[bytes]) -> None:
    config, kinds, verifications = CONFIGURED[case]
    clock = ManualClock(wall_ns=START_NS)
    async with running({**config, "leafnodes": LEAFS}, clock=clock) as server:
        heard = {
            kind: await refused(server, clock, shown, verified, leaf=leaf) for kind, shown in kinds.items()
        }
        assert heard == dict.fromkeys(kinds, Heard(REFUSAL_STEP_NS, verifications))


async def test_users_of_the_leaf_listener(verified: list[bytes]) -> None:
    leafs = {**LEAFS, "authorization": {"users": [{"user": "a", "password": "right"}]}}
    clock = ManualClock(wall_ns=START_NS)
    async with running({"leafnodes": leafs}, clock=clock) as server:
        for shown in (says(user="a", **{"pass": "x"}), says(user="b", **{"pass": "x"}), says()):
            assert await refused(server, clock, shown, verified, leaf=True) == Heard(REFUSAL_STEP_NS, 0)


def test_a_certificate_that_names_nobody_costs_what_a_wrong_password_does() -> None:
    """What is compared, and how dear: with ``verify_and_map`` the user is who the certificate names."""
    cost_4 = "$2b$04$" + "." * 53
    auth = Authenticator(
        users=[ConfiguredUser(user="named", password=cost_4), ConfiguredUser(user="other", password="plain")],
        by_certificate=[STANDARD],
    )
    shown = Credentials("", "given")
    nobody = auth.find(shown, STANDARD, mapped=lambda _: None)
    named = auth.find(shown, STANDARD, mapped=lambda _: "named")
    assert isinstance(nobody, Candidate)
    assert isinstance(named, Candidate)
    assert nobody.slow
    assert named.slow
    assert nobody.identity is None
    assert nobody.cost == named.cost == 4
    assert not nobody.matches()


# --- the moment ------------------------------------------------------------------------------------------------


def test_moments() -> None:
    step = REFUSAL_STEP_NS
    assert moment_ns(7, 7) == moment_ns(7, 8) == moment_ns(7, 7 + step) == 7 + step
    assert moment_ns(7, 7 + step + 1) == 7 + 2 * step
    assert moment_ns(7, 8, least_ns=3 * step) == 7 + 3 * step
    assert moment_ns(7, 8, least_ns=3 * step + 1) == 7 + 4 * step


async def test_none_is_sooner_than_the_slowest_look_for_an_account(verified: list[bytes]) -> None:
    clock = ManualClock(wall_ns=START_NS)
    async with running(OPERATED, clock=clock) as server:
        server.login.refusals.looked_up(25_000_000)
        server.login.refusals.looked_up(1)
        async with await RawClient.connect("127.0.0.1", server.port) as client:
            await client.expect_info()
            client.send('CONNECT {"verbose":false}\r\nPING\r\n')
            await until(lambda: len(server.login.refusals) == 1)
            clock.advance(3 * REFUSAL_STEP_NS - 1)
            assert len(server.login.refusals) == 1
            clock.advance(1)
            await client.expect(VIOLATION)


async def test_the_look_is_no_longer_than_the_authentication_timeout() -> None:
    clock = ManualClock(wall_ns=START_NS)
    async with running({"authorization": {"token": "t", "timeout": 1}}, clock=clock) as server:
        refusals = server.login.refusals
        refusals.looked_up(60 * SECOND_NS)
        began_ns = clock.monotonic_ns()
        assert refusals.hold(1, began_ns, lambda: None) == began_ns + SECOND_NS


async def test_who_leaves_first_is_not_waited_for() -> None:
    clock = ManualClock(wall_ns=START_NS)
    async with running({"authorization": {"token": "t"}}, clock=clock) as server:
        async with await RawClient.connect("127.0.0.1", server.port) as client:
            await client.expect_info()
            client.send("CONNECT {}\r\n")
            await until(lambda: len(server.login.refusals) == 1)
            (guest,) = server.clients.open.values()
            guest.conn.close(Reason.CLIENT_CLOSED)
            await until(lambda: not server.clients.open)
        assert len(server.login.refusals) == 0
        clock.advance(SECOND_NS)


async def test_by_the_machines_clock() -> None:
    """The timer rings by itself, for one after the other and for a crowd."""
    async with running({"authorization": {"token": "t"}}) as server, AsyncExitStack() as stack:
        for crowd in (1, 1, 20):
            peers = [
                await stack.enter_async_context(await RawClient.connect("127.0.0.1", server.port))
                for _ in range(crowd)
            ]
            for peer in peers:
                await peer.expect_info()
                peer.send("CONNECT {}\r\n")
            for peer in peers:
                await peer.expect(VIOLATION)
                await peer.expect_close()
        assert len(server.login.refusals) == 0
