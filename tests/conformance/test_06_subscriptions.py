"""SUB, UNSUB and the count after which a subscription ends (wire.md 1.6)."""

import re

import pytest
from tests.support.brokers import Brokers

ANSWERED = re.compile(rb"(?:HMSG [^\r]*\r\n.*?\r\n\r\n\r\n)?PONG\r\n", re.DOTALL)


async def test_sub_then_unsub(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB s 1\r\nPUB s 1\r\na\r\nUNSUB 1\r\nPUB s 1\r\nb\r\n")
        await client.expect(b"MSG s 1 1\r\na\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("sid", ["1", "0", "-1", "abc", "a.b", "*", "é", "9" * 40, "$", "{}"])
async def test_a_sid_is_any_token(broker: Brokers, sid: str) -> None:
    async with await broker.shared().client() as client:
        client.send(f"SUB sid.any {sid}\r\nPUB sid.any 1\r\nx\r\nUNSUB {sid}\r\nPUB sid.any 1\r\ny\r\n")
        await client.expect(f"MSG sid.any {sid} 1\r\nx\r\n")
        await client.expect_silence_until_pong()


async def test_sids_are_compared_as_text(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB text 1\r\nSUB text 01\r\nUNSUB 1\r\nPUB text 1\r\nx\r\n")
        await client.expect(b"MSG text 01 1\r\nx\r\n")
        await client.expect_silence_until_pong()


async def test_two_sids_get_two_copies(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB two 1\r\nSUB two 2\r\nSUB * 3\r\nPUB two 1\r\nx\r\n")
        await client.expect_in_any_order(*(b"MSG two %d 1\r\nx\r\n" % sid for sid in (1, 2, 3)))
        await client.expect_silence_until_pong()


async def test_a_live_sid_is_not_replaced(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB live.a 1\r\nSUB live.b 1\r\nPUB live.b 1\r\nb\r\nPUB live.a 1\r\na\r\n")
        await client.expect(b"MSG live.a 1 1\r\na\r\n")
        await client.expect_silence_until_pong()


async def test_a_live_sid_answers_ok_all_the_same(broker: Brokers) -> None:
    async with await broker.shared().client('{"headers":true}') as client:
        client.send(b"SUB live.c 1\r\nSUB live.d 1\r\n")
        await client.expect(b"+OK\r\n+OK\r\n")
        await client.expect_silence_until_pong()


async def test_a_live_sid_hides_a_malformed_subject(broker: Brokers) -> None:
    async with await broker.shared().client('{"headers":true}') as client:
        client.send(b"SUB live.e 1\r\nSUB a..b 1\r\n")
        await client.expect(b"+OK\r\n+OK\r\n")
        await client.expect_silence_until_pong()


async def test_a_sid_can_be_used_again(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB old 1\r\nUNSUB 1\r\nSUB new 1\r\nPUB old 1\r\no\r\nPUB new 1\r\nn\r\n")
        await client.expect(b"MSG new 1 1\r\nn\r\n")
        await client.expect_silence_until_pong()


async def test_sids_belong_to_a_connection(broker: Brokers) -> None:
    async with await broker.shared().client() as first, await broker.shared().client() as second:
        first.send(b"SUB mine 1\r\n")
        await first.expect_silence_until_pong()
        second.send(b"SUB mine 1\r\nUNSUB 1\r\nPUB mine 1\r\nx\r\n")
        await second.expect_silence_until_pong()
        await first.expect(b"MSG mine 1 1\r\nx\r\n")
        await first.expect_silence_until_pong()


async def test_unsub_of_an_unknown_sid(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"UNSUB 77\r\nUNSUB 77 5\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_max_ends_a_subscription(broker: Brokers, count: int) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.n 1\r\nUNSUB 1 %d\r\n" % count + b"PUB max.n 1\r\nx\r\n" * 8)
        await client.expect(b"MSG max.n 1 1\r\nx\r\n" * count)
        await client.expect_silence_until_pong()


async def test_max_counts_from_the_subscribe(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(
            b"SUB max.s 1\r\n" + b"PUB max.s 1\r\na\r\n" * 2 + b"UNSUB 1 3\r\n" + b"PUB max.s 1\r\nb\r\n" * 3
        )
        await client.expect(b"MSG max.s 1 1\r\na\r\n" * 2 + b"MSG max.s 1 1\r\nb\r\n")
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("count", [1, 2])
async def test_max_already_reached_ends_at_once(broker: Brokers, count: int) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.r 1\r\n" + b"PUB max.r 1\r\na\r\n" * 2)
        client.send(b"UNSUB 1 %d\r\nPUB max.r 1\r\nb\r\n" % count)
        await client.expect(b"MSG max.r 1 1\r\na\r\n" * 2)
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("count", [b"0", b"x", b"-1", b"1x", b"0000000001"])
async def test_a_max_that_is_no_number_is_a_plain_unsub(broker: Brokers, count: bytes) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.x 1\r\nUNSUB 1 " + count + b"\r\nPUB max.x 1\r\na\r\n")
        await client.expect_silence_until_pong()


async def test_max_can_be_raised_and_lifted(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.up 1\r\nUNSUB 1 1\r\nUNSUB 1 3\r\n" + b"PUB max.up 1\r\na\r\n" * 5)
        await client.expect(b"MSG max.up 1 1\r\na\r\n" * 3)
        await client.expect_silence_until_pong()
        client.send(b"SUB max.up 1\r\nUNSUB 1 3\r\nPUB max.up 1\r\nb\r\nUNSUB 1\r\nPUB max.up 1\r\nc\r\n")
        await client.expect(b"MSG max.up 1 1\r\nb\r\n")
        await client.expect_silence_until_pong()


async def test_a_sid_starts_to_count_anew(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        again = b"SUB max.new 1\r\nUNSUB 1 2\r\n" + b"PUB max.new 1\r\na\r\n" * 3
        for _ in range(2):
            client.send(again)
            await client.expect(b"MSG max.new 1 1\r\na\r\n" * 2)
            await client.expect_silence_until_pong()


async def test_max_of_one_of_two(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.two 1\r\nSUB max.two 2\r\nUNSUB 1 1\r\nPUB max.two 1\r\na\r\n")
        await client.expect_in_any_order(b"MSG max.two 1 1\r\na\r\n", b"MSG max.two 2 1\r\na\r\n")
        client.send(b"PUB max.two 1\r\nb\r\n")
        await client.expect(b"MSG max.two 2 1\r\nb\r\n")
        await client.expect_silence_until_pong()


async def test_max_in_a_queue_group(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB max.q g 1\r\nUNSUB 1 2\r\n" + b"PUB max.q 1\r\na\r\n" * 4)
        await client.expect(b"MSG max.q 1 1\r\na\r\n" * 2)
        await client.expect_silence_until_pong()


async def test_subscriptions_end_with_their_connection(broker: Brokers) -> None:
    """Seen by a request: it finds nobody once the server has noticed."""
    shared = broker.shared()
    async with await shared.client('{"verbose":false,"headers":true,"no_responders":true}') as client:
        gone = await shared.client()
        gone.send(b"SUB gone 1\r\nHELLO\r\n")
        await gone.expect_error("Unknown Protocol Operation", closes=True)
        gone.close()
        client.send(b"SUB reply 1\r\n")
        status = b"HMSG reply 1 36 36\r\nNATS/1.0 503\r\nNats-Subject: gone\r\n\r\n\r\n"
        for _ in range(1000):  # the close is seen by us before the server has taken the subscription away
            client.send(b"PUB gone reply 0\r\n\r\nPING\r\n")
            if (await client.expect(ANSWERED)).startswith(status):
                break
        else:
            pytest.fail("the subscription outlived its connection")
