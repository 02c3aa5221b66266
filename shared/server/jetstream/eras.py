"""Messages of one stream that were stamped by a clock that was wrong, or was set: what their times are worth now.

While a clock is not set, ``wall - monotonic`` is a constant, ``ahead``. Messages between two settings are an *era*. Of
the boot that is running every era's messages have an age that does not depend on the date at all: the monotonic clock
has gone on since. Of a boot that is over, the last era says how wrong those before it were, if its own clock can be
believed. If it cannot (a device without a battery that was switched off before anybody told it the time) its messages
are taken to be as young as they can be: the last of them was stored when the next boot began.

Nothing is written for a stream whose clock was never set or in doubt.
"""

from typing import TYPE_CHECKING

import msgspec

from phloem.shared import limits

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.store.log import Log

ERAS_MAX = 16
KEY = b"era/"


class Era(msgspec.Struct, array_like=True):
    """From a sequence on. ``shift_ns``: what has to be added to its times, once that is settled."""

    first_seq: int
    boot: int
    ahead_ns: int
    doubtful: bool
    shift_ns: int | None = None


class Eras:
    """Of one stream."""

    def __init__(self, stream: "Stream") -> None:
        self._stream = stream
        self._system = stream.system
        self._eras: list[Era] = []
        self._file = stream.config.storage == "file"
        self._key = KEY + stream.record.ident.to_bytes(4)
        self._opened = stream.log.last_seq + 1  # what this process stores begins here
        data = self._system.store.get(self._key) if self._file else None
        if data:
            self._eras = msgspec.msgpack.decode(data, type=list[Era])
        if self._eras or self._system.doubtful:
            self._begin(self._system.ahead_ns)

    def __bool__(self) -> bool:
        return bool(self._eras)

    def _begin(self, ahead_ns: int) -> None:
        """What is stored from now on was stamped so."""
        first = self._stream.log.last_seq + 1
        while self._eras and self._eras[-1].first_seq >= first:
            self._eras.pop()
        self._eras.append(Era(first, self._system.boot, ahead_ns, self._system.doubtful))
        while len(self._eras) > 1 and (
            self._eras[1].first_seq <= self._stream.log.first_seq or len(self._eras) > ERAS_MAX
        ):
            del self._eras[0]
        self._keep()

    def _keep(self) -> None:
        if self._file:
            self._system.store.put(self._key, msgspec.msgpack.encode(self._eras))

    def stepped(self, before_ns: int, ahead_ns: int, *, doubted: bool) -> None:
        """The clock was set. ``doubted``: it was not to be believed before."""
        log = self._stream.log
        mine = self._eras and self._eras[-1].first_seq >= self._opened
        if not mine and log.last_seq >= self._opened:
            self._eras.append(Era(self._opened, self._system.boot, before_ns, doubted))
        if self._eras or log.messages:
            self._begin(ahead_ns)

    def shift(self, seq: int) -> int | None:
        """What to add to the time of a message; None: it is not known, and the message may be as young as any."""
        for i in reversed(range(len(self._eras))):
            if self._eras[i].first_seq <= seq:
                return self._of(i)
        return 0

    def _of(self, i: int) -> int | None:
        era, date = self._eras[i], self._system.date
        if era.boot == self._system.boot:
            return date.ahead_ns - era.ahead_ns
        if era.shift_ns is None:
            self._settle(era)
        return era.shift_ns

    def _settle(self, era: Era) -> None:
        """An era of a boot that is over."""
        last = max(i for i, other in enumerate(self._eras) if other.boot == era.boot)
        final = self._eras[last]
        if not final.doubtful:
            era.shift_ns = final.ahead_ns - era.ahead_ns
        elif self._system.date.wall_ns() >= self._system.floor_ns and last + 1 < len(self._eras):
            newest = _newest(self._stream.log, self._eras[last + 1].first_seq)
            # the monotonic clock of this boot began when the one before was over
            began = self._system.date.ahead_ns
            era.shift_ns = began - newest + final.ahead_ns - era.ahead_ns if newest else 0
        else:
            return
        self._keep()

    def forget(self) -> None:
        """The stream is deleted."""
        if self._file and self._eras:
            self._system.store.delete(self._key)
        self._eras = []


def _newest(log: "Log", before: int) -> int:
    """The time of the last message before a sequence; 0: it cannot be found."""
    for seq in range(before - 1, max(before - 1 - limits.ERA_LOOK_BACK, 0), -1):
        message = log.read(seq)
        if message is not None:
            return message.ts
    return 0
