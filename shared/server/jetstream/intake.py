"""Mirrors and sources: what a stream takes from other streams (reference 2.9).

Both look at their origin after every tick of the server and take what has become visible, a bounded part at a time.
An origin that is not there is looked for again just as often, so that no retry has to be timed.

Where a source has got to is a pair in the store, written in the same batch as the messages: after a crash it goes on
exactly there. Without the pair (a restored stream) the last stored ``Nats-Stream-Source`` tells.
"""

import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from phloem.shared import limits
from phloem.shared.engine.draw import Draw
from phloem.shared.jetstream.counters import sourced_count
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import Wishes, wishes_of, without
from phloem.shared.jetstream.origin import Place, is_remote
from phloem.shared.jetstream.sourcing import LEFT_BY_MIRROR, Selection, place_in
from phloem.shared.jetstream.stream_config import StreamConfig, StreamSource
from phloem.shared.jetstream.times import SECOND_NS
from phloem.shared.jetstream.ttl import parse_ttl
from phloem.shared.server.jetstream.direct import DirectGet
from phloem.shared.server.jetstream.feed import Feed, feed_of, is_current
from phloem.shared.server.jetstream.prepared import Prepared
from phloem.shared.server.jetstream.remote_feed import RemoteOrigin
from phloem.shared.store.log import Damaged, Message

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.jetstream")

CAUGHT_UP = 10  # a mirror that is less behind answers direct gets for its origin


def accepted(config: StreamConfig, wishes: Wishes) -> tuple[int, bytes]:
    """TTL and rollup of a message that another stream has accepted: what this one does not do is ignored."""
    ttl = parse_ttl(wishes[b"Nats-TTL"]) if config.allow_msg_ttl and b"Nats-TTL" in wishes else 0
    rollup = wishes.get(b"Nats-Rollup", b"").lower()
    if rollup not in (b"sub", b"all") or not config.allow_rollup_hdrs or config.deny_purge:
        rollup = b""
    return ttl, rollup


