"""Options of leaf links: the listener, who may link, and the hubs to link to."""

from typing import Annotated, ClassVar

import msgspec

from phloem.shared import limits
from phloem.shared.leaf.compression import DEFAULT, Compression
from phloem.shared.server.declare import Duration, Kind, Opt, Seconds
from phloem.shared.server.options_tls import REMOTE_TLS_EXAMPLE, TLS, TLS_EXAMPLE, auth_timeout_ns


class LeafUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user that leafnodes log in as."""

    user: Annotated[str, Opt("Name.", example='"edge"', aliases="username")] = ""
    password: Annotated[str, Opt("Password, plain or bcrypt.", example='"secret"', aliases="pass")] = ""
    account: Annotated[str, Opt("Account that the link is bound to; $G when empty.")] = ""
    proxy_required: Annotated[bool, Opt("Only through a proxy that is trusted.")] = False


class LeafAuthorization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may link. Without it, leafnodes log in as the users of the top-level authorization."""

    user: Annotated[str, Opt("The only user.", aliases="username")] = ""
    password: Annotated[str, Opt("Its password, plain or bcrypt.", aliases="pass")] = ""
    nkey: Annotated[str, Opt("Public user key, instead of name and password.")] = ""
    account: Annotated[str, Opt("Account that links are bound to; $G when empty.")] = ""
    proxy_required: Annotated[bool, Opt("Only through a proxy that is trusted.")] = False
    timeout_ns: Annotated[
        Seconds,
        Opt(
            "Time for a leafnode to send CONNECT; 0 for 2 s, with TLS 1 s more than its timeout.", example="2"
        ),
    ] = 0
    users: Annotated[tuple[LeafUser, ...], Opt("Users instead of the only user.")] = ()


class Remote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hub that this server links to."""

    urls: Annotated[
        tuple[str, ...],
        Kind.URLS,
        Opt(
            "Where the hub listens for leafnodes; user:password@ in the URL.",
            example='["nats-leaf://edge:secret@hub.example.com:7422"]',
            aliases="url",
            key="urls",
        ),
    ] = ()
    account: Annotated[str, Opt("Local account that is linked; $G when empty.", aliases="local")] = ""
    credentials: Annotated[
        str,
        Opt("File with JWT and seed to log in with.", aliases="creds", example='"/etc/phloem/edge.creds"'),
    ] = ""
    nkey: Annotated[str, Opt("Seed of a user key to log in with.", aliases="seed")] = ""
    hub: Annotated[bool, Opt("Be the hub of this link although this side dials.")] = False
    deny_imports: Annotated[
        tuple[str, ...], Kind.SUBJECTS, Opt("Subjects that do not come in.", aliases="deny_import")
    ] = ()
    deny_exports: Annotated[
        tuple[str, ...], Kind.SUBJECTS, Opt("Subjects that do not go out.", aliases="deny_export")
    ] = ()
    no_randomize: Annotated[bool, Opt("Try the URLs in the order written.", aliases="dont_randomize")] = False
    isolate: Annotated[
        bool,
        Opt("Keep this side's other leafnodes' interest from the hub.", aliases="isolate_leafnode_interest"),
    ] = False
    request_isolation: Annotated[bool, Opt("Ask the hub to isolate this link.")] = False
    tls: Annotated[
        TLS | None,
        Opt("TLS of this link; also asked for by tls:// and by the hub.", example=REMOTE_TLS_EXAMPLE),
    ] = None
    compression: Annotated[
        Compression,
        Kind.COMPRESSION,
        Opt(
            "off, accept, s2_auto (by the round trip), s2_uncompressed, s2_fast, s2_better or s2_best.",
            reload=True,
        ),
    ] = DEFAULT
    first_info_timeout_ns: Annotated[
        Duration, Opt("Time for the hub's first INFO.", empty_is_default=True)
    ] = limits.LEAF_FIRST_INFO_TIMEOUT_NS
    dial_timeout_ns: Annotated[
        Duration, Opt("Time for the TCP connection; 0 for leafnodes.dial_timeout.", example='"1s"')
    ] = 0
    disabled: Annotated[bool, Opt("Do not link.", reload=True)] = False
    ignore_discovered_servers: Annotated[
        bool, Opt("Use the URLs written here only, not those the hub tells.")
    ] = False


class LeafNodes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Links between servers: a listener for leafnodes, and hubs to link to."""

    ADDRESSES: ClassVar[dict[str, tuple[str, str]]] = {"listen": ("host", "port")}

    host: Annotated[str, Opt("Address to listen on for leafnodes.", empty_is_default=True, aliases="net")] = (
        "0.0.0.0"
    )
    port: Annotated[
        int, Opt("Port for leafnodes, 7422 by custom; 0 for no listener, -1 for any.", example="7422")
    ] = 0
    advertise: Annotated[str, Opt("host:port told to leafnodes instead.", aliases="leafnode_advertise")] = ""
    no_advertise: Annotated[bool, Opt("Tell leafnodes no addresses.")] = False
    authorization: Annotated[LeafAuthorization, Opt("Who may link.")] = LeafAuthorization()
    min_version: Annotated[
        str,
        Kind.VERSION,
        Opt("Refuse leafnodes older than this.", aliases="minimum_version", example='"2.8.0"'),
    ] = ""
    reconnect_ns: Annotated[
        Duration,
        Opt(
            "Pause before linking again.", empty_is_default=True, aliases="reconnect_delay reconnect_interval"
        ),
    ] = limits.LEAF_RECONNECT_NS
    dial_timeout_ns: Annotated[
        Duration, Opt("Time for the TCP connection to a hub.", empty_is_default=True)
    ] = limits.LEAF_DIAL_TIMEOUT_NS
    isolate: Annotated[
        bool, Opt("Keep leafnodes' interest from one another.", aliases="isolate_leafnode_interest")
    ] = False
    write_deadline_ns: Annotated[
        Duration, Opt("Time for one write to a leafnode; 0 for write_deadline.", example='"10s"')
    ] = 0
    compression: Annotated[
        Compression,
        Kind.COMPRESSION,
        Opt(
            "off, accept, s2_auto (by the round trip), s2_uncompressed, s2_fast, s2_better or s2_best.",
            reload=True,
        ),
    ] = DEFAULT
    tls: Annotated[TLS | None, Opt("TLS for leafnodes.", example=TLS_EXAMPLE, reload=True)] = None
    remotes: Annotated[tuple[Remote, ...], Opt("Hubs to link to.", reload=True)] = ()

    @property
    def auth_timeout_ns(self) -> int:
        """Time for a leafnode to log in."""
        return auth_timeout_ns(self.authorization.timeout_ns, self.tls)
