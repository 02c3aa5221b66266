"""A server as a service of systemd: ready, status, signs of life.

The watchdog is fed from the loop, and only if what must move does:

* *the thread that writes the journal*: something waits for the disk, and no batch was written since the last look; or
  the disk has refused, after which nothing is acknowledged until the store is opened again.
* *each link to a hub*: its next step (an attempt, or the end of one) is overdue. That a hub is away is no reason.

There are several looks within the watchdog's time, so that a card may be slow once. Without systemd nothing is done.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.leaf.life import State
from phloem.shared.limits import SECOND_NS
from phloem.shared.net.notify import Notifier

if TYPE_CHECKING:
    from phloem.shared.server.server import Server
    from phloem.shared.server.uplink import Uplink

log = logging.getLogger("phloem.server")

LOOKS = 6  # within the watchdog's time
LOOK_NS = 10 * SECOND_NS  # without a watchdog, for the status


class CommitWatch:
    """Whether the writing thread makes progress. Pure."""

    def __init__(self) -> None:
        self._batches = -1
        self._waited = False

    def stuck(self, *, failed: int, full: bool, waiting: int, batches: int) -> str:
        """Why it does not; "": it does. ``waiting``: bytes for the disk; ``batches``: that were written. A full disk is
        tried again by itself, and restarting does not empty it."""
        if failed:
            return "the disk refused to write; nothing is acknowledged any more"
        waits = bool(waiting) and not full
        still = self._waited and waits and batches == self._batches
        self._waited, self._batches = waits, batches
        return "what was published is not written to the disk" if still else ""


def link_stuck(uplink: "Uplink", now_ns: int) -> str:
    """Why a link does not move; "": it does."""
    due_ns = uplink.due_ns
    if due_ns is not None and now_ns - due_ns > limits.LINK_OVERDUE_NS:
        return f"the link to {uplink.name} does not go on"
    return ""


class Vitals:
    """Of one server in a process of its own, from ``begin`` to ``end``."""

    def __init__(self, server: "Server", notifier: Notifier) -> None:
        self._server, self.notifier = server, notifier
        self._commit = CommitWatch()
        self._timer: asyncio.TimerHandle | None = None
        self._status = ""
        self._warning = ""
        self._stuck = ""

    def begin(self) -> None:
        """The server is ready."""
        if self.notifier:
            self._status = self.status()
            self.notifier.ready(self._status)
            self._later()

    def reloading(self) -> None:
        """The configuration is about to be read again."""
        self.notifier.reloading(self._server.clock.monotonic_ns())

    def reloaded(self, *, good: bool) -> None:
        """It was, or is as before because of a mistake."""
        self._warning = "" if good else "the new configuration has a mistake and is not used, see the log"
        self._status = self.status()
        self.notifier.ready(self._status)

    def end(self) -> None:
        """The server stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.notifier.stopping()

    def look(self) -> bool:
        """A sign of life, if there is one, and the status if it is another one; whether there was."""
        stuck = self.stuck()
        if stuck and not self._stuck:
            log.critical("%s; the watchdog is not told that all is well", stuck)
        self._stuck = stuck
        status = self.status()
        news = status if status != self._status else ""
        self._status = status
        if not stuck:
            self.notifier.alive(news)
        elif news:
            self.notifier.status(news)
        return not stuck

    def stuck(self) -> str:
        """What does not move; "": everything does."""
        server, now_ns = self._server, self._server.clock.monotonic_ns()
        reasons = [link_stuck(uplink, now_ns) for uplink in server.uplinks]
        if server.jetstream is not None:
            store = server.jetstream.store
            stats = store.stats
            reasons.append(
                self._commit.stuck(
                    failed=store.failed,
                    full=store.full,
                    waiting=stats["pending_bytes"],
                    batches=stats["batches"],
                )
            )
        return next(filter(None, reasons), "")

    def status(self) -> str:
        """One line for whoever asks ``systemctl status``."""
        server, js = self._server, self._server.jetstream
        words = [self._stuck, self._warning]
        words += [_of_link(uplink, server.clock.monotonic_ns()) for uplink in server.uplinks]
        words += server.status_words()
        if js is not None:
            words.append("the store is being mended" if js.store.mending else "")
            words.append(js.store.why_full)
        words.append(_count(len(server.clients.open), "client"))
        return ", ".join(word for word in words if word)

    def _later(self) -> None:
        every_ns = self.notifier.watchdog_ns // LOOKS or LOOK_NS
        self._timer = self._server.call_later(every_ns / 1e9, self._tick)

    def _tick(self) -> None:
        self.look()
        self._later()


def _of_link(uplink: "Uplink", now_ns: int) -> str:
    since = how_long(now_ns - uplink.since_ns)
    if uplink.state is State.ENDED:
        return ""
    return f"link to {uplink.name} {'up' if uplink.up else 'down'} for {since}"


def how_long(duration_ns: int) -> str:
    """As a person says it, and not more exactly than it has to be told again."""
    minutes = duration_ns // (60 * SECOND_NS)
    if minutes < 1:
        return "less than a minute"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def size_of(size: int) -> str:
    """Bytes in words of three digits."""
    amount, unit = float(size), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
