"""Disk images: Debian 12 with one messaging server as a service, made without booting anything.

Needs root, ``debootstrap`` and ``mke2fs``. The base system is kept in a cache and shared by all images.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.support.programs import ProgramError, output

MIRROR = "http://deb.debian.org/debian"
PACKAGES = "systemd,systemd-sysv,{kernel},python3,udev,iproute2,dbus"
KERNEL = "linux-image-cloud-amd64"  # small: without USB
USB_KERNEL = "linux-image-amd64"
SIZE = "1600M"
PORT = 4222
NETWORK = "[Match]\nName=en*\n[Network]\nDHCP=yes\n"
FSTAB = "/dev/vda / ext4 defaults 0 1\n"
SOCKET = "[Socket]\nListenStream=\nListenStream=/run/phloem/nats.sock\nListenStream=0.0.0.0:4222\n"
NATS_UNIT = """\
[Unit]
Description=nats-server
[Service]
ExecStart=/usr/bin/nats-server -c /etc/nats-server.conf
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
NATS_CONF = 'port: 4222\nserver_name: device\njetstream {{ store_dir: "/var/lib/nats"{more} }}\n'


class ImageError(ProgramError):
    """No image; the text says what is missing."""


class Product(NamedTuple):
    """What is measured: its name in tables, and how it gets into a system."""

    name: str
    package: Path | None = None
    binary: Path | None = None
    more: str = ""


run = partial(output, packages="qemu-system-x86 debootstrap e2fsprogs")
"""What a program prints. Raises ProgramError."""


def base(cache: Path, kernel: str = KERNEL) -> Path:
    """Debian as files; made once for each kernel, some minutes."""
    root = cache / ("base" if kernel == KERNEL else f"base-{kernel}")
    if not (root / "done").exists():
        if os.geteuid():
            raise ImageError("a Debian system can only be put together by root")
        shutil.rmtree(root, ignore_errors=True)
        run(
            "debootstrap",
            "--variant=minbase",
            f"--include={PACKAGES.format(kernel=kernel)}",
            "bookworm",
            root,
            MIRROR,
        )
        (root / "etc/systemd/network/80-all.network").write_text(NETWORK)
        (root / "etc/fstab").write_text(FSTAB)
        (root / "etc/hostname").write_text("device\n")
        run("chroot", root, "systemctl", "enable", "systemd-networkd")
        run("chroot", root, "passwd", "-d", "root")
        for archive in (root / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        (root / "done").touch()
    return root


def make(
    cache: Path,
    product: Product,
    disk: Path,
    *,
    kernel: str = KERNEL,
    prepare: Callable[[Path], None] = lambda _: None,
) -> None:
    """A disk with ``product`` installed as its documentation says; ``prepare`` is given the files before they are put
    there."""
    root = cache / "root"
    shutil.rmtree(root, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", base(cache, kernel), root)
    if product.package is not None:
        # As it comes, but for an address that the emulator's network reaches.
        shutil.copy(product.package, root / "tmp/phloem.deb")
        run("mount", "-t", "proc", "proc", root / "proc")  # systemd-tmpfiles looks there
        try:
            run("chroot", root, "dpkg", "-i", "/tmp/phloem.deb")
        finally:
            run("umount", root / "proc")
        path = root / "etc/phloem/edge.conf"
        path.write_text(path.read_text().replace("127.0.0.1:4222", "0.0.0.0:4222"))
        more = root / "etc/systemd/system/phloem-edge.socket.d/network.conf"
        more.parent.mkdir(parents=True)
        more.write_text(SOCKET)
    if product.binary is not None:
        shutil.copy(product.binary, root / "usr/bin/nats-server")
        (root / "etc/systemd/system/nats-server.service").write_text(NATS_UNIT)
        (root / "etc/nats-server.conf").write_text(NATS_CONF.format(more=product.more))
        run("chroot", root, "systemctl", "enable", "nats-server")
    prepare(root)
    file_system(root, disk)
    shutil.rmtree(root)


def file_system(files: Path, disk: Path, size: str = SIZE) -> None:
    """A new disk with these files."""
    disk.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", files, disk, size)
