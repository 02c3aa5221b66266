"""The order in which a device gets another version, and what is done when something fails or the plug is pulled.

Pure: everything that happens is an effect that is handed in (``Effects``), so each failure and each cut can be tried.

    PREPARING   unpack beside, look at it, keep the old package      the old version serves
    COPYING     stop, copy the store, start again                    nobody serves, for as long as the copy takes
    REHEARSING  the new version on the copy, the old one after it    the old version serves
    SWITCHING   install, restart, look whether it is healthy         files and programs may be of either version
    RETURNING   install the old one, restart, look                   the same

Each phase is on the disk before anything of it is done. The rule that makes cuts harmless: before SWITCHING is
written, the old package and what installs it at the next boot are on the disk; and as long as a phase is written that
may have left files of two versions, the old version is put back before anything is started. Taking the record away is
the moment at which the new version is the one that stays.
"""

import enum
from typing import NamedTuple, Protocol

from phloem.shared.errors import PhloemError
from phloem.shared.limits import SECOND_NS

HEALTHY_WITHIN_NS = 60 * SECOND_NS  # or, where that is more, as often as long as what serves took to start:
SLOWER = 2  # a slow device needs a minute for the interpreter alone, and no version would ever be good enough for it
HEALTHY_AT_MOST_NS = 600 * SECOND_NS
LOOK_NS = SECOND_NS
LOOKS = 5  # healthy ones in a row, so that who falls a second after it was ready does not pass
RESTARTS = 3  # by systemd: it will not get better


class UpgradeError(PhloemError):
    """An effect could not be had; says what is so, and what to do."""


class Phase(enum.StrEnum):
    """What may be so when somebody finds this on the disk."""

    PREPARING = "preparing"
    COPYING = "copying"
    REHEARSING = "rehearsing"
    SWITCHING = "switching"
    RETURNING = "returning"


MIXED = (Phase.SWITCHING, Phase.RETURNING)


class Record(NamedTuple):
    """What is on the disk: how far it is, and the versions."""

    phase: Phase
    old: str
    new: str


class Health(NamedTuple):
    """One look. ``pid`` is the broker's, 0 if none; ``restarts`` counts systemd's; ``why`` says what is not well;
    ``start_ns`` is how long the slowest of the services took until it was ready, 0 if that is not known."""

    pid: int
    restarts: int = 0
    why: str = ""
    start_ns: int = 0


class Effects(Protocol):
    """The device. Whatever returns has happened, and is on the disk where that matters; what cannot be had raises
    UpgradeError."""

    def load(self) -> Record | None:
        """What is written."""

    def save(self, record: Record) -> None:
        """Write it, in place of what is written."""

    def clear(self) -> None:
        """Nothing is written from now on."""

    def installed(self) -> str:
        """The version that is installed."""

    def unpack(self) -> str:
        """The new package beside the old one; its version."""

    def look(self) -> None:
        """Can it be installed here: dependencies, its programs, configurations, room on the disks."""

    def keep(self) -> None:
        """The old package, so that it can be installed again, and what does that at the next boot."""

    def stop(self) -> None:
        """Nobody uses the store."""

    def start(self) -> None:
        """What serves, serves again; nothing happens to who serves already. Does not wait for it to be ready."""

    def restart(self) -> None:
        """What serves ends, and begins with the files that are there. Does not wait for it to be ready."""

    def copy(self) -> None:
        """The store, which nobody uses."""

    def rehearse(self) -> None:
        """The new version checks and uses the copy; then the old one checks it."""

    def install_new(self) -> None:
        """The new version's files, configured, not started."""

    def install_old(self) -> None:
        """The old version's, whatever is there."""

    def health(self) -> Health:
        """One look at who serves."""

    def complaint(self) -> str:
        """The end of what the services said; "" for nothing."""

    def tidy(self) -> None:
        """Nothing is kept that nobody needs."""

    def tell(self, step: str) -> None:
        """What begins now."""

    def monotonic_ns(self) -> int:
        """The time."""

    def pause(self, duration_ns: int) -> None:
        """Let time pass."""


class End(enum.Enum):
    """How it came out; the values are exit codes of the command."""

    DONE = 0
    UNCHANGED = 1  # the old version was never touched
    RETURNED = 2  # the old version is back
    STUCK = 3  # neither; the next boot and the next upgrade try again


class Outcome(NamedTuple):
    """How it came out, and why."""

    end: End
    why: str = ""


