"""From the bytes of an open port to messages: framing, decoding, shaping, publishing.

* ``Phloem-Seq`` counts frames from 1 and runs on when the device is plugged in again; it counts frames
  that the publisher could not keep as well. With ``Phloem-Boot``, which changes with every run, a
  subscriber sees each gap, duplicate and restart. With ``decode`` it counts readings.
* Nothing here waits: a publisher keeps or drops what it is given.
"""

import logging
from collections.abc import Sequence

from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.framing.framer import Frame
from phloem.firmware_bridge.framing.line import LineFramer
from phloem.firmware_bridge.headers import Stamps
from phloem.firmware_bridge.health import Health, is_clean, is_noise
from phloem.firmware_bridge.pipeline import Pipeline
from phloem.firmware_bridge.publisher import Publisher
from phloem.firmware_bridge.reading import Reading, payloads
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.shaping.stage import CHANNELS_MAX
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.shared.clock import Clock

logger = logging.getLogger("phloem.bridge")


class Intake:
    """One port's, through all its openings."""

    def __init__(
        self,
        settings: SerialSettings,
        publisher: Publisher,
        clock: Clock,
        boot: str,
        counters: Counters,
        call_later: CallLater,
    ) -> None:
        self._settings, self._publisher, self._clock = settings, publisher, clock
        self._call_later, self._counters = call_later, counters
        self._framer, self._pipeline = settings.framer(), settings.pipeline()
        self._is_text = isinstance(self._framer, LineFramer)
        self._health = Health(settings.max_frame_bytes)
        self._frame_stamps, self._reading_stamps = Stamps(settings.name, boot), Stamps(settings.name, boot)
        self._subjects: dict[str, bytes] = {}  # by channel
        self._gap_timer: Timer | None = None
        self._shape_timer: Timer | None = None
        self._senseless = False  # warned that frames cannot be decoded; until one can
        self.frame_mono_ns = -1  # when the last frame ended

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

    def stop(self) -> None:
        """No more timers."""
        self.interrupt()
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
        self._counters.frames += len(frames)
        if raw:
            subject, now_ns, stamp = raw.encode(), self._clock.wall_ns(), self._frame_stamps.next
            self._publisher.publish_all([(subject, stamp(now_ns), frame) for frame in frames])
        if self._pipeline is not None:
            self._say(self._pipeline.take(frames, self._clock.monotonic_ns()))

    def _say(self, readings: Sequence[Reading]) -> None:
        """Publish readings, and see to those that are held back."""
        assert self._pipeline is not None
        if readings:
            ahead_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
            self._counters.readings += len(readings)
            subject_of, stamp = self._subject_of, self._reading_stamps.next
            self._publisher.publish_all(
                [
                    (subject_of(reading.channel), stamp(reading.mono_ns + ahead_ns), payload)
                    for reading, payload in zip(readings, payloads(readings), strict=True)
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
        if self._pipeline is not None:
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
        counters.resyncs, counters.dropped_bytes = self._framer.resyncs, self._framer.dropped_bytes
        counters.damaged = self._framer.damaged
        if self._pipeline is not None:
            counters.undecodable, counters.withheld = self._pipeline.undecodable, self._pipeline.withheld
