"""The order of an upgrade on a device that is played: every failure, and cuts before and after each effect."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from phloem.edge.upgrade.machine import (
    HEALTHY_WITHIN_NS,
    MIXED,
    End,
    Health,
    Phase,
    Record,
    UpgradeError,
    resume,
    upgrade,
)
from phloem.shared.limits import SECOND_NS

OLD, NEW, MIX = "0.4.0", "0.5.0", "of both"
SERVING = (OLD, NEW)


class Cut(BaseException):
    """The plug is pulled."""


@dataclass
class Disk:
    """What is there after a power cut."""

    files: str = OLD
    record: Record | None = None
    kept: bool = False  # the old package and what looks for it at boot
    copy: bool = False


@dataclass
class Played:
    """``machine.Effects``. Before and after the effect with number ``cut`` there is a cut; ``fails`` names effects that
    fail."""

    disk: Disk
    fails: dict[str, Exception] = field(default_factory=dict)
    cut: float = -1
    sick: tuple[str, ...] = ()  # versions that start and do not serve
    falls: tuple[str, ...] = ()  # versions that serve for two seconds
    start_ns: dict[str, int] = field(default_factory=dict)  # that a version takes until it serves
    runs: str = OLD
    pid: int = 100
    restarts: int = 0
    since_ns: int = 0
    now_ns: int = 0
    effects: int = 0
    served_copy: bool = False
    done: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def _does(self, name: str, change: Callable[[], None] = lambda: None) -> None:
        self.done.append(name)
        self.effects += 1
        if self.cut == self.effects:
            raise Cut
        if name in self.fails:
            raise self.fails[name]
        change()
        if self.cut == self.effects + 0.5:
            raise Cut

    def load(self) -> Record | None:
        return self.disk.record

    def save(self, record: Record) -> None:
        if record.phase in MIXED:
            assert self.disk.kept, "there would be no way back"
        self._does(f"save {record.phase}", partial(setattr, self.disk, "record", record))

    def clear(self) -> None:
        self._does("clear", partial(setattr, self.disk, "record", None))

    def installed(self) -> str:
        return self.disk.files

    def unpack(self) -> str:
        self._does("unpack")
        return NEW

    def look(self) -> None:
        self._does("look")

    def keep(self) -> None:
        self._does("keep", partial(setattr, self.disk, "kept", True))

    def stop(self) -> None:
        self._does("stop", partial(setattr, self, "runs", ""))

    def start(self) -> None:
        self._does("start", self._start)

    def _start(self) -> None:
        if not self.runs:
            self._begin()

    def _begin(self) -> None:
        self.runs, self.pid, self.since_ns = self.disk.files, self.pid + 1, self.now_ns

    def restart(self) -> None:
        self._does("restart", self._begin)

    def copy(self) -> None:
        assert not self.runs, "somebody writes to the store"
        self._does("copy", partial(setattr, self.disk, "copy", True))

    def rehearse(self) -> None:
        assert self.runs == self.disk.files, "nobody serves while it is rehearsed"
        assert self.disk.copy
        self._does("rehearse")

    def install_new(self) -> None:
        assert self.disk.record is not None
        assert self.disk.record.phase is Phase.SWITCHING
        self._install("install_new", NEW)

    def install_old(self) -> None:
        assert self.disk.kept
        self._install("install_old", OLD)

    def _install(self, name: str, version: str) -> None:
        self.disk.files, before = MIX, self.disk.files
        try:
            self._does(name, partial(setattr, self.disk, "files", version))
        except Cut:
            raise
        except Exception:
            self.disk.files = before if before == version else MIX
            raise

    def health(self) -> Health:
        if self.runs in self.sick or self.runs not in SERVING:
            return Health(0, self.restarts, "phloem-edge.service is failed")
        if self.runs in self.falls and self.now_ns - self.since_ns > 2 * 10**9:
            self.restarts += 1
            self._begin()
        start_ns = self.start_ns.get(self.runs, 0)
        if self.now_ns - self.since_ns < start_ns:
            return Health(0, self.restarts, "phloem-edge.service is activating")
        return Health(self.pid, self.restarts, "", start_ns)

    def complaint(self) -> str:
        return "Traceback of the new version" if self.runs == NEW else ""

    def tidy(self) -> None:
        self._does("tidy", partial(setattr, self.disk, "kept", False))
        self.disk.copy = False

    def tell(self, step: str) -> None:
        self.told.append(step)

    def monotonic_ns(self) -> int:
        return self.now_ns

    def pause(self, duration_ns: int) -> None:
        assert duration_ns > 0
        self.now_ns += duration_ns


def boot(disk: Disk) -> Played:
    """After a power cut: what ``resume`` of files.py does, then what systemd starts."""
    if disk.record is not None:
        if disk.record.phase in MIXED:
            assert disk.kept
            disk.files = OLD
        disk.record = None
    return Played(disk, runs=disk.files)


def test_all_goes_well() -> None:
    device = Played(Disk())
    assert upgrade(device) == (End.DONE, "")
    assert device.done == [
        "tidy",
        "save preparing",
        "unpack",
        "look",
        "keep",
        "save copying",
        "stop",
        "copy",
        "start",
        "save rehearsing",
        "rehearse",
        "save switching",
        "install_new",
        "restart",
        "clear",
        "tidy",
    ]
    assert device.runs == NEW
    assert device.disk == Disk(files=NEW)


@pytest.mark.parametrize("problem", [UpgradeError("no room"), OSError(28, "disk full"), ValueError("a bug")])
@pytest.mark.parametrize(
    "effect",
    [
        "save preparing",
        "unpack",
        "look",
        "keep",
        "save copying",
        "stop",
        "copy",
        "save rehearsing",
        "rehearse",
        "save switching",
    ],
)
def test_what_fails_before_the_switch_changes_nothing(effect: str, problem: Exception) -> None:
    device = Played(Disk(), fails={effect: problem})
    end, why = upgrade(device)
    assert end is End.UNCHANGED
    assert str(problem) in why
    assert device.runs == OLD
    assert device.disk == Disk()
    assert not any(name.startswith("install") for name in device.done)


@pytest.mark.parametrize("effect", ["install_new"])
def test_what_fails_while_it_is_installed_leads_back(effect: str) -> None:
    device = Played(Disk(), fails={effect: UpgradeError("dpkg failed")})
    end, why = upgrade(device)
    assert end is End.RETURNED
    assert why.startswith("dpkg failed")
    assert device.runs == OLD
    assert device.disk == Disk()


def test_who_cannot_be_restarted_needs_somebody() -> None:
    device = Played(Disk(), fails={"restart": UpgradeError("no systemd")})
    end, why = upgrade(device)
    assert end is End.STUCK
    assert "no systemd" in why
    assert device.disk.files == OLD
    assert device.disk.record == Record(Phase.RETURNING, OLD, NEW)
    device.fails.clear()
    assert resume(device) == (End.RETURNED, f"the upgrade to {NEW} was cut short")


def test_a_version_that_does_not_serve_goes_within_a_minute() -> None:
    device = Played(Disk(), sick=(NEW,))
    end, why = upgrade(device)
    assert end is End.RETURNED
    assert why == "phloem-edge.service is failed\nTraceback of the new version"
    assert device.runs == OLD
    assert device.disk == Disk()
    assert device.now_ns <= HEALTHY_WITHIN_NS + 10**10


@pytest.mark.parametrize(("old_s", "new_s", "end"), [
    (0, 50, End.DONE),
    (0, 70, End.RETURNED),
    (40, 70, End.DONE),  # a device that is slow is slow with every version
    (70, 120, End.DONE),
    (70, 150, End.RETURNED),
    (70, 10**6, End.RETURNED),  # never: and the old one gets as long again
    (400, 650, End.RETURNED),
])  # fmt: skip
def test_how_long_a_start_may_take(old_s: int, new_s: int, end: End) -> None:
    device = Played(Disk(), start_ns={OLD: old_s * SECOND_NS, NEW: new_s * SECOND_NS}, since_ns=-(10**15))
    assert upgrade(device).end is end
    assert device.runs == (NEW if end is End.DONE else OLD)
    assert device.disk == Disk(files=device.runs)


def test_a_version_that_falls_again_and_again_goes_at_once() -> None:
    device = Played(Disk(), falls=(NEW,))
    end, why = upgrade(device)
    assert end is End.RETURNED
    assert why.startswith("it ends again and again")
    assert device.runs == OLD
    assert device.now_ns < HEALTHY_WITHIN_NS // 2


def test_the_process_that_served_before_is_no_proof() -> None:
    device = Played(Disk())
    device.restart = lambda: None  # type: ignore[method-assign]
    end, why = upgrade(device)
    assert end is End.STUCK
    assert "it does not stay" in why


def test_the_old_version_does_not_serve_either() -> None:
    device = Played(Disk(), sick=(OLD, NEW))
    end, why = upgrade(device)
    assert end is End.STUCK
    assert f"{OLD} is installed again and does not serve" in why
    assert device.disk.files == OLD
    assert device.disk.record is None


def test_a_device_that_did_not_serve_may_be_mended_by_an_upgrade() -> None:
    device = Played(Disk(), sick=(OLD,))
    assert upgrade(device).end is End.DONE


def test_what_cannot_be_put_back_is_tried_again() -> None:
    device = Played(Disk(), sick=(NEW,), fails={"install_old": UpgradeError("dpkg failed")})
    end, why = upgrade(device)
    assert end is End.STUCK
    assert "returning to 0.4.0 failed: dpkg failed" in why
    assert device.disk.record == Record(Phase.RETURNING, OLD, NEW)
    device.fails.clear()
    assert (
        upgrade(device).end is End.RETURNED
    )  # the next one: first back, then once more, which is sick again
    assert device.disk == Disk()


def test_interrupted_on_the_way() -> None:
    for step in ("unpacking", "looking at it", "keeping", "copying", "rehearsing", "installing", "waiting"):
        device = Played(Disk())

        def tell(what: str, step: str = step) -> None:
            if what.startswith(step):
                raise KeyboardInterrupt

        device.tell = tell  # type: ignore[method-assign]
        end, why = upgrade(device)
        assert end is (End.RETURNED if step in ("installing", "waiting") else End.UNCHANGED), step
        assert why.startswith("interrupted")
        assert device.runs == OLD
        assert device.disk == Disk()


def cuts(sick: tuple[str, ...] = ()) -> list[float]:
    """All of them in one upgrade: before and after each effect."""
    whole = Played(Disk(), sick=sick)
    upgrade(whole)
    return [number + half for number in range(1, whole.effects + 1) for half in (0, 0.5)]


@pytest.mark.parametrize("sick", [(), (NEW,)])
def test_every_power_cut(sick: tuple[str, ...]) -> None:
    seen = set()
    for cut in cuts(sick):
        device = Played(Disk(), cut=cut, sick=sick)
        with pytest.raises(Cut):
            upgrade(device)
        after = boot(device.disk)
        assert after.runs in SERVING, cut
        assert after.runs == after.disk.files
        assert not (sick and after.runs in sick), cut
        seen.add(after.runs)
        after.sick = sick
        assert upgrade(after).end is (End.RETURNED if sick else End.DONE)
        assert after.disk == Disk(files=OLD if sick else NEW)
    assert seen == ({OLD} if sick else {OLD, NEW})


@pytest.mark.parametrize("sick", [(), (NEW,)])
def test_every_end_of_the_command_without_a_boot(sick: tuple[str, ...]) -> None:
    """kill -9: what runs goes on as it is, and the next upgrade begins with what was left."""
    for cut in cuts(sick):
        device = Played(Disk(), cut=cut, sick=sick)
        with pytest.raises(Cut):
            upgrade(device)
        after = Played(device.disk, runs=device.runs, pid=device.pid, sick=sick)
        left = resume(after)
        assert after.runs in SERVING, cut
        assert after.disk.record is None
        if left is not None:
            assert left.end in (End.UNCHANGED, End.RETURNED)
            assert after.runs == after.disk.files == OLD


def test_a_cut_of_the_way_back_out_of_a_cut() -> None:
    for cut in range(1, 12):
        disk = Disk(files=MIX, record=Record(Phase.SWITCHING, OLD, NEW), kept=True)
        device = Played(disk, cut=cut + 0.5, runs=OLD)
        try:
            resume(device)
        except Cut:
            after = boot(disk)
            assert after.runs == OLD
        else:
            assert device.runs == OLD
            return
    raise AssertionError("it never ended")
