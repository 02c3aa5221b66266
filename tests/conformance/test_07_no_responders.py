"""The 503 that answers a request nobody can take (wire.md 1.7)."""

import pytest
from tests.support.brokers import Brokers

WANTS = '{"verbose":false,"headers":true,"no_responders":true}'
HEADERS_ONLY = '{"verbose":false,"headers":true}'


def status(inbox: str, sid: int, subject: str) -> str:
    """The answer: a header block alone, 32 bytes and the subject."""
    size = 32 + len(subject.encode())
    return f"HMSG {inbox} {sid} {size} {size}\r\nNATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n\r\n"


@pytest.mark.parametrize("subject", ["nobody", "a.longer.subject.to.nobody", "n", "ünï"])
async def test_request_to_nobody(broker: Brokers, subject: str) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(f"SUB _INBOX.x.* 9\r\nPUB {subject} _INBOX.x.1 2\r\nhi\r\n")
        await client.expect(status("_INBOX.x.1", 9, subject))
        await client.expect_silence_until_pong()


async def test_the_captured_example(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"SUB _INBOX.x.1 9\r\nPUB nobody _INBOX.x.1 0\r\n\r\n")
        await client.expect(b"HMSG _INBOX.x.1 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_request_with_headers(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"SUB in.h 9\r\nHPUB nobody in.h 12 12\r\nNATS/1.0\r\n\r\n\r\n")
        await client.expect(status("in.h", 9, "nobody"))
        await client.expect_silence_until_pong()


async def test_no_subscription_no_answer(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"PUB nobody in.none 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_a_queue_subscription_is_not_answered(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"SUB in.queue g 9\r\nPUB nobody in.queue 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_the_answer_counts_towards_no_max(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(
            b"SUB in.max 9\r\nUNSUB 9 1\r\n"
            + b"PUB nobody in.max 0\r\n\r\n" * 2
            + b"PUB in.max 0\r\n\r\n" * 2
        )
        await client.expect(status("in.max", 9, "nobody") * 2 + "MSG in.max 9 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_only_the_requester_is_answered(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client, await broker.shared().client(WANTS) as other:
        other.send(b"SUB in.mine 1\r\n")
        await other.expect_silence_until_pong()
        client.send(b"PUB nobody in.mine 0\r\n\r\n")
        await client.expect_silence_until_pong()
        client.send(b"SUB in.mine 9\r\nPUB nobody in.mine 0\r\n\r\n")
        await client.expect(status("in.mine", 9, "nobody"))
        await other.expect_silence_until_pong()


async def test_without_a_reply_no_answer(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"SUB > 9\r\nUNSUB 9\r\nPUB nobody 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_without_the_option_no_answer(broker: Brokers) -> None:
    async with await broker.shared().client(HEADERS_ONLY) as client:
        client.send(b"SUB in.o 9\r\nPUB nobody in.o 0\r\n\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("subscribe", [b"SUB some.body 1\r\n", b"SUB some.* 1\r\n", b"SUB some.body g 1\r\n"])
async def test_somebody_is_there(broker: Brokers, subscribe: bytes) -> None:
    async with await broker.shared().client(WANTS) as client, await broker.shared().client() as service:
        service.send(subscribe)
        await service.expect_silence_until_pong()
        client.send(b"SUB in.s 9\r\nPUB some.body in.s 2\r\nhi\r\n")
        await client.expect_silence_until_pong()
        await service.expect(b"MSG some.body 1 in.s 2\r\nhi\r\n")


async def test_oneself_is_somebody(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client:
        client.send(b"SUB in.self 9\r\nSUB self 1\r\nPUB self in.self 2\r\nhi\r\n")
        await client.expect(b"MSG self 1 in.self 2\r\nhi\r\n")
        await client.expect_silence_until_pong()


async def test_oneself_is_nobody_without_echo(broker: Brokers) -> None:
    no_echo = '{"verbose":false,"headers":true,"no_responders":true,"echo":false}'
    async with await broker.shared().client(no_echo) as client:
        client.send(b"SUB in.e 9\r\nSUB self.e 1\r\nPUB self.e in.e 2\r\nhi\r\n")
        await client.expect(status("in.e", 9, "self.e"))
        await client.expect_silence_until_pong()


async def test_after_the_responder_has_left(broker: Brokers) -> None:
    async with await broker.shared().client(WANTS) as client, await broker.shared().client() as service:
        service.send(b"SUB leaves 1\r\nUNSUB 1 1\r\n")
        await service.expect_silence_until_pong()
        client.send(b"SUB in.l 9\r\nPUB leaves in.l 0\r\n\r\nPUB leaves in.l 0\r\n\r\n")
        await client.expect(status("in.l", 9, "leaves"))
        await client.expect_silence_until_pong()
        await service.expect(b"MSG leaves 1 in.l 0\r\n\r\n")


async def test_verbose_ok_comes_first(broker: Brokers) -> None:
    async with await broker.shared().client('{"headers":true,"no_responders":true}') as client:
        client.send(b"SUB in.v 9\r\nPUB nobody in.v 0\r\n\r\n")
        await client.expect("+OK\r\n+OK\r\n" + status("in.v", 9, "nobody"))
        await client.expect_silence_until_pong()
