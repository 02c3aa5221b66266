"""What is remembered of a port's firmware, on disk and in the bucket of states. Pure."""

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where the image of a port stands."""

    NONE = "none"
    QUEUED = "queued"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    FLASHING = "flashing"
    REBOOTING = "rebooting"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


ENDED = frozenset({State.NONE, State.DONE, State.FAILED, State.ROLLED_BACK})


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image that is meant for a board. ``ident`` is new each time that it is put into the bucket; ``refused`` says
    why it is not to be used at all."""

    ident: str
    version: str
    size: int
    sha256: str
    refused: str = ""

    @property
    def nuid(self) -> str:
        """Under which its chunks lie."""
        return self.ident.partition(".")[0]


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """``good`` is the image that ran last; ``back``: it is what is flashed now, as ``target`` failed because of
    ``why``. ``tries`` counts how often flashing was begun."""

    state: State = State.NONE
    target: Target | None = None
    good: Target | None = None
    back: bool = False
    tries: int = 0
    why: str = ""

    @property
    def flashed(self) -> Target | None:
        """What is on its way to the board."""
        return self.good if self.back else self.target

    @property
    def images(self) -> set[str]:
        """SHA-256 of the files that are needed."""
        return {target.sha256 for target in (self.target, self.good) if target is not None}
