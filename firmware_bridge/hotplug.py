"""Devices that come: inotify on the folders where they appear, so that nobody has to look again and again.

One watch serves all ports of a bridge. A folder that is not there yet (``/dev/serial`` comes with the first USB
adapter) is watched for in the one it will be in. Where inotify is not to be had, or a folder cannot be watched,
``watch`` says so and the port goes back to looking at intervals.

ctypes, as Python has no inotify; three functions, no callbacks (which a hardened service would refuse).
"""

import asyncio
import logging
import os
import struct
from collections.abc import Callable, Sequence

logger = logging.getLogger("phloem.bridge")

IN_ATTRIB, IN_MOVED_TO, IN_CREATE = 0x4, 0x80, 0x100  # <sys/inotify.h>
IN_Q_OVERFLOW, IN_IGNORED, IN_ONLYDIR = 0x4000, 0x8000, 0x1000000
_COMES = (
    IN_ATTRIB | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR
)  # ATTRIB: udev lets a group in after it made the device
_EVENT = struct.Struct("iIII")
_READ_BYTES = 16 << 10


class Hotplug:
    """Use as ``with Hotplug() as hotplug``, on a running event loop."""

    def __init__(self) -> None:
        self._fd = -1
        self._folders: dict[int, str] = {}  # by watch descriptor
        self._waiting: dict[object, tuple[Sequence[str], Callable[[], None]]] = {}

    def __enter__(self) -> "Hotplug":
        import ctypes  # noqa: PLC0415  (only who has ports pays for it)

        libc = ctypes.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            logger.warning(
                "no inotify (%s): serial devices are looked for at intervals", os.strerror(ctypes.get_errno())
            )
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._folders.clear()

    def watch(self, folders: Sequence[str], callback: Callable[[], None]) -> Callable[[], None] | None:
        """Call ``callback`` whenever something comes in one of ``folders`` (the innermost first); the result ends that.

        None if nothing can be watched. Look once after this call: what came before is not told.
        """
        if self._fd < 0 or not self._watch_innermost(folders):
            return None
        key = object()
        self._waiting[key] = folders, callback
        return lambda: self._waiting.pop(key, None) and None

    def _watch_innermost(self, folders: Sequence[str]) -> bool:
        """All that are there, as a link's folder can go and come again without the link's device."""
        # The outer ones first: a folder that is made meanwhile is then either told of or there to be watched.
        return any([self._add_watch(folder) for folder in reversed(folders)])

    def _add_watch(self, folder: str) -> bool:
        descriptor = self._add(self._fd, os.fsencode(folder), _COMES)
        if descriptor >= 0:  # the same one for a folder that is watched already
            self._folders[descriptor] = folder
        return bool(descriptor >= 0)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        changed, at = set[str](), 0
        everything = False
        while at < len(data):
            descriptor, mask, _, size = _EVENT.unpack_from(data, at)
            at += _EVENT.size + size
            if mask & IN_IGNORED:  # the folder is gone
                self._folders.pop(descriptor, None)
            everything |= bool(mask & IN_Q_OVERFLOW)
            changed.add(self._folders.get(descriptor, ""))
        for folders, callback in list(self._waiting.values()):
            if everything or not changed.isdisjoint(folders):
                self._watch_innermost(folders)
                callback()
