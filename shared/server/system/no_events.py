"""What a server does with its events where there is no system account."""

from typing import TYPE_CHECKING, Any

from phloem.shared.kernel import Reason

if TYPE_CHECKING:
    from phloem.shared.server.clients import Client
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.login import Verdict


class NoEvents:
    """Nothing happens."""

    def connected(self, peer: "Client | Link") -> None:
        """A client or a link has been let in, and is among those that are open."""

    def disconnected(self, peer: "Client | Link", reason: Reason) -> None:
        """A connection is over, however far it came, and not among those that are open any more."""

    def refused(self, peer: "Client | Link", verdict: "Verdict") -> None:
        """Somebody is not let in, or not any more."""

    def link_changed(self, fields: "dict[str, Any]") -> None:
        """Something about the links to hubs that an operator wants to know. phloem's own."""

    def lame_duck(self) -> None:
        """Lame duck mode begins."""

    def stop(self) -> None:
        """The server stops; nothing is told after that."""
