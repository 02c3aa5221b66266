"""From an image in a bucket to a board that runs it, or runs its former one again. Pure; effects are handed out.

* What is about to be done is remembered before it is done: each effect that takes time has ``Remember`` before it,
  and ``start`` after a cut does it again. Downloading goes on where the file ends; flashing begins again or, on a board
  that knows how far it is, goes on.
* Nothing is flashed that ``Check`` has not found right since this process started.
* An image is ``done`` when the board has proven that it runs it, and only then is it the one to roll back to.
* An image that failed is not tried again until it, or another one, is put into the bucket.
"""

from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.record import ENDED, Record, State, Target


class Remember(NamedTuple):
    """Keep this across a power cut, then report it. Images that it does not name may be deleted."""

    record: Record


class Fetch(NamedTuple):
    """Bring the image here, from where its file ends; then ``fetched``."""

    target: Target


class Check(NamedTuple):
    """Whether the file is what was signed; then ``checked``."""

    target: Target


class Flash(NamedTuple):
    """Write it to the board; then ``flashed``."""

    target: Target


class Prove(NamedTuple):
    """Have a tool look whether the board runs it; then ``proven``."""

    target: Target


class Stop(NamedTuple):
    """Whatever is being done is not wanted any more, and nothing comes of it."""


Effect: TypeAlias = Remember | Fetch | Check | Flash | Prove | Stop


class Flashed(Enum):
    """How flashing ended."""

    WRITTEN = auto()  # to be proven
    PROVEN = auto()  # the board runs it
    RETURNED = auto()  # the board has gone back to its former image by itself
    UNHARMED = auto()  # it was refused; the board runs what it did
    BROKEN = auto()  # what the board has now nobody knows
    INTERRUPTED = auto()  # the board or this process went away; it is tried again


class Proof(Enum):
    """What shows that an image runs."""

    HELLO = auto()  # the board says its version
    TOOL = auto()  # a tool looks
    EXIT = auto()  # that the flashing tool was content


