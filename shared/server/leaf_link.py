"""What Python knows of one leaf link; the kernel has the rest."""

from typing import TYPE_CHECKING

from phloem.shared.accounts.auth import Credentials, Identity
from phloem.shared.kernel import Connection, Permissions, Reason
from phloem.shared.leaf.compression import LEVELS, NOT_SUPPORTED, Agreed

if TYPE_CHECKING:
    from phloem.shared.leaf.accept import LinkKey
    from phloem.shared.server.leaf_remotes import Outgoing
    from phloem.shared.server.tls import Secured


class Link:
    """One link, from the TCP connection to its end."""

    __slots__ = (
        "admitted",
        "agreed",
        "by_server",
        "cluster",
        "conn",
        "domain",
        "greeted",
        "identity",
        "ip",
        "isolated",
        "key",
        "name",
        "nonce",
        "outgoing",
        "peer_max_payload",
        "ping_interval_ns",
        "port",
        "quiet",
        "reached",
        "secured",
        "shown",
        "slow",
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
        self.domain = ""  # of the peer's JetStream
        self.spoke = False  # the peer is the hub
        self.isolated = False
        self.peer_max_payload = 0  # bytes of a message; 0: the peer did not say
        self.ping_interval_ns = 0  # what an accepted peer asked for
        self.quiet = False  # bytes cost at one of the ends: no probes of an idle connection, few PINGs
        self.slow = False  # its round trip is too long for the times of others
        self.up = False
        self.admitted = False  # it has been up
        self.agreed: Agreed | None = None  # on compression; None: nothing was said about it
        self.key: LinkKey | None = None
        self.outgoing: Outgoing | None = None  # the handshake of a link that this side dialled

    @property
    def account(self) -> str:
        """The account that is linked."""
        return self.identity.account

    @property
    def compression(self) -> str:
        """What compresses what is sent now, as nats-server names it."""
        level = self.conn.level
        return LEVELS[level] if level is not None else self.agreed.mode if self.agreed else NOT_SUPPORTED

    @property
    def rtt_ns(self) -> int:
        """The round trip; before the first PONG the time since the connection was made."""
        return self.conn.stats["rtt_ns"]

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
