"""Delivery as such: replies, oneself, many receivers, big payloads, and any cut of the byte stream."""

import asyncio
import hashlib

import pytest
from tests.support.brokers import Brokers


async def test_to_another_connection(broker: Brokers) -> None:
    async with await broker.shared().client() as publisher, await broker.shared().client() as subscriber:
        subscriber.send(b"SUB d.other 7\r\n")
        await subscriber.expect_silence_until_pong()
        publisher.send(b"PUB d.other 5\r\nhello\r\n")
        await publisher.expect_silence_until_pong()
        await subscriber.expect(b"MSG d.other 7 5\r\nhello\r\n")
        await subscriber.expect_silence_until_pong()


async def test_to_oneself(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB d.self 7\r\nPUB d.self 5\r\nhello\r\n")
        await client.expect(b"MSG d.self 7 5\r\nhello\r\n")
        await client.expect_silence_until_pong()


async def test_request_and_reply(broker: Brokers) -> None:
    async with await broker.shared().client() as asker, await broker.shared().client() as service:
        service.send(b"SUB d.svc 1\r\n")
        await service.expect_silence_until_pong()
        asker.send(b"SUB _INBOX.d.* 2\r\nPUB d.svc _INBOX.d.1 2\r\nrq\r\n")
        await service.expect(b"MSG d.svc 1 _INBOX.d.1 2\r\nrq\r\n")
        service.send(b"PUB _INBOX.d.1 2\r\nre\r\n")
        await asker.expect(b"MSG _INBOX.d.1 2 2\r\nre\r\n")
        await asker.expect_silence_until_pong()


@pytest.mark.parametrize("reply", ["r", "a.b.c", "with.*", ">", "a..b", "é", "_INBOX.x", "r" * 1000])
async def test_a_reply_is_passed_on_as_it_is(broker: Brokers, reply: str) -> None:
    async with await broker.shared().client() as client:
        client.send(f"SUB d.reply 1\r\nPUB d.reply {reply} 2\r\nhi\r\n")
        await client.expect(f"MSG d.reply 1 {reply} 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


async def test_twenty_receivers(broker: Brokers) -> None:
    receivers = [await broker.shared().client() for _ in range(20)]
    for number, client in enumerate(receivers):
        client.send(f"SUB d.many s{number}\r\n")
        await client.expect_silence_until_pong()
    async with await broker.shared().client() as publisher:
        publisher.send(b"PUB d.many 2\r\nhi\r\n")
        await publisher.expect_silence_until_pong()
    for number, client in enumerate(receivers):
        await client.expect(f"MSG d.many s{number} 2\r\nhi\r\n")
        await client.expect_silence_until_pong()
        client.close()


async def test_order_of_one_publisher(broker: Brokers) -> None:
    async with await broker.shared().client() as publisher, await broker.shared().client() as subscriber:
        subscriber.send(b"SUB d.order.* 1\r\n")
        await subscriber.expect_silence_until_pong()
        publisher.send(b"".join(b"PUB d.order.%d 4\r\n%04d\r\n" % (n % 7, n) for n in range(5000)))
        await publisher.expect_silence_until_pong()
        await subscriber.expect(b"".join(b"MSG d.order.%d 1 4\r\n%04d\r\n" % (n % 7, n) for n in range(5000)))
        await subscriber.expect_silence_until_pong()


@pytest.mark.parametrize("size", [511, 512, 4095, 4096, 32767, 32768, 65535, 65536, 65537, 1 << 20])
async def test_payload_sizes(broker: Brokers, size: int) -> None:
    """Around the sizes that buffers like to have."""
    body = hashlib.shake_128(str(size).encode()).digest(size)
    async with await broker.shared().client() as publisher, await broker.shared().client() as subscriber:
        subscriber.send(b"SUB d.size 1\r\n")
        await subscriber.expect_silence_until_pong()
        publisher.send(b"PUB d.size %d\r\n%s\r\n" % (size, body))
        await subscriber.expect(b"MSG d.size 1 %d\r\n%s\r\n" % (size, body))
        await subscriber.expect_silence_until_pong()
        await publisher.expect_silence_until_pong()


async def test_eight_mebibytes(broker: Brokers) -> None:
    size = 8 << 20
    body = hashlib.shake_128(b"8").digest(1 << 16) * (size >> 16)
    async with await broker.shared("max_payload: 8mb").client() as client:
        client.send(b"SUB d.huge 1\r\nPUB d.huge %d\r\n" % size + body + b"\r\n")
        await client.expect(b"MSG d.huge 1 %d\r\n" % size + body + b"\r\n")
        await client.expect_silence_until_pong()


SCRIPT = (
    b'CONNECT {"verbose":true,"headers":true}\r\n'
    b"SUB cut.a 1\r\nSUB cut.* grp 2\r\n"
    b"PUB cut.b re.ply 11\r\nhello\r\nPING\r\n"
    b"HPUB cut.b 17 19\r\nNATS/1.0\r\nA:1\r\n\r\nhi\r\n"
    b"UNSUB 2 2\r\nPUB cut.a 0\r\n\r\nunsub 1\r\npub cut.a 1\r\nx\r\nPING\r\nSUB a..b 9\r\nPONG\r\n"
)
ANSWERS = (
    b"+OK\r\n" * 3
    + b"+OK\r\nMSG cut.b 2 re.ply 11\r\nhello\r\nPING\r\n"
    + b"+OK\r\nHMSG cut.b 2 17 19\r\nNATS/1.0\r\nA:1\r\n\r\nhi\r\n"
    + b"+OK\r\n"
    + b"+OK\r\nMSG cut.a 1 0\r\n\r\n"
    + b"+OK\r\n+OK\r\nPONG\r\n-ERR 'Invalid Subject'\r\n"
)


async def test_one_byte_at_a_time(broker: Brokers) -> None:
    async with await broker.shared("# cuts").connect() as client:
        await client.expect_info()
        await client.send_bytewise(SCRIPT)
        await client.expect(ANSWERS)
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("length", [2, 3, 5, 7, 11, 64])
async def test_pieces(broker: Brokers, length: int) -> None:
    async with await broker.shared("# cuts").connect() as client:
        await client.expect_info()
        for start in range(0, len(SCRIPT), length):
            client.send(SCRIPT[start : start + length])
            await asyncio.sleep(0)
        await client.expect(ANSWERS)
        await client.expect_silence_until_pong()


async def test_all_at_once(broker: Brokers) -> None:
    async with await broker.shared("# cuts").connect() as client:
        await client.expect_info()
        client.send(SCRIPT)
        await client.expect(ANSWERS)
        await client.expect_silence_until_pong()


async def test_every_single_cut(broker: Brokers) -> None:
    """Two pieces, cut at each place once; another connection's PONG keeps them apart."""
    shared = broker.shared("# cuts")
    async with await shared.client() as other:
        for cut in range(1, len(SCRIPT)):
            async with await shared.connect() as client:
                await client.expect_info()
                client.send(SCRIPT[:cut])
                await other.expect_silence_until_pong()
                client.send(SCRIPT[cut:])
                await client.expect(ANSWERS)


async def test_pings_in_a_row(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"PING\r\n" * 1000)
        await client.expect(b"PONG\r\n" * 1000)
        await client.expect_silence_until_pong()


async def test_half_a_message_is_not_delivered(broker: Brokers) -> None:
    async with await broker.shared().client() as subscriber:
        subscriber.send(b"SUB d.half 1\r\n")
        await subscriber.expect_silence_until_pong()
        async with await broker.shared().client() as publisher:
            publisher.send(b"PUB d.half 2\r\nok\r\nPING\r\nPUB d.half 10\r\nhello")
            await publisher.expect(b"PONG\r\n")
        await subscriber.expect(b"MSG d.half 1 2\r\nok\r\n")
        await subscriber.expect_silence_until_pong()
