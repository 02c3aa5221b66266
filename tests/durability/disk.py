"""A disk as a power cut may leave it, from a trace of what a process did to it.

What POSIX promises and no more:

* a write is durable when a sync of its file began behind it and succeeded, or at once through an O_DSYNC descriptor;
* a name (created, renamed, removed) is durable when its folder was synced in the same way;
* everything else may be there, may not be there, or may be there in part: any subset of 512-byte sectors of a write,
  and of the changes of names those that do not need one that was lost. A rename is never half done.
* After a sync that failed, Linux takes the written pages for clean: later syncs do not bring them to the disk. With
  ``failed_syncs_lose`` they are lost, else they are as any un-synced write.
"""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.durability.trace import AT_ONCE, EMPTIES, FOLDER, Event, Op

SECTOR = 512
STYLES = ("nothing", "everything", "writes", "sectors", "prefix")


@dataclass(slots=True)
class Change:
    """Something done to a file that may not be durable yet. ``data`` None: only its size changes."""

    number: int
    op: Op
    offset: int
    data: bytes | None
    sure: bool


@dataclass(slots=True, eq=False)
class File:
    """What is certainly on the disk, and what came afterwards."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class NameChange:
    """A change of a folder. ``old`` is empty for a new name, ``new`` for a removed one."""

    number: int
    old: str
    new: str
    file: File | None  # None: a folder

    def folders(self) -> set[str]:
        return {os.path.dirname(name) for name in (self.old, self.new) if name}


def _apply(data: bytearray, change: Change, first: int = 0, last: int = -1) -> None:
    """All of a change, or of a write the bytes from ``first`` to ``last``."""
    if change.op is Op.TRUNCATE and change.offset < len(data):
        del data[change.offset :]
        return
    end = change.offset + (len(change.data) if change.data is not None and last < 0 else max(last, 0))
    if change.data is None or not change.data:
        end = change.offset
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if change.data:
        last = len(change.data) if last < 0 else last
        data[change.offset + first : change.offset + last] = change.data[first:last]


class Choice:
    """What a power cut did to what was not durable: one way of many, always the same one for a seed."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self.style = self.rng.choice(STYLES)
        self.names = self.rng.choice(STYLES[:3] + STYLES[4:])

    def limit(self, numbers: Iterable[int]) -> int:
        known = sorted(numbers)
        return self.rng.choice(known) if known else 0

    def keeps(self, style: str, number: int, limit: int) -> bool:
        if style == "prefix":
            return number <= limit
        return style == "everything" or (style != "nothing" and self.rng.random() < 0.5)


