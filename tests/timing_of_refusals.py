"""``python -m tests.timing_of_refusals``: whether the time of a refusal tells which part of a login was wrong.

For each configuration one server in a process of its own, and logins that are refused, of all kinds in random order,
over a plain connection on loopback: nobody on a network sees as sharply. Measured is from the last byte of CONNECT to
the first of ``-ERR``. Two kinds count as told apart when the interval of the difference of their medians, or of their
lowest tenths, which other work on the machine disturbs least (99 %, by bootstrap), does not contain 0: of a hundred
comparisons one is expected to without a difference. ``one guess`` is how often somebody would be right who has timed
one refusal of each and says which is which: 50 % is guessing.
"""

import argparse
import json
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import bcrypt

from phloem.shared.security.claims import User, UserClaims
from phloem.shared.security.nkeys import KeyPair, Prefix
from tests.support.operators import AccountKeys, OperatorWorld, key, signature
from tests.support.phloem_server import PhloemServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

WARM_UP = 30  # refusals of each kind that are not counted
RESAMPLES = 2_000
COVERED = 0.99
ANSWER_S = 10.0
SERVERS = {"phloem": PhloemServer, "nats-server": RealServer}

Shown = Callable[[str], Mapping[str, object]]  # from INFO's nonce to what CONNECT shows


class Case(NamedTuple):
    """A configuration, and by name what is shown to it and refused; to its port for leaf links, if so."""

    name: str
    config: str
    kinds: Mapping[str, Shown]
    leaf: bool = False


class Difference(NamedTuple):
    """Of a quantile of two kinds, with its interval, in seconds; ``one_guess``: 0.5 to 1."""

    found_s: float
    low_s: float
    high_s: float
    one_guess: float

    @property
    def apart(self) -> bool:
        """Whether the two can be told apart with as many tries as were made."""
        return not self.low_s <= 0 <= self.high_s


def password(user: str, given: str = "wrong") -> Shown:
    """Shows these, whatever the nonce."""
    return lambda _nonce: {"user": user, "pass": given}


def signed(pair: KeyPair, by: KeyPair, **more: object) -> Shown:
    """An nkey with the signature of another."""
    return lambda nonce: {"nkey": pair.public_key, "sig": signature(by, nonce), **more}


def hashed(cost: int) -> str:
    """A password's hash."""
    return bcrypt.hashpw(b"right", bcrypt.gensalt(cost)).decode()


def users(*entries: str) -> str:
    """A configuration with these users."""
    return f"authorization {{ users: [ {', '.join(f'{{{entry}}}' for entry in entries)} ] }}"


def cases() -> list[Case]:
    """What is measured."""
    low, high = hashed(4), hashed(6)
    known, other, stranger = (key(Prefix.USER) for _ in range(3))
    plain, cheap, dear = (
        "user: plain, password: right",
        f'user: cheap, password: "{low}"',
        f'user: dear, password: "{high}"',
    )
    unknown = password("nobody")
    return [
        Case(
            "plain",
            users(plain, "user: b, password: other"),
            {"unknown user": unknown, "wrong": password("plain")},
        ),
        Case("hashed", users(cheap), {"unknown user": unknown, "wrong": password("cheap")}),
        Case(
            "plain and hashed",
            users(plain, cheap, dear),
            {
                "unknown user": unknown,
                "wrong, plain": password("plain"),
                "wrong, cost 4": password("cheap"),
                "wrong, cost 6": password("dear"),
            },
        ),
        Case(
            "another type",
            users(plain, cheap, "user: leaf, password: right, allowed_connection_types: [LEAFNODE]"),
            {"unknown user": unknown, "right, not for clients": password("leaf", "right")},
        ),
        Case(
            "nkeys",
            users(f"nkey: {known.public_key}"),
            {"unknown nkey": signed(stranger, stranger), "bad signature": signed(known, other)},
        ),
        Case(
            "token",
            "authorization { token: right }",
            {"wrong": lambda _: {"auth_token": "wrong"}, "none": lambda _: {}, "a user": password("right")},
        ),
        by_jwt("jwt"),
        by_jwt("jwt, leaf link", leaf=True),
    ]


