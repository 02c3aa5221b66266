"""``phloem init``, ``enroll`` and ``revoke`` with real servers and real links: a device has its own, and no more.

Nothing waits for time to pass: what must not come is followed by something that must.
"""

import asyncio
import shutil
import signal
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ExternalStream, RetentionPolicy, StreamSource

from tests.interop.fleet import TIMEOUT_S, Fleet, new_fleet, phloem
from tests.interop.links import Inbox, settled
from tests.support.server_process import StartFailed

MARK = b"sent on purpose"
# hub and edge
SAME = [("nats-server", "nats-server"), ("phloem", "phloem")]
EACH = [*SAME, ("phloem", "nats-server"), ("nats-server", "phloem")]
# for what goes over a link; everything else is the hub's alone
with_each_edge = pytest.mark.parametrize("fleet", EACH, ids=" ".join, indirect=True)


@pytest.fixture(params=SAME, ids=" ".join)
async def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with new_fleet(tmp_path, request.param) as made:
        yield made


async def linked(fleet: Fleet, name: str, device: Client) -> None:
    """Return when the hub gets an answer from the device, and with it all interest is known."""
    up = await fleet.client(inbox_prefix=f"_INBOX_{name}".encode())

    async def answer(msg: Msg) -> None:
        await msg.respond(b"")

    await device.subscribe(f"{name}.probe", cb=answer)
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await up.request(f"{name}.probe", b"", timeout=0.2)
                break
            except (NoRespondersError, NatsTimeoutError):
                continue
    await up.close()


async def marked(inbox: Inbox, until: str) -> list[str]:
    """Subjects of what a test has sent on purpose, up to the one on ``until``."""
    found: list[str] = []
    while (msg := await inbox.next()).subject != until or msg.data != MARK:
        if msg.data == MARK:
            found.append(msg.subject)
    return found


@with_each_edge
async def test_what_crosses_a_link(fleet: Fleet) -> None:
    await fleet.enroll("pump1")
    await fleet.enroll("pump2")
    up = await fleet.client()
    above = await Inbox.of(up, ">")
    one, two = [await fleet.local(await fleet.edge(name)) for name in ("pump1", "pump2")]
    below, beside = await Inbox.of(one, ">"), await Inbox.of(two, ">")
    await linked(fleet, "pump1", one)
    await linked(fleet, "pump2", two)
    for subject in ("pump2.x", "other", "_INBOX.a.b", "_INBOX_pump2.a", "$JS.S.a", "pump1", "pump1.x"):
        await one.publish(subject, MARK)
    assert await marked(above, "pump1.x") == ["pump1"]
    for subject in (
        "pump2.x",
        "other",
        "_INBOX.a.b",
        "_INBOX_pump2.a",
        "$JS.ACK.S.C.1",
        "pump1",
        "pump1.end",
    ):
        await up.publish(subject, MARK)
    await marked(below, "pump1.x")  # its own
    assert await marked(below, "pump1.end") == ["pump1"]
    await up.publish("pump2.end", MARK)
    assert await marked(beside, "pump2.end") == ["pump2.x", "_INBOX_pump2.a"]


async def test_a_device_as_a_client(fleet: Fleet) -> None:
    """The same credentials without an edge: a microcontroller, or a thief with a better client."""
    folder = await fleet.enroll("pump1")
    refused: list[str] = []

    async def hear(problem: Exception) -> None:
        refused.append(str(problem).lower())

    device = await fleet.client(folder / "device.creds", inbox_prefix=b"_INBOX_pump1", error_cb=hear)
    up = await fleet.client()
    above = await Inbox.of(up, ">")
    for subject in (">", "pump2.>", "_INBOX.>", "*.x", "$JS.API.>", "$JS.ACK.>", "$SYS.>"):
        await device.subscribe(subject)
    wanted = [
        f'permissions violation for subscription to "{s}"'
        for s in (">", "pump2.>", "_inbox.>", "*.x", "$js.api.>", "$js.ack.>", "$sys.>")
    ]
    await settled(device)
    assert [next(w for w in wanted if w in text) for text in refused] == wanted
    for subject in ("pump2.x", "_INBOX.abc.def", "$JS.API.INFO", "$JS.S.abcdefgh", "pump1.x"):
        await device.publish(subject)
    await device.flush()
    assert await above.until("pump1.x") == []

    async def answer(msg: Msg) -> None:
        await msg.respond(b"yes")

    await device.subscribe("pump1.ask", cb=answer)
    await settled(device)
    assert (await up.request("pump1.ask", b"", timeout=TIMEOUT_S)).data == b"yes", (
        "any inbox, since it was asked"
    )


