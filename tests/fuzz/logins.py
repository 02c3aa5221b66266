"""Comes to a server as somebody: JWTs, nkeys, signatures and CONNECTs that are right, nearly right and wrong.

Steps: ``client`` or ``leaf`` to one of the servers (``who``), with the argument of CONNECT as data; ``@SIG@`` in it
becomes the signature of the nonce, ``@NONCE@`` the nonce. Whatever comes: the peer is let in, or hears one thing of a
few and is gone; it is logged once, without what was shown; and nothing is kept of it when it has left.
"""

import asyncio
import functools
import json
import logging
import re
import socket
from collections.abc import Callable
from random import Random
from typing import Any

from phloem.shared.kernel import Connection
from phloem.shared.limits import REFUSAL_STEP_NS
from phloem.shared.security.claims import (
    OPEN_LIMITS,
    OPEN_USER,
    Account,
    AccountClaims,
    Operator,
    OperatorClaims,
    Permission,
    User,
    UserClaims,
    UserPermissionLimits,
    UserScope,
)
from phloem.shared.security.nkeys import KeyPair, Prefix
from phloem.shared.security.tokens import encode, encode_base64url
from phloem.shared.server.server import Server
from phloem.shared.testing.manual_clock import ManualClock
from tests.fuzz.frames import Nonsense
from tests.fuzz.served import FAULTS, TURNS, _loop
from tests.fuzz.steps import Step, Steps

NOW_S = 1_800_000_000
NAMES = ("operator", "users")
OPERATOR, SYSTEM, ACCOUNT, SIGNER, SCOPED, STRANGER = (
    KeyPair(prefix, bytes([number]) * 32)
    for number, prefix in enumerate((Prefix.OPERATOR, *(Prefix.ACCOUNT,) * 5), start=1)
)
USER = KeyPair(Prefix.USER, b"u" * 32)
OPEN = {name: getattr(OPEN_USER, name) for name in UserPermissionLimits.__struct_fields__}
WORDS = (
    rb"-ERR 'Authorization Violation'\r\n",
    rb"-ERR 'invalid client protocol'\r\n",
    rb"-ERR 'no responders requires headers support'\r\n",
    rb"-ERR 'maximum control line exceeded'\r\n",
    rb"-ERR 'cluster name [^']*'\r\n",
    rb"-ERR '(?:attempted to connect to leaf node port|Rejecting connection from gateway [^\n]*)'\r\n",
    rb"-ERR 'remote leafnode has same cluster name'\r\n",
    rb"-ERR '(?:Unknown Protocol Operation|Duplicate Remote LeafNode Connection)'\r\n",
    rb"-ERR 'maximum subscriptions exceeded'\r\n",
)
ENDING = re.compile(rb"(?:\+OK\r\n)?(?:INFO [^\n]*\r\n|LS\+ [^\n]*\r\n)*(?:%b)?" % b"|".join(WORDS))
JSON_WRONG = (None, True, -1, 1.5, 1 << 70, "", "x", "\ud7ff", [], {}, [None], "é" * 50, "A" * 2000)


def _tokens() -> dict[str, str]:
    template = UserPermissionLimits(**{**OPEN, "pub": Permission(allow=("d.{{name()}}.>",))})
    scopes = {SIGNER.public_key: None, SCOPED.public_key: UserScope(key=SCOPED.public_key, template=template)}
    body = Account(limits=OPEN_LIMITS, signing_keys=scopes)
    return {
        pair.public_key: encode(AccountClaims(sub=pair.public_key, nats=account), OPERATOR, NOW_S)
        for pair, account in ((SYSTEM, Account(limits=OPEN_LIMITS)), (ACCOUNT, body))
    }


