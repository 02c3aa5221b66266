"""Where a stream of the device stands in a stream of the hub, found out with questions to the hub's JetStream. Pure.

The last message of the device says it, in health. Then there is what happens to devices and hubs (``identity.py``), and
that a hub deletes messages by age: then the device's own note counts, if the hub's stream is still the one of the note.
"""

from typing import NamedTuple

from phloem.shared.forward.hub_stream import At, Info, Note, Search, identity_text, record_of
from phloem.shared.forward.identity import REIMAGED, resume
from phloem.shared.forward.messages import Offer
from phloem.shared.forward.source import Kept

STEPS_MAX = 4096  # messages that are looked at one by one; a hub that answers honestly has a group at most


class Verdict(NamedTuple):
    """Goes on with ``seq``; ``hub_seq``: of the device's last message at the hub, 0: there is none; ``have``: sequences
    that the hub has although it may not have all before them."""

    seq: int
    hub_seq: int
    noticed: tuple[str, ...] = ()
    have: frozenset[int] = frozenset()


class Standing:
    """Asks until it is known. ``reach``: how many messages at the end may have been stored without those before them
    (0: none, groups are atomic). ``age_ns``: what is behind the note was sent for the first time so long ago; 0: that
    is not known."""

    def __init__(
        self,
        stream: Kept,
        info: Info,
        name: str,
        note: Note | None,
        pattern: str,
        *,
        reach: int,
        age_ns: int,
    ) -> None:
        self._stream = stream
        self._info = info
        self._name = name
        self._pattern = pattern
        self._reach = reach
        self._age_ns = age_ns
        self._note = note if note is not None and (note.stream, note.store) == (name, stream.store) else None
        self._idents = {identity_text(epoch.ident): epoch for epoch in stream.epochs}
        self._last: At | None = None
        self._search: Search | None = None
        self._verdict = Verdict(1, 0)
        self._floor = 0
        self._walk = 0  # where the hub's stream is looked through
        self._steps = 0
        self._have: set[int] = set()

    def question(self) -> tuple[str, dict[str, object]]:
        """The API's subject, and the request."""
        api = f"STREAM.MSG.GET.{self._name}"
        at = self._walk or (self._search.question if self._search is not None else 0)
        if at:
            return api, {"seq": at, "next_by_subj": self._pattern}
        return api, {"last_by_subj": self._pattern}

    def answered(self, at: At | None) -> Verdict | None:
        """None: there is another question."""
        if self._last is None:
            return self._nothing() if at is None else self._first_answer(at)
        if at is None:  # deleted while it was looked for
            return self._verdict
        if self._walk:
            return self._walked(at)
        assert self._search is not None
        self._search.answered(at)
        return self._searched()

    # --- the hub has nothing -----------------------------------------------------------------------------

    def _nothing(self) -> Verdict:
        first = self._stream.epochs[0].first_seq
        note, info = self._note, self._info
        if note is None:
            return Verdict(first, 0)
        if note.created != info.created:
            return Verdict(
                first, 0, (f"hub set back: stream {self._name} was made anew, and had {note.seq}",)
            )
        if info.state.last_seq < note.hub_seq:
            return Verdict(
                first, 0, (f"hub set back: {note.seq} was confirmed, and the hub has nothing of it",)
            )
        return Verdict(note.seq + 1, 0)

    # --- the hub has something ---------------------------------------------------------------------------

    def _first_answer(self, at: At) -> Verdict | None:
        self._last = at
        if not at.store:
            seq = (self._note.seq if self._note is not None else 0) + 1
            first = self._stream.epochs[0].first_seq
            return Verdict(
                max(seq, first), at.hub_seq, (f"somebody else publishes on {self._pattern} in {self._name}",)
            )
        if at.store == identity_text(self._stream.store) and at.epoch not in self._idents:
            first_seq = self._info.state.first_seq
            self._search = Search(first_seq, at, lambda one: one.epoch not in self._idents)
            return self._searched()
        return self._resumes(at)

    def _searched(self) -> Verdict | None:
        assert self._search is not None
        if self._search.question:
            return None
        if self._floor:
            return self._walked(self._search.found)
        known = self._search.before
        self._search = None
        return self._resumes(known)

    def _resumes(self, known: At | None) -> Verdict | None:
        last, stream = self._last, self._stream
        assert last is not None
        epochs = tuple(stream.epochs)
        confirmed = self._note.seq if self._note is not None else 0
        first, began = stream.first_seq, epochs[0].first_seq
        offer = Offer(0, "", "", stream.store, epochs, first, stream.last_seq, confirmed, began=began)
        going_on = resume(offer, record_of(stream.store, epochs, last, known))
        noticed = () if last.store == identity_text(stream.store) else (REIMAGED,)
        self._verdict = Verdict(going_on.seq, last.hub_seq, (*noticed, *going_on.noticed))
        if not self._reach or known is not last or last.store != identity_text(stream.store):
            return self._verdict
        return self._holes(going_on.seq - 1, last)

    # --- messages that may have been stored before others --------------------------------------------------

    def _holes(self, upto: int, last: At) -> Verdict | None:
        floor = max(upto - self._reach, self._idents[last.epoch].first_seq - 1, 0)
        note = self._note
        if note is not None and note.created == self._info.created and note.hub_seq <= last.hub_seq:
            floor = max(floor, note.seq)
        if floor >= upto:
            return self._verdict
        if (
            note is not None
            and floor == note.seq
            and 0 < self._age_ns < self._info.config.duplicate_window // 2
        ):
            return self._verdict._replace(seq=floor + 1)  # the ids tell
        self._floor = floor + 1
        self._search = Search(
            self._info.state.first_seq, last, lambda one: one.epoch == last.epoch and one.seq > floor
        )
        return self._searched()

    def _walked(self, at: At) -> Verdict | None:
        last = self._last
        assert last is not None
        if at.epoch == last.epoch:
            self._have.add(at.seq)
        self._steps += 1
        if at.hub_seq < last.hub_seq and self._steps < STEPS_MAX:
            self._walk = max(at.hub_seq, self._walk) + 1
            return None
        return self._verdict._replace(seq=self._floor, have=frozenset(self._have))