def upgrade(device: Effects) -> Outcome:
    """All of it. What an earlier one has left is resumed before.

    An ``Exception`` other than UpgradeError (a bug, a full disk) and the user's interruption are failures like any
    other: the device does not stay between two versions because of them.
    """
    left = resume(device)
    if left is not None and left.end is End.STUCK:
        return left
    record = Record(Phase.PREPARING, device.installed(), "")
    try:
        device.save(record)
        device.tell("unpacking")
        record = record._replace(new=device.unpack())
        device.tell("looking at it")
        device.look()
        device.tell(f"keeping {record.old}")
        device.keep()
        within_ns = _within(device.health())
        _copy(device, record)
        device.tell(f"rehearsing {record.new} on the copy")
        device.save(record._replace(phase=Phase.REHEARSING))
        device.rehearse()
        before = device.health()
        within_ns = max(within_ns, _within(before))
        device.save(record._replace(phase=Phase.SWITCHING))
    except (Exception, KeyboardInterrupt) as problem:
        return _unchanged(device, _words(problem))
    try:
        device.tell(f"installing {record.new}")
        device.install_new()
        device.restart()
        device.tell("waiting for it to be healthy")
        why = _wait(device, before, within_ns)
        why = why and _with_complaint(device, why)
    except (Exception, KeyboardInterrupt) as problem:
        why = _words(problem)
    if why:
        return _return(device, record, why, within_ns)
    device.clear()
    _tidy(device)
    return Outcome(End.DONE)


def resume(device: Effects) -> Outcome | None:
    """End what was cut short. None: there was nothing but perhaps what a boot that ended it has left."""
    record = device.load()
    if record is None:
        _tidy(device)
        return None
    if record.phase not in MIXED:
        return _unchanged(
            device, f"the upgrade to {record.new or 'another version'} was cut short before it began"
        )
    return _return(device, record, f"the upgrade to {record.new} was cut short", HEALTHY_WITHIN_NS)


def _copy(device: Effects, record: Record) -> None:
    device.tell("copying the store; nobody serves meanwhile")
    device.save(record._replace(phase=Phase.COPYING))
    try:
        device.stop()
        device.copy()
    finally:
        device.start()


def _unchanged(device: Effects, why: str) -> Outcome:
    """The old version's files are whole."""
    try:
        device.start()
        device.clear()
    except (Exception, KeyboardInterrupt) as problem:
        return Outcome(End.STUCK, f"{why}; then: {_words(problem)}")
    _tidy(device)
    return Outcome(End.UNCHANGED, why)


def _return(device: Effects, record: Record, why: str, within_ns: int) -> Outcome:
    try:
        device.tell(f"returning to {record.old}: {why.splitlines()[0]}")
        device.save(record._replace(phase=Phase.RETURNING))
        device.install_old()
        before = device.health()
        device.restart()
        device.clear()  # its files are whole; whether it is well is another question
        bad = _wait(device, before, max(within_ns, _within(before)))
    except (Exception, KeyboardInterrupt) as problem:
        return Outcome(End.STUCK, f"{why}\nreturning to {record.old} failed: {_words(problem)}")
    _tidy(device)
    if bad:
        return Outcome(End.STUCK, f"{why}\n{record.old} is installed again and does not serve: {bad}")
    return Outcome(End.RETURNED, why)


def _within(seen: Health) -> int:
    """How long a version may take on this device, which has started one before."""
    return max(HEALTHY_WITHIN_NS, min(SLOWER * seen.start_ns, HEALTHY_AT_MOST_NS))


def _wait(device: Effects, before: Health, within_ns: int) -> str:
    """Until another process than before is healthy for some looks in a row; "" or what is not well."""
    end_ns = device.monotonic_ns() + within_ns
    first, good, pid = -1, 0, 0
    while True:
        seen = device.health()
        if seen.why or seen.pid == before.pid or seen.pid != pid:
            good = 0
        pid = seen.pid
        good += not seen.why and seen.pid != before.pid
        first = seen.restarts if first < 0 or seen.restarts < first else first
        if good >= LOOKS:
            return ""
        if seen.restarts - first >= RESTARTS:
            return f"it ends again and again; {seen.why}"
        if device.monotonic_ns() >= end_ns:
            return seen.why or "it does not stay"
        device.pause(LOOK_NS)


def _with_complaint(device: Effects, why: str) -> str:
    try:
        said = device.complaint()
    except Exception as problem:
        said = _words(problem)
    return f"{why}\n{said}" if said else why


def _tidy(device: Effects) -> None:
    """What is left over takes room and nothing else: the next upgrade takes it away."""
    try:
        device.tidy()
    except (OSError, UpgradeError) as problem:
        device.tell(f"not tidied: {_words(problem)}")


def _words(problem: BaseException) -> str:
    if isinstance(problem, KeyboardInterrupt):
        return "interrupted"
    if isinstance(problem, UpgradeError | OSError):
        return str(problem)
    return f"{type(problem).__name__}: {problem}"
