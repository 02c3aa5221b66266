"""What a consumer's configuration may be, in nats-server's order of looking (reference 4.2), and what may change."""

import re
from typing import NamedTuple

import msgspec

from phloem.shared.jetstream.consumer_config import ConsumerConfig
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.times import SECOND_NS, go_duration
from phloem.shared.wire import subjects

ACK_WAIT_NS = 30 * SECOND_NS
MAX_WAITING = 512
MAX_ACK_PENDING = 1000
EPHEMERAL_NS = 5 * SECOND_NS
PIN_NS = 120 * SECOND_NS
HEARTBEAT_MIN_NS = 100_000_000
DESCRIPTION_MAX = 4096
METADATA_MAX = 128 << 10
NAME_MAX = 255
GROUP = re.compile(r"[a-zA-Z0-9/_=-]{1,16}")
BAD_NAME = set(" \t\r\n\f.*>\\/")
POLICY = {
    "all": "all",
    "last": "last",
    "last_per_subject": "last per subject",
    "new": "new",
    "by_start_sequence": "by start sequence",
    "by_start_time": "by start time",
}


class ConsumerLimits(NamedTuple):
    """What server and account bound; 0 or -1: nothing."""

    max_ack_pending: int = 0
    max_request_batch: int = 0
    account_max_ack_pending: int = 0


def _bad(text: str) -> ApiError:
    return ApiError(500, 10052, text)


def checked(
    config: ConsumerConfig, stream: StreamConfig, limits: ConsumerLimits, *, pedantic: bool = False
) -> ConsumerConfig:
    """With its defaults filled in. Raises ApiError for the first rule that it breaks."""
    config = msgspec.structs.replace(config)
    _nothing_negative(config, pedantic)
    _defaults(config, stream, limits, pedantic)
    for kind, name in (("", config.name), ("durable ", config.durable_name)):
        if name and set(name) & BAD_NAME:
            raise _bad(rf"consumer {kind}name can not contain '.', '*', '>', '\', '/'")
    if config.num_replicas < 0:
        raise error(10133)
    if any(wait < 0 for wait in config.backoff):
        raise error(10184)
    if config.ack_wait < 0:
        raise error(10183)
    if config.ack_policy == "flow_control":
        _flow_control(config)
    if config.backoff and config.max_deliver != -1 and len(config.backoff) > config.max_deliver:
        raise error(10116)
    if len(config.description) > DESCRIPTION_MAX:
        raise error(10107, max=DESCRIPTION_MAX)
    if config.deliver_subject:
        _push(config, stream)
    else:
        _pull(config, stream, limits)
    _limits(config, stream, limits)
    if config.direct and not config.deliver_subject:
        raise error(10090)
    if config.direct and config.durable_name:
        raise error(10091)
    _filters(config)
    _start(config)
    _sampling(config)
    if config.flow_control and not config.idle_heartbeat:
        raise error(10108)
    if config.name and config.durable_name and config.name != config.durable_name:
        raise error(10132)
    if sum(len(key) + len(value) for key, value in config.metadata.items()) > METADATA_MAX:
        raise error(10135, limit="128KB")
    _priority(config)
    return config


def last_as_long_as(config: ConsumerConfig, *, durable: bool) -> None:
    """Whoever has no durable name lasts for a while only, whatever a later configuration calls it."""
    if config.inactive_threshold == 0 and not durable:
        config.inactive_threshold = EPHEMERAL_NS


def _nothing_negative(config: ConsumerConfig, pedantic: bool) -> None:
    """What is below its lowest value means that, except to the pedantic."""
    for name, least in (
        ("max_deliver", -1),
        ("max_waiting", 0),
        ("max_ack_pending", -1),
        ("max_batch", 0),
        ("max_expires", 0),
        ("max_bytes", 0),
        ("idle_heartbeat", 0),
        ("inactive_threshold", 0),
        ("priority_timeout", 0),
    ):
        if getattr(config, name) < least:
            if pedantic:
                why = "must be set to -1" if least else "must not be negative"
                raise error(10157, err=f"{name} {why}")
            setattr(config, name, least)
    config.max_deliver = config.max_deliver or -1


