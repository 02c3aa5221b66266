"""API endpoints of consumers: create and update, info, lists, pause, pins, reset (reference 4.2, 4.10)."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from phloem.shared.jetstream import consumer_config, identity
from phloem.shared.jetstream.consumer_config import ConsumerConfig, CreateRequest
from phloem.shared.jetstream.consumer_rules import (
    GROUP,
    ConsumerLimits,
    check_unique,
    check_update,
    check_workqueue,
    checked,
    last_as_long_as,
)
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import field_of
from phloem.shared.jetstream.sourcing import identity_of
from phloem.shared.jetstream.strict_json import decode_plain
from phloem.shared.jetstream.times import ZERO, parse_rfc3339, printed_time
from phloem.shared.server.jetstream.api_streams import (
    LIST_PAGE,
    NAMES_PAGE,
    PageRequest,
    decoded,
    part_of,
    stream_of,
)
from phloem.shared.server.jetstream.consumer import Consumer, ConsumerRecord
from phloem.shared.server.jetstream.stream import Stream

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.api import Request

NAME_MAX = 255
IDENTITY = b"Nats-Stream-Identity"


class PauseRequest(msgspec.Struct):
    """Until when."""

    pause_until: str | None = None


class UnpinRequest(msgspec.Struct):
    """Whose pin."""

    group: str = ""


class ResetRequest(msgspec.Struct):
    """Where to begin again."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0


def _silence() -> ApiError:
    return ApiError(0, 0, "")


def _read(request: "Request") -> CreateRequest:
    wanted = consumer_config.decode(request.body, strict=request.system.options.strict)
    if wanted.stream_name != request.tokens[0]:
        raise error(10056)
    return wanted


def create(request: "Request") -> dict[str, Any]:
    """CONSUMER.CREATE, with or without a name and a filter in the subject."""
    wanted = _read(request)
    config, names = wanted.config, request.tokens[1:]
    if not names:
        if config.durable_name:
            raise error(10020)
        return _create(request, wanted, config.name)
    name, tail = names[0], ".".join(names[1:])
    if set(name) & {"/", "\\"}:
        raise error(10127)
    if config.durable_name and config.durable_name != name:
        raise error(10017)
    if tail:
        if config.filter_subjects:
            raise error(10137)
        if tail != config.filter_subject:
            raise error(10131)
    config.name = name
    return _create(request, wanted, name)


def create_durable(request: "Request") -> dict[str, Any]:
    """CONSUMER.DURABLE.CREATE, the old form."""
    wanted = _read(request)
    if not wanted.config.durable_name:
        raise error(10018)
    if wanted.config.durable_name != request.tokens[1]:
        raise error(10017)
    wanted.config.name = wanted.config.durable_name
    return _create(request, wanted, wanted.config.durable_name)


def _identity_header(stream: Stream) -> bytes:
    return b"NATS/1.0\r\n%b: %b\r\n\r\n" % (IDENTITY, identity_of(stream.record.created_ns))


def _for_sourcing(request: "Request", wanted: CreateRequest, stream: Stream, name: str) -> str:
    """A consumer that another stream takes from: where messages leave when they are acknowledged it becomes durable,
    and its acknowledgements are the answers to flow control. Its name. Raises ApiError 10225."""
    config = wanted.config
    if config.direct and config.sourcing and config.name:
        if stream.config.retention != "limits":
            config.direct, config.durable_name, config.ack_policy = False, config.name, "flow_control"
            config.ack_wait = config.max_deliver = config.inactive_threshold = 0
        else:
            name = config.name = (
                f"{config.name}-{identity.text_of(request.system.server.rng.randbytes(8), 8)}"
            )
    if config.direct or config.sourcing:
        expected, mine = field_of(request.header, IDENTITY), identity_of(stream.record.created_ns)
        if expected and expected != mine:
            raise error(10225, msg=mine.decode())
        request.answer_header = _identity_header(stream)
    return name


def _create(request: "Request", wanted: CreateRequest, name: str) -> dict[str, Any]:
    if wanted.config.num_replicas > 1:
        raise error(10074)
    stream = stream_of(request)
    name = _for_sourcing(request, wanted, stream, name)
    system, account = request.system, request.account
    bounds = system.options.limits
    limits = ConsumerLimits(bounds.max_ack_pending, bounds.max_request_batch, account.options.max_ack_pending)
    config = checked(wanted.config, stream.config, limits, pedantic=wanted.pedantic)
    known = stream.consumers.get(name) if name else None
    if known is not None:
        if config.sourcing and config.durable_name:
            config.deliver_policy = known.config.deliver_policy
            config.opt_start_seq, config.opt_start_time = (
                known.config.opt_start_seq,
                known.config.opt_start_time,
            )
        answer = _change(request, stream, known, config, wanted.action)
        if config.sourcing:
            known.reset(known.engine.numbers["floor_stream"] + 1)
            return known.info()
        return answer
    if wanted.action == "update":
        raise error(10149)
    _room_for_one(request, stream)
    if stream.config.retention == "workqueue" and not (config.direct or config.sourcing):
        check_workqueue(config, stream.consumer_configs())
    last_as_long_as(config, durable=bool(config.durable_name))
    if len(name) > NAME_MAX:
        raise error(10102, max=NAME_MAX)
    record = ConsumerRecord(
        ident=system.new_ident(),
        stream=stream.name,
        name=name or identity.text_of(system.server.rng.randbytes(8), 8),
        created_ns=system.clock.wall_ns(),
        start_seq=_start(stream, config),
        config=config,
    )
    consumer = stream.add_consumer(record)
    consumer.keep_record()
    request.changes = consumer.durable
    system.api.advise(
        account,
        f"ADVISORY.CONSUMER.CREATED.{stream.name}.{record.name}",
        "advisory.v1.consumer_action",
        {"stream": stream.name, "consumer": record.name, "action": "create"},
    )
    if consumer.paused_until_ns() > system.clock.wall_ns():
        consumer.advise_pause()
    return consumer.info()