def by_jwt(name: str, *, leaf: bool = False) -> Case:
    """With an operator and accounts in memory, of which one is not pinned."""
    world = OperatorWorld()
    account, unknown = AccountKeys(world, "KNOWN"), AccountKeys(world, "UNKNOWN")
    user, forger, stranger = account.user(), key(Prefix.ACCOUNT), key(Prefix.USER)
    forged = UserClaims(sub=user.pair.public_key, nats=User(issuer_account=account.public))
    token = world.sign(forged, forger, 0)
    foreign, revoked, unpinned = unknown.user(), key(Prefix.USER), AccountKeys(world, "UNPINNED")
    gone, there = account.user(pair=revoked, iat=1), unpinned.user()
    pinned = f"resolver_pinned_accounts: [ {account.public}, {unknown.public} ]"
    tokens = (account.token(revocations={revoked.public_key: 2}), unpinned.token())

    def shows(token: str, by: KeyPair) -> Shown:
        return lambda nonce: {"jwt": token, "sig": signature(by, nonce)}

    return Case(
        name,
        world.config(*tokens, more=f'{pinned}\nleafnodes {{ listen: "127.0.0.1:-1", compression: off }}\n'),
        {
            "no JWT": shows("eyJ.x.y", user.pair),
            "not pinned": shows(there.token, there.pair),
            "unknown account": shows(foreign.token, foreign.pair),
            "forged issuer": shows(token, user.pair),
            "bad signature": shows(user.token, stranger),
            "revoked": shows(gone.token, gone.pair),
        },
        leaf,
    )


def refusal_s(port: int, shown: Shown) -> float:
    """The time of one."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(ANSWER_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        info = b""
        while not info.endswith(b"\r\n"):
            info += sock.recv(65536)
        nonce = str(json.loads(info.partition(b" ")[2]).get("nonce", ""))
        said = {"verbose": False, "pedantic": False, **shown(nonce)}
        line = f"CONNECT {json.dumps(said)}\r\n".encode()
        began = time.perf_counter()
        sock.sendall(line)
        answer = sock.recv(65536)
        taken = time.perf_counter() - began
    if b"'Authorization Violation'" not in answer:
        raise RuntimeError(f"not refused: {answer!r}")
    return taken


def measured(process: ServerProcess, case: Case, count: int, rng: random.Random) -> dict[str, list[float]]:
    """Seconds of refusals by kind. The first ones are left out."""
    port = process.port("leafnodes") if case.leaf else process.port()
    found = {kind: list[float]() for kind in case.kinds}
    order = list(case.kinds)
    for _ in range(count + WARM_UP):
        rng.shuffle(order)
        for kind in order:
            found[kind].append(refusal_s(port, case.kinds[kind]))
    return {kind: times[WARM_UP:] for kind, times in found.items()}


def low(times: list[float]) -> float:
    """The lowest tenth."""
    return statistics.quantiles(times, n=10)[0]


QUANTILES: Mapping[str, Callable[[list[float]], float]] = {"median": statistics.median, "lowest tenth": low}


def difference(
    one: list[float], other: list[float], quantile: Callable[[list[float]], float], rng: random.Random
) -> Difference:
    """Of two samples."""
    found = sorted(
        quantile(rng.choices(other, k=len(other))) - quantile(rng.choices(one, k=len(one)))
        for _ in range(RESAMPLES)
    )
    tail = round(RESAMPLES * (1 - COVERED) / 2)
    ranked = sorted([(t, 0) for t in one] + [(t, 1) for t in other])
    above, zeros = 0, 0
    for _, which in ranked:
        above += zeros if which else 0
        zeros += 1 - which
    share = above / (len(one) * len(other))
    return Difference(quantile(other) - quantile(one), found[tail], found[-1 - tail], max(share, 1 - share))


def report(case: Case, times: Mapping[str, list[float]], rng: random.Random) -> str:
    """Lines of text."""
    lines = [f"{case.name}:"]
    for kind, found in times.items():
        low_s, median_s = _us(low(found)), _us(statistics.median(found))
        lines.append(f"  {kind:24} median {median_s} us, lowest tenth {low_s}")
    for one, other in combinations(times, 2):
        for name, quantile in QUANTILES.items():
            d = difference(times[one], times[other], quantile, rng)
            verdict = "TOLD APART" if d.apart else "not told apart"
            lines.append(
                f"  {one} | {other}: {name} {_us(d.found_s)} us [{_us(d.low_s)},{_us(d.high_s)}], "
                f"one guess {d.one_guess:.0%}: {verdict}"
            )
    return "\n".join(lines)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:8.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="refusals of each kind")
    parser.add_argument("--only", action="append", help="a configuration; may be given again")
    parser.add_argument("--server", choices=SERVERS, default="phloem")
    options = parser.parse_args()
    rng = random.Random(1)
    for case in cases():
        if options.only and case.name not in options.only:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            SERVERS[options.server](case.config, Path(folder)) as process,
        ):
            print(report(case, measured(process, case, options.count, rng), rng), flush=True)


if __name__ == "__main__":
    main()
