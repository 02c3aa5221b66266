"""The same page from a running nats-server and from a fake server of the same shape: keys, order, types, errors."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.monitor.fake import SETTINGS, FakeSource, account, closed, connection, monitor

from phloem.shared.net.http import Request
from phloem.shared.server.monitor.records import LeafOptions

NATS_SERVER = Path(sys.executable).parent / "nats-server"
TRIES_MAX = 5000  # requests until a page is as expected; each takes some hundred microseconds
# Lists are compared by their first element, and Go walks maps in any order: elements of a list are alike.
# The build of a Go program, JetStream's switches, and imports between accounts.
THEIRS_ONLY = {"git_commit", "feature_flags", "imports", "exports"}
LEAF_BLOCK_THEIRS_ONLY = {"tls_timeout"}

HUB = """
listen: "127.0.0.1:-1", http: "127.0.0.1:-1", server_name: hub
accounts { A: { users: [ { user: a, password: p } ] } }
leafnodes { listen: "127.0.0.1:-1", compression: off, authorization { user: l, password: p, account: A } }
"""
EDGE = """
listen: "127.0.0.1:-1", server_name: edge1
leafnodes { compression: off, remotes: [ { url: "nats-leaf://l:p@127.0.0.1:%d" } ] }
"""


class Theirs:
    """One nats-server; ports are read from its log, which also says when it is ready."""

    def __init__(self, directory: Path, name: str, configuration: str) -> None:
        file = directory / f"{name}.conf"
        file.write_text(configuration)
        self.ports: dict[str, int] = {}
        self._process = subprocess.Popen([NATS_SERVER, "-c", file], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        for line in self._process.stderr:
            for words in ("http monitor on", "leafnode connections on", "client connections on"):
                if f" {words} " in line:
                    self.ports[words.split()[0]] = int(line.rpartition(":")[2])
            if "Server is ready" in line:
                return
        pytest.fail("nats-server did not start")

    def get(self, target: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        conn = http.client.HTTPConnection("127.0.0.1", self.ports["http"])
        try:
            conn.request("GET", target)
            answer = conn.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            conn.close()

    def client(self, *operations: str) -> socket.socket:
        """A client that has done ``operations``."""
        sock = socket.create_connection(("127.0.0.1", self.ports["client"]))
        connect = {
            "user": "a",
            "pass": "p",
            "name": "n",
            "lang": "python3",
            "version": "2.16.0",
            "verbose": False,
        }
        lines = [f"CONNECT {json.dumps(connect)}", *operations, "PING", ""]
        sock.sendall("\r\n".join(lines).encode())
        with sock.makefile("rb") as file:
            while not file.readline().startswith(b"PONG"):
                pass
        return sock

    def wait_for(self, target: str, key: str, value: int) -> None:
        """Until the page says so."""
        assert any(json.loads(self.get(target)[2])[key] == value for _ in range(TRIES_MAX)), target

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    directory = tmp_path_factory.mktemp("nats-server")
    hub = Theirs(directory, "hub", HUB)
    try:
        edge = Theirs(directory, "edge", EDGE % hub.ports["leafnode"])
        try:
            hub.wait_for("/leafz", "leafnodes", 1)  # before the clients, so that it comes first in lists
            hub.client("SUB gone 1").close()
            with hub.client("SUB foo.* q 1", "SUB bar q 2"):
                hub.wait_for("/connz?state=closed&user=a", "num_connections", 1)
                yield hub
        finally:
            edge.stop()
    finally:
        hub.stop()


def ours(target: str) -> tuple[int, str, bytes]:
    """The same from a fake of that shape."""
    leaf = LeafOptions(host="127.0.0.1", port=7422, auth_timeout=2)
    fields = {"account": "A", "user": "a", "name": "n"}
    link = {"kind": "Leafnode", "name": "edge1", "account": "A", "lang": "", "compression": "off"}
    source = FakeSource(
        options=msgspec.structs.replace(SETTINGS, leaf=leaf),
        opened=[
            connection(8, subs=[("foo.*", "q"), ("bar", "q")], **fields),
            connection(5, subs=[("x", "")], **link),
        ],
        ring=[closed(7, 1, subs=[("gone", "")], **fields)],
        known=[account("$SYS"), account("$G"), account("A")],
    )
    path, _, query = target.partition("?")
    response = monitor(source).answer(Request("GET", path, query.encode()))
    return response.status, dict(response.headers)["Content-Type"], response.body


def shape(value: Any) -> Any:
    """Keys in their order and types; of a list, its first element. Go's numbers are one type."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return "number" if type(value) in (int, float) else type(value).__name__


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    return [without(inner, keys) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "target",
    [
        "/varz",
        "/connz",
        "/connz?cid=99",
        "/connz?acc=A&user=a",
        "/connz?subs=1&auth=1&user=a",
        "/connz?subs=detail&user=a",
        "/connz?state=closed&auth=1&user=a",
        "/subsz",
        "/subsz?acc=ZZ",
        "/subsz?subs=1&acc=A&test=foo.x",
        "/subscriptionsz?subs=1&acc=A&test=bar",
        "/leafz",
        "/leafz?subs=1",
        "/leafz?acc=ZZ",
        "/accountz",
        "/accountz?acc=A",
        "/accountz?acc=$SYS",
        "/accstatz",
        "/accstatz?unused=1",
        "/routez",
        "/gatewayz",
        "/jsz",
        "/healthz",
    ],
)
def test_pages_have_the_same_shape(theirs: Theirs, target: str) -> None:
    (status, kind, body), (our_status, our_kind, our_body) = theirs.get(target), ours(target)
    assert (our_status, our_kind) == (status, kind)
    expected = without(json.loads(body), THEIRS_ONLY)
    if "leaf" in expected:
        expected["leaf"] = without(expected["leaf"], LEAF_BLOCK_THEIRS_ONLY)
    if target == "/varz":  # the counts are of paths, and differ
        expected["http_req_stats"] = {"/varz": 1}
    assert shape(json.loads(our_body)) == shape(expected)