async def _count(js: JetStreamContext, stream: str, messages: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await js.stream_info(stream)).state.messages != messages:  # noqa: ASYNC110  (it is in another server)
            await asyncio.sleep(0.005)


@with_each_edge
async def test_the_hub_takes_from_the_devices_stream(fleet: Fleet) -> None:
    """What the documentation says: the stream has the device's name, deliveries go to its mailbox."""
    await fleet.enroll("pump1")
    device = await fleet.local(await fleet.edge("pump1"))
    local = device.jetstream()
    await local.add_stream(name="pump1", subjects=["pump1.level"], retention=RetentionPolicy.WORK_QUEUE)
    payload = bytes(32_000)
    await asyncio.gather(*(local.publish("pump1.level", payload) for _ in range(160)))
    # that is more than one window of flow control
    await linked(fleet, "pump1", device)
    above = (await fleet.client()).jetstream()
    source = StreamSource(name="pump1", external=ExternalStream(api="$JS.pump1.API", deliver="_INBOX_pump1"))
    await above.add_stream(name="LEVELS", sources=[source])
    await _count(above, "LEVELS", 160)
    await _count(local, "pump1", 0)


@with_each_edge
async def test_a_program_reads_the_devices_stream(fleet: Fleet) -> None:
    await fleet.enroll("pump1")
    device = await fleet.local(await fleet.edge("pump1"))
    local = device.jetstream()
    await local.add_stream(name="pump1", subjects=["pump1.level"])
    for number in range(5):
        await local.publish("pump1.level", b"%d" % number)
    await linked(fleet, "pump1", device)
    js = (await fleet.client(inbox_prefix=b"_INBOX_pump1")).jetstream(domain="pump1", timeout=TIMEOUT_S)
    puller = await js.pull_subscribe("pump1.level", durable="C", stream="pump1")
    got = []
    for msg in await puller.fetch(5, timeout=TIMEOUT_S):
        got.append(msg.data)
        await msg.ack_sync(timeout=TIMEOUT_S)
    assert got == [b"0", b"1", b"2", b"3", b"4"]
    assert (await puller.consumer_info()).num_ack_pending == 0


@with_each_edge
async def test_revoking_acts_on_live_connections_within_a_second(fleet: Fleet) -> None:
    folder = await fleet.enroll("pump1")
    other = await fleet.enroll("pump2")
    edge = await fleet.edge("pump1")
    await linked(fleet, "pump1", await fleet.local(edge))
    gone = asyncio.get_running_loop().create_future()

    async def closed() -> None:
        gone.set_result(time.monotonic())

    client = await fleet.client(folder / "device.creds", closed_cb=closed)
    stays = await fleet.client(other / "device.creds")
    asked = time.monotonic()
    revoking = asyncio.create_task(fleet.run("revoke", "pump1"))
    assert await asyncio.wait_for(gone, TIMEOUT_S) > asked
    done = await revoking
    confirmed = time.monotonic()
    assert done.out == "pump1: 1 key revoked\n"
    assert "confirmed" in done.err
    await asyncio.to_thread(edge.wait_for_log, "Leafnode connection closed", 1.0)
    assert time.monotonic() - confirmed < 1.0
    assert client.is_closed
    assert await fleet.is_refused(folder / "device.creds")
    await stays.flush()
    assert not stays.is_closed
    assert fleet.folder.joinpath("devices.txt").read_text().count("  -\n") == 1


