"""All of an upgrade on a hub that runs: its services and dpkg are played, the broker, its store, the copy, and what
both versions do with the copy are real."""

import asyncio
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nats
import pytest

from phloem.edge.device.patient import Patient
from phloem.edge.upgrade.device import Device
from phloem.edge.upgrade.machine import HEALTHY_WITHIN_NS, End, Outcome, UpgradeError, upgrade
from phloem.edge.upgrade.package import Said
from phloem.edge.upgrade.rehearsal import rehearse
from phloem.hub.app import Hub
from phloem.shared.limits import SECOND_NS
from phloem.shared.store import format as store_format
from phloem.shared.store.check import check

UNIT = "phloem-hub.service"
CONFIG = """\
listen: "127.0.0.1:-1"
phloem {{ unix_socket: "{root}/hub.sock" }}
leafnodes {{ listen: "127.0.0.1:-1" }}
jetstream {{ store_dir: "{root}/data", domain: hub }}
"""
COMMAND = f'#!/bin/sh\nexec {sys.executable} -I /usr/lib/phloem/start.py "$@"\n'
COUNT = 50


class Machine:
    """``package.Run`` of a machine with a hub: systemctl starts and stops a broker in the test's loop. ``installs`` are
    the packages that dpkg has installed."""

    def __init__(self, root: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.root, self.loop = root, loop
        self.config = root / "etc/phloem/hub.conf"
        self.hub: Hub | None = None
        self.pid = 100
        self.sick: set[str] = set()  # packages whose broker does not start
        self.writes_later_format = False
        self.enabled = {UNIT}
        self.installs = ["old.deb"]
        self.ran: list[str] = []
        self.rehearsed: list[str] = []

    def __call__(self, words: Sequence[str], more: Mapping[str, str]) -> Said:
        text = " ".join(words)
        self.ran.append(text)
        match words[0]:
            case "systemctl":
                return self._systemctl(words[1:])
            case "dpkg-deb" | "dpkg-query" | "dpkg" | "journalctl":
                return self._package(words, text)
        new = words[0] == sys.executable
        rest = words[3:] if new else words[1:]
        assert not new or str(words[2]).startswith(str(self.root)), "not the installed program"
        try:
            return Said(0, self._phloem("new" if new else "old", rest))
        except UpgradeError as error:
            return Said(1, str(error))

    def _phloem(self, version: str, words: Sequence[str]) -> str:
        match words:
            case ["--version"]:
                return version
            case ["hub", "-c", config, "-t"]:
                assert config == str(self.config)
                return "configuration is valid"
            case ["store", "check", "-c", config, folder]:
                assert check(Path(folder)).findings == []
                return "all is well"
            case ["upgrade", "--rehearse", copy, "-c", config]:
                self.rehearsed.append(version)
                found = rehearse(Path(copy), config)
                if self.writes_later_format and version == "new":
                    number = f"{store_format.READS + 1}\n"
                    (Path(copy) / "jetstream/phloem" / store_format.FILE).write_text(number)
                return f"{found.totals.messages} messages; all is well"
        raise AssertionError(words)

    def _package(self, words: Sequence[str], text: str) -> Said:
        if text.startswith("dpkg-deb --show"):
            return Said(0, "phloem\n0.5.0\nall\n1000\n")
        if text.startswith("dpkg-deb --extract"):
            command = Path(words[3]) / "usr/bin/phloem"
            command.parent.mkdir(parents=True)
            command.write_text(COMMAND)
        if text.startswith("dpkg-deb --root-owner-group"):
            Path(words[-1]).write_text("the old package")
        if text.startswith("dpkg-query --show --showformat=${Version}"):
            return Said(0, f"{'0.5.0' if self.installs[-1] == 'new.deb' else '0.4.0'}\nii \n")
        if "--force-confold" in words:
            self.installs.append(Path(words[-1]).name)
        return Said(0, "it fell" if words[0] == "journalctl" else "")

    def _systemctl(self, words: Sequence[str]) -> Said:
        match words:
            case ["--quiet", "is-enabled", unit]:
                return Said(int(unit not in self.enabled), "")
            case ["show", "-p", _, unit]:
                assert unit == UNIT
                state = "active" if self.hub is not None else "failed"
                return Said(0, f"ActiveState={state}\nMainPID={self.pid}\nNRestarts=0\nResult=exit-code\n")
            case ["stop", *units]:
                assert units == [UNIT]
                self._in_loop(self.stop())
            case ["start" | "restart" as verb, "--no-block", *units]:
                assert units == [UNIT]
                if verb == "restart" or self.hub is None:
                    self._in_loop(self.restart())
        return Said(0, "")

    def _in_loop(self, what: object) -> None:
        asyncio.run_coroutine_threadsafe(what, self.loop).result(20)  # type: ignore[arg-type]

    async def restart(self) -> None:
        await self.stop()
        if self.installs[-1] not in self.sick:
            hub = Hub(self.config)
            await hub.start()
            self.hub, self.pid = hub, self.pid + 1

    async def stop(self) -> None:
        hub, self.hub = self.hub, None
        if hub is not None:
            await hub.stop()


class Quick(Device):
    """Time passes when it is waited for."""

    now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def pause(self, duration_ns: int) -> None:
        self.now_ns += duration_ns


async def messages(machine: Machine) -> int:
    """How many there are, asked of the hub that serves."""
    assert machine.hub is not None
    client = await nats.connect(f"nats://127.0.0.1:{machine.hub.port}")
    try:
        return (await client.jetstream().stream_info("READINGS")).state.messages
    finally:
        await client.close()


@pytest.fixture
async def machine(tmp_path: Path) -> Machine:
    (tmp_path / "etc/phloem").mkdir(parents=True)
    (tmp_path / "usr").mkdir()
    machine = Machine(tmp_path, asyncio.get_running_loop())
    machine.config.write_text(CONFIG.format(root=tmp_path))
    await machine.restart()
    assert machine.hub is not None
    client = await nats.connect(f"nats://127.0.0.1:{machine.hub.port}")
    await client.jetstream().add_stream(name="READINGS", subjects=["r.>"])
    for number in range(COUNT):
        await client.jetstream().publish(f"r.{number % 5}", b"%d" % number)
    await client.close()
    return machine


async def upgraded(machine: Machine) -> tuple[Outcome, Quick]:
    root, told = machine.root, print
    device = Quick(root / "new.deb", told, lambda *_: None, run=machine, root=root, patient=Patient(root))
    return await asyncio.to_thread(functools.partial(upgrade, device)), device


async def test_a_hub_gets_another_version(machine: Machine) -> None:
    outcome, device = await upgraded(machine)
    try:
        assert outcome == Outcome(End.DONE)
        assert machine.installs == ["old.deb", "new.deb"]
        assert machine.rehearsed == ["new", "old"], "the old one tries what the new one has written"
        assert machine.pid == 103, "after the copy, and with the new files"
        assert await messages(machine) == COUNT
        assert [path.name for path in device.work.folder.iterdir()] == ["old.deb"]
        assert not any("edge" in words for words in machine.ran if "is-enabled" not in words)
    finally:
        await machine.stop()


async def test_a_hub_that_does_not_serve_goes_back(machine: Machine) -> None:
    machine.sick.add("new.deb")
    outcome, device = await upgraded(machine)
    try:
        assert outcome.end is End.RETURNED
        assert outcome.why == f"{UNIT} is failed (exit-code)\nit fell"
        assert machine.installs == ["old.deb", "new.deb", "old.deb"]
        assert HEALTHY_WITHIN_NS <= device.now_ns < HEALTHY_WITHIN_NS + 10 * SECOND_NS
        assert await messages(machine) == COUNT
        assert device.load() is None
    finally:
        await machine.stop()


async def test_a_format_that_the_old_version_cannot_read_is_no_upgrade(machine: Machine) -> None:
    machine.writes_later_format = True
    outcome, device = await upgraded(machine)
    try:
        assert outcome.end is End.UNCHANGED
        assert "the way back" in outcome.why
        assert "install that version again" in outcome.why
        assert machine.installs == ["old.deb"]
        assert await messages(machine) == COUNT
        assert not device.work.store.exists()
    finally:
        await machine.stop()


async def test_a_hub_and_a_device_on_one_machine(machine: Machine) -> None:
    machine.enabled.add("phloem-bridge.service")
    outcome, _ = await upgraded(machine)
    try:
        assert outcome.end is End.UNCHANGED
        assert outcome.why.startswith("this machine is a hub, and phloem-bridge.service would go on")
        assert machine.pid == 101, "nobody was stopped"
    finally:
        await machine.stop()
