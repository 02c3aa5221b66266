"""A configuration that the hub has set, from its arrival to its verdict.

    new --> refused                     it is wrong, or cannot be taken over while the server runs
    new --> trial --> applied           the hub has acknowledged what was reported after the change
                  --> rolled_back       it did not in time, or the server was restarted meanwhile

Before a trial begins it is written down, and what has proved itself stays beside it: a device that is started during a
trial, for whatever reason, starts with what has proved itself.
"""

import enum

import msgspec

RESTARTED = "the device was started again before the hub could be reached with it"


class Outcome(enum.StrEnum):
    """Of a configuration."""

    TRIAL = "trial"
    APPLIED = "applied"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is reported under ``config``. ``revision``: of the key at the hub; ``digest`` of its text."""

    revision: int
    digest: str
    state: Outcome
    error: str = ""


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device remembers: the text that has proved itself, the one on trial, the last verdict."""

    good: str = ""
    trial: str | None = None
    verdict: Verdict | None = None

    def begin(self, text: str, revision: int, digest: str) -> "Kept":
        """A trial begins."""
        return Kept(self.good, text, Verdict(revision, digest, Outcome.TRIAL))

    def pass_(self) -> "Kept":
        """It has proved itself."""
        assert self.trial is not None
        assert self.verdict is not None
        return Kept(self.trial, None, msgspec.structs.replace(self.verdict, state=Outcome.APPLIED))

    def fail(self, why: str) -> "Kept":
        """It has not."""
        assert self.verdict is not None
        verdict = msgspec.structs.replace(self.verdict, state=Outcome.ROLLED_BACK, error=why)
        return Kept(self.good, None, verdict)

    def refuse(self, revision: int, digest: str, why: str) -> "Kept":
        """It is not tried."""
        return Kept(self.good, None, Verdict(revision, digest, Outcome.REFUSED, why))

    def started(self) -> "Kept":
        """The server has started: no trial outlives that."""
        return self if self.trial is None else self.fail(RESTARTED)

    def is_new(self, revision: int, digest: str) -> bool:
        """Whether this has no verdict yet. A hub that was restored may have the same text under another revision."""
        known = self.verdict
        return known is None or (known.revision, known.digest) != (revision, digest)