@functools.cache
def _configs() -> tuple[dict[str, Any], ...]:
    operator = Operator(system_account=SYSTEM.public_key)
    token = encode(OperatorClaims(sub=OPERATOR.public_key, nats=operator), OPERATOR, NOW_S)
    common = {"host": "127.0.0.1", "port": -1, "ping_interval": "100h"}
    users = [
        {"nkey": USER.public_key},
        {"user": "u", "password": "p", "permissions": {"publish": "a"}},
    ]
    proxies = {"trusted": [{"key": USER.public_key}]}
    return (
        {**common, "operator": token, "resolver": "MEMORY", "resolver_preload": _tokens()},
        {**common, "authorization": {"users": users}, "proxies": proxies},
    )


# --- making ------------------------------------------------------------------------------------------------


def _claims(r: Random) -> UserClaims:
    body = dict(OPEN)
    if r.random() < 0.5:
        name = r.choice(("pub", "sub", "src", "subs", "payload", "bearer_token", "allowed_connection_types"))
        body[name] = {
            "pub": Permission(allow=(r.choice(("a", "a.>", "a b", "")),)),
            "sub": Permission(deny=(r.choice(("a", ">", "q g")),)),
            "src": (r.choice(("127.0.0.0/8", "10.0.0.0/8", "x")),),
            "subs": r.choice((0, 1, -1, 1 << 62)),
            "payload": r.choice((0, 1, -1, 1 << 62)),
            "bearer_token": True,
            "allowed_connection_types": (r.choice(("STANDARD", "LEAFNODE", "X")),),
        }[name]
    scoped = r.random() < 0.3
    if scoped:
        body = {}
    return UserClaims(
        sub=USER.public_key,
        name=r.choice(("", "n", "a.b", "*")),
        exp=r.choice((0, 0, NOW_S - 5, NOW_S + 5)),
        nats=User(**{**body, "issuer_account": r.choice(("", ACCOUNT.public_key, STRANGER.public_key))}),
    )


def _token(r: Random) -> str:
    token = encode(_claims(r), r.choice((ACCOUNT, ACCOUNT, SIGNER, SCOPED, STRANGER)), NOW_S)
    return token if r.random() < 0.4 else _scratched(r, token)


def _scratched(r: Random, text: str) -> str:
    found = list(text)
    for _ in range(r.randint(1, 6)):
        at = r.randrange(len(found) or 1)
        match r.randrange(3):
            case 0:
                found[at : at + 1] = r.choice('AZaz09-_.="{é')
            case 1:
                del found[at : at + r.randint(1, 30)]
            case 2:
                found[at:at] = r.choices("eyJ.AZ_-", k=r.randint(1, 30))
    return "".join(found)


def _connect(r: Random) -> bytes:
    shown: dict[str, Any] = {"verbose": False, "protocol": r.choice((0, 1, 1, 2))}
    pieces: dict[str, Callable[[], Any]] = {
        "jwt": lambda: _token(r),
        "sig": lambda: r.choice(("@SIG@", "@SIG@", "@NONCE@", "AAAA", "!")),
        "nkey": lambda: r.choice((USER.public_key, _scratched(r, USER.public_key), SYSTEM.public_key)),
        "user": lambda: r.choice(("u", "x")),
        "pass": lambda: r.choice(("p", "x")),
        "auth_token": lambda: "t",
        "proxy_sig": lambda: r.choice(("@SIG@", "AAAA")),
        "account": lambda: "A",
        "no_responders": lambda: True,
        "cluster": lambda: r.choice(("c", "a b", "_")),
    }
    chances = {"jwt": 0.6, "sig": 0.7, "nkey": 0.4, "user": 0.4, "pass": 0.4}
    for name, make in pieces.items():
        if r.random() < chances.get(name, 0.05):
            shown[name] = make()
    if r.random() < 0.2:
        shown[r.choice(tuple(pieces))] = r.choice(JSON_WRONG)
    text = json.dumps(shown)
    return (text if r.random() < 0.85 else _scratched(r, text)).encode("utf-8", "replace")


def make(r: Random) -> Steps:
    return tuple(
        Step(r.choice(("client", "client", "client", "leaf")), r.randrange(2), 0, _connect(r))
        for _ in range(r.randint(1, 6))
    )


