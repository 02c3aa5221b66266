"""Queue groups (wire.md 4.1): one delivery per group and message, beside every plain subscription."""

import re
from collections import Counter

import pytest
from tests.support.brokers import Brokers
from tests.support.rawclient import RawClient

MSG = re.compile(rb"MSG \S+ (\S+) 1\r\nx\r\n")


async def sids(client: RawClient, count: int) -> Counter[bytes]:
    """The sids of the next ``count`` messages."""
    seen: Counter[bytes] = Counter()
    for _ in range(count):
        message = await client.expect(MSG)
        seen[message.split()[2]] += 1
    return seen


async def test_one_member_gets_each_message(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(
            b"SUB g.one grp 1\r\nSUB g.one grp 2\r\nSUB g.one grp 3\r\n" + b"PUB g.one 1\r\nx\r\n" * 200
        )
        seen = await sids(client, 200)
        await client.expect_silence_until_pong()
        assert set(seen) == {b"1", b"2", b"3"}
        assert min(seen.values()) > 20  # fair within reason: the chance of less is below 1e-9


async def test_members_on_different_connections(broker: Brokers) -> None:
    first, second, publisher = [await broker.shared().client() for _ in range(3)]
    async with first, second, publisher:
        for client in (first, second):
            client.send(b"SUB g.conn grp 1\r\n")
            await client.expect_silence_until_pong()
        publisher.send(b"PUB g.conn 1\r\nx\r\n" * 100)
        await publisher.expect_silence_until_pong()
        got = []
        for client in (first, second):
            client.send(b"PING\r\n")
            got.append(
                (await client.expect(re.compile(rb"(MSG g.conn 1 1\r\nx\r\n)*PONG\r\n"))).count(b"MSG")
            )
        assert sum(got) == 100
        assert min(got) > 10


async def test_groups_and_plain_subscriptions_side_by_side(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB g.side a 1\r\nSUB g.side b 2\r\nSUB g.side 3\r\nSUB g.* 4\r\nPUB g.side 1\r\nx\r\n")
        await client.expect_in_any_order(*(b"MSG g.side %d 1\r\nx\r\n" % sid for sid in (1, 2, 3, 4)))
        await client.expect_silence_until_pong()


async def test_a_group_is_one_over_all_its_subjects(broker: Brokers) -> None:
    """``SUB a g`` and ``SUB * g`` are the same group."""
    async with await broker.shared().client() as client:
        client.send(
            b"SUB g.over grp 1\r\nSUB g.* grp 2\r\nSUB g.> grp 3\r\n" + b"PUB g.over 1\r\nx\r\n" * 100
        )
        seen = await sids(client, 100)
        await client.expect_silence_until_pong()
        assert set(seen) == {b"1", b"2", b"3"}


@pytest.mark.parametrize("queue", ["g", "a.b", "*", ">", "a b".replace(" ", "_"), "ü", "q" * 500])
async def test_queue_names(broker: Brokers, queue: str) -> None:
    async with await broker.shared().client() as client:
        client.send(f"SUB g.name {queue} 1\r\nSUB g.name {queue} 2\r\n" + "PUB g.name 1\r\nx\r\n" * 10)
        assert (await sids(client, 10)).total() == 10
        await client.expect_silence_until_pong()


async def test_queue_names_are_compared_as_text(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB g.text G 1\r\nSUB g.text g 2\r\nSUB g.text * 3\r\nPUB g.text 1\r\nx\r\n")
        await client.expect_in_any_order(*(b"MSG g.text %d 1\r\nx\r\n" % sid for sid in (1, 2, 3)))
        await client.expect_silence_until_pong()


async def test_who_leaves_gets_nothing_more(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB g.leave grp 1\r\nSUB g.leave grp 2\r\nUNSUB 1\r\n" + b"PUB g.leave 1\r\nx\r\n" * 20)
        assert await sids(client, 20) == {b"2": 20}
        client.send(b"UNSUB 2\r\nPUB g.leave 1\r\nx\r\n")
        await client.expect_silence_until_pong()


async def test_a_member_that_has_had_its_max(broker: Brokers) -> None:
    """Every message is delivered: when one member is through, the others get the rest."""
    async with await broker.shared().client() as client:
        client.send(b"SUB g.max grp 1\r\nSUB g.max grp 2\r\nUNSUB 1 3\r\n" + b"PUB g.max 1\r\nx\r\n" * 60)
        assert await sids(client, 60) == {b"1": 3, b"2": 57}
        await client.expect_silence_until_pong()


async def test_a_request_reaches_one_member(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB g.req grp 1\r\nPUB g.req re.ply 1\r\nx\r\n")
        await client.expect(b"MSG g.req 1 re.ply 1\r\nx\r\n")
        await client.expect_silence_until_pong()
