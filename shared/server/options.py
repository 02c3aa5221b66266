"""Every option of the server, declared once (how: ``declare.py``).

Field names are nats-server's keys; durations end in ``_ns``. Options that are phloem's own are in the
blocks ``serial`` and ``phloem``. Options of nats-server whose feature phloem does not have are in
``unsupported.py``. What an option means is nats-server 2.15's documentation; what differs is said in its
line here.
"""

from typing import Annotated, ClassVar

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, SYSTEM_ACCOUNT
from phloem.shared.server.declare import Duration, Kind, Opt, Seconds, Size
from phloem.shared.server.options_auth import Account, Authorization, User
from phloem.shared.server.options_jetstream import JetStream

INT32_MAX = (1 << 31) - 1


class LeafUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user that leafnodes log in as."""

    user: Annotated[str, Opt("Name.", example='"edge"', aliases="username")] = ""
    password: Annotated[str, Opt("Password, plain or bcrypt.", example='"secret"', aliases="pass")] = ""
    account: Annotated[str, Opt("Account that the link is bound to; $G when empty.")] = ""


class LeafAuthorization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may link. Without it, leafnodes log in as the users of the top-level authorization."""

    user: Annotated[str, Opt("The only user.", aliases="username")] = ""
    password: Annotated[str, Opt("Its password, plain or bcrypt.", aliases="pass")] = ""
    account: Annotated[str, Opt("Account that links are bound to; $G when empty.")] = ""
    timeout_ns: Annotated[Seconds, Opt("Time for a leafnode to send CONNECT.", empty_is_default=True)] = (
        limits.AUTH_TIMEOUT_NS
    )
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
    compression: Annotated[
        str,
        Kind.COMPRESSION,
        Opt(
            "Any mode of nats-server is accepted; phloem negotiates compression off.",
            example="off",
            reload=True,
        ),
    ] = ""
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
        str,
        Kind.COMPRESSION,
        Opt(
            "Any mode of nats-server is accepted; phloem negotiates compression off.",
            example="off",
            reload=True,
        ),
    ] = ""
    remotes: Annotated[tuple[Remote, ...], Opt("Hubs to link to.", reload=True)] = ()


class Serial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A serial device whose frames are published and that takes commands. phloem's own."""

    name: Annotated[str, Opt("The block's name.", key="")] = ""
    device: Annotated[str, Opt("Path of the device.", example='"/dev/ttyACM0"')] = ""
    baud: Annotated[int, Opt("Bits per second.", least=1, most=INT32_MAX)] = limits.SERIAL_BAUD
    bytesize: Annotated[int, Opt("Data bits.", least=5, most=8)] = 8
    parity: Annotated[str, Kind.CHOICE, Opt("Parity bit.", choices="none even odd mark space")] = "none"
    stopbits: Annotated[int, Opt("Stop bits.", least=1, most=2)] = 1
    framing: Annotated[
        str,
        Kind.CHOICE,
        Opt("line: frames end at LF, CR LF or CR; raw: whatever one read gives.", choices="line raw"),
    ] = "line"
    max_frame_bytes: Annotated[
        Size, Opt("A longer frame is dropped.", least=1, most=limits.SERIAL_FRAME_MAX)
    ] = limits.SERIAL_FRAME
    subject: Annotated[str, Opt("Where frames are published.", example='"sensors.bench"')] = ""
    command_subject: Annotated[
        str, Opt("Messages on it are written to the device.", example='"commands.bench"')
    ] = ""
    retry_min_ns: Annotated[Duration, Opt("First pause before opening the device again.")] = (
        limits.SERIAL_RETRY_MIN_NS
    )
    retry_max_ns: Annotated[Duration, Opt("Longest pause; pauses double up to it.")] = (
        limits.SERIAL_RETRY_MAX_NS
    )


class PhloemOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nats-server does not have."""

    unix_socket: Annotated[
        str, Opt("Path of a socket for clients on this machine.", example='"/run/phloem/nats.sock"')
    ] = ""
    unix_socket_mode: Annotated[int, Kind.FILE_MODE, Opt("Permissions of that socket.")] = 0o660
    log_format: Annotated[
        str,
        Kind.CHOICE,
        Opt(
            "journal: priorities for systemd, no time; auto: journal when systemd reads the log, else text.",
            choices="auto text json journal",
            flags="log_format",
            reload=True,
            value="format",
        ),
    ] = "auto"
    store_key_file: Annotated[
        str,
        Opt(
            "File with the key of jetstream, instead of `key` there; a name without a slash is a credential of "
            "systemd (`LoadCredential=`).",
            example='"store-key"',
        ),
    ] = ""
    store_prev_key_file: Annotated[str, Opt("The same for `prev_key`.")] = ""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of one server: defaults, then the file, then the flags."""

    ADDRESSES: ClassVar[dict[str, tuple[str, str]]] = {
        "listen": ("host", "port"),
        "http": ("http_host", "http_port"),
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
    http_base_path: Annotated[str, Opt("Path before /varz and the others.")] = ""

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

    jetstream: Annotated[
        JetStream | None,
        Kind.SWITCHED,
        Opt("Streams and consumers kept by this server.", flags="js jetstream"),
    ] = None
    leafnodes: Annotated[LeafNodes, Opt("Links to and from other servers.", aliases="leaf")] = LeafNodes()
    serial: Annotated[
        tuple[Serial, ...], Kind.NAMED_BLOCKS, Opt("Serial devices by name. phloem's own.")
    ] = ()
    phloem: Annotated[PhloemOptions, Opt("What nats-server does not have.")] = PhloemOptions()

    # from the loader
    config_file: str = ""
    config_digest: str = ""  # "sha256:..." of the parsed file, as nats-server computes it
    explicit: frozenset[str] = frozenset()  # top-level fields that the file or a flag set

    @property
    def users(self) -> tuple[User, ...]:
        """Everyone who may log in by name, of whatever account."""
        return (*self.authorization.users, *(user for account in self.accounts for user in account.users))

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
        return tuple(
            dict.fromkeys((GLOBAL_ACCOUNT, self.system_account, *(account.name for account in self.accounts)))
        )
