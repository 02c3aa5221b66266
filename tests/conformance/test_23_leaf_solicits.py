"""The leaf side of a link, against a hub played by the test (wire.md 2.1 to 2.6, 5.1, 6.1)."""

import json
import re
from collections.abc import AsyncIterator

import pytest
from tests.support.brokers import Brokers
from tests.support.fake_hub import FIRST_INFO, FakeHub


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub() as hub:
        yield hub


def info_with(**fields: object) -> str:
    """The line of a hub's INFO with fields put in."""
    return f"INFO {json.dumps({**json.loads(FIRST_INFO), **fields})}\r\n"


CONNECT_TYPES = {
    "version": str,
    "server_id": str,
    "name": str,
    "headers": bool,
    "remote_account": str,
    "protocol": int,
}


async def test_connect(broker: Brokers, hub: FakeHub) -> None:
    """What a leaf says about itself; no ``lang``, which would make it a client."""
    hub.leaf_server(broker)
    link = await hub.dialled()
    link.send(f"INFO {FIRST_INFO}\r\n")
    connect = await link.expect_connect()
    assert {key: type(connect[key]) for key in CONNECT_TYPES} == CONNECT_TYPES
    assert connect["name"] == "LEAF"
    assert connect["headers"] is True
    assert connect["remote_account"] == "$G"
    assert connect["protocol"] in (1, 3)
    assert connect.get("cluster", "LEAF") == "LEAF"
    assert re.fullmatch(r"N[A-Z2-7]{55}", connect["server_id"])
    for absent in (
        "lang",
        "gateway",
        "user",
        "pass",
        "auth_token",
        "jwt",
        "nkey",
        "sig",
        "is_hub",
        "deny_pub",
    ):
        assert absent not in connect


async def test_the_leaf_waits_for_info(broker: Brokers, hub: FakeHub) -> None:
    """Nothing is sent before INFO; without it the leaf hangs up after a second and dials again."""
    hub.leaf_server(broker)
    link = await hub.dialled()
    await link.expect_close()
    await hub.linked()


@pytest.mark.parametrize(
    "info",
    [
        "{}",
        '{"client_id":1}',
        '{"leafnode_urls":[]}',
        '{"client_id":0,"leafnode_urls":[]}',
        '{"leafnode_urls":[],"info_on_connect":true}',
        '{"client_id":1,"leafnode_urls":null}',
        '{"client_id":"1","leafnode_urls":[]}',
        '{"client_id":1,"leafnode_urls":[],"max_payload":"big"}',
        "{",
    ],
)
async def test_info_of_something_else(broker: Brokers, hub: FakeHub, info: str) -> None:
    """The leaf hangs up and dials again."""
    hub.leaf_server(broker)
    link = await hub.dialled()
    link.send(f"INFO {info}\r\n")
    await link.expect_close()
    await hub.dialled()


@pytest.mark.parametrize("urls", ["", ',"leafnode_urls":null'])
async def test_hub_that_advertises_nothing(broker: Brokers, hub: FakeHub, urls: str) -> None:
    hub.leaf_server(broker)
    link = await hub.dialled()
    link.send(f'INFO {{"client_id":1,"info_on_connect":true{urls}}}\r\n')
    await link.expect_connect()
    link.send('INFO {"connect_info":true,"remote_account":"$G"}\r\n')
    await link.sync()


async def test_interest_follows_connect_at_once(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker)
    link = await hub.linked()
    assert re.fullmatch(r"\$LDS\.[A-Za-z0-9]{22}", link.loop_subject)


async def test_interest_waits_for_the_connect_info(broker: Brokers, hub: FakeHub) -> None:
    """If the first INFO promises one."""
    hub.leaf_server(broker)
    link = await hub.dialled()
    link.noise = ()
    link.send(info_with(info_on_connect=True))
    await link.expect_connect()
    await link.expect_silence_until_pong()
    link.send(info_with(info_on_connect=True, connect_info=True, remote_account="$G"))
    await link.expect(re.compile(rb"(?:LS\+ \$SYS\S+\r\n)*LS\+ \$LDS\.\S{22}\r\n"))