async def test_a_thief_cannot_speak_for_others(fleet: Fleet) -> None:
    """The link of a program that ignores what the hub has told it ends at the first breach.

    What is meant for JetStream may be dropped instead; it is not heard or answered in any case.
    """
    folder = await fleet.enroll("pump1")
    above = await Inbox.of(await fleet.client(), ">")
    for subject in ("pump2.x", "other", "_INBOX.a.b", "$JS.API.INFO", "$JS.S.abcdefgh", "$SYS.x"):
        thief = await fleet.thief(folder)
        thief.send("LS+ _INBOX_pump1.a\r\nLMSG pump1.x 1\r\na\r\n")
        await above.until("pump1.x")
        thief.send(f"LMSG {subject} _INBOX_pump1.a 1\r\na\r\nPING\r\n")
        lines = await thief.until(b"closed", *([b"PONG"] if subject.startswith("$JS.API") else []))
        assert not [line for line in lines if line.startswith((b"LMSG", b"HMSG"))], subject
        again = await fleet.thief(folder)
        again.send("LMSG pump1.z 1\r\na\r\n")
        assert await above.until("pump1.z") == [], subject


async def test_a_thief_cannot_listen_to_others(fleet: Fleet) -> None:
    """Literal interest in what is not allowed ends the link, a wildcard brings what is allowed."""
    folder = await fleet.enroll("pump1")
    up = await fleet.client()
    thief = await fleet.thief(folder)
    thief.send("LS+ >\r\nLS+ *.x\r\nLS+ _INBOX.>\r\nLS+ $JS.>\r\nPING\r\n")
    await thief.until(b"PONG")
    for subject in ("pump2.x", "other.x", "_INBOX.a.b", "$JS.ACK.S.C.1", "$JS.API.INFO", "pump1.x"):
        await up.publish(subject, MARK)
    *lines, _ = await thief.until(b"LMSG pump1.x ")
    assert [line for line in lines if line.startswith(b"LMSG")] == []
    thief.send("LS+ pump2.x\r\n")
    assert any(b"Permissions Violation" in line for line in await thief.until(b"closed"))


async def test_a_hub_that_is_down(fleet: Fleet) -> None:
    """The revocation is kept, the exit status says that nobody has heard it; the hub reads it when it starts."""
    folder = await fleet.enroll("pump1")
    await fleet.enroll("pump2")
    await fleet.stop_hub()
    done = await fleet.attempt("revoke", "pump1")
    assert (done.code, done.out) == (3, "pump1: 1 key revoked\n")
    assert "could not be told" in done.err
    assert "phloem push" in done.err
    assert "phloem push" in (await fleet.run("devices")).err
    await fleet.start_hub()
    assert await fleet.is_refused(folder / "device.creds")
    assert not await fleet.is_refused(fleet.place / "pump2/device.creds")
    done = await fleet.run("push")
    assert "confirmed" in done.err
    assert (await fleet.run("devices")).err == ""


async def test_a_hub_on_another_machine(fleet: Fleet) -> None:
    """It has a copy of the folder ``hub``, and hears of revocations by the push alone; also when it is set up anew."""
    folder = await fleet.enroll("pump1")
    away, backup = fleet.place / "away", fleet.place / "backup"
    await fleet.stop_hub()
    shutil.move(fleet.folder / "hub", away)
    shutil.copytree(away, backup)
    await fleet.start_hub(away)
    assert not await fleet.is_refused(folder / "device.creds")
    await fleet.run("revoke", "pump1")
    assert await fleet.is_refused(folder / "device.creds")
    await fleet.stop_hub()
    await fleet.start_hub(backup)
    assert not await fleet.is_refused(folder / "device.creds")
    await fleet.run("push")
    assert await fleet.is_refused(folder / "device.creds")


async def test_a_new_key_in_turn_with_the_old_one(fleet: Fleet) -> None:
    old = await fleet.enroll("pump1")
    new = fleet.place / "new"
    done = await fleet.run("enroll", "pump1", "-o", new, "--renew", "--keep-old")
    assert [path.name for path in new.iterdir()] == ["device.creds"]
    assert "good until phloem revoke --old" in done.err
    for folder in (old, new):
        assert not await fleet.is_refused(folder / "device.creds")
    await fleet.run("revoke", "pump1", "--old")
    assert await fleet.is_refused(old / "device.creds")
    assert not await fleet.is_refused(new / "device.creds")


