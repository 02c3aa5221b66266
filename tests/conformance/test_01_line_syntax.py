"""Line syntax of the client protocol (wire.md 1.1): verbs, blanks, line ends, sizes."""

import pytest
from tests.support.brokers import Brokers
from tests.support.rows import each

UNKNOWN = b"-ERR 'Unknown Protocol Operation'\r\n"

# Ways to write "subscribe to a.<n>, publish hi there", all of which deliver.
ACCEPTED = {
    "upper case": (b"SUB %s 1\r\n", b"PUB %s 2\r\nhi\r\n"),
    "lower case": (b"sub %s 1\r\n", b"pub %s 2\r\nhi\r\n"),
    "mixed case": (b"SuB %s 1\r\n", b"pUb %s 2\r\nhi\r\n"),
    "many blanks": (b"SUB   %s   1\r\n", b"PUB   %s   2\r\nhi\r\n"),
    "tabs": (b"SUB\t%s\t1\r\n", b"PUB\t%s\t2\r\nhi\r\n"),
    "tabs and blanks": (b"SUB \t %s \t1\r\n", b"PUB \t%s\t 2\r\nhi\r\n"),
    "trailing blanks": (b"SUB %s 1  \r\n", b"PUB %s 2  \r\nhi\r\n"),
    "bare LF": (b"SUB %s 1\n", b"PUB %s 2\nhi\r\n"),
}


