"""From frames to readings that go on: a decoder and the stages behind it. Pure; times are handed in."""

from collections.abc import Sequence

from phloem.firmware_bridge.decoding.decoder import DecodeError, Decoder
from phloem.firmware_bridge.framing.framer import Frame
from phloem.firmware_bridge.reading import Reading
from phloem.firmware_bridge.shaping.stage import Stage

_ERROR_CHARS = 200


class Pipeline:
    """One port's; without a decoder it only shapes.

    ``undecodable`` counts frames that said nothing, ``error`` is why the last of them did,
    ``sensible`` whether the last frame of all said something, ``bug`` what it raised beside ``DecodeError``.
    """

    def __init__(self, decoder: Decoder | None, stages: Sequence[Stage]) -> None:
        self._decoder, self._stages = decoder, tuple(stages)
        self.undecodable = 0
        self.error = ""
        self.sensible = True
        self.bug: Exception | None = None

    @property
    def due_ns(self) -> int | None:
        """When ``expire`` wants to be called if no frame comes before."""
        return min((due for stage in self._stages if (due := stage.due_ns) is not None), default=None)

    @property
    def withheld(self) -> int:
        """Readings that a stage kept for good."""
        return sum(stage.withheld for stage in self._stages)

    def take(self, frames: Sequence[Frame], now_ns: int) -> Sequence[Reading]:
        """What goes on at ``now_ns`` once these frames have come."""
        return self.shape(self.decode(frames, now_ns), now_ns)

    def decode(self, frames: Sequence[Frame], now_ns: int) -> Sequence[Reading]:
        """What these frames say."""
        assert self._decoder is not None
        readings: list[Reading] = []
        for frame in frames:
            try:
                readings += self._decoder.decode(frame, now_ns)
                self.sensible = True
            except DecodeError as error:
                self._failed(str(error), None)
            except Exception as bug:  # it must not cost the frames behind this one, and the other ports
                self._failed(f"the decoder failed: {bug!r}"[:_ERROR_CHARS], bug)
        return readings

    def _failed(self, error: str, bug: Exception | None) -> None:
        self.undecodable += 1
        self.error, self.sensible, self.bug = error, False, bug

    def expire(self, now_ns: int) -> Sequence[Reading]:
        """What time alone lets go."""
        return self.shape((), now_ns)

    def shape(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Reading]:
        """What goes on at ``now_ns`` of these readings."""
        for stage in self._stages:
            readings = stage.take(readings, now_ns)
        return readings
