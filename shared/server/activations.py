"""Activations: whether an import of an account's JWT has the leave that its export asks for (security_ops 2.10.2).

The decision is ``security.trust``'s. An activation runs out at a time of its own, and then the imports of the account
that has it are looked at again.
"""

from typing import TYPE_CHECKING

from phloem.shared.accounts.definition import Definition, Export, Import
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.trust import activates

if TYPE_CHECKING:
    from phloem.shared.server.alarms import Alarm
    from phloem.shared.server.server import Server


class Activations:
    """The judge of a server with operators; without operators nobody can be given leave."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._alarm: Alarm | None = None
        self._next_s = 0
        self._ends_s: dict[
            str, int
        ] = {}  # by importer: when the first of its activations ends, or did before

    def judge(self, exporter: Definition, export: Export, importer: str, import_: Import) -> bool:
        """Whether the activation of ``import_`` is good now."""
        trusted = self._server.login.trusted
        if trusted is None:
            return False
        giver, taker = trusted.get(exporter.name), trusted.get(importer)
        if giver is None or taker is None:
            return False
        now_s = self._server.clock.wall_ns() // SECOND_NS
        for entry in taker.account.claims.nats.imports:
            if entry is None or entry.token != import_.token or entry.type != import_.kind.value:
                continue
            given = activates(giver.account, importer, entry, now_s, export.revocations)
            if given is not None:
                if given.exp:
                    self._ends_s[importer] = min(given.exp, self._ends_s.get(importer, given.exp))
                    self._wait(given.exp)
                return True
        return False

    def _wait(self, end_s: int) -> None:
        if self._next_s and self._next_s <= end_s:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._next_s = end_s
        clock = self._server.clock
        left_s = end_s - clock.wall_ns() // SECOND_NS
        self._alarm = self._server.alarms.at(clock.monotonic_ns() + left_s * SECOND_NS, self._over)

    def _over(self) -> None:
        end_s, self._next_s, self._alarm = self._next_s, 0, None
        importers = [name for name, ends_s in self._ends_s.items() if ends_s <= end_s]
        for name in importers:
            del self._ends_s[name]
        if self._ends_s:
            self._wait(min(self._ends_s.values()))
        self._server.crossings.again(importers)
