"""A consumer's configuration in printed order (reference 4.1), and the request that creates it."""

from typing import Any, Literal

import msgspec

from phloem.shared.jetstream import strict_json
from phloem.shared.jetstream.stream_config import LEVEL, RESERVED, VERSION, Unsigned
from phloem.shared.jetstream.times import ZERO

Deliver = Literal["all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"]


class ConsumerConfig(msgspec.Struct):
    """All of it. Durations are nanoseconds."""

    durable_name: str = ""
    name: str = ""
    description: str = ""
    deliver_policy: Deliver = "all"
    opt_start_seq: Unsigned = 0
    opt_start_time: str | None = None
    ack_policy: Literal["none", "all", "explicit", "flow_control"] = "none"
    ack_wait: int = 0
    max_deliver: int = 0
    backoff: list[int] = []
    filter_subject: str = ""
    filter_subjects: list[str] = []
    replay_policy: Literal["instant", "original"] = "instant"
    rate_limit_bps: Unsigned = 0
    sample_freq: str = ""
    max_waiting: int = 0
    max_ack_pending: int = 0
    flow_control: bool = False
    headers_only: bool = False
    max_batch: int = 0
    max_expires: int = 0
    max_bytes: int = 0
    deliver_subject: str = ""
    deliver_group: str = ""
    idle_heartbeat: int = 0
    inactive_threshold: int = 0
    num_replicas: int = 0
    mem_storage: bool = False
    direct: bool = False
    sourcing: bool = False
    metadata: dict[str, str] = {}
    pause_until: str | None = None
    priority_groups: list[str] = []
    priority_policy: Literal["none", "overflow", "pinned_client", "prioritized"] = "none"
    priority_timeout: int = 0

    @property
    def filters(self) -> list[str]:
        """What it is for; empty: everything."""
        return self.filter_subjects or ([self.filter_subject] if self.filter_subject else [])


class CreateRequest(msgspec.Struct):
    """The body of CONSUMER.CREATE."""

    stream_name: str = ""
    config: ConsumerConfig = msgspec.field(default_factory=ConsumerConfig)
    action: Literal["", "create", "update"] = ""
    pedantic: bool = False


ALWAYS = frozenset(["deliver_policy", "ack_policy", "replay_policy", "num_replicas"])


def decode(body: bytes, *, strict: bool) -> CreateRequest:
    """Raises ApiError."""
    request = strict_json.decode(body, CreateRequest, strict=strict) if body else CreateRequest()
    config = request.config
    config.metadata = {key: value for key, value in config.metadata.items() if key not in RESERVED}
    return request


def required_level(config: ConsumerConfig) -> int:
    """The lowest API level that knows everything this configuration asks for."""
    if config.ack_policy == "flow_control":
        return 4
    paused = config.pause_until and config.pause_until != ZERO  # Go's clients send the zero time for none
    return 1 if paused or config.priority_groups or config.priority_policy != "none" else 0


def printed(config: ConsumerConfig, *, full: bool) -> dict[str, Any]:
    """As an answer shows it."""
    metadata = config.metadata | {"_nats.req.level": str(required_level(config))}
    if full:
        metadata |= {"_nats.level": str(LEVEL), "_nats.ver": VERSION}
    shown = {}
    for name in ConsumerConfig.__struct_fields__:
        value = getattr(config, name)
        if name == "metadata":
            value = dict(sorted(metadata.items()))
        if name == "priority_policy" and value == "none":
            continue
        if name in ALWAYS or value:
            shown[name] = value
    return shown