@pytest.mark.parametrize("form", ACCEPTED)
async def test_accepted_forms(broker: Brokers, form: str) -> None:
    subscribe, publish = ACCEPTED[form]
    async with await broker.shared().client() as client:
        client.send(subscribe % b"line" + publish % b"line")
        await client.expect(b"MSG line 1 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("size", [b"2", b"02", b"000000002"])
async def test_size_is_passed_on_as_it_was_written(broker: Brokers, size: bytes) -> None:
    """Up to nine digits, leading zeros included; receivers see the publisher's digits."""
    async with await broker.shared().client() as client:
        client.send(b"SUB zeros 1\r\nPUB zeros " + size + b"\r\nhi\r\n")
        await client.expect(b"MSG zeros 1 " + size + b"\r\nhi\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("sizes", [b"12 14", b"012 0014", b"000000012 000000014"])
async def test_header_sizes_are_passed_on_as_written(broker: Brokers, sizes: bytes) -> None:
    message = sizes + b"\r\nNATS/1.0\r\n\r\nhi\r\n"
    async with await broker.shared().client() as client:
        client.send(b"SUB hzeros 1\r\nHPUB hzeros " + message)
        await client.expect(b"HMSG hzeros 1 " + message)
        await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    "verb", [b"PING", b"ping", b"Ping", b"PING  ", b"PING and text up to LF", b"PING\tx"]
)
async def test_ping_forms(broker: Brokers, verb: bytes) -> None:
    async with await broker.shared().client() as client:
        client.send(verb + b"\r\n")
        await client.expect(b"PONG\r\n")
        client.send(verb + b"\n")
        await client.expect(b"PONG\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    "line", [b"PONG\r\n", b"pong\n", b"PONG text\r\n", b"INFO {}\r\n", b"+OK\r\n", b"+ok\r\n"]
)
async def test_lines_without_effect(broker: Brokers, line: bytes) -> None:
    async with await broker.shared().client() as client:
        client.send(line)
        await client.expect_silence_until_pong()


# What ends the connection with "Unknown Protocol Operation".
UNKNOWN_LINES = {
    "no such verb": b"HELLO\r\n",
    "verb cut short": b"PIN\r\n",
    "blank line": b"\r\n",
    "bare LF": b"\n",
    "leading space": b" PING\r\n",
    "leading tab": b"\tPING\r\n",
    "nul byte": b"\0\r\n",
    "high byte": b"\xff\r\n",
    "MSG": b"MSG a 1 1\r\nx\r\n",
    "HMSG": b"HMSG a 1 1 1\r\nx\r\n",
    "RS+": b"RS+ $G a\r\n",
    "RS-": b"RS- $G a\r\n",
    "RMSG": b"RMSG $G a 1\r\nx\r\n",
    "LS+": b"LS+ a\r\n",
    "LS-": b"LS- a\r\n",
    "LMSG": b"LMSG a 1\r\nx\r\n",
    "A+": b"A+ a\r\n",
    "A-": b"A- a\r\n",
    "PUB without a blank": b"PUB\r\n",
    "HPUB without a blank": b"HPUB\r\n",
    "SUB without a blank": b"SUB\r\n",
    "UNSUB without a blank": b"UNSUB\r\n",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "PUBX": b"PUBX a 1\r\nx\r\n",
    "SUBX": b"SUBX a 1\r\n",
    "payload too long": b"PUB a 2\r\nabc\r\n",
    "payload ended by LF": b"PUB a 2\r\nab\nPING\r\n",
    "payload ended by CR": b"PUB a 2\r\nab\rxPING\r\n",
    "nothing after the payload": b"PUB a 2\r\nabPING\r\n",
    "payload too long with headers": b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nabc\r\n",
}


@each("name", UNKNOWN_LINES)
async def test_unknown_operation(broker: Brokers, name: str) -> None:
    async with await broker.shared().client() as client:
        client.send(UNKNOWN_LINES[name])
        await client.expect(UNKNOWN)
        await client.expect_close()


# What ends the connection without a word.
SILENT_LINES = {
    "PUB and a blank": b"PUB \r\n",
    "PUB with one": b"PUB a\r\n",
    "PUB with four": b"PUB a b c 1\r\nx\r\n",
    "PUB size a letter": b"PUB a x\r\n",
    "PUB size negative": b"PUB a -1\r\n",
    "PUB size signed": b"PUB a +1\r\nx\r\n",
    "PUB size ten digits": b"PUB a 0000000001\r\nx\r\n",
    "PUB size hexadecimal": b"PUB a 0x1\r\nx\r\n",
    "PUB size a fraction": b"PUB a 1.0\r\nx\r\n",
    "HPUB with two": b"HPUB a 12\r\n",
    "HPUB with five": b"HPUB a b c 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB headers longer than all": b"HPUB a 13 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB header size a letter": b"HPUB a x 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB total size a letter": b"HPUB a 12 x\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB size negative": b"HPUB a -1 12\r\nNATS/1.0\r\n\r\n\r\n",
    "HPUB total ten digits": b"HPUB a 12 0000000012\r\nNATS/1.0\r\n\r\n\r\n",
    "SUB and a blank": b"SUB \r\n",
    "SUB with one": b"SUB a\r\n",
    "SUB with four": b"SUB a b c d\r\n",
    "UNSUB and a blank": b"UNSUB \r\n",
    "UNSUB with three": b"UNSUB 1 2 3\r\n",
    "-ERR": b"-ERR 'x'\r\n",
}


@each("name", SILENT_LINES)
async def test_silent_close(broker: Brokers, name: str) -> None:
    async with await broker.shared().client() as client:
        client.send(SILENT_LINES[name])
        await client.expect_close()


async def test_what_came_before_a_bad_line_counts(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB before.bad 1\r\nPUB before.bad 2\r\nok\r\nHELLO\r\nPUB before.bad 4\r\nlost\r\n")
        await client.expect(b"MSG before.bad 1 2\r\nok\r\n" + UNKNOWN)
        await client.expect_close()


async def test_payload_may_hold_anything(broker: Brokers) -> None:
    payload = b"\r\nPING\r\n\0\xff" + bytes(range(256)) + b"\r\n"
    async with await broker.shared().client() as client:
        client.send(b"SUB any.bytes 1\r\nPUB any.bytes %d\r\n%s\r\n" % (len(payload), payload))
        await client.expect(b"MSG any.bytes 1 %d\r\n%s\r\n" % (len(payload), payload))
        await client.expect_silence_until_pong()


async def test_empty_payload(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB empty 1\r\nPUB empty 0\r\n\r\nPUB empty re 0\r\n\r\n")
        await client.expect(b"MSG empty 1 0\r\n\r\nMSG empty 1 re 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_control_line_is_4096_bytes_of_arguments(broker: Brokers) -> None:
    """The verb and the CRLF do not count."""
    subject = b"s" * (4096 - 2)
    async with await broker.shared().client() as client:
        client.send(b"SUB " + subject + b" 1\r\n")
        await client.expect_silence_until_pong()
        client.send(b"PUB " + subject + b" 1\r\nx\r\n")
        await client.expect(b"MSG " + subject + b" 1 1\r\nx\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("line", [b"SUB %s 1\r\n", b"PUB %s 0\r\n\r\n", b"UNSUB %s 1\r\n", b"sub %s 1\n"])
async def test_control_line_of_4097_bytes(broker: Brokers, line: bytes) -> None:
    async with await broker.shared().client() as client:
        client.send(line % (b"s" * (4097 - 2)))
        await client.expect_error("maximum control line exceeded", closes=True)


async def test_control_line_is_judged_before_it_ends(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB " + b"s" * 5000)
        await client.expect_error("maximum control line exceeded", closes=True)


@pytest.mark.parametrize(("length", "fits"), [(4096, True), (4097, False)])
async def test_connect_counts_as_a_control_line(broker: Brokers, length: int, fits: bool) -> None:
    head, tail = '{"verbose":false,"name":"', '"}'
    async with await broker.shared().connect() as client:
        await client.expect_info()
        client.send(f"CONNECT {head}{'n' * (length - len(head) - len(tail))}{tail}\r\n")
        if fits:
            await client.expect_silence_until_pong()
        else:
            await client.expect_error("maximum control line exceeded", closes=True)


@pytest.mark.parametrize(("length", "fits"), [(100, True), (101, False)])
async def test_max_control_line_option(broker: Brokers, length: int, fits: bool) -> None:
    async with await broker.shared("max_control_line: 100").connect() as client:
        await client.expect_info()
        client.send('CONNECT {"verbose":false}\r\n')
        client.send(b"SUB " + b"s" * (length - 2) + b" 1\r\n")
        if fits:
            await client.expect_silence_until_pong()
        else:
            await client.expect_error("maximum control line exceeded", closes=True)
