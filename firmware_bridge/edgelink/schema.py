"""The schema of a board: what its channels are called, what they measure, and how a DATA frame is read. Pure.

Entries come one at a time, in any order and more than once; a schema is believed when the checksum of all of them is
the one that the board's HELLO said.
"""

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from operator import truediv
from typing import NamedTuple

from phloem.firmware_bridge.edgelink import messages, values
from phloem.firmware_bridge.edgelink.messages import Malformed

_NOT_IN_TOKEN = re.compile(r"^\$|[\x00-\x20\x7f.*>]")
_EXPONENT_MOST = 30  # quetta and quecto; beyond that a power of ten is a mistake
_LAYOUTS_MAX = 64  # of one schema; a board that mixes its channels anew each time fills no memory


class Channel(NamedTuple):
    """One entry. ``kind`` is an index into ``values.KINDS``, ``unit`` is UCUM."""

    number: int
    kind: int
    exponent: int
    name: str
    unit: str


class Sample(NamedTuple):
    """One reading as it came, scaled."""

    channel: Channel
    value: values.Value


def encode_channel(channel: Channel) -> bytes:
    """The payload of its SCHEMA message from ``channel`` on."""
    name, unit = channel.name.encode(), channel.unit.encode()
    head = bytes([channel.number, channel.kind, channel.exponent & 0xFF])
    return head + bytes([len(name)]) + name + bytes([len(unit)]) + unit


def decode_channel(entry: bytes) -> Channel:
    """The channel that an entry is; bytes behind it are ignored.

    Raises:
        Malformed: It is none that can be used: no such kind, a name that is no token of a subject.
    """
    if len(entry) < 3:
        raise Malformed("too short")
    number, kind = entry[0], entry[1]
    exponent = int.from_bytes(entry[2:3], "little", signed=True)
    name, at = messages.take_text(entry, 3)
    unit, _ = messages.take_text(entry, at)
    if kind >= len(values.KINDS):
        raise Malformed(f"channel {number} has the kind {kind}, which is none")
    if not name or _NOT_IN_TOKEN.search(name):
        raise Malformed(f"channel {number} has the name {name!r}, which is no token of a subject")
    if abs(exponent) > _EXPONENT_MOST:
        raise Malformed(f"channel {name} has the exponent {exponent}")
    return Channel(number, kind, exponent, name, unit)


def checksum(entries: Sequence[bytes]) -> int:
    """The number of the schema that these entries are, in the order of ``index``."""
    return zlib.crc32(b"".join(entries))


class Layout:
    """Which channels a frame has, in order: the same ones in most frames of a board, which are read at one go then."""

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self.channels = channels
        self._numbers = tuple(channel.number for channel in channels)
        codes = [values.code_of(channel.kind) for channel in channels]
        self._struct = struct.Struct("<" + "".join(f"B{code}" for code in codes)) if all(codes) else None
        self._as_they_are = all(channel.kind != values.BOOL and not channel.exponent for channel in channels)
        whole = all(values.is_whole(channel.kind) and channel.exponent < 0 for channel in channels)
        self._divisors = [10**-channel.exponent for channel in channels] if whole else None

    @property
    def size(self) -> int | None:
        """Bytes of such readings; None: that depends on them."""
        return self._struct.size if self._struct is not None else None

    def read(self, readings: bytes) -> list[values.Value] | None:
        """The values, scaled, of readings of this ``size``; None if they are of other channels."""
        assert self._struct is not None
        fields = self._struct.unpack(readings)
        if fields[::2] != self._numbers:
            return None
        plain = fields[1::2]
        if self._divisors is not None:
            return list(map(truediv, plain, self._divisors))
        if self._as_they_are:
            return list(plain)
        return [
            values.scaled(kind, value != 0 if kind == values.BOOL else value, exponent)
            for (_, kind, exponent, _, _), value in zip(self.channels, plain, strict=True)
        ]


class Read(NamedTuple):
    """The readings of a frame, scaled."""

    layout: Layout
    values: Sequence[values.Value]

    @property
    def samples(self) -> list[Sample]:
        """One by one."""
        return [Sample(*each) for each in zip(self.layout.channels, self.values, strict=True)]


class Dictionary:
    """A whole schema.

    Raises:
        Malformed: An entry cannot be used, or two channels have one number.
    """

    def __init__(self, entries: Sequence[bytes]) -> None:
        channels = [decode_channel(entry) for entry in entries]
        self.number = checksum(entries)
        self.channels: Mapping[int, Channel] = {channel.number: channel for channel in channels}
        if len(self.channels) != len(channels):
            raise Malformed("two channels have one number")
        if len({channel.name for channel in channels}) != len(channels):
            raise Malformed("two channels have one name")
        self._layouts: dict[tuple[Channel, ...], Layout] = {}
        self._by_size: dict[int, Layout] = {}  # the one that came last

    def read(self, readings: bytes) -> Read:
        """The samples of a DATA frame, in order.

        Raises:
            Malformed: There are none, one is cut off, or of a channel that the schema does not have.
        """
        layout = self._by_size.get(len(readings))
        if layout is not None and (found := layout.read(readings)) is not None:
            return Read(layout, found)
        channels: list[Channel] = []
        found = []
        at = 0
        while at < len(readings):
            channel = self.channels.get(readings[at])
            if channel is None:
                raise Malformed(f"no channel {readings[at]}")
            value, at = values.take_value(channel.kind, readings, at + 1)
            channels.append(channel)
            found.append(values.scaled(channel.kind, value, channel.exponent))
        if not found:
            raise Malformed("no readings")
        return Read(self._layout(tuple(channels)), found)

    def _layout(self, channels: tuple[Channel, ...]) -> Layout:
        layout = self._layouts.get(channels)
        if layout is None:
            if len(self._layouts) >= _LAYOUTS_MAX:
                self._layouts.clear()
                self._by_size.clear()
            layout = self._layouts[channels] = Layout(channels)
        if layout.size is not None:
            self._by_size[layout.size] = layout
        return layout


class Gathering:
    """Entries as they come in, until there is a ``Dictionary``."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count: int | None = None
        self._entries: dict[int, bytes] = {}

    @property
    def missing(self) -> int | None:
        """The index to ask for next; None if all are here."""
        for index in range(1 if self.count is None else self.count):
            if index not in self._entries:
                return index
        return None

    def take(self, message: messages.Schema) -> bool:
        """Keep an entry; False if it is of another schema or here already. Another count begins anew."""
        if message.schema != self.number:
            return False
        if message.count != self.count:
            self.count = message.count
            self._entries.clear()
        new = message.index not in self._entries
        self._entries[message.index] = message.entry
        return new

    def whole(self) -> Dictionary | None:
        """The dictionary if it is whole and right. If it is whole and wrong, it is begun anew.

        Raises:
            Malformed: It is whole, and right, and cannot be used.
        """
        if self.missing is not None:
            return None
        entries = [self._entries[index] for index in sorted(self._entries)]
        if checksum(entries) != self.number:
            self.count = None
            self._entries.clear()
            return None
        return Dictionary(entries)
