"""What every decoder promises.

* Pure: the same frame gives the same readings; no clock, no port. A decoder keeps no state between frames unless its
  docstring says so (NMEA's sentences in several parts).
* A frame that it does not understand raises ``DecodeError`` with one line that names what is wrong and where; the
  caller counts it and keeps the frame's bytes for whoever asks. It raises nothing else, whatever the bytes are.
* Bounded: at most ``READINGS_MAX`` readings from one frame.

A decoder is one file of this folder, with its settings (a tagged struct as in ``framing``) and one line in
``catalogue.py``.
"""

from collections.abc import Sequence
from typing import Protocol

from phloem.firmware_bridge.reading import Reading
from phloem.shared.errors import PhloemError

READINGS_MAX = 256  # of one frame: a Modbus answer has 125 registers


class DecodeError(PhloemError):
    """A frame does not say what it should."""


class Decoder(Protocol):
    """Makes readings of frames."""

    def decode(self, frame: bytes, mono_ns: int) -> Sequence[Reading]:
        """What ``frame`` says; ``mono_ns`` is when it ended, for readings that have no stamp of their own.

        Raises:
            DecodeError: It is nothing that this decoder understands.
        """
        ...