class Intake:
    """One origin of a stream."""

    def __init__(self, stream: "Stream", source: StreamSource) -> None:
        self.stream = stream
        self.source = source
        self.selection = Selection(source)
        self.next_seq = 0  # of the origin; 0: not known before there is one
        self._feed: Feed | None = None
        self._remote: RemoteOrigin | None = None  # asks for the feed, where it has to be asked for
        self._problem: ApiError | None = None
        self._active_ns = 0
        self._short: Draw | None = None
        # (sequence here, of the origin): not yet on the disk here
        self._unsafe: deque[tuple[int, int]] = deque()

    # --- what mirror and source do differently ---------------------------------------------------------

    def begin(self, feed: Feed) -> int:
        """The sequence to go on with."""
        raise NotImplementedError

    def place(self) -> Place:
        """The same, for an origin that has to be asked for it first."""
        raise NotImplementedError

    def take(self, feed: Feed, message: Message, now: int) -> None:
        """Store one message. Raises ApiError for one that has to wait."""
        raise NotImplementedError

    def drawn(self, seq: int) -> None:
        """The origin's messages up to this one came the short way."""

    def taken(self, feed: Feed) -> None:
        """The end of a part."""

    # --- the work ----------------------------------------------------------------------------------------

    def _connect(self) -> Feed | None:
        account = self.stream.account
        if self._feed is not None and is_current(self._feed, account, self.source):
            return self._feed
        self._let_go()
        self._unsafe.clear()
        try:
            feed = self._find()
        except ApiError as problem:
            self._problem = problem if problem.err_code else None
            return None
        self._problem = None
        self._feed = feed
        self.next_seq = self.begin(feed)
        feed.hold(self.selection.filters, self.next_seq)
        self._active_ns = self.stream.system.clock.monotonic_ns()
        return feed

    def _find(self) -> Feed:
        if not is_remote(self.source, self.stream.system.options.domain):
            return feed_of(self.stream.account, self.source)
        if self._remote is None:
            self._remote = RemoteOrigin(self.stream, self.source, self.place)
        return self._remote.feed()

    def work(self) -> bool:
        """Take what there is, at most a part of it; whether there is more."""
        feed = self._connect()
        if feed is not None and self._unsafe:
            self._release(feed)
        if feed is None or self.next_seq > feed.last_seq or self.stream.system.intake_held():
            return False
        filters, now = self.selection.filters, self.stream.system.clock.wall_ns()
        draw = self._draw(feed)
        count = size = 0
        if draw is not None:
            self.next_seq, count, asks = draw.take(
                self.next_seq, feed.last_seq, limits.DRAW_MESSAGES, limits.INTAKE_BYTES, now
            )
            if count:
                self.drawn(draw.last_seq)
            if not asks:
                return self._part(feed, count, now)
        try:
            while count < limits.INTAKE_MESSAGES and size < limits.INTAKE_BYTES:
                message = feed.next(filters, self.next_seq)
                if message is None:
                    self.next_seq = feed.last_seq + 1
                    break
                self.take(feed, message, now)
                self.next_seq = message.seq + 1
                self._unsafe.append((self.stream.log.last_seq, message.seq))
                count += 1
                size += len(message.payload) + len(message.header)
            self._problem = None
        except ApiError as problem:
            self._problem = problem
        except Damaged as problem:  # of this stream: what it has to be compared with cannot be read
            self._problem = error(10077, err=str(problem))
        return self._part(feed, count, now)

    def _part(self, feed: Feed, count: int, now: int) -> bool:
        """The end of a part; whether another follows."""
        if count:
            self._active_ns = self.stream.system.clock.monotonic_ns()
            self.taken(feed)
            if self.stream.config.max_age:
                self.stream.expiry.stored(now)
        return count > 0 and self._problem is None

    def _draw(self, feed: Feed) -> Draw | None:
        """The short way, where each message stays what it is and nobody has to be told of it alone."""
        config, origin = self.stream.config, feed.plain
        if (
            not origin
            or self.selection.renames
            or config.retention == "interest"
            or self.stream.publish.always(config)
        ):
            return None
        if self._short is None:
            self._short = feed.draw(self.stream, self.selection, mirror=isinstance(self, Mirror))
        return self._short

    def _release(self, feed: Feed) -> None:
        """What is on the disk here may go where it came from."""
        visible, safe = self.stream.log.visible_seq, []
        while self._unsafe and self._unsafe[0][0] <= visible:
            safe.append(self._unsafe.popleft()[1])
        feed.taken(safe)

    # --- what answers say --------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """StreamSourceInfo."""
        source, feed = self.source, self._feed
        shown: dict[str, Any] = {"name": source.name}
        if source.external is not None:
            shown["external"] = source.external
        shown["lag"] = feed.behind(self.selection.filters, self.next_seq) if feed is not None else 0
        shown |= self.progress()
        since = self.stream.system.clock.monotonic_ns() - self._active_ns
        # an origin of this server is always heard of; a remote one says so every second
        shown["active"] = since % SECOND_NS if feed is not None else -1
        if self._problem is not None:
            shown["error"] = self._problem.as_dict()
        if source.filter_subject:
            shown["filter_subject"] = source.filter_subject
        if source.subject_transforms:
            shown["subject_transforms"] = source.subject_transforms
        return shown

    def progress(self) -> dict[str, Any]:
        """What only a source says."""
        return {}

    def close(self) -> None:
        """It is not a mirror or a source any more."""
        self.disconnect(for_good=True)

    def linked(self) -> None:
        """A leaf link of the account has come up."""
        if self._remote is not None:
            self._remote.linked()

    def disconnect(self, *, for_good: bool = False) -> None:
        """Let go of the origin, and look for it no more."""
        self._let_go(for_good=for_good)
        if self._remote is not None:
            self._remote.end(for_good=for_good)
            self._remote = None

    def _let_go(self, *, for_good: bool = False) -> None:
        if self._feed is not None:
            self._feed.close(for_good=for_good)
        self._feed = self._short = None


