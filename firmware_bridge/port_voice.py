"""What a port says of itself, beside what its device says: events, its state, and what it can be asked.

With ``P`` for ``port_subject``:

* ``P.EVENT``: ``{"event": ..., "device": ..., "reason": ...}``, when something happens to the port. ``Phloem-Seq``
  counts events.
* ``P.state``: all figures, with each event. Whoever keeps the last message of a subject has the state of all ports.
* A request on ``P``: ``state`` (or nothing), ``capture`` (recent traffic as text), ``fault`` (what it was when
  something went wrong last); ``capture raw`` and ``fault raw`` are the bytes of the device alone.

A port without ``port_subject`` says nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from phloem.firmware_bridge.capture import Capture
from phloem.firmware_bridge.headers import Stamps
from phloem.firmware_bridge.publisher import Publisher, Respond
from phloem.firmware_bridge.settings import SerialSettings
from phloem.shared.clock import Clock

FAULTS = frozenset({"lost", "silent", "garbled"})
"""Events at which a copy of the recent traffic is kept."""


class Voice:
    """One port's. ``figures`` gives its state."""

    def __init__(
        self,
        settings: SerialSettings,
        publisher: Publisher,
        clock: Clock,
        stamps: Stamps,
        figures: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._settings, self._publisher, self._clock, self._stamps = settings, publisher, clock, stamps
        self._figures = figures
        self._said = 0
        self._fault: tuple[Capture, str, int] | None = None  # traffic, event, wall time
        self.capture = Capture(settings.capture)

    def serve(self) -> Callable[[], None]:
        """Answer requests; the result ends that."""
        subject = self._settings.port_subject
        return self._publisher.serve(subject, self._answer) if subject else lambda: None

    def event(self, kind: str, reason: str = "") -> None:
        """Say that something happened, and how the port stands now."""
        now_ns = self._clock.wall_ns()
        if kind in FAULTS and self._settings.capture:
            self._fault = self.capture.copy(), kind, now_ns
        subject = self._settings.port_subject
        if not subject:
            return
        self._said += 1
        headers = self.headers() | {"Phloem-Seq": str(self._said)}
        happened = {"event": kind, "device": self._settings.device} | ({"reason": reason} if reason else {})
        self._publisher.publish(f"{subject}.{kind}", msgspec.json.encode(happened), headers)
        self._publisher.publish(f"{subject}.state", msgspec.json.encode(self._figures()), headers)

    def headers(self) -> dict[str, str]:
        """What every message about the port has, of now."""
        return self._stamps.lines(self._clock.wall_ns(), self._clock.monotonic_ns())

    def _answer(self, request: bytes, respond: Respond) -> None:
        what, _, form = request.decode("utf-8", "replace").strip().partition(" ")
        headers = self.headers()
        if what in ("", "state") and not form:
            respond(msgspec.json.encode(self._figures()), headers)
        elif what not in ("capture", "fault") or form not in ("", "raw"):
            respond(
                b"", headers | {"Phloem-Error": "ask for state, capture, capture raw, fault or fault raw"}
            )
        elif not self._settings.capture:
            respond(b"", headers | {"Phloem-Error": "capture is 0: no traffic is kept"})
        elif what == "fault" and self._fault is None:
            respond(b"", headers | {"Phloem-Error": "there was no fault"})
        else:
            capture = self.capture
            if what == "fault" and self._fault is not None:
                capture, kind, then_ns = self._fault
                headers |= {"Phloem-Event": kind, "Phloem-Time": str(then_ns)}
            respond(self._shown(capture, form == "raw"), headers)

    def _shown(self, capture: Capture, raw: bool) -> bytes:
        if raw:
            return capture.received(self._publisher.payload_max)
        ahead_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        return capture.trace(ahead_ns, self._publisher.payload_max)
