"""A stream's configuration: every field in the order in which nats-server prints it (reference 2.1).

Durations are nanoseconds. ``decode`` reads a request, ``printed`` is what an answer shows: a field is left out exactly
where the real server leaves it out.
"""

from typing import Annotated, Any, Literal

import msgspec

from phloem.shared.jetstream import strict_json
from phloem.shared.jetstream.errors import error

VERSION, LEVEL = "2.15.1", 5
Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class SubjectTransform(msgspec.Struct):
    """Subjects that match ``src`` become ``dest``."""

    src: str = ""
    dest: str = ""


class External(msgspec.Struct):
    """Where a stream of another account or domain is reached."""

    api: str = ""
    deliver: str = ""


class SourceConsumer(msgspec.Struct, omit_defaults=True):
    """A durable consumer made for sourcing."""

    name: str = ""
    deliver_subject: str = ""


class StreamSource(msgspec.Struct, omit_defaults=True):
    """A stream that is mirrored or sourced."""

    name: str = ""
    opt_start_seq: Unsigned = 0
    opt_start_time: str | None = None
    filter_subject: str = ""
    subject_transforms: list[SubjectTransform] | None = None
    external: External | None = None
    consumer: SourceConsumer | None = None


class Republish(msgspec.Struct, omit_defaults=True):
    """What is stored is published again."""

    src: str = ""
    dest: str = ""
    headers_only: bool = False


class Placement(msgspec.Struct, omit_defaults=True):
    """Where in a cluster; a single server takes any."""

    cluster: str = ""
    tags: list[str] | None = None
    preferred: str = ""


class ConsumerLimits(msgspec.Struct, omit_defaults=True):
    """Bounds for the stream's consumers."""

    inactive_threshold: int = 0
    max_ack_pending: int = 0


class StreamConfig(msgspec.Struct):
    """All of it."""

    name: str = ""
    description: str = ""
    subjects: list[str] = []
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    max_consumers: int = 0
    max_msgs: int = 0
    max_bytes: int = 0
    max_age: int = 0
    max_msgs_per_subject: int = 0
    max_msg_size: int = 0
    discard: Literal["old", "new"] = "old"
    storage: Literal["file", "memory"] = "file"
    num_replicas: int = 0
    no_ack: bool = False
    duplicate_window: int = 0
    placement: Placement | None = None
    mirror: StreamSource | None = None
    sources: list[StreamSource] = []
    compression: Literal["none", "s2"] = "none"
    first_seq: Unsigned = 0
    subject_transform: SubjectTransform | None = None
    republish: Republish | None = None
    allow_direct: bool = False
    mirror_direct: bool = False
    discard_new_per_subject: bool = False
    sealed: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    allow_rollup_hdrs: bool = False
    consumer_limits: ConsumerLimits = msgspec.field(default_factory=ConsumerLimits)
    allow_msg_ttl: bool = False
    subject_delete_marker_ttl: int = 0
    allow_msg_counter: bool = False
    allow_atomic: bool = False
    allow_msg_schedules: bool = False
    persist_mode: Literal["", "default", "async"] = ""
    allow_batched: bool = False
    metadata: dict[str, str] = {}


class StreamRequest(StreamConfig):
    """What a client sends."""

    pedantic: bool = False


# Printed whatever its value; everything else only when it is set.
ALWAYS = frozenset(
    [
        "name",
        "retention",
        "max_consumers",
        "max_msgs",
        "max_bytes",
        "max_age",
        "max_msgs_per_subject",
        "discard",
        "storage",
        "num_replicas",
        "compression",
        "allow_direct",
        "mirror_direct",
        "sealed",
        "deny_delete",
        "deny_purge",
        "allow_rollup_hdrs",
        "consumer_limits",
        "allow_msg_ttl",
    ]
)
RESERVED = frozenset(  # metadata keys that are the server's
    ["_nats.ver", "_nats.level", "_nats.req.level", "_phloem.sync"]
)


def decode(body: bytes, *, strict: bool) -> tuple[StreamConfig, bool]:
    """The configuration in a request, and whether it is pedantic. Raises ApiError."""
    request = strict_json.decode(body, StreamRequest, strict=strict)
    fields = {name: getattr(request, name) for name in StreamConfig.__struct_fields__}
    config = StreamConfig(**fields)
    config.metadata = {key: value for key, value in config.metadata.items() if key not in RESERVED}
    for value in (config.max_age, config.duplicate_window, config.max_bytes, config.max_msgs):
        if not -(1 << 63) <= value < 1 << 63:
            raise error(10025, err="json: cannot unmarshal number into Go struct field of type int64")
    return config, request.pedantic


def required_level(config: StreamConfig) -> int:
    """The lowest API level that knows everything this configuration asks for."""
    if config.allow_batched:
        return 4
    if (
        config.allow_msg_counter
        or config.allow_atomic
        or config.allow_msg_schedules
        or config.persist_mode == "async"
    ):
        return 2
    return 1 if config.allow_msg_ttl or config.subject_delete_marker_ttl else 0


def printed(config: StreamConfig, *, full: bool) -> dict[str, Any]:
    """As an answer shows it; ``full`` with the server's version (create, update and info)."""
    shown = {}
    for name in StreamConfig.__struct_fields__:
        value = getattr(config, name)
        if name == "persist_mode" and value != "async":
            continue
        if name in ALWAYS or value:
            shown[name] = value
    if config.republish is not None:  # the destination also if it is empty
        shown["republish"] = {"src": "", "dest": "", **msgspec.to_builtins(config.republish)}
    metadata = config.metadata | {"_nats.req.level": str(required_level(config))}
    if full:
        metadata |= {"_nats.level": str(LEVEL), "_nats.ver": VERSION}
    shown["metadata"] = dict(sorted(metadata.items()))
    return shown


def sync_interval(config: StreamConfig) -> bool:
    """Whether this stream asks to be acknowledged before it is synced."""
    return config.persist_mode == "async" or config.metadata.get("phloem.sync") == "interval"
