"""Folders whose names outlive a power cut."""

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
