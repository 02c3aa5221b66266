"""A port that is lent to a program: nobody of phloem's has it open meanwhile."""

import asyncio
import fcntl
import os
from pathlib import Path

import pytest
from tests.unit.bridge.test_session import Rig, opened


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def claim(path: str) -> None:
    """Fails while somebody has the port."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


async def test_lent_and_opened_again(rig: Rig) -> None:
    rig.sensor.plug()
    async with rig.bridge() as session:
        await opened(session)
        with pytest.raises(BlockingIOError):
            claim(str(rig.sensor.link))
        async with session.lent() as path:
            assert path == str(rig.sensor.link)
            assert not session.is_open
            assert session.figures()["state"] == "lent"
            claim(path)
        await opened(session)
        rig.sensor.write(b"one\n")
        assert (await rig.publisher.next()).payload == b"one"
        assert session.figures()["losses"] == 0
    assert rig.publisher.kinds == ["opened", "lent", "opened", "closed"]


async def test_one_program_after_the_other(rig: Rig) -> None:
    rig.sensor.plug()
    has: list[str] = []

    async def program(name: str) -> None:
        async with session.lent():
            has.append(name)
            assert not session.is_open
            await asyncio.sleep(0)
            has.append(name)

    async with rig.bridge() as session:
        await opened(session)
        await asyncio.gather(*(program(name) for name in "abc"))
        await opened(session)
    assert has == list("aabbcc")


async def test_a_device_that_is_away_is_lent_by_its_configured_name(rig: Rig) -> None:
    async with rig.bridge() as session:
        await rig.timers.waiting()  # it was looked for
        async with session.lent() as path:
            assert path == str(rig.sensor.link)
            rig.sensor.plug()
            await rig.timers.fire()
            await asyncio.sleep(0)
            assert not session.is_open
        await opened(session)
