"""Subjects, wildcards and what matches what (wire.md 1.11)."""

import pytest
from tests.support.brokers import Brokers
from tests.support.rows import each

# subscription, published subject, delivered?
MATCHES = [
    ("a", "a", True),
    ("a", "A", False),
    ("a", "b", False),
    ("a", "a.b", False),
    ("a.b", "a", False),
    ("a.b", "a.b", True),
    ("*", "a", True),
    ("*", "a.b", False),
    ("a.*", "a.b", True),
    ("a.*", "a", False),
    ("a.*", "a.b.c", False),
    ("*.b", "a.b", True),
    ("*.b", "a.c", False),
    ("*.*", "a.b", True),
    ("*.*", "a", False),
    ("a.*.c", "a.b.c", True),
    ("a.*.c", "a.b.d", False),
    (">", "a", True),
    (">", "a.b.c.d.e", True),
    ("a.>", "a.b", True),
    ("a.>", "a.b.c.d", True),
    ("a.>", "a", False),
    ("a.>", "b.a", False),
    ("*.>", "a.b", True),
    ("*.>", "a", False),
    ("a.*.>", "a.b.c", True),
    ("a.*.>", "a.b", False),
    ("foo*", "foo*", True),
    ("foo*", "foobar", False),
    ("*foo", "foo", False),
    ("foo>", "foo>", True),
    ("foo>", "foo.bar", False),
    ("a.**", "a.b", False),
    ("a.**", "a.**", True),
    ("a.>>", "a.b", False),
    ("foo.*", "foo.*", True),
    ("foo.bar", "foo.*", False),
    ("*.*", "foo.*", True),
    ("foo.>", "foo.*", True),
    ("foo.>", "foo.>", True),
    ("foo.bar", "foo.>", False),
    (">", ">", True),
    ("é.ü", "é.ü", True),
    ("é.*", "é.日本", True),
    ("$X.a", "$X.a", True),
    (">", "$X.a", True),
    ("a/b", "a/b", True),
    ("a-b_c", "a-b_c", True),
    ("a:b=c", "a:b=c", True),
    ("a.>", "a..b", False),
    ("a.*", "a.", False),
    ("*.a", ".a", False),
    (">", "a..b", False),
    (">", "a.", False),
    (">", ".a", False),
]


@each(("subscribed", "published", "delivered"), MATCHES)
async def test_matching(broker: Brokers, subscribed: str, published: str, delivered: bool) -> None:
    """By plain subscription and by queue group alike."""
    own = broker.shared("# subjects")
    async with await own.client() as client:
        client.send(f"SUB {subscribed} 1\r\nSUB {subscribed} g 2\r\nPUB {published} 2\r\nhi\r\n")
        if delivered:
            await client.expect_in_any_order(*(f"MSG {published} {sid} 2\r\nhi\r\n" for sid in (1, 2)))
        await client.expect_silence_until_pong()


@pytest.mark.parametrize("subject", ["a..b", ".a", "a.", ".", "..", "a.>.b", ">.a", "a.>.", "a.*."])
async def test_subscribing_to_a_malformed_subject(broker: Brokers, subject: str) -> None:
    async with await broker.shared().client() as client:
        client.send(f"SUB {subject} 1\r\n")
        await client.expect_error("Invalid Subject", closes=False)


async def test_a_refused_sid_is_free(broker: Brokers) -> None:
    async with await broker.shared().client() as client:
        client.send(b"SUB a..b 1\r\n")
        await client.expect_error("Invalid Subject", closes=False)
        client.send(b"SUB free.sid 1\r\nPUB free.sid 0\r\n\r\n")
        await client.expect(b"MSG free.sid 1 0\r\n\r\n")
        await client.expect_silence_until_pong()


async def test_a_hundred_tokens(broker: Brokers) -> None:
    subject = ".".join(str(n) for n in range(100))
    async with await broker.shared().client() as client:
        client.send(f"SUB {subject} 1\r\nSUB 0.> 2\r\nPUB {subject} 0\r\n\r\n")
        await client.expect_in_any_order(*(f"MSG {subject} {sid} 0\r\n\r\n" for sid in (1, 2)))
        await client.expect_silence_until_pong()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("PUB a _R_.x 0\r\n\r\n", 'Permissions Violation for Publish with Reply of "_R_.x"'),
        ("PUB a $JS.ACK.x 0\r\n\r\n", 'Permissions Violation for Publish with Reply of "$JS.ACK.x"'),
        ("PUB a _GR_.x 0\r\n\r\n", 'Permissions Violation for Publish with Reply of "_GR_.x"'),
        ("PUB _GR_.x.y.z 0\r\n\r\n", 'Permissions Violation for Publish to "_GR_.x.y.z"'),
        ("PUB $NRG.x 0\r\n\r\n", 'Permissions Violation for Publish to "$NRG.x"'),
        ("SUB a _sys_ 1\r\n", 'Permissions Violation for Subscription to "a" using queue "_sys_"'),
    ],
)
async def test_reserved_names(broker: Brokers, line: str, error: str) -> None:
    async with await broker.shared().client() as client:
        client.send(line)
        await client.expect_error(error, closes=False)
