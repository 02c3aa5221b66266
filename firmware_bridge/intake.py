"""From the bytes of an open port to messages: framing, decoding, a user's function, shaping, publishing.

* ``Phloem-Seq`` counts frames from 1 and runs on when the device is plugged in again; it counts frames
  that the publisher could not keep as well. With ``Phloem-Boot``, which changes with every run, a
  subscriber sees each gap, duplicate and restart. With ``decode`` it counts readings.
* Nothing here waits: a publisher keeps or drops what it is given.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.framing.framer import Frame
from phloem.firmware_bridge.framing.line import LineFramer
from phloem.firmware_bridge.headers import Stamps
from phloem.firmware_bridge.health import Health, is_clean, is_noise
from phloem.firmware_bridge.pipeline import Pipeline
from phloem.firmware_bridge.process.worker import Item, Told, Worker
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.reading import Reading, payloads
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.shaping.stage import CHANNELS_MAX
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.shared.clock import Clock

logger = logging.getLogger("phloem.bridge")

UNPROCESSED = "Phloem-Unprocessed"  # why a user's function did not get what is published as it is


class Intake:
    """One port's, through all its openings."""

    def __init__(
        self,
        settings: SerialSettings,
        publisher: Publisher,
        clock: Clock,
        stamps: Stamps,
        counters: Counters,
        call_later: CallLater,
        rng: Random,
        told: Told,
    ) -> None:
        self._settings, self._publisher, self._clock, self._stamps = settings, publisher, clock, stamps
        self._call_later, self._counters = call_later, counters
        self._framer, self._pipeline = settings.framer(), settings.pipeline()
        self._is_text = isinstance(self._framer, LineFramer)
        self._health = Health(settings.max_frame_bytes)
        self._subjects: dict[str, bytes] = {}  # by channel
        self._gap_timer: Timer | None = None
        self._shape_timer: Timer | None = None
        self._senseless = False  # warned that frames cannot be decoded; until one can
        self.frame_mono_ns = -1  # when the last frame ended
        self.on_frame: Callable[[Frame, Mapping[str, str]], None] | None = None  # who else hears of frames
        worker = settings.worker
        self._worker = (
            Worker(worker, clock, rng, counters, call_later, self._took, self._unprocessed, told)
            if worker
            else None
        )
        self._passes = worker is not None and worker.on_failure == "pass"

    @property
    def garbled(self) -> bool:
        """Whether most of what comes makes no sense."""
        return self._health.garbled

    @property
    def trouble(self) -> str:
        """Why the last frame says nothing; empty if it does, or nobody asks frames what they say."""
        return "" if self._pipeline is None or self._pipeline.sensible else self._pipeline.error

    @property
    def unfinished(self) -> bytes:
        """The beginning of a frame."""
        return self._framer.unfinished

    def resume(self, beginning: bytes) -> None:
        """A frame has begun before this one was made; nothing is published."""
        self._framer.feed(beginning, self._clock.monotonic_ns())

    def take(self, data: bytes) -> None:
        """What has just been read."""
        self._frames(self._framer.feed(data, self._clock.monotonic_ns()))

    def blame(self, errors: int) -> None:
        """The hardware saw so many characters that are broken."""
        self._health.note(0, 0, errors, 0)

    def interrupt(self) -> None:
        """The port is closed: what is unfinished stays so."""
        self._framer.reset()
        self._count()
        if self._gap_timer is not None:
            self._gap_timer.cancel()
            self._gap_timer = None

    @property
    def waiting(self) -> int:
        """Frames or readings that the user's function has not said anything about yet."""
        return self._worker.waiting if self._worker is not None else 0

    async def stop(self) -> None:
        """No more timers; what is with the user's function has a moment to come back."""
        self.interrupt()
        if self._worker is not None:
            await self._worker.close()
        if self._shape_timer is not None:
            self._shape_timer.cancel()
            self._shape_timer = None

    def _gap(self) -> None:
        self._gap_timer = None
        self._frames(self._framer.expire(self._clock.monotonic_ns()))

    def _frames(self, frames: list[Frame]) -> None:
        if frames:
            self.frame_mono_ns = self._clock.monotonic_ns()
            self._publish(frames)
        self._judge(frames)
        # One timer runs until it fires and looks again then, instead of a new one for every chunk.
        due_ns = self._framer.due_ns
        if due_ns is not None and self._gap_timer is None:
            self._gap_timer = self._call_later(due_ns - self._clock.monotonic_ns(), self._gap)

    def _publish(self, frames: list[Frame]) -> None:
        raw = self._settings.raw_subject if self._pipeline is not None else self._settings.subject
        wall_ns, now_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        numbered = list(enumerate(frames, self._counters.frames + 1))
        self._counters.frames += len(frames)
        if raw:
            subject = raw.encode()
            blocks = self._stamps.blocks(numbered[0][0], [now_ns] * len(frames), wall_ns - now_ns)
            self._publisher.publish_all(
                [(subject, block, frame) for block, frame in zip(blocks, frames, strict=True)]
            )
        if self.on_frame is not None:
            for seq, frame in numbered:
                self.on_frame(frame, self._headers(seq, wall_ns, now_ns))
        if self._worker is not None and not self._settings.decode:
            for seq, frame in numbered:
                self._worker.offer(Item(seq, wall_ns, now_ns, frame))
        if self._pipeline is not None and self._settings.decode:
            self.read(self._pipeline.decode(frames, now_ns))

    def note(self, frame: Frame) -> None:
        """A frame that somebody else has found, and makes readings of."""
        self._counters.frames += 1
        self.frame_mono_ns = self._clock.monotonic_ns()
        headers = self._headers(self._counters.frames, self._clock.wall_ns(), self.frame_mono_ns)
        if self._settings.raw_subject:
            self._publisher.publish(self._settings.raw_subject, frame, headers)
        if self.on_frame is not None:
            self.on_frame(frame, headers)

    def read(self, readings: Sequence[Reading]) -> None:
        """What a frame, or a device that was asked, has just said."""
        assert self._pipeline is not None
        wall_ns, now_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        if self._worker is None:
            self._say(self._pipeline.shape(readings, now_ns))
            return
        for reading in readings:
            self._worker.offer(Item(self._counters.frames, wall_ns, now_ns, reading=reading))

    def _took(self, _item: Item, readings: Sequence[Reading]) -> None:
        """What the user's function makes of something."""
        assert self._pipeline is not None
        self._say(self._pipeline.shape(readings, self._clock.monotonic_ns()))

    def _unprocessed(self, item: Item, why: str) -> None:
        """It makes nothing of it; then it goes out as it is, if that is wanted."""
        assert self._pipeline is not None
        if not self._passes:
            return
        if item.reading is not None:
            self._say(self._pipeline.shape((item.reading,), self._clock.monotonic_ns()), why)
        else:
            headers = self._headers(item.seq, item.wall_ns, item.mono_ns) | {UNPROCESSED: why}
            self._publisher.publish(self._settings.subject, item.frame, headers)

    def _headers(self, seq: int, wall_ns: int, mono_ns: int) -> dict[str, str]:
        return self._stamps.lines(wall_ns, mono_ns) | {"Phloem-Seq": str(seq)}

    def _say(self, readings: Sequence[Reading], why: str = "") -> None:
        """Publish readings, and see to those that are held back; ``why`` they are not processed."""
        assert self._pipeline is not None
        ahead_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        first, said = self._counters.readings + 1, payloads(readings)
        self._counters.readings += len(readings)
        if why:
            for seq, (reading, payload) in enumerate(zip(readings, said, strict=True), first):
                headers = self._headers(seq, reading.mono_ns + ahead_ns, reading.mono_ns) | {UNPROCESSED: why}
                self._publisher.publish(f"{self._settings.subject}.{reading.channel}", payload, headers)
        elif readings:
            blocks = self._stamps.blocks(first, [reading.mono_ns for reading in readings], ahead_ns)
            subjects, subject_of = self._subjects, self._subject_of
            self._publisher.publish_all(
                [
                    (subjects.get(reading.channel) or subject_of(reading.channel), block, payload)
                    for reading, block, payload in zip(readings, blocks, said, strict=True)
                ]
            )
        due_ns = self._pipeline.due_ns
        if due_ns is not None and self._shape_timer is None:
            self._shape_timer = self._call_later(due_ns - self._clock.monotonic_ns(), self._shape_due)

    def _subject_of(self, channel: str) -> bytes:
        subject = self._subjects.get(channel)
        if subject is None:
            if len(self._subjects) >= CHANNELS_MAX:
                self._subjects.clear()
            subject = self._subjects[channel] = f"{self._settings.subject}.{channel}".encode()
        return subject

    def _shape_due(self) -> None:
        assert self._pipeline is not None
        self._shape_timer = None
        self._say(self._pipeline.expire(self._clock.monotonic_ns()))

    def _judge(self, frames: Sequence[Frame]) -> None:
        """What these frames, and what was thrown away meanwhile, say of the line."""
        counters = self._counters
        resyncs, dropped, senseless = counters.resyncs, counters.dropped_bytes, counters.undecodable
        self._count()
        resyncs, dropped = counters.resyncs - resyncs, counters.dropped_bytes - dropped
        senseless = counters.undecodable - senseless
        whole = b"".join(frames)
        if self._pipeline is not None and self._settings.decode:
            if frames:
                self._tell_once(self._pipeline, senseless > 0)
        elif self._is_text and not is_clean(whole):
            senseless = sum(map(is_noise, frames))
        good_bytes = 0 if senseless else len(whole)
        self._health.note(len(frames) - senseless, good_bytes, resyncs + senseless, dropped)

    def _tell_once(self, pipeline: Pipeline, worse: bool) -> None:
        """One warning when frames stop to make sense, until one does again."""
        if worse and not self._senseless:
            logger.warning(
                "serial port %s: a frame says nothing: %s",
                self._settings.name,
                pipeline.error,
                exc_info=pipeline.bug,
            )
        self._senseless = not pipeline.sensible

    def _count(self) -> None:
        counters = self._counters
        if self._settings.poll:  # who asks counts
            return
        counters.resyncs, counters.dropped_bytes = self._framer.resyncs, self._framer.dropped_bytes
        counters.damaged = self._framer.damaged
        if self._pipeline is not None:
            counters.undecodable, counters.withheld = self._pipeline.undecodable, self._pipeline.withheld
