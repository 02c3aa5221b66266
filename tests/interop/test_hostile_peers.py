"""Hundreds of peers that must not come in, over real sockets, beside one who is in and notices nothing.

Each is turned away and logged at most once, without what it showed; the server keeps nothing of it. ``--peers N`` sends
that many. What they say is made from their number (``tests/fuzz`` does the same without sockets, and with more malice).
"""

import asyncio
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from phloem.shared.security.creds import credentials_in
from tests.support.brokers import Broker
from tests.support.documented_certificates import Certificates
from tests.support.logins import let_in
from tests.support.phloem_server import PhloemServer
from tests.support.rawclient import RawClient

NSC = Path(__file__).parent.parent / "conformance" / "nsc"
PEERS, WARM = 450, 250  # Python 3.13 collects cycles later than those before it
GROWTH_BYTES = (
    2_000_000  # what the interpreter's own allocator may move; a leak of 10 KB for each peer is more
)
QUICK_S = 2.0  # for an answer to somebody else; the machine may be busy
OPERATOR = (NSC / "memory.conf").read_text() + "max_closed_clients: 10\n"
TLS = """max_closed_clients: 10
tls { cert_file: "server-cert.pem", key_file: "server-key.pem", ca_file: "rootCA.pem", verify: true, timeout: 0.5 }
"""


@pytest.fixture
def peers(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--peers", default=0)) or PEERS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Broker]:
    with PhloemServer(OPERATOR, tmp_path / "operator") as server:
        yield Broker(server)


@pytest.fixture
def tls(tmp_path: Path, certificates: Certificates) -> Iterator[Broker]:
    with PhloemServer(TLS, tmp_path / "tls", certificates.files) as server:
        yield Broker(server)


def resident(server: Broker) -> int:
    """Bytes of the server's memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


class Login:
    """What one peer sends of itself; ``secrets`` must not be found in a log."""

    def __init__(self, number: int, nonce: str) -> None:
        r = self._r = Random(number)
        token, pair = credentials_in((NSC / f"{r.choice(('s1', 's2', 'thief', 'sys'))}.creds").read_bytes())
        other, _ = credentials_in((NSC / "operator1.creds").read_bytes())
        sig = pair.sign(nonce.encode()).hex()
        kind = r.randrange(12)
        said: dict[str, object] = {"jwt": token, "sig": sig, "verbose": False}
        if kind == 0:
            said["jwt"] = self._damaged(token)
        elif kind == 1:
            said["jwt"] = token[: r.randrange(len(token))]
        elif kind == 2:
            head, body, _ = token.split(".")
            said["jwt"] = ".".join((head, body, other.split(".")[2]))
        elif kind == 3:
            said["jwt"] = f"{'eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0'}.{token.split('.')[1]}."
        elif kind == 4:
            said = {"nkey": pair.public_key, "sig": sig}
        elif kind == 5:
            said = {"nkey": self._damaged(pair.public_key), "sig": self._damaged(sig)}
        elif kind == 6:
            said = {"user": f"user{number}", "pass": f"hunter{number}hunter"}
        elif kind == 7:
            said = {"auth_token": f"token{number}token"}
        elif kind == 8:
            said["sig"] = r.choice(("", "=", "A" * 3000, "é", "\0"))
        elif kind == 9:
            said = {"jwt": [token], "sig": {"sig": sig}}
        self.secrets = [
            str(value) for value in (token.split(".")[2], sig, f"hunter{number}hunter", f"token{number}token")
        ]
        line = f"CONNECT {json.dumps(said)}\r\n".encode()
        if kind == 10:
            line = self._mangled(line)
        elif kind == 11:
            line = r.choice(
                (
                    b"PING\r\n",
                    b"SUB > 1\r\n",
                    b"\0" * 40 + b"\r\n",
                    b"GET / HTTP/1.1\r\n\r\n",
                    r.randbytes(99),
                )
            )
        self.line = line

    def _damaged(self, text: str) -> str:
        at = self._r.randrange(len(text))
        return text[:at] + self._r.choice("ABab01-_.=+ ") + text[at + 1 :]

    def _mangled(self, line: bytes) -> bytes:
        at = self._r.randrange(8, len(line) - 2)
        return line[:at] + self._r.randbytes(self._r.randint(1, 3)).replace(b"\n", b"x") + line[at + 1 :]


async def ended(client: RawClient) -> bytes:
    """What the server said until it closed; a peer that waits for more has to go by itself."""
    client.send("PING\r\n")
    async with client:
        return await client.read_until_close()


class Bystander:
    """Somebody who is in, and looks whether he is served."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self.slowest_s = 0.0

    async def look(self) -> None:
        started = time.monotonic()
        self._client.send("SUB by 1\r\nPUB by 2\r\nhi\r\nUNSUB 1\r\n")
        await self._client.expect("MSG by 1 2\r\nhi\r\n")
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)