class Mirror(Intake):
    """Everything as the origin has it: sequences, times, headers but those that were asked of the origin alone."""

    def __init__(self, stream: "Stream", source: StreamSource) -> None:
        super().__init__(stream, source)
        self._direct = DirectGet(stream, source.name, self._better)

    def _better(self) -> DirectGet | None:
        """The origin, while it shows something that is not to be seen here yet: who has just been told that a message
        is stored finds it."""
        origin, feed, log = self.stream.account.streams.get(self.source.name), self._feed, self.stream.log
        if self._remote is not None or origin is None or feed is None or not origin.direct.listening:
            return None
        behind = log.visible_seq < log.last_seq or feed.behind(self.selection.filters, self.next_seq)
        return origin.direct if behind else None

    def begin(self, feed: Feed) -> int:
        """Behind the last that is here."""
        last = self.stream.log.last_seq
        return last + 1 if last else feed.start(self.source)

    def take(self, feed: Feed, message: Message, now: int) -> None:
        """One message, under the same sequence."""
        publish, config = self.stream.publish, self.stream.config
        if message.seq > limits.SEQUENCE_MAX:
            raise error(10077, err=f"sequence {message.seq} of the origin is above {limits.SEQUENCE_MAX}")
        subject, header = self.selection.subject(message.subject), without(message.header, LEFT_BY_MIRROR)
        publish.check_room(config, subject, header, message.payload, b"")
        wishes = wishes_of(header) if b"\nNats-" in header else {}
        ttl, rollup = accepted(config, wishes)
        wishes.pop(b"Nats-Msg-Id", None)  # a mirror does not look for duplicates
        publish.put(Prepared(subject, header, message.payload, wishes, ttl, rollup), message.ts, message.seq)

    def work(self) -> bool:
        """The same, and answering for the origin once it has caught up."""
        more = super().work()
        if (
            self.stream.config.mirror_direct
            and not more
            and self._feed is not None
            and not self._direct.listening
        ):
            self._direct.listen(on=self._feed.behind(self.selection.filters, self.next_seq) < CAUGHT_UP)
        return more

    def place(self) -> Place:
        """Behind the last that is here."""
        return Place(self.stream.log.last_seq, b"")

    def _let_go(self, *, for_good: bool = False) -> None:
        """It does not answer for an origin that it does not follow."""
        super()._let_go(for_good=for_good)
        self._direct.listen(on=False)


