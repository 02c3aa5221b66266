"""``phloem upgrade`` under Debian's own dpkg and systemd, on a device and on a hub, while somebody publishes: to a
later version, and to ones that do not serve, from which the machine has to come back by itself.
"""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

from phloem.edge.upgrade.machine import End
from tests.device import image, packages
from tests.device.load import make_stream
from tests.device.machine import Machine, with_shell
from tests.device.story import Acknowledged, Place, Story

FOLDER = "srv"  # of the packages, in the machine
WITHIN_S = 3000.0  # all of an upgrade: dpkg writes some thousand files, and the emulator is slow
FILL_S = 20.0
LOOK_S = 10.0  # a shell costs the emulator a second of the work that it looks at
# Each line with the machine's seconds since its boot.
SCRIPT = """#!/bin/bash
phloem upgrade "$1" 2>&1 | while read -r line; do
    echo "$(cut -d' ' -f1 /proc/uptime) $line"
done >/run/upgrade.said
echo ${PIPESTATUS[0]} >/run/upgrade.code
touch /run/upgrade.end
"""
# A unit of its own: who looks at it may go, and it is no child of what it restarts.
UPGRADE = f"rm -f /run/upgrade.*; systemd-run --quiet --collect bash /{FOLDER}/another /{FOLDER}/{{package}}"
WAITING = "waiting for it to be healthy"
OUTCOMES = (" is installed and healthy.", "Nothing was changed, ", " is back and serves: ", "It needs you: ")
MAKE_HUB = """phloem install hub --no-start && sed -i s/127.0.0.1:4222/0.0.0.0:4222/ /etc/phloem/hub.conf &&
systemctl start phloem-hub && systemctl is-enabled phloem-hub && systemctl is-active phloem-edge"""


class Said(NamedTuple):
    """A line of ``phloem upgrade``, and when, in seconds since the boot."""

    at_s: float
    text: str


class Versions(NamedTuple):
    """The packages of a story: a later one that serves, one that does not as a service, and one that never does."""

    later: Path
    sick: Path
    falls: Path


def _versions(place: Place, begins_with: str) -> Versions:
    installed = packages.version_of(place.package)
    later = place.later or packages.again(place.package, place.folder / "later.deb", f"{installed}.1")
    then = packages.version_of(later)
    return Versions(
        later,
        packages.again(later, place.folder / "sick.deb", f"{then}.2", begins_with),
        packages.again(later, place.folder / "falls.deb", f"{then}.3", packages.FALLS),
    )


def _prepare(root: Path, versions: Versions) -> None:
    with_shell(root)
    (root / FOLDER / "another").write_text(SCRIPT)
    for package in versions:
        shutil.copy(package, root / FOLDER / package.name)


async def edge(place: Place, story: Story) -> None:
    """A device: the version that does not serve ends at once, again and again."""
    await _scenario(place, story, "edge", _versions(place, packages.ENDS))


async def hub(place: Place, story: Story) -> None:
    """A hub: the version that does not serve never says that it is ready."""
    await _scenario(place, story, "hub", _versions(place, packages.HANGS))


async def _scenario(place: Place, story: Story, role: str, versions: Versions) -> None:
    disk = place.folder / "disk.img"
    image.make(place.cache, place.product, disk, prepare=partial(_prepare, versions=versions))
    kept = Acknowledged()
    first, then = packages.version_of(place.package), packages.version_of(versions.later)
    with Machine(image.base(place.cache), disk, place.folder / "upgrade.log") as machine:
        story.step("up after", f"{await machine.answers():.0f} s")
        if role == "hub":
            await machine.until("systemctl is-active phloem-edge", "active")
            said = await machine.run(MAKE_HUB)
            story.step("a hub is made of it", said.splitlines()[-2:], well=said.endswith("enabled\ninactive"))
            await machine.answers()
        await make_stream(machine.port)
        count = await kept.publish(machine, lambda: asyncio.sleep(FILL_S))
        story.step(f"{first} serves", f"{count:,} acknowledged", well=count > 0)
        upgraded = partial(_upgraded, machine, story, kept, role)
        await upgraded(versions.later, End.DONE, then)
        await upgraded(versions.sick, End.RETURNED, then)
        await upgraded(versions.falls, End.UNCHANGED, then)
        count = await kept.publish(machine, lambda: asyncio.sleep(FILL_S))
        await kept.look(machine, story, f"{count:,} more, then all of it")


async def _upgraded(
    machine: Machine, story: Story, kept: Acknowledged, role: str, package: Path, end: End, version: str
) -> None:
    """It has to end so, and then this version has to be there, whole and serving."""
    new = packages.version_of(package)
    await machine.run(UPGRADE.format(package=package.name))
    over = "test -e /run/upgrade.end && echo over"
    count, gap_s = await kept.trickle(machine, lambda: machine.until(over, "over", WITHIN_S, LOOK_S))
    code = await machine.run("cat /run/upgrade.code")
    said = _lines(await machine.run("cat /run/upgrade.said"))
    story.step(
        f"upgrade to {new}",
        f"exit code {code} after {said[-1].at_s - said[0].at_s:.0f} s: {'; '.join(line.text for line in _steps(said))}",
        well=code == str(end.value),
    )
    waited = [line.at_s for line in said if line.text == WAITING]
    if waited:
        healthy_s = (
            next(line.at_s for line in said if line.at_s >= waited[0] and line.text != WAITING) - waited[0]
        )
        story.step("that was decided", f"{healthy_s:.0f} s after its restart")
    story.step(
        "meanwhile",
        f"{count:,} acknowledged, one after the other; none for {gap_s:.0f} s at most",
        well=count > 0,
    )
    units = "phloem-hub" if role == "hub" else "phloem-edge.socket phloem-edge phloem-bridge"
    there = (
        await machine.run(
            f"phloem --version | head -1; dpkg-query -Wf '${{Version}} ${{db:Status-Status}}\\n' phloem; "
            f"systemctl is-active {units} | sort -u; dpkg --verify phloem; ls -A /var/lib/phloem-upgrade"
        )
    ).splitlines()
    story.step(
        "then", "; ".join(there), well=there[:3] == [f"phloem {version}", f"{version} installed", "active"]
    )
    await kept.look(machine, story, f"after the upgrade to {new}")


def _steps(said: list[Said]) -> list[Said]:
    """Up to how it came out: what the journal had to say of it comes after that."""
    end = next((at for at, line in enumerate(said) if any(each in line.text for each in OUTCOMES)), len(said))
    return said[: end + 1]


def _lines(text: str) -> list[Said]:
    found = [line.partition(" ") for line in text.splitlines()]
    return [Said(float(at), what) for at, _, what in found]