def _room_for_one(request: "Request", stream: Stream) -> None:
    if request.system.out_of_space:
        raise error(10023)
    count = len(stream.consumer_configs())
    for most in (stream.config.max_consumers, request.account.options.max_consumers):
        if 0 < most <= count:
            raise error(10026)


def _change(
    request: "Request", stream: Stream, known: Consumer, config: ConsumerConfig, action: str
) -> dict[str, Any]:
    config.pause_until = known.config.pause_until
    if action == "create" and known.config != config:
        raise error(10148)
    if stream.config.retention == "workqueue":
        check_unique(config, stream.consumer_configs(but=known.record.name))
    if config.inactive_threshold != known.config.inactive_threshold:
        last_as_long_as(config, durable=bool(known.config.durable_name))
    if known.config == config:
        return known.info()
    check_update(known.config, config)
    if config.deliver_subject != known.config.deliver_subject and known.engine.numbers["push_bound"]:
        raise error(10013)
    known.update(config)
    request.changes = True
    return known.info()


def _start(stream: Stream, config: ConsumerConfig) -> int:
    """The first sequence to look at. What is not durable yet counts as there: it will be, or was never acknowledged."""
    log = stream.log
    filters = [one.encode() for one in config.filters]
    match config.deliver_policy:
        case "new" | "last_per_subject":
            return log.last_seq + 1
        case "last":
            return max(log.last_of_subjects(filters), default=log.last_seq + 1)
        case "by_start_sequence":
            return max(config.opt_start_seq, log.first_seq)
        case "by_start_time":
            return log.seq_from_time(parse_rfc3339(config.opt_start_time or ""))
    return max(log.first_seq, 1)


def consumer_of(request: "Request") -> Consumer:
    """The consumer that is asked about. Raises ApiError 10059, 10014."""
    consumer = stream_of(request).consumers.get(request.tokens[1])
    if consumer is None:
        raise error(10014)
    return consumer


def info(request: "Request") -> dict[str, Any]:
    """CONSUMER.INFO."""
    request.demand_empty()
    return consumer_of(request).info()


def _listed(request: "Request") -> list[Consumer]:
    return [c for _, c in sorted(stream_of(request).consumers.items()) if not c.config.direct]


def names(request: "Request") -> dict[str, Any]:
    """CONSUMER.NAMES."""
    page = decoded(request, PageRequest)
    head, found = part_of([c.record.name for c in _listed(request)], page.offset, NAMES_PAGE)
    return head | {"consumers": found}


def listing(request: "Request") -> dict[str, Any]:
    """CONSUMER.LIST."""
    page = decoded(request, PageRequest)
    head, found = part_of(_listed(request), page.offset, LIST_PAGE)
    return head | {"consumers": [consumer.info(full=False) for consumer in found]}


def delete(request: "Request") -> dict[str, Any]:
    """CONSUMER.DELETE."""
    request.demand_empty()
    consumer_of(request).delete()
    request.changes = True
    return {"success": True}


def pause(request: "Request") -> dict[str, Any]:
    """CONSUMER.PAUSE."""
    wanted = decoded(request, PauseRequest).pause_until
    now = request.system.clock.wall_ns()
    try:
        until, shown = (parse_rfc3339(wanted), printed_time(wanted)) if wanted else (0, ZERO)
    except ValueError as problem:
        raise error(10025, err=str(problem)) from None
    consumer = consumer_of(request)
    paused = until > now
    before = consumer.config.pause_until
    consumer.pause(shown if shown != ZERO else None)
    if consumer.config.pause_until != before:
        consumer.advise_pause()
    request.changes = True
    answer: dict[str, Any] = {"paused": paused, "pause_until": shown}
    if paused:
        answer["pause_remaining"] = until - now
    return answer


def unpin(request: "Request") -> dict[str, Any]:
    """CONSUMER.UNPIN."""
    group = decode_plain(request.body, UnpinRequest).group
    if not group:
        raise error(10025, err="consumer group not specified")
    if not GROUP.fullmatch(group):
        raise error(10162)
    consumer = consumer_of(request)
    if group not in consumer.config.priority_groups:
        raise error(10160)
    consumer.engine.unpin()
    return {}


def reset(request: "Request") -> dict[str, Any]:
    """CONSUMER.RESET: from the acknowledgement floor, or from a sequence."""
    stream = request.account.streams.get(request.tokens[0])
    consumer = stream.consumers.get(request.tokens[1]) if stream else None
    if consumer is None:
        raise _silence()
    request.counted = False
    if b"\r\n%b:" % IDENTITY in request.header:
        request.answer_header = _identity_header(consumer.stream)
    seq = decode_plain(request.body, ResetRequest).seq if request.body else 0
    config = consumer.config
    if seq:
        if config.deliver_policy not in ("all", "by_start_sequence", "by_start_time"):
            raise error(10204, err="not allowed")
        if config.deliver_policy == "by_start_sequence" and seq < config.opt_start_seq:
            raise error(10204, err="below start seq")
        if config.deliver_policy == "by_start_time" and seq < _start(consumer.stream, config):
            raise error(10204, err="below start time")
    start = seq or consumer.engine.numbers["floor_stream"] + 1
    consumer.reset(start)
    request.changes = consumer.durable
    return consumer.info() | {"reset_seq": start}
