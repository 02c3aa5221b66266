"""Streams of this server as the budget sees them: what they are worth, what the hub has of them."""

from typing import TYPE_CHECKING

from phloem.shared.forward.entries import Class
from phloem.shared.store.log import Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from phloem.edge.forward.log_stream import LogStream
    from phloem.shared.server.jetstream.stream import Stream

CLASS = "phloem.class"  # in a stream's metadata
STATE = ("KV_", "OBJ_")  # buckets: what they hold is a state and not a history, old is not less important


class Shelf:
    """One stream."""

    def __init__(self, stream: "Stream", lanes: "Iterable[LogStream]", default: Class) -> None:
        self.stream = stream
        self.lanes = tuple(lanes)
        said = stream.config.metadata.get(CLASS, "").upper()
        if self.lanes:  # it is worth what the most important entry of it is
            self.worth = min(lane.entry.cls for lane in self.lanes)
        else:
            self.worth = Class[said] if said in Class.__members__ else default

    @property
    def cls(self) -> Class | None:
        """None: nobody but its owner removes anything."""
        config = self.stream.config
        if config.sealed or config.deny_purge or config.mirror is not None or config.name.startswith(STATE):
            return None
        return self.worth

    @property
    def messages(self) -> int:
        """How many there are."""
        return self.stream.log.messages

    @property
    def confirmed(self) -> int:
        """The hub has everything up to here."""
        if not self.lanes or not all(lane.covers for lane in self.lanes):
            return 0
        return min(lane.confirmed for lane in self.lanes)

    @property
    def spare(self) -> int:
        """How many of the oldest the hub has, at least."""
        return max(self.confirmed + 1 - self.stream.log.first_seq, 0) if self.messages else 0

    @property
    def oldest_ns(self) -> int:
        """When its oldest message was stored, as far as that can be read."""
        try:
            message = self.stream.log.next()
        except Damaged:
            return 0
        return message.ts if message is not None else 0

    def shed(self, most: int, reason: str, *, spare: bool) -> tuple[int, int, int]:
        """Remove at most so many of the oldest messages; how many, how many of them the hub does not have, and bytes.
        What is lost is written down and removed in one batch: a crash leaves both or neither."""
        log = self.stream.log
        before, first = log.bytes, log.first_seq
        below = min(first + most, log.last_seq + 1)
        if spare:
            below = min(below, self.confirmed + 1)
        lost = 0
        for lane in self.lanes:
            lost = max(lost, lane.shed(below, reason))
        removed = log.purge((), below=below)
        self.stream.engine.changed()
        return removed, lost if self.lanes else removed, before - log.bytes
