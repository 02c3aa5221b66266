"""An open port that is closed or lost: at once, once, and for good."""

import asyncio
import os
import tty
from collections.abc import Iterator

import pytest
from tests.unit.bridge.rig import WAIT_S

from phloem.firmware_bridge.port import Port
from phloem.firmware_bridge.port_errors import PortLost
from phloem.firmware_bridge.port_tty import TtyLine, open_tty
from phloem.firmware_bridge.selector import AtPath
from phloem.firmware_bridge.settings import SerialSettings


class Wire:
    def __init__(self) -> None:
        self.device, self.host = os.openpty()
        tty.setraw(self.host)

    def open(self) -> TtyLine:
        path = os.ttyname(self.host)
        return open_tty(SerialSettings(device=path, subject="x"), AtPath(path))

    def cut(self) -> None:
        if self.device >= 0:
            os.close(self.device)
            os.close(self.host)
            self.device = -1


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.cut()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def unexpected(what: object) -> None:
    raise AssertionError(what)


async def test_close_closes_and_is_harmless_twice(wire: Wire) -> None:
    port = Port(wire.open(), unexpected, unexpected)
    fd = port._fd
    assert port.write(b"x")
    port.close()
    assert not is_open(fd)
    port.close()
    assert not port.write(b"y")
    assert port.write_queue_bytes == 0


async def test_close_discards_what_the_device_does_not_take(wire: Wire) -> None:
    port = Port(wire.open(), unexpected, unexpected)
    assert port.write(b"x" * 60_000)
    assert port.write_queue_bytes > 0
    port.close()
    assert not port.write(b"y")


async def test_a_lost_port_says_so_once_and_is_closed_by_then(wire: Wire) -> None:
    lost: asyncio.Queue[PortLost] = asyncio.Queue()
    port = Port(wire.open(), unexpected, lost.put_nowait)
    fd = port._fd
    wire.cut()
    error = await asyncio.wait_for(lost.get(), WAIT_S)
    assert not is_open(fd)
    assert error.reason == "unplugged"
    assert not port.write(b"y")
    assert lost.empty()


async def test_writing_to_a_lost_port_notices_the_loss(wire: Wire) -> None:
    lost: asyncio.Queue[PortLost] = asyncio.Queue()
    port = Port(wire.open(), unexpected, lost.put_nowait)
    wire.cut()
    assert not port.write(b"y")
    assert lost.get_nowait().reason == "unplugged"
    await asyncio.sleep(0)  # the reader has had its turn and says nothing more
    assert lost.empty()
