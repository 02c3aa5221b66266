"""An origin that is reached through its API: a stream of another server or domain, or a durable consumer.

What it may ask and what it hears is decided in ``shared/jetstream/origin.py``; here are its subscriptions and its one
timer. An answer to flow control is given when what came before it is on the disk here: the other end then sends no more
than this side can take, and an origin that gives its messages away never gives one away that is not safe.
"""

import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.engine.draw import Draw
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.identity import text_of
from phloem.shared.jetstream.origin import (
    ANOTHER,
    TOO_NEW,
    Asker,
    Opened,
    Place,
    Track,
    answered,
    deliver_subject,
    delivery,
    prefix_of,
    question,
)
from phloem.shared.jetstream.sourcing import Selection
from phloem.shared.jetstream.stream_config import StreamSource
from phloem.shared.jetstream.times import SECOND_NS
from phloem.shared.store.log import Message

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from phloem.shared.server.jetstream.stream import Stream

log = logging.getLogger("phloem.jetstream")

Filters = tuple[bytes, ...]
CONTROL = b"NATS/1.0 100 "
ACK_HEADER = b"NATS/1.0\r\nNats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n\r\n"


class NotYet(ApiError):
    """The origin has not answered; nothing is wrong."""

    def __init__(self) -> None:
        super().__init__(0, 0, "")


