"""Requests to a device: what is asked on ``request_subject`` is written, and the next frame that fits is the answer.

* One request at a time, and no command, poll or other program's bytes between a request and its answer.
* Whoever asks is answered in any case: with the frame and its headers, or with ``Phloem-Error`` and no payload.
* An answer is a frame like any other and is published as well.

A device that answers too late answers the next request: ``request_match`` tells the two apart, where the answer says
what it belongs to.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from phloem.firmware_bridge.answers import fits, pattern_of
from phloem.firmware_bridge.counters import Counters
from phloem.firmware_bridge.publisher import Publisher, Respond
from phloem.firmware_bridge.settings import SerialSettings
from phloem.firmware_bridge.timers import CallLater, Timer
from phloem.firmware_bridge.turns import Turn, Turns
from phloem.shared.limits import SECOND_NS


class _Asked(NamedTuple):
    respond: Respond
    turn: Turn
    timer: Timer


class Asking:
    """One port's requests. ``headers`` gives those of an answer that is no frame."""

    def __init__(
        self,
        settings: SerialSettings,
        turns: Turns,
        counters: Counters,
        call_later: CallLater,
        headers: Callable[[], dict[str, str]],
    ) -> None:
        self._settings, self._turns, self._counters = settings, turns, counters
        self._call_later, self._headers = call_later, headers
        self._pattern = pattern_of(settings.request_match)
        self._write: Callable[[bytes], bool] | None = None
        self._asked: _Asked | None = None

    def serve(self, publisher: Publisher) -> Callable[[], None]:
        """Answer requests; the result ends that."""
        return publisher.serve(self._settings.request_subject, self._ask)

    def opened(self, write: Callable[[bytes], bool]) -> None:
        """The device is there."""
        self._write = write

    def closed(self) -> None:
        """It is not any more; nobody goes on waiting for its answer."""
        self._write = None
        if self._asked is not None:
            self._end("the device is gone")

    def heard(self, frame: bytes, headers: Mapping[str, str]) -> None:
        """A frame has come."""
        if self._asked is None or not fits(self._pattern, frame):
            return
        asked, self._asked = self._asked, None
        asked.timer.cancel()
        asked.respond(frame, headers)
        asked.turn.end()

    def _ask(self, request: bytes, respond: Respond) -> None:
        self._counters.requests += 1
        write, limit_ns = self._write, self._settings.request_timeout_ns
        if write is None:
            self._refuse(respond, "the device is not there")
            return

        def begin(turn: Turn) -> None:
            if write(request):
                self._asked = _Asked(respond, turn, self._call_later(limit_ns, self._late))
            else:
                self._refuse(respond, "the device takes no more bytes")
                turn.end()

        self._turns.take(begin, lambda reason: self._refuse(respond, reason), limit_ns)

    def _late(self) -> None:
        self._end(f"no answer within {self._settings.request_timeout_ns / SECOND_NS:g} s")

    def _end(self, reason: str) -> None:
        assert self._asked is not None
        asked, self._asked = self._asked, None
        asked.timer.cancel()
        self._refuse(asked.respond, reason)
        asked.turn.end()

    def _refuse(self, respond: Respond, reason: str) -> None:
        self._counters.requests_failed += 1
        respond(b"", self._headers() | {"Phloem-Error": reason})
