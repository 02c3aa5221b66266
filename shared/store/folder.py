"""Folders and files whose names outlive a power cut."""

import contextlib
import os
import struct

from phloem.shared.store.format import strange


def sync_folder(folder: str) -> None:
    """The names in it are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: str) -> None:
    """What is in it is on the disk, by whomever it was written."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: str) -> None:
    """Makes it and what is above it, if need be; their names are on the disk."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(os.path.abspath(folder))
    make_folder(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, mode=0o700)
    sync_folder(above)


def left_beside(folder: str) -> list[str]:
    """What a repair left beside a folder that is not there: a store that was made, damaged ones."""
    if os.path.isdir(folder):
        return []
    above, name = os.path.split(os.path.abspath(folder))
    if not os.path.isdir(above):
        return []
    found = (os.path.join(above, one) for one in sorted(os.listdir(above)) if one.startswith(name + "."))
    return [
        path
        for path in found
        if path.endswith(f"{name}.repair") or path.rpartition(f"{name}.damaged-")[2].isdigit()
    ]


def refusal(folder: str) -> str:
    """Why a folder must not be used, or made: it has a later format, it is of another kind of machine, or it is not
    there and something of a repair is beside it; "": it may. Raises OSError."""
    if why_not := strange(folder) or other_machines(os.path.join(folder, "data.mdb")):
        return why_not
    beside = left_beside(folder)
    if not beside:
        return ""
    return (
        f"{folder} is not there, but {' and '.join(beside)} is, of a repair: give the one that shall be used the name "
        f"{folder}, or move all of them away to begin with nothing"
    )


LMDB_MAGIC = 0xBEEFC0DE.to_bytes(4, "little")
PAGE_HEADS = {64: 16, 32: 12}  # bits of a machine: bytes in front of the magic number in LMDB's file


def other_machines(path: str, bits: int = 8 * struct.calcsize("P")) -> str:
    """Why LMDB's file cannot be used here: page numbers in it are as wide as another machine's; "": nothing says so.
    It is not damaged, and a repair would find nothing in it. Raises OSError."""
    try:
        with open(path, "rb") as file:
            head = file.read(PAGE_HEADS[64] + len(LMDB_MAGIC))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    found = [width for width, at in PAGE_HEADS.items() if head[at : at + len(LMDB_MAGIC)] == LMDB_MAGIC]
    if not found or bits in found:
        return ""
    return (
        f"{path} was written by a system of {found[0]} bits, and this one has {bits}: it cannot be read here; "
        "what is in it comes over as backups of its streams, or from the hub"
    )


def make_file(path: str, size: int) -> int:
    """A new file that has its space; its descriptor. Raises OSError, then there is none."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.fsync(fd)
        sync_folder(os.path.dirname(path))
    except OSError:
        os.close(fd)
        os.unlink(path)
        raise
    return fd


def sync_name(path: str, fd: int) -> None:
    """``fd`` is the file's; its name is on the disk."""
    os.fsync(fd)
    sync_folder(os.path.dirname(path))


def reserve(path: bytes, size: int) -> None:
    """There is space for this much of a file, which is made if it is not there. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_blocks * 512 < size:
            os.posix_fallocate(fd, 0, size)
    finally:
        os.close(fd)


def written_by_this_thread() -> int:
    """Bytes that this thread has handed to the kernel for writing, since it began; 0: the kernel does not count."""
    try:
        with open("/proc/thread-self/io", encoding="ascii") as file:
            counted = dict(line.split(": ") for line in file)
    except OSError:
        return 0
    return int(counted["wchar"])


WIPE_BYTES = 1 << 20


def wipe_file(path: str) -> None:
    """Writes over a file that is there, then deletes it. What a flash card keeps in cells that it has set aside is out
    of anybody's reach but a laboratory's; file systems that never write in place keep more. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        noise = os.urandom(WIPE_BYTES)
        left = os.fstat(fd).st_size
        while left > 0:
            left -= os.write(fd, noise[: min(left, WIPE_BYTES)])
        os.fsync(fd)
    finally:
        os.close(fd)
    os.unlink(path)
    sync_folder(os.path.dirname(os.path.abspath(path)))