@pytest.mark.parametrize("target", ["/leafz?acc=ZZ", "/connz?cid=99", "/routez", "/jsz"])
def test_pages_are_laid_out_alike(theirs: Theirs, target: str) -> None:
    def layout(body: bytes) -> list[str]:
        return [line.partition(":")[0] for line in body.decode().split("\n")]

    assert layout(ours(target)[2]) == layout(theirs.get(target)[2])


@pytest.mark.parametrize(
    "target",
    [
        "/connz?sort=bogus",
        "/connz?sort=Cid",
        "/connz?auth=foo",
        "/connz?auth=%22a%00%C3%A9%FF",
        "/connz?auth=%F0%9F%98%80%C2%AD%EF%BF%BD",
        "/connz?auth=%zz&offset=x",
        "/connz?auth=1;2&offset=x",
        "/connz?auth=2&subs=x",
        "/connz?subs=bogus&offset=x",
        "/connz?offset=x&limit=y",
        "/connz?offset=9223372036854775808",
        "/connz?offset=-9223372036854775809",
        "/connz?offset=+5",
        "/connz?limit=1.5",
        "/connz?limit=1_0&cid=x",
        "/connz?cid=-1&state=x",
        "/connz?cid=18446744073709551616",
        "/connz?state=bogus&sort=x",
        "/connz?state=0",
        "/connz?sort=stop",
        "/connz?sort=reason&state=all",
        "/subsz?subs=x&offset=y",
        "/subsz?limit=x",
        "/subsz?test=foo.*",
        "/subsz?test=foo..a",
        "/subsz?test=.&subs=1",
        "/leafz?subs=detail",
        "/healthz?details=q",
        "/healthz?js-meta-only=q",
        "/healthz?stream=x",
        "/healthz?consumer=x",
        "/healthz?stream=x&details=1",
        "/jsz?limit=q",
        "/jsz?raft=q&config=z",
        "/gatewayz?accs=q&subs=x",
        "/routez?subs=q",
        "/accountz?acc=ZZ",
        "/accstatz?unused=q",
        "/nope",
        "/varz/",
        "/Varz",
    ],
)
def test_errors_are_the_same_to_the_byte(theirs: Theirs, target: str) -> None:
    assert ours(target) == theirs.get(target)
    assert ours(target)[0] >= 400