# --- carrying out ------------------------------------------------------------------------------------------


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class _NoSocket(socket.socket):
    """Stands for a connection that is fed by hand."""

    def __init__(self) -> None: ...

    def detach(self) -> int:
        return -1


class _Visit:
    """Servers that stay for all inputs, since what one leaves behind is what matters."""

    def __init__(self) -> None:
        self.clock = ManualClock(wall_ns=NOW_S * 10**9)
        self.servers = [Server(dict(c), clock=self.clock, seed=3) for c in _configs()]
        self.lines = _Lines()

    async def start(self) -> None:
        for server in self.servers:
            await server.start()

    async def step(self, step: Step) -> None:
        server = self.servers[step.who % len(self.servers)]
        conn, nonce = self._greet(server, leaf=step.verb == "leaf")
        sig = encode_base64url(USER.sign(nonce.encode()))
        body = step.data.replace(b"@SIG@", sig.encode()).replace(b"@NONCE@", nonce.encode())
        line = b"CONNECT " + body.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        self.lines.found.clear()
        conn.feed(line)
        for _ in range(TURNS):
            server._tick()
            await asyncio.sleep(0)
        if server.login.waiting:
            raise Nonsense("a login is still waiting")
        self.clock.advance(REFUSAL_STEP_NS)
        self.clock.set_wall_ns(NOW_S * 10**9)
        server.sweep()
        said = conn.output()
        if conn.closed and not ENDING.fullmatch(said):
            raise Nonsense(f"the peer hears {said[:300]!r}")
        self._look_at_log(conn, [sig, *re.findall(r'eyJ[^"\\]{40,}', body.decode("utf-8", "replace"))])
        conn.close(1)
        server._tick()
        self._nothing_is_left(server)

    def _greet(self, server: Server, *, leaf: bool) -> tuple[Connection, str]:
        if leaf:
            server.leafs.accept(_NoSocket(), "127.0.0.1", 0)
            conn = next(reversed(server.leafs.open.values())).conn
        else:
            conn = server.clients.attach(-1, "127.0.0.1", 0, "STANDARD").conn
        info = json.loads(conn.output().partition(b" ")[2])
        return conn, str(info.get("nonce", ""))

    def _look_at_log(self, conn: Connection, secrets: list[str]) -> None:
        about = [line for line in self.lines.found if f"id:{conn.cid}" in line]
        errors = [line for line in about if "authentication error" in line]
        if len(errors) > 1:
            raise Nonsense(f"told more than once: {errors}")
        for secret in secrets:
            if any(secret in line for line in self.lines.found):
                raise Nonsense(f"a secret in the log: {about}")

    @staticmethod
    def _nothing_is_left(server: Server) -> None:
        trusted = server.login.trusted
        there = {
            "clients": len(server.clients.open),
            "links": len(server.leafs.open),
            "alarms": len(server.alarms) + len(server.login.refusals),
            "members": sum(server.members.count(name) for name in server.accounts),
            "accounts": len(trusted.all()) - 2 if trusted is not None and len(trusted.all()) > 2 else 0,
        }
        if any(there.values()):
            raise Nonsense(f"something is left: {there}")


@functools.cache
def _visit() -> _Visit:
    visit = _Visit()
    _loop().run_until_complete(visit.start())
    return visit


async def _run(visit: _Visit, steps: Steps) -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: faults.append(repr(context.get("exception") or context["message"]))
    )
    for step in steps:
        await visit.step(step)
        if faults:
            raise Nonsense(f"an exception: {faults[0]}")


def run(steps: Steps) -> None:
    visit = _visit()
    log = logging.getLogger("phloem")
    level = log.level
    FAULTS.found.clear()
    log.addHandler(FAULTS)
    log.addHandler(visit.lines)
    log.setLevel(logging.INFO)
    try:
        _loop().run_until_complete(_run(visit, steps))
    finally:
        log.setLevel(level)
        log.removeHandler(visit.lines)
        log.removeHandler(FAULTS)
    if FAULTS.found:
        raise Nonsense(FAULTS.found[0])
