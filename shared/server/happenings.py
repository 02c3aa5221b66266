"""What happens to connections, for whoever tells others of it: the system account's events.

``Server.happenings`` is told; this one keeps it to itself.
"""

from typing import TYPE_CHECKING

from phloem.shared.kernel import Reason

if TYPE_CHECKING:
    from phloem.shared.server.clients import Client
    from phloem.shared.server.leaf_link import Link
    from phloem.shared.server.login import Verdict


class Happenings:
    """Who came, who went, who was not let in."""

    def connected(self, peer: "Client | Link") -> None:
        """Somebody has logged in and is in his account."""

    def disconnected(self, peer: "Client | Link", reason: Reason) -> None:
        """Somebody who had logged in is gone; ``peer.conn.stats`` has his last figures."""

    def refused(self, peer: "Client | Link", verdict: "Verdict") -> None:
        """Somebody could not log in; his connection is about to end."""
