"""Copies of folders: shared blocks where the file system can do that, else byte by byte without the holes; and whether
there is room for them.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from phloem.edge.upgrade.machine import UpgradeError
from phloem.shared.server.vitals import size_of

FICLONE = 0x40049409  # linux/fs.h; the same on every processor that the package is for
PIECE = 4 << 20
SPARE = 64 << 20  # for what is opened in the copy: a journal's generations are moved, LMDB writes pages anew
NOT_HERE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)

Tell = Callable[[int, int], None]
"""Bytes that are done, and all of them."""


def size(folder: Path) -> int:
    """Bytes on the disk of what is in the folder; 0 if there is none."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def shares(source: Path, to: Path) -> bool:
    """Whether a copy takes no room: a file of the one folder can be cloned into the other."""
    some = next((path for path in sorted(source.rglob("*")) if path.is_file() and path.stat().st_size), None)
    if some is None:
        return False
    trial = to / ".clone"
    try:
        with some.open("rb") as read, trial.open("wb") as written:
            return _clone(read.fileno(), written.fileno())
    finally:
        trial.unlink(missing_ok=True)


def room(where: Path, need: int, what: str, do: str) -> None:
    """Raises UpgradeError, with what is missing and what to do, if ``need`` bytes are not free there."""
    at = where
    while not at.exists():
        at = at.parent
    found = os.statvfs(at)
    if found.f_flag & os.ST_RDONLY:
        raise UpgradeError(f"{at} is read-only: mount -o remount,rw, and read-only again afterwards")
    free = found.f_bavail * found.f_frsize
    if free < need:
        raise UpgradeError(
            f"{what} needs {size_of(need)} free in {where}, and there are {size_of(free)}: "
            f"{size_of(need - free)} are missing; {do}"
        )


def copy(source: Path, to: Path, tell: Tell) -> None:
    """All files and folders with their owners and modes; ``to`` is new. Raises OSError."""
    whole, done = max(size(source), 1), 0
    _folder(source, to)
    for path in sorted(source.rglob("*")):
        target = to / path.relative_to(source)
        if path.is_dir():
            _folder(path, target)
        elif path.is_file():
            for piece in _file(path, target):
                done += piece
                tell(min(done, whole), whole)


def _folder(source: Path, to: Path) -> None:
    to.mkdir()
    _as(source, to)


def _file(source: Path, to: Path) -> Iterator[int]:
    """Copies while it is iterated; gives the bytes of each piece."""
    with source.open("rb", buffering=0) as read, to.open("xb", buffering=0) as written:
        _as(source, to)
        if _clone(read.fileno(), written.fileno()):
            yield source.stat().st_blocks * 512
            return
        at = 0
        os.ftruncate(written.fileno(), os.fstat(read.fileno()).st_size)
        while (data := _next_data(read.fileno(), at)) is not None:
            at = data
            stop = os.lseek(read.fileno(), at, os.SEEK_HOLE)
            while at < stop:
                piece = os.pread(read.fileno(), min(PIECE, stop - at), at)
                done = os.pwrite(written.fileno(), piece, at)
                if not done:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
                at += done
                yield done


def _next_data(descriptor: int, at: int) -> int | None:
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _clone(source: int, to: int) -> bool:
    try:
        fcntl.ioctl(to, FICLONE, source)
    except OSError as error:
        if error.errno in NOT_HERE:
            return False
        raise
    return True


def _as(source: Path, to: Path) -> None:
    found = source.stat()
    os.chmod(to, found.st_mode & 0o7777)
    os.chown(to, found.st_uid, found.st_gid)