class RemoteFeed:
    """What comes from an origin while it is heard of."""

    plain = False

    def __init__(self, origin: "RemoteOrigin", opened: Opened, place: Place) -> None:
        self._origin = origin
        self.identity = opened.identity or place.identity
        self.track = Track(opened, place.seq)
        self._messages: deque[Message] = deque()
        self._safe = self.track.seq
        self._last = self.track.seq
        self._asked: deque[tuple[bytes, int, int]] = deque()  # flow control: subject, sequence, number

    @property
    def alive(self) -> bool:
        """Whether nothing is missing."""
        return self._origin.current is self

    # --- what comes ------------------------------------------------------------------------------------

    def heard(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        """A message on the deliver subject."""
        if header.startswith(CONTROL):
            stalled = b"" if reply else self.track.heartbeat(header)
            asked = reply or stalled
            if asked and all(asked != one[0] for one in self._asked):
                self._asked.append((asked, self.track.seq, self.track.number))
                self._answer()
            return
        found = delivery(subject, reply)
        if found is not None and self.track.takes(found):
            self._messages.append(Message(found.seq, found.ts, found.subject, header, payload))
            self._last = found.seq

    def _answer(self) -> None:
        while self._asked and self._asked[0][1] <= self._safe:
            subject, seq, number = self._asked.popleft()
            self._origin.send(subject, b"", ACK_HEADER % (number, seq), b"")

    # --- what a mirror or source asks --------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The last that has come."""
        return self._last

    def start(self, _source: StreamSource) -> int:
        """Whatever comes: the origin knows where to begin."""
        return 1

    def next(self, _filters: Filters, seq: int) -> Message | None:
        """It stays until a later one is asked for."""
        while self._messages and self._messages[0].seq < seq:
            self._messages.popleft()
        return self._messages[0] if self._messages else None

    def behind(self, _filters: Filters, seq: int) -> int:
        """What waits here, and what the origin has said to have."""
        self.next((), seq)
        return len(self._messages) + self.track.pending

    def draw(self, _stream: "Stream", _selection: Selection, *, mirror: bool) -> Draw | None:
        """There is no short way."""
        return None

    def hold(self, _filters: Filters, seq: int) -> None:
        """The origin's consumer holds; what was there before is safe."""
        self._safe = max(self._safe, seq - 1)

    def taken(self, seqs: Sequence[int]) -> None:
        """Up to here everything is on the disk."""
        if seqs:
            self._safe = max(self._safe, seqs[-1])
            self._answer()

    def close(self, *, for_good: bool) -> None:
        """Nothing is read any more; the origin's end is its own."""


class RemoteOrigin:
    """Asks for the origin until it answers, hears it, and asks again when it falls silent."""

    def __init__(self, stream: "Stream", source: StreamSource, place: "Callable[[], Place]") -> None:
        """``place`` tells where to go on."""
        self._stream = stream
        self._system = stream.system
        self._source = source
        self._place = place
        self.current: RemoteFeed | None = None
        self._problem: ApiError | None = None
        self._answers = self._messages = 0  # subscriptions
        self._where = ""  # subject of the messages, while it is listened to
        self._early: list[tuple[bytes, bytes, bytes, bytes]] = []  # came before the answer
        self._asked: Place | None = None  # the question that is out
        self._asked_ns = self._heard_ns = 0
        self._fails = 0
        self._looks = 0  # left at short intervals
        self._anew = self._old = False
        self._consumer = ""
        self._timer: asyncio.TimerHandle | None = None
        self._ask()

    def feed(self) -> RemoteFeed:
        """Raises ApiError while there is none."""
        if self.current is None:
            raise self._problem or NotYet()
        return self.current

    @property
    def _asker(self) -> Asker:
        return Asker(self._stream.config, self._stream.account.name, self._system.options.domain)

    def _token(self) -> str:
        return text_of(self._system.server.rng.randbytes(8), 8)

    def send(self, subject: bytes, reply: bytes, header: bytes, body: bytes) -> int:
        """A message in the stream's account; the number of receivers."""
        return self._system.server.kernel.publish(
            self._stream.account.kernel_account, subject, reply, header, body
        )

    # --- asking ------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        account, kernel = self._stream.account.kernel_account, self._system.server.kernel
        place = Place(0, b"") if self._anew else self._place()
        reply = f"$JS.R.{self._token()}".encode()
        deliver = deliver_subject(self._asker, self._source, self._token())
        wanted = question(self._asker, self._source, place, deliver, old=self._token() if self._old else "")
        if not kernel.interested(
            account, wanted.subject
        ):  # what asks is told over each link: it has to be worth it
            self._looks = max(self._looks - 1, 0)
            self._later(limits.ORIGIN_LOOK_NS if self._looks else limits.ORIGIN_RETRY_NS)
            return
        self._asked, self._asked_ns = place, self._system.clock.monotonic_ns()
        self._answers = kernel.subscribe(account, reply, None, self._answered)
        if (
            self._source.consumer is None
        ):  # before it is asked for: the first messages come right behind the answer
            self._listen(deliver)
        self.send(wanted.subject, reply, wanted.header, wanted.body)
        if self._asked is place:  # else the answer is here already
            self._later(limits.ORIGIN_ANSWER_NS)

    def _answered(self, _subject: bytes, _reply: bytes, header: bytes, body: bytes) -> None:
        place = self._asked
        if place is None or header.startswith(b"NATS/1.0 503"):
            return
        self._unask()
        try:
            opened = answered(self._asker, self._source, header, body)
        except ApiError as problem:
            self._refused(problem)
            return
        self._problem, self._fails, self._anew = None, 0, False
        self._consumer = opened.consumer
        feed = RemoteFeed(self, opened, place)
        self.current = feed
        self._heard_ns = self._system.clock.monotonic_ns()
        if self._source.consumer is not None:
            self._listen(self._source.consumer.deliver_subject)
        self._later(limits.ORIGIN_SILENCE_NS)
        early, self._early = self._early, []
        for message in early:
            self._heard(*message)

    def _listen(self, where: str) -> None:
        """To the subject of the messages, if not already."""
        if where == self._where:
            return
        self._hush()
        account, kernel = self._stream.account.kernel_account, self._system.server.kernel
        self._messages, self._where = kernel.subscribe(account, where.encode(), None, self._heard), where

    def _hush(self) -> None:
        self._early = []
        if self._where:
            self._where = ""
            self._system.server.kernel.unsubscribe(self._messages)

    def _refused(self, problem: ApiError) -> None:
        self._hush()
        at_once = False
        if problem.err_code == ANOTHER and not self._anew:
            self._anew = at_once = True
        elif problem.err_code in TOO_NEW and not self._old and self._source.consumer is None:
            self._old = at_once = True
        else:
            log.warning("Origin %s of stream %s: %s", self._source.name, self._stream.name, problem)
            self._problem = problem
        if at_once:
            self._later(0)
        else:
            self._failed()

    def _unask(self) -> None:
        if self._asked is not None:
            self._asked = None
            self._system.server.kernel.unsubscribe(self._answers)

    # --- hearing ---------------------------------------------------------------------------------------

    def _heard(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        feed = self.current
        if feed is None:
            if self._asked is not None and len(self._early) < limits.ORIGIN_EARLY_MAX:
                self._early.append((subject, reply, header, payload))  # the answer is on its way
            return
        self._heard_ns = self._system.clock.monotonic_ns()
        feed.heard(subject, reply, header, payload)
        if feed.track.broken:
            self._lost()

    def _lost(self) -> None:
        """Something is missing: it is asked for again."""
        self._hang_up()
        self._failed()

    def _hang_up(self) -> None:
        self.current = None
        self._hush()

    def linked(self) -> None:
        """A link has come up, over which the origin may be, or may be again: nobody waits for time to pass then."""
        now = self._system.clock.monotonic_ns()
        self._fails, self._looks = 0, limits.ORIGIN_LOOKS
        if self.current is None:
            self._unask()  # the answer would have come over the link that was
            self._hush()
            self._later(0)
        else:
            self._heard_ns = min(self._heard_ns, now - limits.ORIGIN_SILENCE_NS + limits.ORIGIN_SIGN_NS)
            self._later(limits.ORIGIN_SIGN_NS)

    # --- time --------------------------------------------------------------------------------------------

    def _failed(self) -> None:
        since = self._system.clock.monotonic_ns() - self._asked_ns
        wait = max(limits.ORIGIN_RETRY_NS - since, 0) + min(
            self._fails * SECOND_NS, limits.ORIGIN_RETRY_MAX_NS
        )
        self._fails += 1
        self._later(wait)

    def _later(self, wait_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._system.server.call_later(wait_ns / SECOND_NS, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._asked is not None:  # nobody has answered
            self._unask()
            self._hush()
            self._failed()
        elif self.current is None:
            self._ask()
        else:
            left = self._heard_ns + limits.ORIGIN_SILENCE_NS - self._system.clock.monotonic_ns()
            if left > 0:
                self._later(left)
            else:
                log.warning("Origin %s of stream %s has fallen silent", self._source.name, self._stream.name)
                self._lost()
        self._system.engine.wake()

    def end(self, *, for_good: bool) -> None:
        """Nothing is asked or heard any more; ``for_good``: what was made for this is removed at the origin."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unask()
        self._hang_up()
        if for_good and self._consumer and self._source.consumer is None:
            subject = f"{prefix_of(self._source)}.CONSUMER.DELETE.{self._source.name}.{self._consumer}"
            self.send(subject.encode(), b"", b"", b"")
        self._consumer = ""
