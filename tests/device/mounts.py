"""A root that cannot be written to, and a /var that comes late: on a disk of its own, plugged in when all else has
started.
"""

import asyncio
import shutil
from pathlib import Path

from tests.device import image
from tests.device.load import make_stream
from tests.device.machine import Machine, NotUp, with_shell
from tests.device.story import Acknowledged, Place, Story

LATE_S = 20.0
FSTAB = """\
/dev/vda / ext4 ro 0 1
/dev/vdb /var ext4 defaults,nofail,x-systemd.device-timeout=600 0 2
tmpfs /tmp tmpfs mode=1777 0 0
"""  # systemd 252 itself needs a /tmp that can be written to, for PrivateDevices=
VAR_SIZE = "400M"
CUTS = 2
UNITS = "phloem-edge.socket phloem-edge.service phloem-bridge.service"


def _prepare(root: Path, var: Path) -> None:
    """/var on a disk of its own, and what a read-only root wants of a Debian."""
    with_shell(root)
    (root / "etc/fstab").write_text(FSTAB)
    (root / "etc/machine-id").write_text(
        "0123456789abcdef0123456789abcdef\n"
    )  # else it is made at the first boot
    image.file_system(root / "var", var, VAR_SIZE)
    shutil.rmtree(root / "var")
    (root / "var").mkdir()


async def readonly(place: Place, story: Story) -> None:
    """The root is mounted read-only, /var is a disk that is there from the beginning; the plug is pulled."""
    disk, var = place.folder / "disk.img", place.folder / "var.img"
    image.make(place.cache, place.product, disk, prepare=lambda root: _prepare(root, var))
    more = ("-drive", f"file={var},format=raw,if=virtio,cache=writeback")
    kept = Acknowledged()
    for number in range(CUTS + 1):
        with Machine(
            image.base(place.cache), disk, place.folder / "readonly.log", words="ro", more=more
        ) as machine:
            up_s = await machine.answers()
            if not number:
                wrote = await machine.run("touch /etc/x 2>&1; mount | grep ' on / '")
                story.step("the root", wrote.replace("\n", "; "), well="Read-only" in wrote)
                await make_stream(machine.port)
                await machine.run("sync")
                failed = await machine.run("systemctl --failed --no-legend --plain | grep phloem; true")
                story.step("units of phloem that failed", failed or "none", well=not failed)
            else:
                await kept.look(machine, story, f"after cut {number}, up again in {up_s:.0f} s")
            if number < CUTS:
                count = await kept.publish(machine, lambda: asyncio.sleep(5))
                story.step("published", f"{count:,} acknowledged")


async def latevar(place: Place, story: Story) -> None:
    """The disk with /var is plugged in when the machine has long been up: nothing of phloem starts before."""
    disk, var = place.folder / "disk.img", place.folder / "var.img"
    image.make(place.cache, place.product, disk, prepare=lambda root: _prepare(root, var))
    more = ("-drive", f"file={var},format=raw,if=none,id=var,cache=writeback")
    kept = Acknowledged()
    with Machine(
        image.base(place.cache), disk, place.folder / "latevar.log", words="ro", more=more
    ) as machine:
        await machine.run("true")
        await asyncio.sleep(LATE_S)
        before = await machine.run(f"systemctl is-active {UNITS}; ls -A /var")
        states = before.splitlines()
        story.step(
            f"without /var, {LATE_S:.0f} s after there was a shell",
            "; ".join(states),
            well="active" not in states and "failed" not in states,
        )
        await machine.tell("device_add", driver="virtio-blk-pci", drive="var", id="late")
        story.step("/var came; the broker answers after", f"{await machine.answers():.0f} s")
        after = await machine.run(f"systemctl is-active {UNITS}; findmnt -n -o SOURCE /var")
        story.step("then", "; ".join(after.splitlines()), well=after.splitlines()[:3] == ["active"] * 3)
        await make_stream(machine.port)
        await machine.run("sync")
        await kept.publish(machine, lambda: asyncio.sleep(3))
        restarts = await machine.run("systemctl show -p NRestarts --value phloem-edge phloem-bridge")
        story.step(
            "restarts of broker and bridge", "; ".join(restarts.split()), well=set(restarts.split()) == {"0"}
        )
        await kept.look(machine, story, "what was acknowledged")
    if not story.steps:
        raise NotUp("nothing was seen")