async def test_connect_info_that_never_comes(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker)
    link = await hub.dialled()
    link.send(info_with(info_on_connect=True))
    await link.expect_connect()
    await link.expect_error("Stale Leaf Node Connection - Closing", closes=True)


async def test_user_and_password_of_the_url(broker: Brokers, hub: FakeHub) -> None:
    broker.own(f'leafnodes {{ remotes: [ {{ url: "nats-leaf://user:pass@127.0.0.1:{hub.port}" }} ] }}')
    link = await hub.dialled()
    link.send(f"INFO {FIRST_INFO}\r\n")
    connect = await link.expect_connect()
    assert (connect["user"], connect["pass"]) == ("user", "pass")


async def test_local_interest_goes_up(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        client.send(b"SUB foo 1\r\nSUB foo 2\r\nSUB q.1 grp 10\r\nSUB q.1 grp 11\r\nSUB q.1 grp2 12\r\n")
        await link.expect(b"LS+ foo\r\nLS+ q.1 grp 1\r\nLS+ q.1 grp 2\r\nLS+ q.1 grp2 1\r\n")
        client.send(b"UNSUB 1\r\nUNSUB 10\r\nUNSUB 2\r\nUNSUB 11\r\n")
        await link.expect(b"LS+ q.1 grp 1\r\nLS- foo\r\nLS- q.1 grp\r\n")
    await link.expect(b"LS- q.1 grp2\r\n")


async def test_interest_that_was_there_before_the_link(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.dialled()
    async with await server.client() as client:
        client.send(b"SUB foo 1\r\nSUB q.1 g 2\r\nSUB q.1 g 3\r\n")
        await client.expect_silence_until_pong()
        link.send(f"INFO {FIRST_INFO}\r\n")
        await link.expect_connect()
        await link.sync()
        assert {"foo", "q.1 g 2"} <= set(link.announced)


async def test_interest_is_said_again_on_a_new_link(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        client.send(b"SUB again 1\r\n")
        await link.expect(b"LS+ again\r\n")
        link.close()
        link = await hub.linked()
        assert "again" in link.announced
        link.send(b"LMSG again 2\r\nhi\r\n")
        await client.expect(b"MSG again 1 2\r\nhi\r\n")


# What the hub sends, and what a leaf's client with `SUB d.> 1` gets.
DOWN = {
    "plain": (b"LMSG d.1 5\r\nhello\r\n", b"MSG d.1 1 5\r\nhello\r\n"),
    "reply": (b"LMSG d.1 re.ply 5\r\nhello\r\n", b"MSG d.1 1 re.ply 5\r\nhello\r\n"),
    "headers": (b"HMSG d.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", b"HMSG d.1 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
    "queue named that nobody is in": (b"LMSG d.1 + re g 2\r\nhi\r\n", b"MSG d.1 1 re 2\r\nhi\r\n"),
    "JetStream": (
        b"LMSG d.9 $JS.ACK.T.C.1.1.1.1795.0@x.y 0\r\n\r\n",
        b"MSG x.y 1 $JS.ACK.T.C.1.1.1.1795.0 0\r\n\r\n",
    ),
}


async def test_messages_come_down(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        client.send(b"SUB d.> 1\r\n")
        await link.expect(b"LS+ d.>\r\n")
        for sent, expected in DOWN.values():
            link.send(sent)
            await client.expect(expected)
        await link.expect_silence_until_pong()
        await client.expect_silence_until_pong()


async def test_queue_groups_get_what_names_them(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        client.send(b"SUB q g 1\r\nSUB q h 2\r\n")
        await link.expect(b"LS+ q g 1\r\nLS+ q h 1\r\n")
        link.send(b"LMSG q 1\r\na\r\nLMSG q | h 1\r\nb\r\nLMSG q + re g h 1\r\nc\r\n")
        await client.expect(b"MSG q 2 1\r\nb\r\n")
        await client.expect_in_any_order(b"MSG q 1 re 1\r\nc\r\n", b"MSG q 2 re 1\r\nc\r\n")
        await link.expect_silence_until_pong()


# What the hub is interested in, what a leaf's client publishes, what goes up.
UP = {
    "plain": (b"LS+ u.1\r\n", b"PUB u.1 2\r\nyo\r\n", b"LMSG u.1 2\r\nyo\r\n"),
    "reply": (b"LS+ u.2\r\n", b"PUB u.2 re.ply 2\r\nyo\r\n", b"LMSG u.2 re.ply 2\r\nyo\r\n"),
    "wildcards, once": (
        b"LS+ u.3\r\nLS+ u.3.>\r\nLS+ *.3\r\n",
        b"PUB u.3 2\r\nyo\r\n",
        b"LMSG u.3 2\r\nyo\r\n",
    ),
    "headers": (
        b"LS+ u.4\r\n",
        b"HPUB u.4 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        b"HMSG u.4 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    ),
    "queue": (b"LS+ u.5 g 2\r\n", b"PUB u.5 1\r\na\r\n", b"LMSG u.5 | g 1\r\na\r\n"),
    "queue and reply": (b"LS+ u.6 g 2\r\n", b"PUB u.6 re 1\r\na\r\n", b"LMSG u.6 + re g 1\r\na\r\n"),
    "nobody": (b"", b"PUB u.7 1\r\na\r\n", b""),
    "no more": (b"LS+ u.8\r\nLS- u.8\r\n", b"PUB u.8 1\r\na\r\n", b""),
}


async def test_messages_go_up(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        for interest, published, expected in UP.values():
            link.send(interest)
            await link.expect_silence_until_pong()
            client.send(published)
            await client.expect_silence_until_pong()
            await link.expect(expected)
            await link.expect_silence_until_pong()


async def test_the_inbox_is_announced_before_the_request(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    link.send(b"LS+ svc\r\n")
    await link.expect_silence_until_pong()
    async with await server.client() as client:
        client.send(b"SUB _INBOX.l.* 1\r\nPUB svc _INBOX.l.1 2\r\nrq\r\n")
        await link.expect(b"LS+ _INBOX.l.*\r\nLMSG svc _INBOX.l.1 2\r\nrq\r\n")
        link.send(b"LMSG _INBOX.l.1 2\r\nre\r\n")
        await client.expect(b"MSG _INBOX.l.1 1 2\r\nre\r\n")


async def test_a_request_that_nobody_takes_is_answered_here(broker: Brokers, hub: FakeHub) -> None:
    """Nothing goes over the link."""
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client('{"verbose":false,"headers":true,"no_responders":true}') as client:
        client.send(b"SUB in.l 1\r\nPUB nobody in.l 0\r\n\r\n")
        await client.expect(b"HMSG in.l 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n")
        await link.expect(b"LS+ in.l\r\n")
        await link.expect_silence_until_pong()


async def test_what_came_over_the_link_does_not_go_back(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker)
    link = await hub.linked()
    link.send(b"LS+ echo\r\nLS+ echo g 1\r\nLMSG echo 1\r\nx\r\n")
    await link.expect_silence_until_pong()


async def test_permissions_of_the_hub_are_kept(broker: Brokers, hub: FakeHub) -> None:
    """Told in the connect INFO: nothing outside them goes up, interest or message, and nothing comes in."""
    server = hub.leaf_server(broker)
    link = await hub.dialled()
    link.send(info_with(info_on_connect=True))
    await link.expect_connect()
    permissions = {"import": {"allow": ["down.>"]}, "export": {"allow": ["up.>"]}}
    link.send(info_with(connect_info=True, remote_account="$G", **permissions) + "LS+ >\r\n")
    await link.sync()
    async with await server.client() as client:
        client.send(b"SUB other 1\r\nSUB down.a 2\r\nPUB other.b 1\r\nx\r\nPUB up.a 1\r\ny\r\n")
        await link.expect(b"LS+ down.a\r\nLMSG up.a 1\r\ny\r\n")
        link.send(b"LMSG other 1\r\nx\r\nLMSG down.a 1\r\ny\r\n")
        await client.expect(b"MSG down.a 2 1\r\ny\r\n")
        await link.expect_silence_until_pong()
        await client.expect_silence_until_pong()


async def test_deny_imports_and_exports_of_the_remote(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker, 'deny_imports: ["no.in.>"], deny_exports: ["no.out"]')
    link = await hub.dialled()
    link.send(f"INFO {FIRST_INFO}\r\n")
    connect = await link.expect_connect()
    assert "no.in.>" in connect["deny_pub"]
    await link.sync()
    link.send(b"LS+ >\r\n")
    await link.expect_silence_until_pong()
    async with await server.client('{"verbose":false,"echo":false}') as client:
        client.send(b"SUB no.in.a 1\r\nSUB yes.in 2\r\nPUB no.out 1\r\nx\r\nPUB yes.out 1\r\ny\r\n")
        await link.expect(b"LS+ yes.in\r\nLMSG yes.out 1\r\ny\r\n")
        link.send(b"LMSG no.in.a 1\r\nx\r\nLMSG yes.in 1\r\ny\r\n")
        await client.expect(b"MSG yes.in 2 1\r\ny\r\n")
        await link.expect_silence_until_pong()
        await client.expect_silence_until_pong()


async def test_jetstream_subjects_stay_at_home(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    link.send(b"LS+ >\r\n")
    await link.expect_silence_until_pong()
    async with await server.client('{"verbose":false,"echo":false}') as client:
        client.send(b"SUB $KV.b.k 1\r\nSUB $OBJ.x 2\r\nSUB $JS.API.INFO 3\r\nSUB yes 4\r\n")
        await link.expect(b"LS+ yes\r\n")
        client.send(b"PUB $KV.b.k 0\r\n\r\nPUB $OBJ.x 0\r\n\r\nPUB $JS.API.INFO 0\r\n\r\nPUB yes 0\r\n\r\n")
        await link.expect(b"LMSG yes 0\r\n\r\n")
        await link.expect_silence_until_pong()


async def test_a_leaf_hands_on_between_its_hubs(broker: Brokers, hub: FakeHub) -> None:
    """What comes from one hub goes to the other leaf links too (wire.md 2.5)."""
    async with FakeHub() as second:
        remotes = ", ".join(f'{{ url: "nats-leaf://127.0.0.1:{port}" }}' for port in (hub.port, second.port))
        broker.own(f"server_name: L\nleafnodes {{ remotes: [ {remotes} ] }}")
        one, two = await hub.linked(), await second.linked()
        two.send(b"LS+ across\r\n")
        await two.expect_silence_until_pong()
        one.send(b"LMSG across 1\r\nx\r\n")
        await two.expect(b"LMSG across 1\r\nx\r\n")
        await one.expect_silence_until_pong()


async def test_first_ping_of_the_leaf(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker)
    link = await hub.linked()
    link.noise = link.noise[1:]
    await link.expect(b"PING\r\n")


async def test_a_lost_link_leaves_clients_alone(broker: Brokers, hub: FakeHub) -> None:
    server = hub.leaf_server(broker)
    link = await hub.linked()
    async with await server.client() as client:
        client.send(b"SUB home 1\r\n")
        await link.expect(b"LS+ home\r\n")
        link.close()
        client.send(b"PUB home 2\r\nhi\r\n")
        await client.expect(b"MSG home 1 2\r\nhi\r\n")
        await client.expect_silence_until_pong()
        await hub.linked()


async def test_a_loop_error_is_not_redialled_soon(broker: Brokers, hub: FakeHub) -> None:
    """The leaf hangs up and waits; ordinarily it would be back in 50 ms."""
    hub.leaf_server(broker)
    link = await hub.linked()
    link.send(b"-ERR 'Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s'\r\n")
    await link.expect_close()
    with pytest.raises(TimeoutError):
        await hub.dialled(timeout_s=0.5)


async def test_own_loop_subject_is_a_loop(broker: Brokers, hub: FakeHub) -> None:
    hub.leaf_server(broker)
    link = await hub.linked()
    link.send(f"LS+ {link.loop_subject}\r\n")
    text = 'Loop detected for leafnode account="$G". Delaying attempt to reconnect for 30s'
    await link.expect_error(text, closes=True)


async def test_an_offer_to_compress_may_be_declined(broker: Brokers, hub: FakeHub) -> None:
    """With ``compression: off`` the leaf goes straight to CONNECT."""
    hub.leaf_server(broker, "compression: off")
    link = await hub.dialled()
    link.send(info_with(compression="s2_auto"))
    assert (await link.expect_connect()).get("compress_mode", "off") in ("off", "not supported")
