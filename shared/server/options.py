"""Every option of the server, declared once (how: ``declare.py``).

Field names are nats-server's keys; durations end in ``_ns``. Options that are phloem's own are in the
blocks ``serial`` and ``phloem``. Options of nats-server whose feature phloem does not have are in
``unsupported.py``. What an option means is nats-server 2.15's documentation; what differs is said in its
line here.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, SYSTEM_ACCOUNT
from phloem.shared.accounts.definition import SubjectMapping
from phloem.shared.server.declare import Duration, Kind, Opt, Size
from phloem.shared.server.options_auth import Account, Authorization, User
from phloem.shared.server.options_disk import Disk
from phloem.shared.server.options_fleet import Fleet
from phloem.shared.server.options_forward import Forward
from phloem.shared.server.options_jetstream import JetStream
from phloem.shared.server.options_leafnodes import LeafNodes
from phloem.shared.server.options_phloem import PhloemOptions, Serial, Twin
from phloem.shared.server.options_tls import REMOTE_TLS_EXAMPLE, TLS, TLS_EXAMPLE, auth_timeout_ns
from phloem.shared.server.options_trust import Operator, Proxies, Resolver

if TYPE_CHECKING:
    from phloem.shared.security.trust import Trust

INT32_MAX = (1 << 31) - 1


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of one server: defaults, then the file, then the flags."""

    ADDRESSES: ClassVar[dict[str, tuple[str, str]]] = {
        "listen": ("host", "port"),
        "http": ("http_host", "http_port"),
        "https": ("http_host", "https_port"),
    }
    INSIDE: ClassVar[dict[str, tuple[str, str]]] = {  # said at the top, meant for a block
        "store_dir": ("jetstream", "store_dir"),
        "storedir": ("jetstream", "store_dir"),
    }

    # listening
    host: Annotated[
        str,
        Opt(
            "Address to listen on for clients.",
            empty_is_default=True,
            aliases="net",
            flags="a addr net",
            value="host",
        ),
    ] = "0.0.0.0"
    port: Annotated[
        int,
        Opt("Port for clients; -1 for any free one.", empty_is_default=True, flags="p port", value="port"),
    ] = 4222
    server_name: Annotated[
        str,
        Opt("Name, without spaces; the server's id when empty.", flags="n name server_name", value="name"),
    ] = ""
    client_advertise: Annotated[
        str,
        Opt(
            "host:port told to clients instead of the address.",
            flags="client_advertise",
            reload=True,
            value="host:port",
        ),
    ] = ""
    server_tags: Annotated[
        tuple[str, ...], Opt("Tags shown in monitoring.", reload=True, example='["edge", "line:7"]')
    ] = ()
    server_metadata: Annotated[
        dict[str, str],
        Opt("Key and value pairs shown in monitoring.", reload=True, example='{ site: "hall 2" }'),
    ] = {}

    # logging
    debug: Annotated[bool, Opt("Log at debug level.", flags="D debug", reload=True)] = False
    trace: Annotated[bool, Opt("Log every operation of the protocol.", flags="V trace", reload=True)] = False
    trace_verbose: Annotated[bool, Opt("Trace the system account, too; implies trace.", reload=True)] = False
    trace_headers: Annotated[bool, Opt("Trace headers of messages only; implies trace.", reload=True)] = False
    logtime: Annotated[bool, Opt("Begin log lines with the time.", flags="T logtime", reload=True)] = True
    logtime_utc: Annotated[
        bool, Opt("Log times in UTC instead of local time.", flags="logtime_utc", reload=True)
    ] = False
    log_file: Annotated[
        str,
        Opt(
            "Log to this file instead of stderr.", aliases="logfile", flags="l log", reload=True, value="file"
        ),
    ] = ""
    log_size_limit: Annotated[
        Size,
        Opt(
            "Rotate the log file at this size; 0 for never.",
            aliases="logfile_size_limit",
            flags="log_size_limit",
            value="bytes",
        ),
    ] = 0
    log_max_num: Annotated[
        int, Opt("Log files to keep, with the current one; 0 for all.", aliases="logfile_max_num")
    ] = 0
    max_traced_msg_len: Annotated[
        int,
        Opt(
            "Longest payload shown when tracing; 0 for whole.",
            flags="max_traced_msg_len",
            reload=True,
            value="bytes",
        ),
    ] = 0
    connect_error_reports: Annotated[
        int, Opt("Log every n-th failure of a link that never came up.", empty_is_default=True, reload=True)
    ] = limits.CONNECT_ERROR_REPORTS
    reconnect_error_reports: Annotated[
        int, Opt("Log every n-th failure of a link that was up.", empty_is_default=True, reload=True)
    ] = limits.RECONNECT_ERROR_REPORTS

    # files
    pid_file: Annotated[
        str, Opt("Write the process id here.", aliases="pidfile", flags="P pid", reload=True, value="file")
    ] = ""
    ports_file_dir: Annotated[
        str,
        Opt(
            "Write <executable>_<pid>.ports with all URLs here.",
            flags="ports_file_dir",
            reload=True,
            value="dir",
        ),
    ] = ""

    # limits
    max_connections: Annotated[
        int, Opt("Clients at the same time; 0 for no bound.", aliases="max_conn", reload=True)
    ] = limits.MAX_CONNECTIONS
    max_subscriptions: Annotated[
        int, Opt("Subscriptions of one client; 0 for no bound.", aliases="max_subs")
    ] = 0
    max_sub_tokens: Annotated[
        int,
        Opt(
            "Tokens in the subject of a subscription; none for no bound.",
            example="16",
            aliases="max_subscription_tokens",
            most=255,
        ),
    ] = 0
    max_control_line: Annotated[
        Size,
        Opt(
            "Bytes of one operation without its payload, at most 65,000.",
            empty_is_default=True,
            reload=True,
            least=0,
            most=limits.MAX_CONTROL_LINE_MOST,
        ),
    ] = limits.MAX_CONTROL_LINE
    max_payload: Annotated[
        Size,
        Opt("Bytes of one message, headers included.", empty_is_default=True, reload=True, most=INT32_MAX),
    ] = limits.MAX_PAYLOAD
    max_pending: Annotated[
        Size, Opt("Bytes waiting for one client before it is cut off.", empty_is_default=True)
    ] = limits.MAX_PENDING
    max_closed_clients: Annotated[
        int, Opt("Closed connections remembered for /connz.", empty_is_default=True)
    ] = limits.MAX_CLOSED_CLIENTS

    # timing
    ping_interval_ns: Annotated[
        Duration, Opt("Time between PINGs to a silent client.", empty_is_default=True, reload=True)
    ] = limits.PING_INTERVAL_NS
    ping_max: Annotated[
        int, Opt("Unanswered PINGs before a client is cut off.", empty_is_default=True, reload=True)
    ] = limits.PING_MAX
    write_deadline_ns: Annotated[
        Duration, Opt("Time for one write before a client is cut off.", empty_is_default=True, reload=True)
    ] = limits.WRITE_DEADLINE_NS
    no_fast_producer_stall: Annotated[
        bool, Opt("Never slow publishers down for slow subscribers.", reload=True)
    ] = False
    lame_duck_duration_ns: Annotated[
        Duration, Opt("Time to close all clients in lame duck mode, 30s or more.", empty_is_default=True)
    ] = limits.LAME_DUCK_DURATION_NS
    lame_duck_grace_period_ns: Annotated[
        Duration, Opt("Pause before the first client is closed.", empty_is_default=True)
    ] = limits.LAME_DUCK_GRACE_NS
    no_header_support: Annotated[bool, Opt("Refuse messages with headers.")] = False

    # monitoring
    http_host: Annotated[str, Opt("Address to listen on for monitoring; host when empty.", key="")] = ""
    http_port: Annotated[
        int,
        Opt(
            "Port for monitoring; 0 for none, -1 for any.",
            aliases="monitor_port",
            flags="m http_port",
            example="8222",
            value="port",
        ),
    ] = 0
    https_port: Annotated[
        int,
        Opt(
            "Port for monitoring over TLS, with the certificate of tls; 0 for none, -1 for any.",
            flags="ms https_port",
            example="8443",
            value="port",
        ),
    ] = 0
    http_base_path: Annotated[str, Opt("Path before /varz and the others.")] = ""

    # TLS
    tls: Annotated[TLS | None, Opt("TLS for clients.", example=TLS_EXAMPLE, reload=True)] = None
    allow_non_tls: Annotated[bool, Opt("Serve clients without TLS as well.")] = False

    # who may connect
    authorization: Annotated[Authorization, Opt("Who may connect.", reload=True)] = Authorization()
    no_auth_user: Annotated[str, Opt("User for clients that send no credentials.")] = ""
    accounts: Annotated[
        tuple[Account, ...],
        Kind.ACCOUNTS,
        Opt("Accounts by name; who is in none of them is in $G.", reload=True),
    ] = ()
    system_account: Annotated[
        str, Opt("Account for the server's own subjects.", aliases="system", empty_is_default=True)
    ] = SYSTEM_ACCOUNT
    no_system_account: Annotated[
        bool, Opt("Have none unless system_account names one.", aliases="no_system no_sys_acc")
    ] = False
    mappings: Annotated[
        tuple[SubjectMapping, ...],
        Kind.MAPPINGS,
        Opt(
            "In $G, messages on a subject go to another one.",
            example='{ "in.*": "out.$1" }',
            aliases="maps",
            reload=True,
        ),
    ] = ()
    default_js_domain: Annotated[
        dict[str, str],
        Opt("Accounts and the JetStream domain that they use without naming it.", example='{ "$G": hub }'),
    ] = {}
    feature_flags: Annotated[
        dict[str, bool],
        Kind.FLAGS,
        Opt(
            "What a later nats-server does by default; js_ack_fc_v2: acknowledgements name domain and account.",
            example="{ js_ack_fc_v2: true }",
        ),
    ] = {}
    proxies: Annotated[
        Proxies, Opt("Proxies in front of clients.", example='{ trusted: [ { key: "U..." } ] }', reload=True)
    ] = Proxies()

    # whose word counts
    operators: Annotated[
        tuple[Operator, ...],
        Kind.OPERATORS,
        Opt(
            "Who vouches for accounts, instead of accounts and users in here.",
            aliases="operator root roots root_operator root_operators",
            example='"/etc/phloem/operator.jwt"',
        ),
    ] = ()
    trusted_keys: Annotated[
        tuple[str, ...], Opt("Public operator keys, instead of operators' JWTs.", aliases="trusted")
    ] = ()
    resolver: Annotated[
        Resolver | None,
        Kind.RESOLVER,
        Opt(
            "Where accounts' JWTs come from.",
            aliases="account_resolver accounts_resolver",
            example='{ type: full, dir: "/var/lib/phloem/jwt" }',
            reload=True,
        ),
    ] = None
    resolver_tls: Annotated[
        TLS | None,
        Opt(
            "TLS of a resolver that is a https:// URL; without curve_preferences and pinned_certs.",
            example=REMOTE_TLS_EXAMPLE,
            reload=True,
        ),
    ] = None
    resolver_preload: Annotated[
        dict[str, str],
        Kind.PRELOAD,
        Opt("Accounts' JWTs by public key, put into the resolver.", example="{}", reload=True),
    ] = {}
    resolver_pinned_accounts: Annotated[
        tuple[str, ...], Opt("The only accounts whose users may log in; all when empty.", reload=True)
    ] = ()
    default_sentinel: Annotated[str, Opt("User JWT of who shows none; for auth callouts.", reload=True)] = ""

    jetstream: Annotated[
        JetStream | None,
        Kind.SWITCHED,
        Opt("Streams and consumers kept by this server.", flags="js jetstream"),
    ] = None
    leafnodes: Annotated[LeafNodes, Opt("Links to and from other servers.", aliases="leaf")] = LeafNodes()
    serial: Annotated[tuple[Serial, ...], Kind.NAMED_BLOCKS, Opt("Serial devices by name.", reload=True)] = ()
    twin: Annotated[Twin | None, Kind.SWITCHED, Opt("phloem's own: what is shared with the hub.")] = None
    forward: Annotated[
        tuple[Forward, ...],
        Kind.NAMED_BLOCKS,
        Opt("What a device keeps and sends to its hub, by name. phloem's own; for phloem edge.", reload=True),
    ] = ()
    fleet: Annotated[
        Fleet,
        Opt("What becomes of what devices forward. phloem's own; for phloem hub.", reload=True),
    ] = Fleet()
    disk: Annotated[
        Disk,
        Opt(
            "How much of the disk streams may take, and what goes first. phloem's own; for phloem edge.",
            reload=True,
        ),
    ] = Disk()
    phloem: Annotated[PhloemOptions, Opt("What nats-server does not have.")] = PhloemOptions()

    # from the loader
    config_file: str = ""
    config_digest: str = ""  # "sha256:..." of the parsed file, as nats-server computes it
    local: "Options | None" = None  # what holds without what the hub has set; None: it has set nothing
    notices: tuple[str, ...] = ()  # what the file says without effect, and why, for the log
    explicit: frozenset[str] = frozenset()  # top-level fields that the file or a flag set

    @property
    def auth_timeout_ns(self) -> int:
        """Time for a client to log in."""
        return auth_timeout_ns(self.authorization.timeout_ns, self.tls)

    @property
    def users(self) -> tuple[User, ...]:
        """Everyone who may log in by name, of whatever account."""
        return tuple(user for user in self._everyone if not user.nkey)

    @property
    def nkeys(self) -> tuple[User, ...]:
        """Everyone who may log in by nkey, of whatever account."""
        return tuple(user for user in self._everyone if user.nkey)

    @property
    def _everyone(self) -> tuple[User, ...]:
        return (*self.authorization.users, *(user for account in self.accounts for user in account.users))

    @property
    def trust(self) -> "Trust":
        """Whose signature on an account counts; nobody's without operators and trusted keys.

        Raises:
            ConfigError: A key is no operator's.
        """
        from phloem.shared.security.trust import Trust  # noqa: PLC0415  (not needed without operators)

        return Trust.of((operator.claims for operator in self.operators), self.trusted_keys)

    @property
    def anonymous(self) -> bool:
        """Whether clients need no credentials although there are users, because only the system account has any.

        That is nats-server's rule: giving operators a login must not lock everybody else out.
        """
        return (
            {account.name for account in self.accounts} == {self.system_account}
            and self.system_account != GLOBAL_ACCOUNT
            and not self.no_auth_user
            and "authorization" not in self.explicit
            and self.authorization == Authorization()
        )

    @property
    def account_names(self) -> tuple[str, ...]:
        """Every account that exists, each once: ``$G``, the system account, those with a block."""
        names = (GLOBAL_ACCOUNT, self.system_account, *(account.name for account in self.accounts))
        return tuple(dict.fromkeys(filter(None, names)))
