"""What Python knows of one leaf link; the kernel has the rest."""

from typing import TYPE_CHECKING

from phloem.shared.kernel import Connection, Reason

if TYPE_CHECKING:
    from phloem.shared.accounts.auth import Identity
    from phloem.shared.leaf.accept import LinkKey
    from phloem.shared.server.leaf_remotes import Outgoing
    from phloem.shared.server.tls import Secured

NO_COMPRESSION = "not supported"  # nats-server's word for a link whose ends have not agreed on any


class Link:
    """One link, from the TCP connection to its end."""

    __slots__ = (
        "account",
        "cluster",
        "conn",
        "greeted",
        "identity",
        "ip",
        "isolated",
        "key",
        "name",
        "outgoing",
        "port",
        "reached",
        "secured",
        "spoke",
        "start_wall_ns",
        "up",
        "user",
    )

    def __init__(self, conn: Connection, ip: str, port: int, account: str, start_wall_ns: int) -> None:
        self.conn = conn
        self.ip = ip
        self.port = port
        self.account = account
        self.start_wall_ns = start_wall_ns
        self.secured: Secured | None = None  # what speaks TLS has it
        self.reached = ""  # our own address, as the peer reached it
        self.greeted = False  # the peer's CONNECT was read
        self.identity: Identity | None = None  # of an accepted link that logged in as a user of the server
        self.user = ""  # whom an accepted link logged in as
        self.name = ""  # the peer's server name
        self.cluster = ""  # the peer's cluster name; while the link is up, an origin is taken for it
        self.spoke = False  # the peer is the hub
        self.isolated = False
        self.up = False
        self.key: LinkKey | None = None
        self.outgoing: Outgoing | None = None  # the handshake of a link that this side dialled

    def __str__(self) -> str:
        """The prefix of this link's log lines."""
        return f"{self.ip}:{self.port} - lid:{self.conn.cid}"

    def ending(self, reason: Reason) -> str:
        """The end of this link, for the log."""
        remote = f" - Remote: {self.name}" if self.name else ""
        return f"Leafnode connection closed: {reason.text}{remote}"
