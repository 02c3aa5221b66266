"""What Python knows of one leaf link; the kernel has the rest."""

from typing import TYPE_CHECKING

from phloem.shared.accounts.auth import Credentials, Identity
from phloem.shared.kernel import Connection, Permissions, Reason

if TYPE_CHECKING:
    from phloem.shared.leaf.accept import LinkKey
    from phloem.shared.server.leaf_remotes import Outgoing
    from phloem.shared.server.tls import Secured

NO_COMPRESSION = "not supported"  # nats-server's word for a link whose ends have not agreed on any


class Link:
    """One link, from the TCP connection to its end."""

    __slots__ = (
        "admitted",
        "by_server",
        "cluster",
        "conn",
        "greeted",
        "identity",
        "ip",
        "isolated",
        "key",
        "name",
        "nonce",
        "outgoing",
        "peer_max_payload",
        "port",
        "reached",
        "secured",
        "shown",
        "spoke",
        "start_wall_ns",
        "up",
        "version",
    )

    def __init__(self, conn: Connection, ip: str, port: int, account: str, start_wall_ns: int) -> None:
        self.conn = conn
        self.ip = ip
        self.port = port
        self.start_wall_ns = start_wall_ns
        self.secured: Secured | None = None  # what speaks TLS has it
        self.reached = ""  # our own address, as the peer reached it
        self.greeted = False  # the peer's CONNECT was read
        self.identity = Identity(account=account)  # the account that is linked, and whom a peer logged in as
        self.by_server = (
            False  # the peer logged in as a user of the server, not of ``leafnodes.authorization``
        )
        self.shown = Credentials()  # what CONNECT showed, without secrets
        self.nonce = ""  # that of our INFO, for a peer that has to sign it
        self.name = ""  # the peer's server name
        self.version = ""  # and its version, if it has linked here
        self.cluster = ""  # the peer's cluster name; while the link is up, an origin is taken for it
        self.spoke = False  # the peer is the hub
        self.isolated = False
        self.peer_max_payload = 0  # bytes of a message; 0: the peer did not say
        self.up = False
        self.admitted = False  # it has been up
        self.key: LinkKey | None = None
        self.outgoing: Outgoing | None = None  # the handshake of a link that this side dialled

    @property
    def account(self) -> str:
        """The account that is linked."""
        return self.identity.account

    @property
    def user(self) -> str:
        """Whom an accepted link logged in as, or says it is."""
        return self.identity.name or self.shown.raw_user

    def changed(self, permissions: Permissions | None) -> None:
        """``identity`` may do other things than before: the peer links again, under the terms of now."""
        self.conn.close(Reason.CLIENT_CLOSED)

    def __str__(self) -> str:
        """The prefix of this link's log lines."""
        return f"{self.ip}:{self.port} - lid:{self.conn.cid}"

    def ending(self, reason: Reason) -> str:
        """The end of this link, for the log."""
        remote = f" - Remote: {self.name}" if self.name else ""
        return f"Leafnode connection closed: {reason.text}{remote}"
