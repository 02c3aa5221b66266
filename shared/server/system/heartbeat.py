"""Something to say for each account some time after it was last said; one timer, however many accounts there are."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


class Heartbeats:
    """Calls ``beat`` with the name of an account ``interval_ns`` after its last ``restart``."""

    def __init__(self, server: "Server", interval_ns: int, beat: Callable[[str], None]) -> None:
        self._server = server
        self._interval_ns = interval_ns
        self._beat = beat
        self._due: dict[str, int] = {}  # the earliest first: whoever is restarted goes to the end
        self._timer: asyncio.TimerHandle | None = None

    def restart(self, account: str) -> None:
        """Its next beat is an interval away."""
        self._due.pop(account, None)
        self._due[account] = self._server.clock.monotonic_ns() + self._interval_ns
        self._arm()

    def drop(self, account: str) -> None:
        """No more beats."""
        self._due.pop(account, None)

    def stop(self) -> None:
        """No more beats for anybody."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        now = self._server.clock.monotonic_ns()
        for account in [account for account, due in self._due.items() if due <= now]:
            self.restart(account)
            self._beat(account)
        self._timer = None
        self._arm()

    def _arm(self) -> None:
        """The timer is for the earliest; if that one has been restarted, it comes in vain."""
        if self._timer is None and self._due:
            wait_ns = max(next(iter(self._due.values())) - self._server.clock.monotonic_ns(), 0)
            self._timer = self._server.call_later(wait_ns / 1e9, self._run)
