"""CONNECT (wire.md 1.3): defaults, each option, wrong values, and a second CONNECT."""

import pytest
from tests.support.brokers import Brokers
from tests.support.rawclient import RawClient
from tests.support.rows import each

OK = b"+OK\r\n"


async def opened(broker: Brokers, connect: str, config: str = "") -> RawClient:
    """A connection that has read INFO and sent CONNECT; the answer is left to the test."""
    client = await broker.shared(config).connect()
    await client.expect_info()
    client.send(f"CONNECT {connect}\r\n")
    return client


async def test_without_connect_the_defaults_hold(broker: Brokers) -> None:
    """Verbose, pedantic, echo, no headers."""
    async with await broker.shared().connect() as client:
        await client.expect_info()
        client.send(b"SUB no.connect 1\r\nPUB no.connect 2\r\nhi\r\n")
        await client.expect(OK)
        await client.expect(OK + b"MSG no.connect 1 2\r\nhi\r\n")
        client.send(b"PUB no..connect 0\r\n\r\n")
        await client.expect(b"-ERR 'Invalid Publish Subject'\r\n" + OK)
        client.send(b"UNSUB 1\r\n")
        await client.expect(OK)
        await client.expect_silence_until_pong()


async def test_without_connect_headers_are_refused(broker: Brokers) -> None:
    async with await broker.shared().connect() as client:
        await client.expect_info()
        client.send(b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect_close()


@pytest.mark.parametrize("connect", ["{}", '{"verbose":true}', '{"verbose":null}', '{"VERBOSE":true}'])
async def test_verbose(broker: Brokers, connect: str) -> None:
    """``+OK`` for CONNECT, SUB, UNSUB and PUB; none for PING."""
    async with await opened(broker, connect) as client:
        await client.expect(OK)
        client.send(b"SUB v.1 1\r\n")
        await client.expect(OK)
        client.send(b"UNSUB 1 5\r\n")
        await client.expect(OK)
        client.send(b"UNSUB 1\r\n")
        await client.expect(OK)
        client.send(b"UNSUB unknown\r\n")
        await client.expect(OK)
        client.send(b"PUB v.1 0\r\n\r\n")
        await client.expect(OK)
        await client.expect_silence_until_pong()


async def test_verbose_hpub(broker: Brokers) -> None:
    async with await opened(broker, '{"headers":true}') as client:
        await client.expect(OK)
        client.send(b"HPUB v.2 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect(OK)
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("line", [b"SUB a..b 1\r\n", b"SUB a.>.b 1\r\n", b"SUB .a 1\r\n"])
async def test_verbose_error_instead_of_ok(broker: Brokers, line: bytes) -> None:
    async with await opened(broker, "{}") as client:
        await client.expect(OK)
        client.send(line)
        await client.expect_error("Invalid Subject", closes=False)


@pytest.mark.parametrize(
    "connect", ['{"verbose":false}', '{"Verbose":false}', '{"unknown":[1,{}],"verbose":false}']
)
async def test_not_verbose(broker: Brokers, connect: str) -> None:
    async with await opened(broker, connect) as client:
        client.send(b"SUB q.1 1\r\nUNSUB 1\r\nPUB q.1 0\r\n\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("subject", ["a..b", ".a", "a.", "a.*", "a.>", "*", ">"])
async def test_pedantic_publish(broker: Brokers, subject: str) -> None:
    """A subject that is not literal is named an error; the link stays."""
    async with await opened(broker, '{"verbose":false,"pedantic":true}') as client:
        client.send(f"PUB {subject} 2\r\nhi\r\n")
        await client.expect_error("Invalid Publish Subject", closes=False)


async def test_pedantic_error_does_not_stop_the_message(broker: Brokers) -> None:
    async with await opened(broker, '{"verbose":false,"pedantic":true}') as client:
        client.send(b"SUB still.* 1\r\nPUB still.* 2\r\nhi\r\n")
        await client.expect(b"-ERR 'Invalid Publish Subject'\r\n")
        await client.expect(b"MSG still.* 1 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


async def test_not_pedantic(broker: Brokers) -> None:
    async with await opened(broker, '{"verbose":false,"pedantic":false}') as client:
        client.send(b"PUB a..b 2\r\nhi\r\nPUB .a 2\r\nhi\r\nPUB a.> 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("echo", ["true", "null"])
async def test_echo(broker: Brokers, echo: str) -> None:
    async with await opened(broker, f'{{"verbose":false,"echo":{echo}}}') as client:
        client.send(b"SUB echo.on 1\r\nPUB echo.on 2\r\nhi\r\n")
        await client.expect(b"MSG echo.on 1 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


async def test_no_echo(broker: Brokers) -> None:
    """Own messages do not come back, by plain subscription or queue group; others get them."""
    async with (
        await opened(broker, '{"verbose":false,"echo":false}') as quiet,
        await broker.shared().client() as other,
    ):
        other.send(b"SUB echo.off 9\r\n")
        await other.expect_silence_until_pong()
        quiet.send(b"SUB echo.off 1\r\nSUB echo.* 2\r\nSUB echo.off group 3\r\nPUB echo.off 2\r\nhi\r\n")
        await quiet.expect_silence_until_pong()
        await other.expect(b"MSG echo.off 9 2\r\nhi\r\n")
        other.send(b"PUB echo.off 2\r\nyo\r\n")
        await other.expect(b"MSG echo.off 9 2\r\nyo\r\n")
        await quiet.expect_in_any_order(*(b"MSG echo.off %d 2\r\nyo\r\n" % sid for sid in (1, 2, 3)))


async def test_no_echo_leaves_the_group_to_others(broker: Brokers) -> None:
    async with (
        await opened(broker, '{"verbose":false,"echo":false}') as quiet,
        await broker.shared().client() as other,
    ):
        other.send(b"SUB echo.group g 9\r\n")
        await other.expect_silence_until_pong()
        quiet.send(b"SUB echo.group g 1\r\n" + b"PUB echo.group 1\r\nx\r\n" * 20)
        await quiet.expect_silence_until_pong()
        await other.expect(b"MSG echo.group 9 1\r\nx\r\n" * 20)
        await other.expect_silence_until_pong()


@pytest.mark.parametrize("connect", ['{"verbose":false}', '{"verbose":false,"headers":false}'])
async def test_hpub_needs_headers(broker: Brokers, connect: str) -> None:
    async with await opened(broker, connect) as client:
        client.send(b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect_close()


async def test_hpub_needs_headers_of_the_server_too(broker: Brokers) -> None:
    async with await opened(broker, '{"verbose":false,"headers":true}', "no_header_support: true") as client:
        client.send(b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect_close()


@pytest.mark.parametrize("connect", ['{"no_responders":true}', '{"no_responders":true,"headers":false}'])
async def test_no_responders_needs_headers(broker: Brokers, connect: str) -> None:
    async with await opened(broker, connect) as client:
        await client.expect_error("no responders requires headers support", closes=True)


@pytest.mark.parametrize("protocol", [2, 99, -1])
async def test_invalid_protocol(broker: Brokers, protocol: int) -> None:
    async with await opened(broker, f'{{"verbose":false,"protocol":{protocol}}}') as client:
        await client.expect_error("invalid client protocol", closes=True)


@pytest.mark.parametrize("extra", ['"account":"A"', '"account":"A","new_account":true', '"new_account":true'])
async def test_account_in_connect_is_refused(broker: Brokers, extra: str) -> None:
    async with await opened(broker, f'{{"verbose":false,{extra}}}') as client:
        await client.expect_error("Authorization Violation", closes=True)


@pytest.mark.parametrize(
    "extra",
    [
        '"lang":"python","version":"1","name":"n"',
        '"tls_required":true',
        '"user":"nobody","pass":"asked"',
        '"auth_token":"t"',
        '"nkey":"x","sig":"y"',
        '"jwt":"x"',
        '"name":"\\u00e9 \\"quoted\\""',
        '"lang":null',
    ],
)
async def test_fields_that_change_nothing(broker: Brokers, extra: str) -> None:
    async with await opened(broker, f'{{"verbose":false,{extra}}}') as client:
        await client.expect_silence_until_pong()


@each(
    "connect",
    [
        '{"verbose":"false"}',
        '{"pedantic":0}',
        '{"echo":"yes"}',
        '{"headers":1}',
        '{"protocol":"1"}',
        '{"protocol":1.5}',
        '{"name":1}',
        '{"user":["a"]}',
        '{"verbose":false',
        "verbose",
        "[]",
        '"text"',
        "{'verbose':false}",
        '{"verbose":false} x',
        "",
    ],
)
async def test_bad_json_closes_without_a_word(broker: Brokers, connect: str) -> None:
    async with await opened(broker, connect) as client:
        await client.expect_close()


@pytest.mark.parametrize(
    "line", ['CONNECT{"verbose":false}', 'connect {"verbose":false}', 'CONNECT \t {"verbose":false}  ']
)
async def test_forms_of_the_line(broker: Brokers, line: str) -> None:
    async with await broker.shared().connect() as client:
        await client.expect_info()
        client.send(line + "\r\n")
        await client.expect_silence_until_pong()


async def test_connect_null_is_an_empty_connect(broker: Brokers) -> None:
    async with await opened(broker, "null") as client:
        await client.expect(OK)
        await client.expect_silence_until_pong()


async def test_second_connect_changes_options_and_drops_subscriptions(broker: Brokers) -> None:
    async with await opened(broker, '{"verbose":false,"headers":true}') as client:
        client.send(b"SUB again 1\r\nPUB again 1\r\na\r\n")
        await client.expect(b"MSG again 1 1\r\na\r\n")
        client.send(b'CONNECT {"verbose":true}\r\n')
        await client.expect(OK)
        client.send(b"PUB again 1\r\nb\r\n")
        await client.expect(OK)
        client.send(b"SUB again 1\r\n")
        await client.expect(OK)
        client.send(b"PUB again 1\r\nc\r\n")
        await client.expect(OK + b"MSG again 1 1\r\nc\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    ("config", "kept"),
    [("", True), ("authorization { users: [ {user: a, password: b} ] }\nno_auth_user: a", False)],
    ids=["no auth", "no_auth_user"],
)
async def test_a_late_connect(broker: Brokers, config: str, kept: bool) -> None:
    """It keeps subscriptions; but where a no_auth_user stood in, the first line counted as a CONNECT."""
    async with await broker.shared(config).connect() as client:
        await client.expect_info()
        client.send(b'SUB late 1\r\nCONNECT {"verbose":false}\r\nPUB late 1\r\nx\r\n')
        await client.expect(OK)
        if kept:
            await client.expect(b"MSG late 1 1\r\nx\r\n")
        await client.expect_silence_until_pong()


async def test_second_connect_keeps_what_it_does_not_name(broker: Brokers) -> None:
    async with await opened(broker, '{"verbose":false,"headers":true,"echo":false}') as client:
        client.send(b"CONNECT {}\r\nSUB kept 1\r\nHPUB kept 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_connect_and_traffic_in_one_write(broker: Brokers) -> None:
    """A client need not wait for INFO."""
    async with await broker.shared().connect() as client:
        client.send(b'CONNECT {"verbose":false}\r\nSUB rush 1\r\nPUB rush 2\r\nhi\r\nPING\r\n')
        await client.expect_info()
        await client.expect(b"MSG rush 1 2\r\nhi\r\nPONG\r\n")