class Disk:
    """Follows a trace event by event; at any point, ``crash`` says what may be left."""

    def __init__(self, *, failed_syncs_lose: bool = False) -> None:
        self.failed_syncs_lose = failed_syncs_lose
        self.names: dict[str, File | None] = {"": None}  # as the process sees them
        self.durable_names: dict[str, File | None] = {"": None}
        self.name_changes: list[NameChange] = []
        self.handles: dict[int, tuple[File | None, str]] = {}
        self.syncing: dict[int, list[int]] = {}  # handle: the event numbers at which its running syncs began
        self.marks: list[bytes] = []
        self.number = 0

    def follow(self, event: Event) -> None:
        self.number += 1
        if event.op is Op.MARK:
            self.marks.append(event.data)
        elif event.op is Op.OPEN:
            self._open(event)
        elif event.op in (Op.WRITE, Op.TRUNCATE, Op.ALLOCATE):
            self._change(event)
        elif event.op is Op.SYNC_BEGIN:
            self.syncing.setdefault(event.handle, []).append(self.number)
        elif event.op in (Op.SYNC_END, Op.SYNC_FAILED):
            self._synced(event)
        else:
            self._named(event)

    def _open(self, event: Event) -> None:
        name = event.data.decode()
        if event.flags & FOLDER:
            self.names.setdefault(name, None)
            self.handles[event.handle] = (None, name)
            return
        file = self.names.get(name)
        if file is None:
            file = self.names[name] = File()
            self.name_changes.append(NameChange(self.number, "", name, file))
        elif event.flags & EMPTIES:
            file.pending.append(Change(self.number, Op.TRUNCATE, 0, None, False))
        self.handles[event.handle] = (file, name)

    def _change(self, event: Event) -> None:
        file = self.handles[event.handle][0]
        assert file is not None
        if event.op is Op.WRITE:
            change = Change(self.number, event.op, event.offset, event.data, bool(event.flags & AT_ONCE))
        else:
            change = Change(self.number, event.op, event.offset + event.length, None, False)
        file.pending.append(change)

    def _synced(self, event: Event) -> None:
        file, name = self.handles[event.handle]
        begin = self.syncing[event.handle].pop()
        failed = event.op is Op.SYNC_FAILED
        if failed and not self.failed_syncs_lose:
            return
        if file is None:
            if not failed:
                self._folder_synced(name, begin)
            return
        done = [c for c in file.pending if c.number < begin]
        file.pending = [c for c in file.pending if c.number >= begin]
        for change in done:
            if not failed or change.sure:
                _apply(file.durable, change)

    def _folder_synced(self, folder: str, begin: int) -> None:
        left = []
        for change in self.name_changes:
            if change.number < begin and folder in change.folders():
                _rename(self.durable_names, change)
            else:
                left.append(change)
        self.name_changes = left

    def _named(self, event: Event) -> None:
        names = event.data.decode().split("\0")
        if event.op is Op.MKDIR:
            if not names[0]:
                return  # the folder itself
            change = NameChange(self.number, "", names[0], None)
        elif event.op is Op.RENAME:
            change = NameChange(self.number, names[0], names[1], self.names[names[0]])
        else:
            change = NameChange(self.number, names[0], "", self.names[names[0]])
        _rename(self.names, change)
        self.name_changes.append(change)

    def crash(self, choice: Choice) -> dict[str, bytes | None]:
        """Path to content (None: a folder) of one disk that a cut now may leave behind."""
        names = dict(self.durable_names)
        lost: set[str] = set()
        limit = choice.limit(c.number for c in self.name_changes)
        for change in self.name_changes:
            touched = {name for name in (change.old, change.new) if name}
            if touched & lost or not choice.keeps(choice.names, change.number, limit):
                lost |= touched
            else:
                _rename(names, change)
        pending = [c.number for file in names.values() if file is not None for c in file.pending]
        limit = choice.limit(pending)
        return {
            name: None if file is None else _content(file, choice, limit)
            for name, file in names.items()
            if name and (not os.path.dirname(name) or os.path.dirname(name) in names)
        }

    def contents(self) -> dict[str, bytes | None]:
        """As the process sees it: to be compared with the real folder, which shows that nothing was overlooked."""
        result: dict[str, bytes | None] = {}
        for name, file in self.names.items():
            if file is not None:
                data = bytearray(file.durable)
                for change in file.pending:
                    _apply(data, change)
                result[name] = bytes(data)
            elif name:
                result[name] = None
        return result


def _rename(names: dict[str, File | None], change: NameChange) -> None:
    if change.old:
        names.pop(change.old, None)
    if change.new:
        names[change.new] = change.file


def _content(file: File, choice: Choice, limit: int) -> bytes:
    data = bytearray(file.durable)
    full = len(data)
    for change in file.pending:
        size = change.offset + len(change.data or b"")
        full = size if change.op is Op.TRUNCATE else max(full, size)
        if change.sure:
            _apply(data, change)
        elif choice.style == "sectors" or (choice.style == "prefix" and change.number == limit):
            _torn(data, change, choice.rng)
        elif choice.keeps(choice.style, change.number, limit):
            _apply(data, change)
    if len(data) < full and choice.rng.random() < 0.5:  # the size is there, the data is not
        data.extend(bytes(full - len(data)))
    return bytes(data)


def _torn(data: bytearray, change: Change, rng: random.Random) -> None:
    if change.data is None:
        if rng.random() < 0.5:
            _apply(data, change)
        return
    first = 0
    while first < len(change.data):
        last = min(len(change.data), first + SECTOR - (change.offset + first) % SECTOR)
        if rng.random() < 0.5:
            _apply(data, change, first, last)
        first = last


def build(folder: Path, contents: dict[str, bytes | None]) -> None:
    """Makes the folder."""
    folder.mkdir(parents=True)
    for name in sorted(contents):
        data = contents[name]
        if data is None:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
