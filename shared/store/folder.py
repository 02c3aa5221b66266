"""Folders and files whose names outlive a power cut."""

import contextlib
import os


def sync_folder(folder: str) -> None:
    """The names in it are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
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


def rename_file(old: str, new: str, fd: int) -> None:
    """``fd`` is the file's; its new name is on the disk."""
    os.rename(old, new)
    os.fsync(fd)
    sync_folder(os.path.dirname(new))


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