def _defaults(config: ConsumerConfig, stream: StreamConfig, limits: ConsumerLimits, pedantic: bool) -> None:
    def unless_pedantic(why: str) -> None:
        if pedantic:
            raise error(10157, err=why)

    of_stream = stream.consumer_limits
    if not config.deliver_subject:
        config.max_waiting = config.max_waiting or MAX_WAITING
    if config.ack_wait == 0 and config.ack_policy in ("explicit", "all"):
        config.ack_wait = ACK_WAIT_NS
    if config.backoff:
        if config.ack_wait != config.backoff[0]:
            unless_pedantic("first backoff value has to equal batch AckWait")
        config.ack_wait = config.backoff[0]
    if config.max_ack_pending == 0 and of_stream.max_ack_pending > 0:
        unless_pedantic("max_ack_pending must be set if it's configured in stream limits")
        config.max_ack_pending = of_stream.max_ack_pending
    if config.inactive_threshold == 0 and of_stream.inactive_threshold > 0:
        unless_pedantic("inactive_threshold must be set if it's configured in stream limits")
        config.inactive_threshold = of_stream.inactive_threshold
    if config.max_ack_pending == 0 and config.ack_policy != "none":
        bounds = (limits.max_ack_pending, limits.account_max_ack_pending)
        config.max_ack_pending = min(
            MAX_ACK_PENDING, *(most for most in (*bounds, MAX_ACK_PENDING) if most > 0)
        )
    if not config.deliver_subject and config.max_batch == 0 and limits.max_request_batch > 0:
        unless_pedantic("max_request_batch must be set if it's JetStream limits are set")
        config.max_batch = limits.max_request_batch
    if config.priority_policy == "pinned_client" and config.priority_timeout == 0:
        config.priority_timeout = PIN_NS
    if config.ack_policy == "flow_control" and not pedantic:
        config.flow_control, config.idle_heartbeat = True, SECOND_NS


def _flow_control(config: ConsumerConfig) -> None:
    """Answers to flow control acknowledge: whoever does not answer hears nothing more, and nothing comes again."""
    if not config.deliver_subject:
        raise error(10218)
    if not config.flow_control:
        raise error(10219)
    if config.idle_heartbeat != SECOND_NS:
        raise _bad("flow control ack policy heartbeat needs to be 1s")
    if config.max_ack_pending <= 0:
        raise error(10220)
    if config.ack_wait or config.backoff:
        raise error(10221)
    if config.max_deliver > 0:
        raise error(10222)


def _push(config: ConsumerConfig, stream: StreamConfig) -> None:
    subject = config.deliver_subject
    if not subjects.is_literal(subject):
        raise error(10079)
    if not subjects.is_valid(subject):
        raise error(10112)
    if any(subjects.collide(subject, one) for one in stream.subjects):
        raise error(10081)
    if config.max_waiting:
        raise error(10080)
    if config.max_ack_pending > 0 and config.ack_policy == "none":
        raise error(10082)
    if 0 < config.idle_heartbeat < HEARTBEAT_MIN_NS:
        raise error(10083)


def _pull(config: ConsumerConfig, stream: StreamConfig, limits: ConsumerLimits) -> None:
    if config.ack_policy == "none" and stream.retention == "workqueue":
        raise error(10084)
    if config.rate_limit_bps:
        raise error(10086)
    if config.idle_heartbeat:
        raise error(10088)
    if config.flow_control:
        raise error(10089)
    if 0 < config.max_expires < 1_000_000:
        raise error(10115)
    if 0 < limits.max_request_batch < config.max_batch:
        raise error(10125, limit=limits.max_request_batch)


def _limits(config: ConsumerConfig, stream: StreamConfig, limits: ConsumerLimits) -> None:
    of_stream = stream.consumer_limits
    for most in (limits.max_ack_pending, limits.account_max_ack_pending, of_stream.max_ack_pending):
        if 0 < most < config.max_ack_pending:
            raise error(10121, limit=most)
    if 0 < of_stream.inactive_threshold < config.inactive_threshold:
        raise error(10153, limit=go_duration(of_stream.inactive_threshold))


