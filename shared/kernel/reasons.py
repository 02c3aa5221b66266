"""Why a connection was closed: the numbers the kernel uses and the words that ``/connz`` and the log show."""

from enum import IntEnum


class Reason(IntEnum):
    """Close reasons; ``text`` is nats-server's wording."""

    CLIENT_CLOSED = 1
    AUTHENTICATION_TIMEOUT = 2
    AUTHENTICATION_VIOLATION = 3
    TLS_HANDSHAKE = 4
    SLOW_CONSUMER_PENDING = 5
    SLOW_CONSUMER_DEADLINE = 6
    WRITE_ERROR = 7
    READ_ERROR = 8
    PARSE_ERROR = 9
    STALE = 10
    PROTOCOL_VIOLATION = 11
    BAD_CLIENT_PROTOCOL = 12
    WRONG_PORT = 13
    MAX_CONNECTIONS = 14
    MAX_PAYLOAD = 15
    MAX_CONTROL_LINE = 16
    MAX_ACCOUNT_CONNECTIONS = 17
    MAX_SUBSCRIPTIONS = 18
    AUTHENTICATION_EXPIRED = 19
    SERVER_SHUTDOWN = 20
    DUPLICATE_REMOTE_LEAFNODE = 21
    NO_RESPONDERS_REQUIRES_HEADERS = 22
    MINIMUM_VERSION_REQUIRED = 23
    CLUSTER_NAMES_IDENTICAL = 24
    CLUSTER_NAME_CONFLICT = 25
    KICKED = 26
    LOOP_DETECTED = 27
    ROUTE_REMOVED = 28
    REVOCATION = 29
    PROXY_NOT_TRUSTED = 30
    PROXY_REQUIRED = 31

    @property
    def text(self) -> str:
        """The words of ``reason`` in ``/connz``."""
        return _TEXTS[self]


_TEXTS = {
    Reason.CLIENT_CLOSED: "Client Closed",
    Reason.AUTHENTICATION_TIMEOUT: "Authentication Timeout",
    Reason.AUTHENTICATION_VIOLATION: "Authentication Failure",
    Reason.TLS_HANDSHAKE: "TLS Handshake Failure",
    Reason.SLOW_CONSUMER_PENDING: "Slow Consumer (Pending Bytes)",
    Reason.SLOW_CONSUMER_DEADLINE: "Slow Consumer (Write Deadline)",
    Reason.WRITE_ERROR: "Write Error",
    Reason.READ_ERROR: "Read Error",
    Reason.PARSE_ERROR: "Parse Error",
    Reason.STALE: "Stale Connection",
    Reason.PROTOCOL_VIOLATION: "Protocol Violation",
    Reason.BAD_CLIENT_PROTOCOL: "Bad Client Protocol Version",
    Reason.WRONG_PORT: "Incorrect Port",
    Reason.MAX_CONNECTIONS: "Maximum Connections Exceeded",
    Reason.MAX_PAYLOAD: "Maximum Message Payload Exceeded",
    Reason.MAX_CONTROL_LINE: "Maximum Control Line Exceeded",
    Reason.MAX_ACCOUNT_CONNECTIONS: "Maximum Account Connections Exceeded",
    Reason.MAX_SUBSCRIPTIONS: "Maximum Subscriptions Exceeded",
    Reason.AUTHENTICATION_EXPIRED: "Authentication Expired",
    Reason.SERVER_SHUTDOWN: "Server Shutdown",
    Reason.DUPLICATE_REMOTE_LEAFNODE: "Duplicate Remote LeafNode Connection",
    Reason.NO_RESPONDERS_REQUIRES_HEADERS: "No Responders Requires Headers",
    Reason.MINIMUM_VERSION_REQUIRED: "Minimum Version Required",
    Reason.CLUSTER_NAMES_IDENTICAL: "Cluster Names Identical",
    Reason.CLUSTER_NAME_CONFLICT: "Cluster Name Conflict",
    Reason.KICKED: "Kicked",
    Reason.LOOP_DETECTED: "Protocol Violation",
    Reason.ROUTE_REMOVED: "Route Removed",
    Reason.REVOCATION: "Credentials Revoked",
    Reason.PROXY_NOT_TRUSTED: "Proxy Not Trusted",
    Reason.PROXY_REQUIRED: "Proxy Required",
}
