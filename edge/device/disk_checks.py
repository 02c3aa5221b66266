"""The doctor on storage: where the store lies, whether there is room, and how long the card has to live."""

from collections.abc import Iterator

from phloem.edge.device.finding import Finding, Level
from phloem.edge.device.patient import Mount, Patient
from phloem.shared.server.profile import STORE
from phloem.shared.server.vitals import size_of

STORAGE, CARD = "storage", "card"
FREE_LEAST = 200_000_000
FREE_FEW = 20_000_000
INODES_FEW = 100
IN_MEMORY = ("tmpfs", "ramfs", "overlay", "squashfs")
NOT_SOUND = ("vfat", "exfat", "msdos", "fuseblk", "nfs", "nfs4", "cifs")
LIFE_WARN, LIFE_BAD = 8, 10  # tenths that are used up, as eMMC counts them
LIFE_DAYS_WARN = 365


def storage(patient: Patient) -> Iterator[Finding]:
    """The store's folder."""
    options = patient.broker
    if options is not None and (options.jetstream is None or not options.jetstream.on):
        yield Finding(
            STORAGE,
            Level.WARN,
            "no jetstream in the configuration: nothing is kept",
            'add  jetstream { store_dir: "/var/lib/phloem" }  if messages shall outlive a cut link or power',
        )
        return
    folder = folder_of(patient)
    mount = patient.mount_of(folder)
    if mount is not None:
        yield from _mount(folder, mount)
    yield from _room(patient, folder)


def folder_of(patient: Patient) -> str:
    """Where the store is."""
    options = patient.broker
    found = options.jetstream.store_dir if options is not None and options.jetstream is not None else ""
    return found or str(STORE.value)


def _mount(folder: str, mount: Mount) -> Iterator[Finding]:
    where = f"{folder} is on {mount.kind} ({mount.source}, mounted at {mount.point})"
    if mount.kind in IN_MEMORY:
        yield Finding(
            STORAGE,
            Level.BAD,
            f"{where}: it is empty after the next boot",
            "mount a partition that can be written at /var/lib/phloem, or choose another store_dir",
        )
    elif mount.read_only:
        yield Finding(
            STORAGE,
            Level.BAD,
            f"{where}, which is read-only",
            "if it should not be, the kernel has seen an error: dmesg | grep -i -e ext4 -e mmc; "
            "check it with fsck, and replace the card if it comes back. If it should be, choose another store_dir",
        )
    elif mount.kind in NOT_SOUND:
        yield Finding(
            STORAGE,
            Level.WARN,
            f"{where}, which may not keep what it says it keeps when power fails",
            "use ext4 or f2fs on this device's own storage",
        )
    else:
        yield Finding(STORAGE, Level.OK, where)


def scratch(patient: Patient) -> Iterator[Finding]:
    """What a root that cannot be written to has forgotten."""
    mount = patient.mount_of("/tmp")
    if mount is not None and mount.read_only:
        yield Finding(
            STORAGE,
            Level.BAD,
            "/tmp is read-only: systemd 252 cannot start the broker's unit without it (PrivateDevices=)",
            "add  tmpfs /tmp tmpfs mode=1777 0 0  to /etc/fstab",
        )


def _room(patient: Patient, folder: str) -> Iterator[Finding]:
    space = patient.space(folder)
    if space is None:
        return
    free, whole, inodes = space
    share = f", {free * 100 // whole} %" if whole else ""
    told = f"{size_of(free)} of {size_of(whole)} free{share}"
    do = "remove what is not needed, set  disk { budget }  in edge.conf, or take a larger card"
    if free < FREE_FEW or inodes < INODES_FEW:
        yield Finding(STORAGE, Level.BAD, told if free < FREE_FEW else "no inodes are left", do)
    elif free < FREE_LEAST:
        yield Finding(STORAGE, Level.WARN, told, do)
    else:
        yield Finding(STORAGE, Level.OK, told)


def card(patient: Patient) -> Iterator[Finding]:
    """What the card says of its age, and what the broker has worked out."""
    found = list(_emmc(patient)) + list(_worked_out(patient))
    if found:
        yield from found
        return
    yield Finding(
        CARD,
        Level.UNKNOWN,
        "this storage does not say how old it is",
        "set  disk { card { size: 32GB } }  in edge.conf: the broker then works out how long the card lasts",
    )


def _emmc(patient: Patient) -> Iterator[Finding]:
    for device in sorted(patient.at("sys/block").glob("mmcblk*/device")):
        name = device.parent.name
        base = f"sys/block/{name}/device"
        ages = [int(text, 16) for text in patient.read(f"{base}/life_time").split() if text.startswith("0x")]
        spare = patient.number(f"{base}/pre_eol_info") if patient.read(f"{base}/pre_eol_info") else 0
        age = max(ages, default=0)
        if not age and not spare:
            continue  # an SD card
        told = f"{name}: {(age - 1) * 10} to {age * 10} % of its life used" if age else f"{name}: age unknown"
        do = "replace it: back up /var/lib/phloem with the service stopped, and copy it to the new one"
        if spare >= 3 or age > LIFE_BAD:
            yield Finding(CARD, Level.BAD, f"{told}, its spare blocks are used up", do)
        elif spare == 2 or age > LIFE_WARN:
            yield Finding(CARD, Level.WARN, told, f"plan to {do}")
        else:
            yield Finding(CARD, Level.OK, told)


def _worked_out(patient: Patient) -> Iterator[Finding]:
    page = patient.page("/varz") or {}
    wear = page.get("device", {}).get("wear", {})
    if not wear or wear.get("life_days", -1) < 0:
        return
    days, rate = int(wear["life_days"]), int(wear.get("per_day", 0))
    told = f"at {size_of(rate)} written a day it lasts {days // 365} years and {days % 365} days"
    if days < LIFE_DAYS_WARN:
        yield Finding(
            CARD,
            Level.WARN,
            told,
            "write less: shape readings (deadband, intervals) in bridge.conf, or take a card that is made for it",
        )
    else:
        yield Finding(CARD, Level.OK, told)