async def test_a_device_that_was_stolen_and_replaced(fleet: Fleet) -> None:
    old = await fleet.enroll("pump1")
    await fleet.run("enroll", "pump1", "-o", fleet.place / "new", "--renew")
    assert await fleet.is_refused(old / "device.creds")
    assert not await fleet.is_refused(fleet.place / "new/device.creds")


async def test_new_administrators(fleet: Fleet) -> None:
    """Somebody has left: whoever is connected with what he had is cut off, and the new credentials are good."""
    gone = asyncio.Event()

    async def closed() -> None:
        gone.set()

    await fleet.client(closed_cb=closed)
    for file in ("admin.creds", "system.creds"):
        shutil.copy(fleet.folder / file, fleet.place / file)
    done = await phloem("init", fleet.folder, "--renew-admin", "--server", fleet.url)
    assert done.code == 0, done
    await asyncio.wait_for(gone.wait(), TIMEOUT_S)
    for file in ("admin.creds", "system.creds"):
        assert await fleet.is_refused(fleet.place / file)
        assert not await fleet.is_refused(fleet.folder / file)
    await fleet.enroll("pump1")
    await fleet.run("revoke", "pump1")


async def test_a_new_certificate(fleet: Fleet) -> None:
    """A reload takes it; who is connected stays, and nobody needs another file."""
    before = await fleet.client()
    first = (fleet.folder / "hub/hub.pem").read_bytes()
    assert fleet.hub is not None
    done = await phloem("init", fleet.folder, "--renew-certificate", "--hub", "127.0.0.2")
    assert done.code == 0, done
    assert (fleet.folder / "hub/hub.pem").read_bytes() != first
    fleet.hub.signal(signal.SIGHUP)
    await asyncio.to_thread(fleet.hub.wait_for_log, "Reloaded server configuration")
    await before.flush()
    await fleet.client()
    context = ssl.create_default_context(cafile=str(fleet.folder / "ca.pem"))
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.hub.port())
    await reader.readline()
    await writer.start_tls(context, server_hostname="127.0.0.2")  # the name that only the new one has
    writer.transport.abort()


async def test_a_card_that_was_copied(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--encrypt``: what is stored cannot be read without the key, which is in the environment alone."""
    monkeypatch.setenv("PHLOEM_STORE_KEY", "nowhere-on-the-card")
    folder = await fleet.enroll("pump1", "--encrypt")
    edge = await fleet.edge("pump1")
    js = (await fleet.local(edge)).jetstream()
    await js.add_stream(name="pump1", subjects=["pump1.level"])
    await js.publish("pump1.level", MARK)
    await asyncio.to_thread(edge.stop)
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(files) > len(list(folder.iterdir()))
    assert not [file for file in files if MARK in file or b"nowhere-on-the-card" in file]
    monkeypatch.delenv("PHLOEM_STORE_KEY")
    with pytest.raises(StartFailed, match="PHLOEM_STORE_KEY"):
        await fleet.edge("pump1")
    monkeypatch.setenv("PHLOEM_STORE_KEY", "nowhere-on-the-card")
    js = (await fleet.local(await fleet.edge("pump1"))).jetstream()
    assert (await js.get_msg("pump1", 1)).data == MARK


async def test_streams_of_the_hub_with_credentials(fleet: Fleet) -> None:
    """``phloem stream`` logs in with a credentials file, over TLS."""
    js = (await fleet.client()).jetstream()
    await js.add_stream(name="LEVELS", subjects=["pump1.level"])
    login = ("--creds", fleet.folder / "admin.creds", "--tlsca", fleet.folder / "ca.pem", "-s", fleet.url)
    done = await phloem("stream", "ls", *login)
    assert done.code == 0, done
    assert "LEVELS" in done.out
