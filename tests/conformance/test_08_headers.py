"""Messages with headers (wire.md 1.8): opaque bytes, passed on or cut off for who cannot take them."""

from tests.support.brokers import Brokers
from tests.support.rows import each

PLAIN = '{"verbose":false}'
BLOCKS = {
    "nothing but the version": b"NATS/1.0\r\n\r\n",
    "one header": b"NATS/1.0\r\nA: 1\r\n\r\n",
    "repeated name": b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n",
    "case is kept": b"NATS/1.0\r\ncontent-TYPE: Text\r\n\r\n",
    "blanks are kept": b"NATS/1.0\r\nA:   x  \r\nB:y\r\n\r\n",
    "status": b"NATS/1.0 503\r\n\r\n",
    "status and description": b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 1\r\n\r\n",
    "utf-8 value": "NATS/1.0\r\nName: blåbær\r\n\r\n".encode(),
    "long value": b"NATS/1.0\r\nA: " + b"v" * 10000 + b"\r\n\r\n",
    "no header block at all": b"abcde",
    "binary": b"\0\xff\r\n",
    "not finished": b"NATS/1.0\r\nA: 1",
    "traceparent": b"NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-00\r\n\r\n",
}


@each("payload", [b"", b"payload"], ids=["empty", "payload"])
@each("name", BLOCKS)
async def test_passed_on_unread(broker: Brokers, name: str, payload: bytes) -> None:
    head = BLOCKS[name]
    sizes = b"%d %d" % (len(head), len(head) + len(payload))
    body = sizes + b"\r\n" + head + payload + b"\r\n"
    async with await broker.shared().client() as client:
        client.send(b"SUB head 1\r\nHPUB head " + body + b"HPUB head re.ply " + body)
        await client.expect(b"HMSG head 1 " + body + b"HMSG head 1 re.ply " + body)
        await client.expect_silence_until_pong()


@each("payload", [b"", b"payload"], ids=["empty", "payload"])
@each("name", BLOCKS)
async def test_cut_off_for_who_cannot_take_them(broker: Brokers, name: str, payload: bytes) -> None:
    head = BLOCKS[name]
    body = b"%d %d\r\n" % (len(head), len(head) + len(payload)) + head + payload + b"\r\n"
    async with await broker.shared().client() as client, await broker.shared().client(PLAIN) as plain:
        plain.send(b"SUB strip 1\r\n")
        await plain.expect_silence_until_pong()
        client.send(b"HPUB strip " + body + b"HPUB strip re.ply " + body)
        await client.expect_silence_until_pong()
        size = len(payload)
        await plain.expect(
            b"MSG strip 1 %d\r\n%s\r\nMSG strip 1 re.ply %d\r\n%s\r\n" % (size, payload, size, payload)
        )
        await plain.expect_silence_until_pong()


async def test_header_length_zero_is_a_message_without(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB zero 1\r\nHPUB zero 0 5\r\nhello\r\nHPUB zero re 0 0\r\n\r\n")
        await client.expect(b"MSG zero 1 5\r\nhello\r\nMSG zero 1 re 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_a_message_without_headers_stays_msg(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB none 1\r\nPUB none 5\r\nhello\r\n")
        await client.expect(b"MSG none 1 5\r\nhello\r\n")
        await client.expect_silence_until_pong()


async def test_lower_case_verb(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB low 1\r\nhpub low 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await client.expect(b"HMSG low 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await client.expect_silence_until_pong()


async def test_each_receiver_gets_its_form(broker: Brokers) -> None:
    shared = broker.shared()
    async with (
        await shared.client() as able,
        await shared.client(PLAIN) as plain,
        await shared.client() as publisher,
    ):
        for client in (able, plain):
            client.send(b"SUB forms 1\r\nSUB forms.* 2\r\n")
            await client.expect_silence_until_pong()
        publisher.send(b"HPUB forms 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await publisher.expect_silence_until_pong()
        await able.expect(b"HMSG forms 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        await plain.expect(b"MSG forms 1 2\r\nhi\r\n")
        for client in (able, plain):
            await client.expect_silence_until_pong()