class Source(Intake):
    """Messages of another stream among those of this one."""

    def __init__(self, stream: "Stream", source: StreamSource) -> None:
        super().__init__(stream, source)
        self.seen_seq = 0  # the last one of the origin that was stored here
        self._identity = b""

    def _key(self) -> bytes:
        digest = hashlib.sha256(self.selection.index).digest()[:16]
        return b"o" + self.stream.record.ident.to_bytes(4) + digest

    def begin(self, feed: Feed) -> int:
        """Behind the last that was taken from this origin; one that was made anew is another."""
        if not self.seen_seq:
            self._remember()
        if self._identity and self._identity != feed.identity:
            self.seen_seq = 0
        self._identity = feed.identity
        return self.seen_seq + 1 if self.seen_seq else feed.start(self.source)

    def place(self) -> Place:
        """Behind the last that was taken."""
        if not self.seen_seq:
            self._remember()
        return Place(self.seen_seq, self._identity)

    def _remember(self) -> None:
        stream = self.stream
        value = stream.system.store.get(self._key()) if stream.config.storage == "file" else None
        if value is not None:
            self.seen_seq, self._identity = int.from_bytes(value[:8]), value[8:]
            return
        seq = stream.log.last_seq
        while seq >= stream.log.first_seq:
            try:
                message = stream.log.read(seq)
            except Damaged:
                message = None
            place = place_in(message.header) if message is not None else None
            if place is not None and place.source == self.selection.index:
                self.seen_seq, self._identity = place.seq, place.identity
                return
            seq -= 1

    def take(self, feed: Feed, message: Message, now: int) -> None:
        """One message, with a sequence and a time of its own."""
        subject = self.selection.subject(message.subject)
        header = self.selection.header(message.header, message.seq, message.subject, feed.identity)
        self._keep(subject, header, message.payload)
        self.seen_seq = message.seq

    def _keep(self, subject: bytes, header: bytes, payload: bytes) -> None:
        publish, config = self.stream.publish, self.stream.config
        subject, wishes = publish.renamed(subject), wishes_of(header)
        if publish.duplicates.first(wishes.get(b"Nats-Msg-Id")):
            return
        if config.allow_msg_counter and b"Nats-Incr" in wishes:
            last = publish.last_message(subject)
            known = (last.header, last.payload) if last is not None else (b"", None)
            header, payload = sourced_count(known[0], known[1], subject, header, payload)
        publish.check_room(config, subject, header, payload, b"")
        ttl, rollup = accepted(config, wishes)
        publish.keep(Prepared(subject, header, payload, wishes, ttl, rollup))

    def drawn(self, seq: int) -> None:
        """Up to here."""
        self.seen_seq = seq

    def taken(self, feed: Feed) -> None:
        """In the batch of the messages."""
        if self.stream.config.storage == "file":
            self.stream.system.store.put(self._key(), self.seen_seq.to_bytes(8) + feed.identity)

    def progress(self) -> dict[str, Any]:
        """The origin's sequence."""
        return {"seq": self.seen_seq} if self.seen_seq else {}

    def close(self) -> None:
        """What was remembered of it goes."""
        super().close()
        if self.stream.config.storage == "file":
            self.stream.system.store.delete(self._key())


class Intakes:
    """The mirror or the sources of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self.mirror: Mirror | None = None
        self.sources: dict[bytes, Source] = {}

    def configure(self) -> None:
        """Those of the configuration, new ones from their beginning."""
        stream, config = self._stream, self._stream.config
        if self.mirror is not None and self.mirror.source != config.mirror:
            self.mirror.close()
            self.mirror = None
        if self.mirror is None and config.mirror is not None:
            self.mirror = Mirror(stream, config.mirror)
        wanted = {Selection(source).index: source for source in config.sources}
        for index in [index for index in self.sources if index not in wanted]:
            self.sources.pop(index).close()
        for index, source in wanted.items():
            if index not in self.sources:
                self.sources[index] = Source(stream, source)
        stream.system.intakes.pop(stream.record.ident, None)
        if self.mirror is not None or self.sources:
            stream.system.intakes[stream.record.ident] = self

    def work(self) -> bool:
        """Whether there is more to do."""
        more = self.mirror.work() if self.mirror is not None else False
        for source in self.sources.values():
            more = source.work() or more
        return more

    def linked(self, account: str) -> None:
        """A leaf link of this account has come up."""
        if self._stream.account.name == account:
            for intake in (self.mirror, *self.sources.values()):
                if intake is not None:
                    intake.linked()

    def info(self) -> dict[str, Any]:
        """``mirror`` and ``sources`` of StreamInfo."""
        if self.mirror is not None:
            return {"mirror": self.mirror.info()}
        return {"sources": [source.info() for source in self.sources.values()]} if self.sources else {}

    def close(self, *, forget: bool = False) -> None:
        """Nothing is taken any more; ``forget``: the stream is deleted."""
        self._stream.system.intakes.pop(self._stream.record.ident, None)
        if self.mirror is not None:
            self.mirror.close() if forget else self.mirror.disconnect()
        for source in self.sources.values():
            source.close() if forget else source.disconnect()
