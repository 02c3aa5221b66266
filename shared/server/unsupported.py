"""What nats-server 2.15 has and phloem does not have yet: one row for each key and each flag.

Whoever builds a feature deletes its row and declares its options in ``options.py``. A row knows the keys
inside its block, so that a mistyped key is told as such, and the values that mean "off", which are
accepted: a configuration that does not use the feature works unchanged.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

import phloem
from phloem.shared.errors import ConfigError
from phloem.shared.server.conf.parser import Data, Value
from phloem.shared.server.options import Options
from phloem.shared.server.options_auth import Account
from phloem.shared.server.options_jetstream import AccountJetStream, JetStream, JetStreamLimits
from phloem.shared.server.options_leafnodes import LeafNodes, Remote

# The shape of a block: keys ("*" for any) to what is inside them; None is anything.
# A value that is no map, or in an array no map, is not looked into.
Shape: TypeAlias = "Mapping[str, Shape] | None"


Off = Callable[[Data], bool]


def _empty(data: Data) -> bool:
    """false, 0, "", [] and {}."""
    return not data


def _never(_data: Data) -> bool:
    return False


def _word(*words: str) -> Off:
    return lambda data: isinstance(data, str) and data.lower() in words


def _no_listener(data: Data) -> bool:
    """An empty block, or one whose port is 0 and which dials nobody."""
    if not isinstance(data, dict):
        return False
    plain = {key.lower(): item.data for key, item in data.items()}
    ports = [plain[key] for key in ("port", "listen") if key in plain]
    return not plain or (0 in ports and not plain.keys() & {"routes", "gateways"})


class Unsupported(NamedTuple):
    """One key: its names, which values mean that it is not used, and the shape of its block."""

    keys: str
    is_off: Off = _empty
    shape: Shape = None


def _block(names: str, **inside: Shape) -> Shape:
    """A block with the keys ``names`` of which some have a shape of their own."""
    return dict.fromkeys(names.split()) | inside


TLS = _block(
    """
    cert_file key_file ca_file insecure verify verify_and_map verify_cert_and_check_known_urls timeout
    allow_insecure_cipher_suites cipher_suites curve_preferences connection_rate_limit pinned_certs cert_store
    cert_match_by cert_match ca_certs_match cert_match_skip_invalid handshake_first first immediate ocsp_peer
    certs certificates min_version
    """
)
PERMISSIONS = _block("publish pub import subscribe sub export allow_responses publish_allow_responses")
SIMPLE_AUTH = _block("user username pass password token timeout")
CLUSTER = _block(
    """
    listen host net port write_deadline write_timeout name routes cluster_advertise advertise no_advertise
    connect_retries connect_backoff pool_size accounts compression ping_interval ping_max
    """,
    tls=TLS,
    authorization=SIMPLE_AUTH,
    permissions=PERMISSIONS,
)
GATEWAY = _block(
    """
    listen host net port write_deadline write_timeout name advertise connect_retries connect_backoff
    reject_unknown reject_unknown_cluster
    """,
    tls=TLS,
    authorization=SIMPLE_AUTH,
    gateways=_block("name url urls", tls=TLS),
)
TPM = _block("keys_file encryption_password srk_password pcr cipher")
WEBSOCKET = _block(
    """
    listen host net port advertise no_tls same_origin allowed_origins allowed_origin allow_origins
    allow_origin origins origin handshake_timeout compression compress no_auth_user jwt_cookie user_cookie
    pass_cookie token_cookie headers ping_interval
    """,
    tls=TLS,
    authorization=SIMPLE_AUTH,
    authentication=SIMPLE_AUTH,
)
MQTT = _block(
    """
    listen host net port no_auth_user ack_wait ackwait js_api_timeout api_timeout max_ack_pending max_pending
    max_inflight js_domain stream_replicas consumer_replicas consumer_memory_storage
    consumer_inactive_threshold consumer_auto_cleanup reject_qos2_publish downgrade_qos2_subscribe
    """,
    tls=TLS,
    authorization=SIMPLE_AUTH,
    authentication=SIMPLE_AUTH,
)

UNSUPPORTED: dict[type[msgspec.Struct], tuple[Unsupported, ...]] = {
    Options: (
        Unsupported("cluster", _no_listener, CLUSTER),
        Unsupported("disable_sublist_cache no_sublist_cache"),
        Unsupported("gateway", _no_listener, GATEWAY),
        Unsupported("mqtt", _no_listener, MQTT),
        Unsupported("ocsp"),
        Unsupported("ocsp_cache"),
        Unsupported("prof_block_rate"),
        Unsupported("prof_port"),
        Unsupported("proxy_protocol"),
        Unsupported("remote_syslog"),
        Unsupported("syslog"),
        Unsupported("websocket ws", _no_listener, WEBSOCKET),
        Unsupported("write_timeout", _word("default", "close")),  # what clients get anyway
    ),
    Account: (Unsupported("msg_trace trace_dest"),),
    JetStream: (Unsupported("tpm", _never, TPM),),
    JetStreamLimits: (Unsupported("default_max_consumers"),),
    AccountJetStream: (Unsupported("cluster_traffic", _word("system")),),
    LeafNodes: (
        Unsupported("write_timeout", _word("default", "retry")),  # what links get anyway
    ),
    Remote: (
        Unsupported("ws_compression ws_compress websocket_compress websocket_compression"),
        Unsupported("ws_no_masking websocket_no_masking"),
        Unsupported("jetstream_cluster_migrate js_cluster_migrate", _empty, _block("leader_migrate_delay")),
        Unsupported("proxy", _empty, _block("url username password timeout")),
    ),
}


class UnsupportedFlag(NamedTuple):
    """One flag: its names, whether it takes a value, and what it would need."""

    names: str
    takes_value: bool
    feature: str


UNSUPPORTED_FLAGS = (
    UnsupportedFlag("s syslog", False, "syslog"),
    UnsupportedFlag("r remote_syslog", True, "syslog"),
    UnsupportedFlag("profile", True, "profiling"),
    UnsupportedFlag("routes", True, "clustering"),
    UnsupportedFlag("cluster cluster_listen", True, "clustering"),
    UnsupportedFlag("cluster_name", True, "clustering"),
    UnsupportedFlag("cluster_advertise", True, "clustering"),
    UnsupportedFlag("no_advertise", False, "clustering"),
    UnsupportedFlag("connect_retries", True, "clustering"),
)


def check(row: Unsupported, key: str, value: Value) -> list[ConfigError]:
    """What is wrong with a key that phloem does not have: mistyped keys inside, else that it is used."""
    errors: list[ConfigError] = []
    _check_shape(row.shape, value, errors)
    if key.lower() == "write_timeout" and value.data not in ("default", "close", "retry"):
        errors.append(value.error("write_timeout must be 'default', 'close' or 'retry'"))
    if not errors and not row.is_off(value.data):
        errors.append(value.error(f'"{key}" is not supported by phloem {phloem.__version__} yet'))
    return errors


def _check_shape(shape: Shape, value: Value, errors: list[ConfigError]) -> None:
    if shape is None:
        return
    if isinstance(value.data, list):
        for item in value.data:
            _check_shape(shape, item, errors)
    elif isinstance(value.data, dict):
        for key, item in value.data.items():
            name = "*" if "*" in shape else key.lower()
            if name in shape:
                _check_shape(shape[name], item, errors)
            elif not item.used:
                errors.append(item.error(f'unknown field "{key}"'))
