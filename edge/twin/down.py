"""What the hub wants of this device: its keys of ``twin_desired``, copied to ``desired`` while there is a link."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from phloem.edge.line import Line, NoAnswer, Refused
from phloem.edge.twin.bucket import Bucket, is_gone, locals_of
from phloem.shared import limits
from phloem.shared.jetstream.errors import ApiError
from phloem.shared.jetstream.identity import text_of
from phloem.shared.jetstream.origin import Opened, Track, delivery
from phloem.shared.limits import SECOND_NS
from phloem.shared.twin.follow import Again, Drop, Follow, Place, Store, consumer, highest
from phloem.shared.twin.names import HUB_DESIRED, prefix_of, stream_of
from phloem.shared.twin.progress import Progress

log = logging.getLogger("phloem.twin")

CONTROL = b"NATS/1.0 100"
Changed = Callable[[str, bytes | None, int, int], None]  # key, value or None, time and sequence at the hub


class Hub(NamedTuple):
    """Where the hub's JetStream is: the domain's API, and what this device is called there."""

    api: str
    device: str


class Lost(Exception):
    """What is heard is not all that was sent, or nothing is heard."""


class Down:
    """Follows the hub for ever. ``changed`` is told of every key that has changed here."""

    def __init__(self, line: Line, hub: Hub, desired: Bucket, heartbeat_ns: int, changed: Changed) -> None:
        self._line, self._hub, self._desired = line, hub, desired
        self._heartbeat_ns, self._changed = heartbeat_ns, changed
        self._progress = Progress(limits.TWIN_ANSWER_NS, heartbeat_ns)
        self._follow = Follow({})
        self._prefix = f"{prefix_of(HUB_DESIRED)}{hub.device}."
        self._told, self._stale = "", False
        self.stamp_ns = 0  # the latest time of the hub that was seen
        self.complete = asyncio.Event()  # what is here was the hub's, since the link has been up

    def begin(self) -> None:
        """Go on from what the disk has."""
        here = locals_of(self._desired.values())
        self._follow = Follow(here)
        self.stamp_ns = highest(here.values())
        self._stale = False

    async def once(self) -> None:
        """Follow for as long as the link is up: whoever sees that it is another cancels this.

        Raises:
            NoAnswer, Refused, ApiError, Lost: It has to be begun again.
        """
        if self._stale:
            self.begin()
        start = self._follow.begin()
        inbox = deque[tuple[bytes, bytes, bytes, bytes]]()
        came = asyncio.Event()

        def heard(subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
            inbox.append((subject, reply, header, body))
            came.set()

        deliver = self._line.listen_alone(heard)
        try:
            track = await self._open(start, deliver)
            while True:
                came.clear()
                while inbox:
                    self._take(track, *inbox.popleft())
                if self._follow.complete and not self.complete.is_set():
                    self._told = ""
                    self.complete.set()
                async with asyncio.timeout((self._progress.due_ns - self._now_ns()) / SECOND_NS):
                    await came.wait()
        except TimeoutError:
            if self._progress.silent():
                self._bounce("the hub does not deliver what is wanted of the device")
            raise Lost("the hub has fallen silent") from None
        finally:
            self._line.hush(deliver)
            self.complete.clear()

    async def _open(self, start: int, deliver: str) -> Track:
        name = f"twin_{self._hub.device}_{text_of(self._line.server.rng.randbytes(6), 6)}"
        stream, subject = stream_of(HUB_DESIRED), f"{self._prefix}>"
        config = consumer(subject, deliver, start, self._heartbeat_ns) | {"name": name}
        answer = await self._line.ask(
            f"{self._hub.api}.CONSUMER.CREATE.{stream}.{name}.{subject}",
            {"stream_name": stream, "config": config, "action": "create"},
        )
        try:
            pending = int(answer.get("num_pending", 0))
        except (TypeError, ValueError):
            raise NoAnswer("the hub's answer cannot be read") from None
        self._progress.opened(self._now_ns(), pending)
        for step in self._follow.opened(pending):
            if isinstance(step, Again):
                raise Lost("the hub does not have what it had")
            assert isinstance(step, Drop)
            self._drop(step.key)
        return Track(Opened(name, b""), 0)

    def _take(self, track: Track, subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
        self._progress.heard(self._now_ns())
        if header.startswith(CONTROL):
            track.heartbeat(header)
            found = None
        else:
            found = delivery(subject, reply)
        if found is not None and track.takes(found):
            self._progress.delivered(self._now_ns(), found.pending)
            name = found.subject.decode(errors="replace")
            if name.startswith(self._prefix):
                self._one(
                    name.removeprefix(self._prefix), Place(found.seq, found.ts), found.pending, header, body
                )
        if track.broken:
            raise Lost("something is missing")

    def _one(self, key: str, at: Place, pending: int, header: bytes, body: bytes) -> None:
        self.stamp_ns = max(self.stamp_ns, at.ts)
        gone = is_gone(header)
        for step in self._follow.delivered(key, at, pending, gone=gone):
            match step:
                case Store(place):
                    self._copy(key, body, place, gone=gone)
                    self._changed(key, None if gone else body, place.ts, place.seq)
                case Drop(other):
                    self._drop(other)
                case Again():
                    raise Lost("the hub is not as it was left")

    def _now_ns(self) -> int:
        return self._line.server.clock.monotonic_ns()

    def _bounce(self, why: str) -> None:
        log.warning("twin: %s; connecting anew", why)
        for uplink in self._line.server.uplinks:
            uplink.bounce(why)

    def _drop(self, key: str) -> None:
        self._copy(key, b"", None, gone=True)
        self._changed(key, None, self.stamp_ns, 0)

    def _copy(self, key: str, body: bytes, place: Place | None, *, gone: bool) -> None:
        try:
            self._desired.copy(key, body, place, gone=gone)
        except ApiError:  # what was decided on is not here: the disk is asked what is
            self._stale = True
            raise

    def tell(self, problem: Exception) -> None:
        """Log it, once for each reason."""
        text = str(problem)
        if text != self._told and not isinstance(problem, Lost):
            log.warning("twin: the hub's %s cannot be followed: %s", HUB_DESIRED, text)
            self._told = text


EXPECTED = (NoAnswer, Refused, ApiError, Lost)
