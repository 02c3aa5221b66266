"""What a bridge leaves to the next one: open ports, beginnings of frames, messages; with a pty, a fake manager."""

import asyncio
import os
import pty
import tty
from pathlib import Path
from random import Random

import pytest
from tests.support.manager import Manager

from phloem.edge.device.bridge_service import Service
from phloem.firmware_bridge.framing.catalogue import framing_of
from phloem.firmware_bridge.handover import CARRIED, Handover, name_of
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.net.notify import Notifier
from phloem.shared.server.server import Server


@pytest.fixture
def manager(tmp_path: Path):
    with Manager(tmp_path / "notify") as it:
        yield it


@pytest.fixture
def device():
    """The device's end of a line, and the path of the other one."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def port(path: str, **more: object) -> SerialSettings:
    return SerialSettings(device=path, name="climate", subject="tele", **more)  # type: ignore[arg-type]


def given(manager: Manager) -> dict[str, int]:
    """What systemd hands to the next process."""
    manager.all()
    return {name: os.dup(number) for name, number in manager.kept.items()}


def test_a_name_is_of_the_line() -> None:
    assert name_of(port("/dev/a")) == name_of(port("/dev/a", framing="cobs", max_frame_bytes=10))
    assert name_of(port("/dev/a")) != name_of(port("/dev/a", baud=9600))
    assert name_of(port("/dev/a")) != name_of(port("/dev/b"))


def test_a_port_that_is_another_device_now_is_dropped(manager: Manager, device: tuple[int, str]) -> None:
    _, path = device
    settings = port(path)
    with open("/dev/null", "rb") as other:
        handover = Handover(Notifier(manager.address), {name_of(settings): os.dup(other.fileno())})
        assert handover.take(settings) is None
    assert manager.all() == [["FDSTOREREMOVE=1", f"FDNAME={name_of(settings)}"]]


def test_a_port_that_was_unplugged_is_dropped(manager: Manager) -> None:
    ours, theirs = pty.openpty()
    settings = port(os.ttyname(theirs))
    handover = Handover(Notifier(manager.address), {name_of(settings): theirs})
    kept = handover.take(settings)
    assert kept is not None
    handover = Handover(Notifier(manager.address), {name_of(settings): kept.fileno()})
    os.close(ours)
    assert handover.take(settings) is None


def test_what_is_no_tty_is_not_kept(manager: Manager, tmp_path: Path) -> None:
    handover = Handover(Notifier(manager.address), {})
    with (tmp_path / "file").open("w") as file:
        handover.opened(port("/dev/a"), file.fileno())
        handover.left(port("/dev/a"), file.fileno(), b"rest")
    assert handover.end([])
    assert manager.all() == []


def test_ports_that_are_not_wanted_are_closed(manager: Manager, device: tuple[int, str]) -> None:
    number, path = device
    handover = Handover(Notifier(manager.address), {})
    settings = port(path)
    handover.opened(settings, number)
    again = Handover(Notifier(manager.address), given(manager))
    again.only([port(path, baud=9600)])
    manager.all()
    assert manager.kept == {}
    assert again.take(settings) is None


def test_messages_and_beginnings_are_carried(manager: Manager, device: tuple[int, str]) -> None:
    _, path = device
    first = Handover(Notifier(manager.address), {})
    opened = os.open(path, os.O_RDWR | os.O_NOCTTY)
    first.opened(port(path), opened)
    first.left(port(path), opened, b"t=2")
    os.close(opened)
    carried = [(b"tele", b"NATS/1.0\r\na: b\r\n\r\n", b"1"), (b"tele", b"", b"2")]
    assert first.end(carried)
    second = Handover(Notifier(manager.address), given(manager))
    assert second.messages == carried
    line = second.take(port(path))
    assert line is not None
    assert second.take_rest(port(path)) == b"t=2"
    line.close()
    manager.all()
    assert CARRIED not in manager.kept, "carried once"


def test_what_is_carried_in_another_form_is_forgotten(manager: Manager) -> None:
    file = os.memfd_create("other")
    os.write(file, b"something else")
    assert Handover(Notifier(manager.address), {CARRIED: file}).messages == []


@pytest.mark.parametrize(
    ("framing", "stream"),
    [
        ("line", b"one\r\ntwo\nthree\r\n"),
        ("cobs", b"\x03ab\x01\x00\x02x\x00"),
        ("slip", b"\xc0a\xdb\xdcb\xc0c\xc0"),
        ("hdlc", b"~ab\x7d\x5ecd~"),
        ("nmea", b"$GPGLL,1*5C\r\n$GPGLL,2*5F\r\n"),
        ("ubx", b"\xb5b\x01\x02\x01\x00\x05\x09\x1f"),
        ("json_lines", b'{"a": {"b": 1}}\n{"c": "}"}\n'),
    ],
)
def test_a_frame_goes_on_where_it_was_cut(framing: str, stream: bytes) -> None:
    def framer():
        return framing_of(framing).framer(100, 0)

    whole = framer().feed(stream)
    for cut in range(len(stream) + 1):
        first, second = framer(), framer()
        frames = first.feed(stream[:cut])
        assert second.feed(first.unfinished) == []
        assert frames + second.feed(stream[cut:]) == whole, cut


async def test_a_restart_loses_no_byte(manager: Manager, device: tuple[int, str], tmp_path: Path) -> None:
    number, path = device
    socket = tmp_path / "nats.sock"
    options = {"host": "127.0.0.1", "port": -1, "phloem": {"unix_socket": str(socket)}}
    async with Server(options) as broker:
        nc = await broker.connect()
        heard = await nc.subscribe("tele")
        await nc.flush()

        async def started(handed: dict[str, int]):
            notifier = Notifier(manager.address)
            service = Service([port(path)], f"unix://{socket}", notifier, Handover(notifier, handed), list)
            running = asyncio.create_task(service.run())
            await asyncio.to_thread(manager.wait_for, "READY=1")
            assert service.bridge is not None
            await service.bridge.sessions[0].wait_open()
            return service, running

        service, running = await started({})
        os.write(number, b"1\n2\n3")
        assert [(await heard.next_msg(timeout=10)).data for _ in range(2)] == [b"1", b"2"]
        service.stop()
        assert await running == 0
        os.write(number, b"45\n6\n")  # nobody reads now
        service, running = await started(given(manager))
        assert [(await heard.next_msg(timeout=10)).data for _ in range(2)] == [b"345", b"6"]
        assert "1 of 1 ports open" in service.status()
        service.stop()
        assert await running == 0
        await nc.close()


async def test_many_restarts_lose_no_byte_wherever_they_come(
    manager: Manager, device: tuple[int, str], tmp_path: Path
) -> None:
    number, path = device
    notifier, rng = Notifier(manager.address), Random(7)
    stream = b"".join(b"%d\n" % index for index in range(2_000))
    config = {"host": "127.0.0.1", "port": -1, "phloem": {"unix_socket": str(tmp_path / "s")}}
    async with Server(config) as broker:
        nc = await broker.connect()
        heard = await nc.subscribe("tele")
        await nc.flush()
        while stream:
            handover = Handover(notifier, given(manager))
            service = Service([port(path)], f"unix://{tmp_path}/s", notifier, handover, list)
            running = asyncio.create_task(service.run())
            await asyncio.to_thread(manager.wait_for, "READY=1")
            assert service.bridge is not None
            session = service.bridge.sessions[0]
            await session.wait_open()
            for _ in range(3):  # the last of them may be read by this one or by the next
                size = rng.randrange(1, 300)
                os.write(number, stream[:size])
                stream = stream[size:]
                await asyncio.sleep(0)
            service.stop()
            assert await running == 0
        service = Service(
            [port(path)], f"unix://{tmp_path}/s", notifier, Handover(notifier, given(manager)), list
        )
        running = asyncio.create_task(service.run())
        for index in range(2_000):
            assert (await heard.next_msg(timeout=10)).data == b"%d" % index
        service.stop()
        await running
        await nc.close()


async def test_without_a_broker_messages_wait_for_the_next_start(
    manager: Manager, device: tuple[int, str], tmp_path: Path
) -> None:
    number, path = device
    notifier = Notifier(manager.address)
    service = Service([port(path)], f"unix://{tmp_path}/none", notifier, Handover(notifier, {}), list)
    running = asyncio.create_task(service.run())
    await asyncio.to_thread(manager.wait_for, "READY=1")
    assert service.bridge is not None
    assert service.publisher is not None
    session = service.bridge.sessions[0]
    await session.wait_open()
    os.write(number, b"1\n")
    for _ in iter(lambda: session.counters.frames, 1):
        await asyncio.sleep(0)
    service.stop()
    assert await running == 0
    carried = Handover(notifier, given(manager)).messages
    assert [payload for subject, _, payload in carried if subject == b"tele"] == [b"1"]


async def test_a_reload_keeps_the_port_open(
    manager: Manager, device: tuple[int, str], tmp_path: Path
) -> None:
    number, path = device
    notifier = Notifier(manager.address)
    after = [port(path, command_subject="cmd")]
    service = Service(
        [port(path)], f"unix://{tmp_path}/none", notifier, Handover(notifier, {}), lambda: after
    )
    running = asyncio.create_task(service.run())
    await asyncio.to_thread(manager.wait_for, "READY=1")
    assert service.bridge is not None
    before = service.bridge
    await before.sessions[0].wait_open()
    os.write(number, b"half")
    for _ in iter(lambda: before.sessions[0].counters.bytes_read, 4):
        await asyncio.sleep(0)
    service.reload()
    await asyncio.to_thread(manager.wait_for, "RELOADING=1")
    await asyncio.to_thread(manager.wait_for, "READY=1")
    session = service.bridge.sessions[0]
    assert session.settings.command_subject == "cmd"
    await session.wait_open()
    os.write(number, b" and half\n")
    for _ in iter(lambda: session.counters.frames, 1):
        await asyncio.sleep(0)
    assert service.publisher is not None
    service.stop()
    await running
    carried = Handover(notifier, given(manager)).messages
    assert [payload for subject, _, payload in carried if subject == b"tele"] == [b"half and half"]


async def test_a_board_that_loses_nothing_is_served_as_well(
    manager: Manager, device: tuple[int, str], tmp_path: Path
) -> None:
    _, path = device
    notifier, settings = Notifier(manager.address), port(path, protocol="edgelink")
    service = Service([settings], f"unix://{tmp_path}/none", notifier, Handover(notifier, {}), list)
    running = asyncio.create_task(service.run())
    await asyncio.to_thread(manager.wait_for, "READY=1")
    assert service.bridge is not None
    await service.bridge.sessions[0].wait_open()
    service.stop()
    assert await running == 0
