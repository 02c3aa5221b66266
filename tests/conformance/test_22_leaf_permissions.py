"""What may cross a leaf link (wire.md 2.6, 2.7, 5.5): permissions, ``deny_pub``, JetStream's subjects."""

import pytest
from tests.support.brokers import Broker, Brokers
from tests.support.rawclient import RawClient
from tests.support.rawleaf import RawLeaf

PERMITTED = """leafnodes { listen: "127.0.0.1:-1", compression: off }
authorization { users: [
  { user: admin, password: p }
  { user: allow, password: p, permissions: { publish: { allow: "up.>" }, subscribe: { allow: ["down.>"] } } }
  { user: deny, password: p, permissions: { publish: { deny: "up.no" }, subscribe: { deny: "down.no" } } }
] }"""


async def leaf_as(broker: Broker, name: str) -> RawLeaf:
    return await broker.leaf(f'{{"name":"{name}","headers":true,"user":"{name}","pass":"p"}}')


async def admin(broker: Broker) -> RawClient:
    return await broker.client('{"verbose":false,"user":"admin","pass":"p"}')


@pytest.mark.parametrize(
    ("name", "imports", "exports"),
    [
        ("allow", {"allow": ["down.>"]}, {"allow": ["up.>"]}),
        ("deny", {"deny": ["down.no"]}, {"deny": ["up.no"]}),
    ],
)
async def test_permissions_are_told(broker: Brokers, name: str, imports: object, exports: object) -> None:
    """From the leaf's point of view: ``import`` is what it may receive."""
    async with await leaf_as(broker.shared(PERMITTED), name) as leaf:
        told = leaf.info

    def without_empty(value: dict[str, object]) -> dict[str, object]:
        return {key: item for key, item in value.items() if item}

    assert without_empty(told["import"]) == imports
    assert without_empty(told["export"]) == exports


async def test_no_permissions_nothing_is_told(broker: Brokers) -> None:
    async with await leaf_as(broker.shared(PERMITTED), "admin") as leaf:
        assert "import" not in leaf.info
        assert "export" not in leaf.info


@pytest.mark.parametrize(("name", "subject"), [("allow", "other"), ("allow", "down"), ("deny", "down.no")])
async def test_literal_interest_that_is_not_allowed(broker: Brokers, name: str, subject: str) -> None:
    async with await leaf_as(broker.shared(PERMITTED), name) as leaf:
        leaf.send(f"LS+ {subject}\r\n")
        await leaf.expect_error(f'Permissions Violation for Subscription to "{subject}"', closes=True)


@pytest.mark.parametrize(
    ("name", "interest", "published", "delivered"),
    [
        ("allow", ">", "down.a", True),
        ("allow", ">", "other", False),
        ("allow", "*.a", "down.a", True),
        ("allow", "*.a", "other.a", False),
        ("allow", "down.a", "down.a", True),
        ("deny", ">", "down.no", False),
        ("deny", ">", "down.yes", True),
        ("deny", "down.*", "down.no", False),
    ],
)
async def test_wildcard_interest_is_filtered(
    broker: Brokers, name: str, interest: str, published: str, delivered: bool
) -> None:
    shared = broker.shared(PERMITTED)
    async with await leaf_as(shared, name) as leaf, await admin(shared) as client:
        leaf.send(f"LS+ {interest}\r\n")
        await leaf.expect_silence_until_pong()
        client.send(f"PUB {published} 2\r\nhi\r\n")
        await client.expect_silence_until_pong()
        if delivered:
            await leaf.expect(f"LMSG {published} 2\r\nhi\r\n")
        await leaf.expect_silence_until_pong()


@pytest.mark.parametrize(("name", "subject"), [("allow", "other"), ("allow", "down.a"), ("deny", "up.no")])
async def test_message_that_is_not_allowed(broker: Brokers, name: str, subject: str) -> None:
    async with await leaf_as(broker.shared(PERMITTED), name) as leaf:
        leaf.send(f"LMSG {subject} 2\r\nhi\r\n")
        await leaf.expect_error(f'Permissions Violation for Publish to "{subject}"', closes=True)


@pytest.mark.parametrize(("name", "subject"), [("allow", "up.a"), ("deny", "up.yes"), ("deny", "other")])
async def test_message_that_is_allowed(broker: Brokers, name: str, subject: str) -> None:
    shared = broker.shared(PERMITTED)
    async with await leaf_as(shared, name) as leaf, await admin(shared) as client:
        client.send(f"SUB {subject} 1\r\n")
        await client.expect_silence_until_pong()
        leaf.send(f"LMSG {subject} 2\r\nhi\r\n")
        await client.expect(f"MSG {subject} 1 2\r\nhi\r\n")


async def test_deny_pub_of_the_leaf(broker: Brokers) -> None:
    """What the leaf denies itself is not delivered; saying a literal inside it closes the link."""
    world = broker.world()
    async with await world.leaf(name="D", deny_pub=["secret.>"]) as leaf, await world.client() as client:
        leaf.send(b"LS+ >\r\n")
        await leaf.expect_silence_until_pong()
        client.send(b"PUB secret.a 2\r\nhi\r\nPUB open.a 2\r\nhi\r\n")
        await leaf.expect(b"LMSG open.a 2\r\nhi\r\n")
        await leaf.expect_silence_until_pong()
        leaf.send(b"LS+ secret.a\r\n")
        await leaf.expect_error('Permissions Violation for Subscription to "secret.a"', closes=True)


@pytest.mark.parametrize("subject", ["$KV.b.k", "$OBJ.x", "$JS.API.INFO", "$JS.API.STREAM.LIST"])
async def test_literal_interest_in_jetstream_subjects(broker: Brokers, subject: str) -> None:
    async with await broker.world().leaf() as leaf:
        leaf.send(f"LS+ {subject}\r\n")
        await leaf.expect_error(f'Permissions Violation for Subscription to "{subject}"', closes=True)


@pytest.mark.parametrize(
    ("interest", "subject"),
    [("$KV.b.*", "$KV.b.k"), ("$OBJ.>", "$OBJ.x"), ("$JS.>", "$JS.API.INFO"), (">", "$KV.b.k")],
)
async def test_wildcard_interest_in_jetstream_subjects(broker: Brokers, interest: str, subject: str) -> None:
    """Accepted, and never served."""
    world = broker.world()
    async with await world.leaf() as leaf, await world.client() as client:
        leaf.send(f"LS+ {interest}\r\n")
        await leaf.expect_silence_until_pong()
        client.send(f"PUB {subject} 2\r\nhi\r\n")
        await client.expect_silence_until_pong()
        await leaf.expect_silence_until_pong()


@pytest.mark.parametrize("subject", ["$JS.API.INFO", "$KV.b.k", "$OBJ.x"])
async def test_hub_does_not_announce_jetstream_subjects(broker: Brokers, subject: str) -> None:
    world = broker.world()
    async with await world.leaf() as leaf, await world.client() as client:
        client.send(f"SUB {subject} 1\r\nSUB told 2\r\n")
        await leaf.expect(b"LS+ told\r\n")
        await leaf.expect_silence_until_pong()
