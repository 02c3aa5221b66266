"""How many connections an account has: ``SERVER.CONNS``, after each change and every thirty seconds (security_ops 4.6).

The figures of an account take time for each of its connections. While they are few a change is told at once; of an
account with many it is told less often (``ACCOUNT_PACE_NS``), and nothing that was the last is left out.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.server.system.heartbeat import Heartbeats
from phloem.shared.server.system.voice import Voice

if TYPE_CHECKING:
    from phloem.shared.server.monitor.accountz import AccountStat
    from phloem.shared.server.server import Server


class Numbers:
    """Tells of every account but the global one."""

    def __init__(self, server: "Server", voice: Voice) -> None:
        self._server = server
        self._voice = voice
        self._beats = Heartbeats(server, limits.ACCOUNT_HEARTBEAT_NS, self._beat)
        self._not_before_ns: dict[str, int] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def changed(self, account: str) -> None:
        """Somebody has come or gone."""
        if account == GLOBAL_ACCOUNT:
            return
        self._beats.restart(account)
        if account in self._waiting or not self._heard(account):
            return
        wait_ns = self._not_before_ns.get(account, 0) - self._server.clock.monotonic_ns()
        if wait_ns > 0:
            self._waiting[account] = self._server.call_later(wait_ns / 1e9, lambda: self._tell(account))
        else:
            self._tell(account)

    def event(self, account: str) -> dict[str, Any] | None:
        """The event; None for an account without connections, or one that is not there."""
        stat = self._stat(account)
        return self._event(stat) if stat is not None and stat.total_conns else None

    def stop(self) -> None:
        """Nothing more is told."""
        self._beats.stop()
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _tell(self, account: str) -> None:
        self._waiting.pop(account, None)
        stat = self._stat(account)
        if stat is None:
            return
        self._not_before_ns.pop(account, None)
        if stat.total_conns >= limits.ACCOUNT_PACED_FROM:
            pause_ns = stat.total_conns * limits.ACCOUNT_PACE_NS
            self._not_before_ns[account] = self._server.clock.monotonic_ns() + pause_ns
        elif not stat.total_conns:
            self._beats.drop(account)
        event = self._event(stat)
        for subject in _subjects(account):
            event["server"] = self._voice.info()
            self._voice.say(subject, event)

    def _beat(self, account: str) -> None:
        if self._heard(account):
            self._tell(account)

    def _heard(self, account: str) -> bool:
        return any(map(self._voice.heard, _subjects(account)))

    def _stat(self, account: str) -> "AccountStat | None":
        from phloem.shared.server.monitor.accountz import account_stat  # noqa: PLC0415  (only if somebody listens)

        source = self._server.source
        record = source.account(account)
        return None if record is None else account_stat(record, source.connections(account))

    def _event(self, stat: "AccountStat") -> dict[str, Any]:
        return self._voice.event("account_connections", msgspec.to_builtins(stat))


def _subjects(account: str) -> tuple[str, str]:
    """Where it was told first, and where it is told now."""
    return f"$SYS.SERVER.ACCOUNT.{account}.CONNS", f"$SYS.ACCOUNT.{account}.SERVER.CONNS"