def _filters(config: ConsumerConfig) -> None:
    if config.filter_subject and config.filter_subjects:
        raise error(10136)
    if any(not one for one in config.filter_subjects):
        raise error(10139)
    if any(not subjects.is_valid(one) for one in config.filters):
        raise _bad("invalid subject")
    for i, one in enumerate(config.filter_subjects):
        if any(subjects.collide(one, other) for other in config.filter_subjects[i + 1 :]):
            raise error(10138)


def _start(config: ConsumerConfig) -> None:
    policy = config.deliver_policy
    text = f"consumer delivery policy is deliver {POLICY[policy]}, "
    if policy == "by_start_sequence":
        if not config.opt_start_seq:
            raise error(10094, err=f"{text}but optional start sequence is not set")
        if config.opt_start_time:
            raise error(10094, err=f"{text}but optional start time is also set")
    elif policy == "by_start_time":
        if not config.opt_start_time:
            raise error(10094, err=f"{text}but optional start time is not set")
        if config.opt_start_seq:
            raise error(10094, err=f"{text}but optional start start sequence is also set")
    else:
        if config.opt_start_seq:
            raise error(10094, err=f"{text}but optional start sequence is also set")
        if config.opt_start_time:
            raise error(10094, err=f"{text}but optional start time is also set")
        if policy == "last_per_subject" and not config.filters:
            raise error(10094, err=f"{text}but optional filter subject is not set")


def _sampling(config: ConsumerConfig) -> None:
    text = config.sample_freq.removesuffix("%")
    if not text:
        return
    if not re.fullmatch(r"[+-]?\d+", text):
        raise error(10095, err=f'strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise error(10095, err="<nil>")


def _priority(config: ConsumerConfig) -> None:
    if config.priority_policy == "none":
        if config.priority_groups:
            raise error(10196)
        if config.priority_timeout:
            raise error(10197)
        return
    if config.deliver_subject:
        raise error(10178)
    if not config.priority_groups:
        raise error(10159)
    for group in config.priority_groups:
        if not group:
            raise error(10161)
        if not GROUP.fullmatch(group):
            raise error(10162)


def check_workqueue(config: ConsumerConfig, others: list[ConsumerConfig]) -> None:
    """A new consumer of a work queue, where each message belongs to one. Raises ApiError."""
    if config.ack_policy not in ("explicit", "flow_control"):
        raise error(10098)
    if config.deliver_policy != "all":
        raise error(10101)
    if others and not config.filters:
        raise error(10099)
    check_unique(config, others)


def check_unique(config: ConsumerConfig, others: list[ConsumerConfig]) -> None:
    """Raises ApiError 10100 for a filter that others have a part of."""
    for mine in config.filters:
        for other in others:
            if not other.filters or any(subjects.collide(mine, theirs) for theirs in other.filters):
                raise error(10100)


def check_update(old: ConsumerConfig, new: ConsumerConfig) -> None:
    """What may not change. Raises ApiError 10012."""
    for field, text in (
        ("deliver_policy", "deliver policy"),
        ("mem_storage", "storage type"),
        ("direct", "direct"),
        ("sourcing", "sourcing"),
        ("opt_start_seq", "start sequence"),
        ("opt_start_time", "start time"),
        ("ack_policy", "ack policy"),
        ("replay_policy", "replay policy"),
        ("idle_heartbeat", "heart beats"),
        ("flow_control", "flow control"),
        ("max_waiting", "max waiting"),
    ):
        if field == "max_waiting" and bool(old.deliver_subject) != bool(new.deliver_subject):
            continue
        if getattr(old, field) != getattr(new, field):
            raise error(10012, err=f"{text} can not be updated")
    if old.deliver_subject and not new.deliver_subject:
        raise error(10012, err="can not update push consumer to pull based")
    if new.deliver_subject and not old.deliver_subject:
        raise error(10012, err="can not update pull consumer to push based")
