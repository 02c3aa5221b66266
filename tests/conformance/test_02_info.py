"""The INFO a server sends to a client (wire.md 1.2): its form, its fields, and when it comes again."""

import json
import re

import pytest
from tests.support.brokers import Brokers
from tests.support.rawclient import RawClient
from tests.support.rows import each

NKEY_USER = "authorization { users: [ { nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 } ] }"
PUBLIC_SERVER_NKEY = re.compile(r"N[A-Z2-7]{55}")
PUBLIC_CURVE_NKEY = re.compile(r"X[A-Z2-7]{55}")

ALWAYS = {
    "server_id": str,
    "server_name": str,
    "version": str,
    "go": str,
    "proto": int,
    "host": str,
    "port": int,
    "headers": bool,
    "max_payload": int,
    "client_id": int,
    "client_ip": str,
}
ONLY_SOMETIMES = [
    "auth_required",
    "tls_required",
    "tls_verify",
    "tls_available",
    "jetstream",
    "nonce",
    "cluster",
    "domain",
    "connect_urls",
    "ldm",
    "connect_info",
    "remote_account",
    "acc_is_sys",
    "ws_connect_urls",
]


async def first_info(broker: Brokers, config: str = "") -> dict[str, object]:
    async with await broker.shared(config).connect() as client:
        return await client.expect_info()


async def test_line_form(broker: Brokers) -> None:
    """``INFO``, one blank, JSON without blanks of its own, one blank, CRLF."""
    async with await broker.shared().connect() as client:
        line = await client.expect(re.compile(rb"[^\n]*\n"))
    assert line.startswith(b'INFO {"server_id":"N')
    assert line.endswith(b"} \r\n")
    text = line[5:-3].decode()
    assert json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False) == text


@pytest.mark.parametrize("field", ALWAYS)
async def test_field_is_there(broker: Brokers, field: str) -> None:
    assert type((await first_info(broker))[field]) is ALWAYS[field]


@each("field", ONLY_SOMETIMES)
async def test_field_is_absent_without_cause(broker: Brokers, field: str) -> None:
    assert field not in await first_info(broker)


async def test_values(broker: Brokers) -> None:
    info = await first_info(broker)
    assert PUBLIC_SERVER_NKEY.fullmatch(str(info["server_id"]))
    assert info["server_name"] == info["server_id"]
    assert info["proto"] == 1
    assert info["headers"] is True
    assert info["max_payload"] == 1048576
    assert info["host"] == info["client_ip"] == "127.0.0.1"
    assert info["port"] == broker.shared().process.port()


async def test_xkey_is_a_curve_key(broker: Brokers) -> None:
    info = await first_info(broker)
    assert PUBLIC_CURVE_NKEY.fullmatch(str(info["xkey"]))


async def test_version_can_be_compared(broker: Brokers) -> None:
    """Clients decide by numbers what a server can do."""
    assert re.match(r"\d+\.\d+\.\d+", str((await first_info(broker))["version"]))


async def test_client_ids_differ_and_grow(broker: Brokers) -> None:
    ids = [(await first_info(broker))["client_id"] for _ in range(3)]
    assert ids == sorted(set(ids))  # type: ignore[type-var]


async def test_server_id_is_the_same_for_all(broker: Brokers) -> None:
    assert (await first_info(broker))["server_id"] == (await first_info(broker))["server_id"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('server_name: "S1"', {"server_name": "S1"}),
        ("max_payload: 1000", {"max_payload": 1000}),
        ("max_payload: 1k", {"max_payload": 1000}),
        ("max_payload: 1kb", {"max_payload": 1024}),
        ("no_header_support: true", {"headers": False}),
        ('client_advertise: "public.example:4333"', {"host": "public.example", "port": 4333}),
        ("authorization { user: a, password: b }", {"auth_required": True}),
        ("authorization { token: t }", {"auth_required": True}),
        ("authorization { users: [ {user: a, password: b} ] }", {"auth_required": True}),
        (NKEY_USER, {"auth_required": True}),
    ],
)
async def test_configuration_shows(broker: Brokers, config: str, expected: dict[str, object]) -> None:
    info = await first_info(broker, config)
    assert {key: info[key] for key in expected} == expected


@pytest.mark.parametrize(
    "config",
    [
        "authorization {}",
        "authorization { users: [] }",
        "authorization { users: [ {user: a, password: b} ] }\nno_auth_user: a",
    ],
)
async def test_auth_required_is_absent(broker: Brokers, config: str) -> None:
    assert "auth_required" not in await first_info(broker, config)


async def test_nonce_comes_with_nkeys(broker: Brokers) -> None:
    first, second = await first_info(broker, NKEY_USER), await first_info(broker, NKEY_USER)
    assert re.fullmatch(r"[A-Za-z0-9_-]{15}", str(first["nonce"]))
    assert first["nonce"] != second["nonce"]


async def connect(client: RawClient, connect: str) -> None:
    await client.expect_info()
    client.send(f"CONNECT {connect}\r\nPING\r\n")
    await client.expect(b"PONG\r\n")


async def test_second_info_after_the_first_ping(broker: Brokers) -> None:
    """PONG first, then an INFO with ``connect_info`` and the account; once only."""
    async with await broker.shared().connect() as client:
        await connect(client, '{"verbose":false,"protocol":1}')
        first = client.info
        info = await client.expect_info()
        assert info["connect_info"] is True
        assert info["remote_account"] == "$G"
        assert "acc_is_sys" not in info
        assert {k: v for k, v in info.items() if k not in ("connect_info", "remote_account")} == first
        await client.expect_silence_until_pong()


async def test_no_second_info_for_protocol_0(broker: Brokers) -> None:
    async with await broker.shared().connect() as client:
        await connect(client, '{"verbose":false,"protocol":0}')
        await client.expect_silence_until_pong()


async def test_second_info_waits_for_ping(broker: Brokers) -> None:
    async with await broker.shared().connect() as client:
        await client.expect_info()
        client.send(b'CONNECT {"verbose":false,"protocol":1}\r\nSUB wait.ping 1\r\nPUB wait.ping 0\r\n\r\n')
        await client.expect(b"MSG wait.ping 1 0\r\n\r\n")
        client.send(b"PING\r\n")
        await client.expect(b"PONG\r\n")
        assert (await client.expect_info())["connect_info"] is True


ACCOUNTS = """
accounts {
  APP { users: [ {user: app, password: app} ] }
  SYS { users: [ {user: sys, password: sys} ] }
}
system_account: SYS
"""


@pytest.mark.parametrize(
    ("user", "expected"),
    [("app", {"remote_account": "APP"}), ("sys", {"remote_account": "SYS", "acc_is_sys": True})],
)
async def test_second_info_names_the_account(broker: Brokers, user: str, expected: dict[str, object]) -> None:
    async with await broker.shared(ACCOUNTS).connect() as client:
        await connect(client, f'{{"verbose":false,"protocol":1,"user":"{user}","pass":"{user}"}}')
        info = await client.expect_info()
        assert {key: info.get(key) for key in ("remote_account", "acc_is_sys") if key in info} == expected