class Machine:
    """One port's. ``tool``: a program flashes, which needs no board that runs, once it was begun; else the board takes
    the image itself. ``hears``: the board says its version."""

    def __init__(self, record: Record, *, proof: Proof, tool: bool, hears: bool) -> None:
        self.record = record
        self._proof, self._tool, self._hears = proof, tool, hears
        self._next: Target | None = None  # wanted, when what is under way has ended
        self._ready = False  # the file is there and was found right
        self._version: str | None = None  # of the board; None: it is not there
        self._busy = False  # an effect is under way
        self._proof_due_ns: int | None = None

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called."""
        return self._proof_due_ns

    def start(self, now_ns: int) -> list[Effect]:
        """Go on where the record says; call it once, first."""
        record = self.record
        match record.state:
            case State.QUEUED | State.DOWNLOADING | State.VERIFYING:
                return self._fetch()
            case State.FLASHING:
                return self._check()
            case State.REBOOTING:
                return self._await_proof(now_ns)
        return []

    def wanted(self, target: Target | None, now_ns: int) -> list[Effect]:
        """What the bucket has for this board now; None: nothing."""
        state, known = self.record.state, self.record.target
        if target is not None and known is not None and target.ident == known.ident:
            self._next = None
            return []
        if state in (State.FLASHING, State.REBOOTING):
            self._next = target
            return []
        if target is not None:
            return self._begin(target)
        if state in ENDED:
            return []
        return [*self._stop(), *self._set(state=State.NONE, target=None, why="taken out of the bucket")]

    def fetched(self, why: str = "") -> list[Effect]:
        """The file is as long as it has to be; or it cannot be had at all, and ``why``."""
        self._busy = False
        if self.record.state != State.DOWNLOADING:
            return []
        return self._fail(why) if why else [*self._set(state=State.VERIFYING), *self._check()]

    def checked(self, why: str, now_ns: int) -> list[Effect]:
        """The file is right; or ``why`` not."""
        self._busy = False
        record = self.record
        if record.state == State.VERIFYING:
            if why:
                return self._fail(why)
            self._ready = True
            return self._flash_when_possible(now_ns)
        if record.state == State.FLASHING:
            if not why:
                self._ready = True
                return self._flash_when_possible(now_ns)
            if record.back:
                return self._fail(f"{record.why}; and the former image cannot be used: {why}")
            return self._fetch()
        return []

    def present(self, version: str, now_ns: int) -> list[Effect]:
        """The board is there and runs ``version`` ("" if it does not say)."""
        self._version = version
        flashed = self.record.flashed
        if self.record.state == State.REBOOTING and self._proof is Proof.HELLO and flashed is not None:
            return self._proven(now_ns) if version == flashed.version else []
        return self._flash_when_possible(now_ns)

    def absent(self) -> None:
        """The board is not there."""
        self._version = None

    def written(self, now_ns: int) -> list[Effect]:
        """The board has all of it and starts it; ``flashed`` still comes."""
        if self.record.state != State.FLASHING:
            return []
        return self._set(state=State.REBOOTING)

    def flashed(self, how: Flashed, why: str, now_ns: int) -> list[Effect]:
        """Flashing has ended."""
        self._busy = False
        if self.record.state not in (State.FLASHING, State.REBOOTING):
            return []
        match how:
            case Flashed.PROVEN:
                return self._proven(now_ns)
            case Flashed.WRITTEN:
                return [*self._set(state=State.REBOOTING), *self._await_proof(now_ns)]
            case Flashed.RETURNED:
                return self._back_again(why)
            case Flashed.UNHARMED if self._tool and self.record.tries > 1:  # an attempt before was cut off
                return self._broken(why, now_ns)
            case Flashed.UNHARMED:
                return self._fail(f"{self.record.why}; {why}" if self.record.back else why)
            case Flashed.BROKEN:
                return self._broken(why, now_ns)
        if self.record.state == State.REBOOTING:  # perhaps it starts just now
            return self._await_proof(now_ns)
        return self._flash_when_possible(now_ns)

    def proven(self, why: str, now_ns: int) -> list[Effect]:
        """What the tool that looks has found: the image runs, or ``why`` not."""
        self._busy = False
        if self.record.state != State.REBOOTING:
            return []
        return self._broken(why, now_ns) if why else self._proven(now_ns)

    def expire(self, now_ns: int) -> list[Effect]:
        """The board has not said in time that it runs the image."""
        if self._proof_due_ns is None or now_ns < self._proof_due_ns:
            return []
        self._proof_due_ns = None
        if self._version is None:
            return self._broken("the board did not come back", now_ns)
        return self._back_again(f"the board came back with {self._version}")

    # --- steps -----------------------------------------------------------------------------------------

    def _begin(self, target: Target) -> list[Effect]:
        self._next, self._ready = None, False
        effects = self._stop()
        record = Record(State.QUEUED, target, self.record.good)
        if target.refused:
            self.record = record
            return [*effects, *self._fail(target.refused)]
        self.record = record
        return [*effects, Remember(record), *self._fetch()]

    def _fetch(self) -> list[Effect]:
        self._busy = True
        return [*self._set(state=State.DOWNLOADING), Fetch(self._under_way())]

    def _check(self) -> list[Effect]:
        self._busy, self._ready = True, False
        return [Check(self._under_way())]

    def _flash_when_possible(self, now_ns: int) -> list[Effect]:
        record = self.record
        if (
            record.state not in (State.QUEUED, State.VERIFYING, State.FLASHING)
            or not self._ready
            or self._busy
        ):
            return []
        target = self._under_way()
        if self._version is None and not (self._tool and (record.tries or record.back)):
            if record.state == State.VERIFYING:
                return self._set(state=State.QUEUED, why="waits for the board")
            return []
        if self._hears and self._version == target.version:
            return self._proven(now_ns)
        if record.tries >= limits.TRIES_MAX:
            return self._broken(f"given up after {record.tries} attempts", now_ns)
        self._busy = True
        why = record.why if record.back else ""
        return [*self._set(state=State.FLASHING, tries=record.tries + 1, why=why), Flash(target)]

    def _await_proof(self, now_ns: int) -> list[Effect]:
        target = self._under_way()
        match self._proof:
            case Proof.EXIT:
                return self._proven(now_ns)
            case Proof.TOOL:
                self._busy = True
                return [Prove(target)]
        if self._version == target.version:
            return self._proven(now_ns)
        self._proof_due_ns = now_ns + limits.PROOF_NS
        return []

    def _proven(self, now_ns: int) -> list[Effect]:
        if self.record.back:
            return self._end(State.ROLLED_BACK, self.record.why, self.record.good)
        return self._end(State.DONE, "", self.record.target)

    def _back_again(self, why: str) -> list[Effect]:
        """The board runs a former image, by its own doing."""
        return self._end(State.ROLLED_BACK, self.record.why or why, self.record.good)

    def _broken(self, why: str, now_ns: int) -> list[Effect]:
        record = self.record
        if record.back:
            return self._fail(f"{record.why}; and the former image: {why}")
        if record.good is None or record.good.sha256 == self._under_way().sha256:
            return self._fail(f"{why}; there is no former image")
        self._proof_due_ns = None
        return [*self._set(state=State.FLASHING, back=True, tries=0, why=why), *self._check()]

    def _fail(self, why: str) -> list[Effect]:
        return self._end(State.FAILED, why, self.record.good)

    def _end(self, state: State, why: str, good: Target | None) -> list[Effect]:
        effects = self._stop()
        self.record = Record(state, self.record.target, good, why=why)
        following, self._next = self._next, None
        return [*effects, Remember(self.record), *(self._begin(following) if following else [])]

    def _stop(self) -> list[Effect]:
        was_busy, self._busy, self._ready, self._proof_due_ns = self._busy, False, False, None
        return [Stop()] if was_busy else []

    def _set(self, **changes: object) -> list[Effect]:
        record = self.record
        fields = {name: getattr(record, name) for name in record.__struct_fields__} | changes
        self.record = Record(**fields)
        return [Remember(self.record)] if self.record != record else []

    def _under_way(self) -> Target:
        target = self.record.flashed
        assert target is not None
        return target