def logged_once(server: Broker, secrets: list[str]) -> None:
    log = server.process.log
    lines = Counter(re.findall(r"\[(?:ERR|WRN)\] \S+ - cid:(\d+)", log))
    assert max(lines.values()) == 1, log[-2000:]
    for secret in secrets:
        assert secret not in log


@pytest.mark.timeout(600)
async def test_logins(operator: Broker, peers: int) -> None:
    token, pair = credentials_in((NSC / "operator1.creds").read_bytes())
    secrets: list[str] = []
    before = 0
    async with await let_in(operator, pair, jwt=token) as client:
        bystander = Bystander(client)
        for number in range(peers):
            if number == WARM:
                before = resident(operator)
            peer = await operator.connect()
            await peer.expect_info()
            login = Login(number, peer.info["nonce"])
            secrets += login.secrets
            peer.send(login.line)
            said = await ended(peer)
            assert b"PONG" not in said, (number, login.line, said)
            if number % 20 == 0:
                await bystander.look()
        assert bystander.slowest_s < QUICK_S
        assert resident(operator) - before < GROWTH_BYTES
        logged_once(operator, secrets)


HELLOS = (
    b"\x16\x03\x01",  # cut short
    b"\x16\x03\x01\x00\x00",  # nothing in it
    b"\x16\x03\x01\xff\xff" + b"\x01" * 200,  # says more than there is
    b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",
    b"\x15\x03\x03\x00\x02\x02\x28",  # an alert
    b"\x17\x03\x03\x00\x10" + bytes(16),  # data before a handshake
    b"\x80\x2e\x01\x03\x01" + bytes(40),  # SSL 2
    b"CONNECT {}\r\nPING\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
)
SHOWN = ("stranger", "expired", "future", "usage", "tampered", "")


async def hostile_handshake(server: Broker, contexts: dict[str, ssl.SSLContext], number: int) -> None:
    """One peer's handshake, which must not come to anything."""
    r = Random(number)
    async with await server.connect() as peer:
        await peer.expect_info()
        if r.random() < 0.5:
            hello = r.choice(HELLOS)
            peer.send(hello if r.random() < 0.5 else hello + r.randbytes(r.randrange(300)))
            if r.random() < 0.3:
                await peer.read_until_close()
            return
        try:
            await peer.start_tls(contexts[r.choice(SHOWN)])
        except (ssl.SSLError, ConnectionError):
            return
        peer.send("CONNECT {}\r\nPING\r\n")
        assert b"PONG" not in await peer.read_until_close()


@pytest.mark.timeout(600)
async def test_handshakes(tls: Broker, certificates: Certificates, peers: int) -> None:
    contexts = {name: certificates.client(name) for name in SHOWN}
    before = 0
    async with await let_in(tls, tls=certificates.client("client")) as client:
        bystander = Bystander(client)
        slow = [await tls.connect() for _ in range(20)]  # half-open all the while
        for number in range(peers):
            if number == WARM:
                before = resident(tls)
            await asyncio.wait_for(hostile_handshake(tls, contexts, number), 20)
            if number % 20 == 0:
                await bystander.look()
        for peer in slow:
            peer.close()
        assert bystander.slowest_s < QUICK_S
        assert resident(tls) - before < GROWTH_BYTES
        logged_once(tls, [])
