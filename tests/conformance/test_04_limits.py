"""Limits and the errors they give (wire.md 1.4, 1.5): payload, connections, subscriptions, pending."""

import pytest
from tests.support.brokers import Brokers

MAX_PAYLOAD = "max_payload: 100"
HEADERS = b"NATS/1.0\r\n\r\n"


async def test_payload_of_exactly_the_limit(broker: Brokers) -> None:
    async with await broker.shared(MAX_PAYLOAD).client() as client:
        body = b"x" * 100
        client.send(b"SUB fits 1\r\nPUB fits 100\r\n" + body + b"\r\n")
        await client.expect(b"MSG fits 1 100\r\n" + body + b"\r\n")
        await client.expect_silence_until_pong()


async def test_headers_count_as_payload(broker: Brokers) -> None:
    async with await broker.shared(MAX_PAYLOAD).client() as client:
        body = HEADERS + b"x" * 88
        client.send(b"SUB fits 1\r\nHPUB fits 12 100\r\n" + body + b"\r\n")
        await client.expect(b"HMSG fits 1 12 100\r\n" + body + b"\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    "line", [b"PUB a 101\r\n", b"PUB a reply 101\r\n", b"HPUB a 12 101\r\n", b"PUB a 999999999\r\n"]
)
async def test_payload_over_the_limit(broker: Brokers, line: bytes) -> None:
    """Judged by the line alone, before any payload has come."""
    async with await broker.shared(MAX_PAYLOAD).client() as client:
        client.send(line)
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_default_max_payload(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        body = b"x" * 1048576
        client.send(b"SUB one.mib 1\r\nPUB one.mib 1048576\r\n" + body + b"\r\n")
        await client.expect(b"MSG one.mib 1 1048576\r\n" + body + b"\r\n")
        client.send(b"PUB one.mib 1048577\r\n")
        await client.expect_error("Maximum Payload Violation", closes=True)


async def test_max_connections(broker: Brokers) -> None:
    own = broker.own("max_connections: 2")
    first, second = await own.client(), await own.client()
    async with first, second:
        async with await own.connect() as third:
            await third.expect_info()
            await third.expect_error("maximum connections exceeded", closes=True)
        await first.expect_silence_until_pong()
        await second.expect_silence_until_pong()


async def test_max_subscriptions(broker: Brokers) -> None:
    """The one too many is refused, the link stays, and room that is made can be used."""
    async with await broker.shared("max_subscriptions: 2").client() as client:
        client.send(b"SUB m.1 1\r\nSUB m.2 2\r\nSUB m.3 3\r\n")
        await client.expect_error("maximum subscriptions exceeded", closes=False)
        client.send(b"PUB m.3 1\r\nx\r\nPUB m.2 1\r\ny\r\n")
        await client.expect(b"MSG m.2 2 1\r\ny\r\n")
        client.send(b"UNSUB 1\r\nSUB m.3 3\r\nPUB m.3 1\r\nz\r\n")
        await client.expect(b"MSG m.3 3 1\r\nz\r\n")
        await client.expect_silence_until_pong()


async def test_max_subscriptions_is_per_connection(broker: Brokers) -> None:
    first, second = [await broker.shared("max_subs: 2").client() for _ in range(2)]
    async with first, second:
        for client in (first, second):
            client.send(b"SUB p.1 1\r\nSUB p.2 2\r\n")
            await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    ("subject", "fits"), [("a.b.c", True), ("a.b.>", True), ("a.b.c.d", False), ("*.*.*.*", False)]
)
async def test_max_sub_tokens(broker: Brokers, subject: str, fits: bool) -> None:
    async with await broker.shared("max_sub_tokens: 3").client() as client:
        client.send(f"SUB {subject} 1\r\n")
        if fits:
            await client.expect_silence_until_pong()
        else:
            text = f'Permissions Violation for Subscription to "{subject}", too many tokens'
            await client.expect_error(text, closes=False)


async def test_slow_consumer_is_cut_off_without_a_word(broker: Brokers) -> None:
    """More pending than ``max_pending``: closed at once. What it got is a clean prefix of what was sent."""
    own = broker.own("max_pending: 100000\nmax_payload: 50000")
    message = b"MSG slow 1 40000\r\n" + b"s" * 40000 + b"\r\n"
    async with await own.client() as slow, await own.client() as publisher:
        slow.send(b"SUB slow 1\r\n")
        await slow.expect_silence_until_pong()
        slow.pause_reading()
        for _ in range(40):  # past what the two socket buffers hold
            publisher.send((b"PUB slow 40000\r\n" + b"s" * 40000 + b"\r\n") * 10)
            await publisher.expect_silence_until_pong()
        slow.resume_reading()
        got = await slow.read_until_close()
        assert (message * (len(got) // len(message) + 1)).startswith(got)
        await publisher.expect_silence_until_pong()


async def test_others_stay_when_a_slow_consumer_goes(broker: Brokers) -> None:
    own = broker.own("max_pending: 100000\nmax_payload: 50000")
    body = b"PUB both 40000\r\n" + b"s" * 40000 + b"\r\n"
    async with await own.client() as slow, await own.client() as quick, await own.client() as publisher:
        for client in (slow, quick):
            client.send(b"SUB both 1\r\n")
            await client.expect_silence_until_pong()
        slow.pause_reading()
        for _ in range(300):
            publisher.send(body)
            await publisher.expect_silence_until_pong()
            await quick.expect(b"MSG both 1 40000\r\n" + b"s" * 40000 + b"\r\n")
        slow.resume_reading()
        await slow.read_until_close()
        await quick.expect_silence_until_pong()
