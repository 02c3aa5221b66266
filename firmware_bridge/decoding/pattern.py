"""Whatever a regular expression with named groups can take apart."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from phloem.firmware_bridge.decoding.decoder import DecodeError, Decoder
from phloem.firmware_bridge.decoding.fields import Field, Fields, Names, as_text
from phloem.firmware_bridge.reading import Reading
from phloem.shared.clock import thread_cpu_ns

if TYPE_CHECKING:
    import regex

TIMEOUT_S = 0.02  # a pattern that backtracks without end on some input must not stop the other ports
SHARE, BURST_NS = (
    8,
    100_000_000,
)  # of a core one port's pattern has an eighth, and a tenth of a second at once


class Regex(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="regex"):
    r"""``decode { type: regex, pattern: "T:(?P<t>-?\d+)", fields { t { channel: t, unit: Cel, scale: 0.1 } } }``.

    The pattern may match anywhere in the frame; ``^`` and ``$`` tie it down.
    """

    pattern: str
    fields: dict[str, str | Field] = {}

    def __post_init__(self) -> None:
        groups = _compiled(self.pattern).groupindex
        if not groups:
            raise ValueError(f"pattern {self.pattern!r} has no named group such as (?P<t>\\d+)")
        if unknown := next((name for name in self.fields if name not in groups), None):
            raise ValueError(f"pattern has no group {unknown!r}")

    def decoder(self) -> Decoder:
        """A decoder with these settings."""
        return PatternDecoder(_compiled(self.pattern), Fields(fields=self.fields))


class PatternDecoder:
    """Each named group that took part is a reading.

    It remembers what it has used of the processor: a pattern that is dear and stays below the limit for one frame would
    stop the other ports all the same. A frame is refused while there is no allowance.
    """

    def __init__(
        self, pattern: "regex.Pattern[str]", fields: Fields, cpu_ns: Callable[[], int] = thread_cpu_ns
    ) -> None:
        self._pattern, self._names, self._cpu_ns = pattern, Names(fields), cpu_ns
        self._allowance_ns, self._then_ns = BURST_NS, 0

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """As in ``Decoder``."""
        text = as_text(frame)
        earned_ns = max(0, mono_ns - self._then_ns) // SHARE
        self._allowance_ns, self._then_ns = min(BURST_NS, self._allowance_ns + earned_ns), mono_ns
        if self._allowance_ns <= 0:
            raise DecodeError(f"not looked at: the pattern needs over 1/{SHARE} of a core; make it simpler")
        begin_ns = self._cpu_ns()
        try:
            found = self._pattern.search(text, timeout=TIMEOUT_S)
        except TimeoutError:
            raise DecodeError(f"the pattern needs over {TIMEOUT_S * 1000:.0f} ms; make it simpler") from None
        finally:
            self._allowance_ns -= self._cpu_ns() - begin_ns
        if found is None:
            raise DecodeError("the pattern does not match")
        readings = []
        for name, text in found.groupdict().items():
            field = self._names.field_of(name)
            if text is not None and field is not None:
                readings.append(field.read(text, mono_ns))
        return readings


def _compiled(pattern: str) -> "regex.Pattern[str]":
    """Raises:
    ValueError: It is no regular expression.
    """
    import regex  # noqa: PLC0415  (1.7 MB that only who uses it should pay)

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None
