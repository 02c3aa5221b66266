"""``nats server`` and ``nats account`` against both servers: the same words in, the same words out.

It runs where the command is installed. Sizes, numbers in tables and addresses are masked: figures differ, and are
looked at elsewhere (tests/unit/server/system).
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest

from tests.interop.test_nats_command import NATS, said
from tests.support.phloem_server import PhloemServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.skipif(NATS is None, reason="the nats command is not on PATH")
CONFIG = """server_name: ONE
server_tags: ["a:b"]
jetstream { store_dir: "@FOLDER@/js", domain: hub }
accounts {
  "$SYS" { users: [ { user: sys, password: p } ] }
  A { jetstream: enabled, users: [ { user: a, password: p } ] }
}
leafnodes { listen: "127.0.0.1:-1" }
"""
MASKS = [
    (r"N[A-Z2-7]{55}", "ID"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"[\d.]+ ([KMG]iB|B)\b", "SIZE"),
    (r"(?<=│) [\d,]+ (?=│)", " NUMBER "),
    (r"\b(mem|cpu|uptime|subscriptions|connect_time|rtt|request_time)=\S+", r"\1=FIGURE"),
    (r"took \S+", "took SPAN"),
    (r"Client ID: \d+", "Client ID: NUMBER"),
    (r"█+", "BAR"),
    (r"in +SPAN|\([^)]* ago\)", "SPAN"),
    (r"(?m)^ *(Subscriptions|Messages|Bytes|Connections|Client IP|Client ID|RTT): .*\n", ""),
    (r"│ *SIZE *(?=│)", "│ SIZE "),
    (r" +", " "),
]
SYSTEM = """
    server list
    server list --sort=conns
    server ping --timeout=1s --count=1
    server report connections
    server report connections --account=A --sort=subs
    server report connections --account=A --subject=foo
    server report accounts
    server report accounts A
    server report jetstream
    server report mem
    server report health
    server report routes
    server report gateways
    server report leafnodes
    server request kick 99999
    server config reload ONE -f
    server account info NONE
    server check connection
    server check server --name=ONE
    server check jetstream
    server check credential
    account info
"""
ACCOUNT = """
    account info
    account report connections
    account report statistics
    account tls
    server list
    server report connections
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    made: list[ServerProcess] = []
    try:
        for kind in (RealServer, PhloemServer):
            made.append(kind(CONFIG, tmp_path_factory.mktemp(kind.__name__)))
        yield made
    finally:
        for server in made:
            server.stop()


@pytest.fixture
async def programs(servers: list[ServerProcess]) -> AsyncIterator[None]:
    """A program in account A of each."""
    clients = [
        await nats.connect(f"nats://a:p@127.0.0.1:{server.port()}", name="program", allow_reconnect=False)
        for server in servers
    ]
    for client in clients:
        await client.subscribe("foo")
        await client.flush()
    yield
    for client in clients:
        await client.close()


def masked(text: str) -> str:
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("user", "commands"), [("sys", SYSTEM), ("a", ACCOUNT)])
async def test_the_same_words(servers: list[ServerProcess], tmp_path: Path, user: str, commands: str) -> None:
    for command in map(str.strip, commands.strip().splitlines()):
        login = f"{command} --user={user} --password=p"
        real, ours = [masked(await said(server, tmp_path, login)).splitlines() for server in servers]
        if (
            command == "server report accounts"
        ):  # both have one connection, and the program leaves open who is first
            real, ours = sorted(real), sorted(ours)
        assert ours == real
