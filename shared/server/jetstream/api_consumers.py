"""API endpoints of consumers: create and update, info, lists, pause, pins, reset (reference 4.2, 4.10)."""

from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.jetstream import consumer_config, identity
from phloem.shared.jetstream.consumer_config import ConsumerConfig, CreateRequest
from phloem.shared.jetstream.consumer_rules import ConsumerLimits, check_update, check_workqueue, checked
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.strict_json import UNREADABLE
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


class PauseRequest(msgspec.Struct):
    """Until when."""

    pause_until: str | None = None


class UnpinRequest(msgspec.Struct):
    """Whose pin."""

    group: str = ""


class ResetRequest(msgspec.Struct):
    """Where to begin again."""

    seq: int = 0


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
    if config.name and config.name != name:
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


def _create(request: "Request", wanted: CreateRequest, name: str) -> dict[str, Any]:
    stream = stream_of(request)
    system, account = request.system, request.account
    most = max(system.options.limits.max_ack_pending, account.options.max_ack_pending, 0)
    limits = ConsumerLimits(most, system.options.limits.max_request_batch)
    config = checked(wanted.config, stream.config, limits, pedantic=wanted.pedantic)
    known = stream.consumers.get(name) if name else None
    if known is not None:
        return _change(request, stream, known, config, wanted.action)
    if wanted.action == "update":
        raise error(10149)
    _room_for_one(request, stream)
    if stream.config.retention == "workqueue":
        check_workqueue(config, stream.consumer_configs())
    if len(name) > NAME_MAX:
        raise error(10102, max=NAME_MAX)
    if config.deliver_subject and any(
        c.config.deliver_subject == config.deliver_subject and c.config.direct
        for c in stream.consumers.values()
    ):
        raise error(10013)
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
    return consumer.info()


def _room_for_one(request: "Request", stream: Stream) -> None:
    count = len(stream.consumer_configs())
    for most in (stream.config.max_consumers, request.account.options.max_consumers):
        if 0 < most <= count:
            raise error(10026)


def _change(
    request: "Request", stream: Stream, known: Consumer, config: ConsumerConfig, action: str
) -> dict[str, Any]:
    config.pause_until = known.config.pause_until
    if known.config == config:
        return known.info()
    if action == "create":
        raise error(10148)
    check_update(known.config, config)
    if config.deliver_subject != known.config.deliver_subject and known.engine.numbers["push_bound"]:
        raise error(10013)
    if stream.config.retention == "workqueue":
        check_workqueue(config, stream.consumer_configs(but=known.record.name))
    known.update(config)
    request.changes = True
    return known.info()


def _start(stream: Stream, config: ConsumerConfig) -> int:
    """The first sequence to look at. What is not durable yet counts as there: it will be, or was never acknowledged."""
    log = stream.log
    filters = [one.encode() for one in config.filters]
    match config.deliver_policy:
        case "new" | "last_per_subject":
            return log.visible_seq + 1
        case "last":
            last = max(log.last_of_subjects(filters, log.visible_seq), default=0) if log.visible_seq else 0
            return last or log.visible_seq + 1
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
    consumer = consumer_of(request)
    wanted = decoded(request, PauseRequest).pause_until
    now = request.system.clock.wall_ns()
    try:
        until, shown = (parse_rfc3339(wanted), printed_time(wanted)) if wanted else (0, ZERO)
    except ValueError as problem:
        raise error(10025, err=str(problem)) from None
    paused = until > now
    consumer.pause(shown if shown != ZERO else None)
    consumer.advise_pause()
    request.changes = True
    answer: dict[str, Any] = {"paused": paused, "pause_until": shown}
    if paused:
        answer["pause_remaining"] = until - now
    return answer


def unpin(request: "Request") -> dict[str, Any]:
    """CONSUMER.UNPIN."""
    consumer = consumer_of(request)
    try:
        group = msgspec.json.decode(request.body, type=UnpinRequest).group
    except UNREADABLE:
        raise error(10003) from None
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
    try:
        seq = msgspec.json.decode(request.body, type=ResetRequest).seq if request.body.strip() else 0
    except UNREADABLE:
        raise error(10003) from None
    config = consumer.config
    if seq:
        if config.deliver_policy not in ("all", "by_start_sequence", "by_start_time"):
            raise error(10204, err="not allowed")
        if config.deliver_policy == "by_start_sequence" and seq < config.opt_start_seq:
            raise error(10204, err="below start seq")
        if config.deliver_policy == "by_start_time" and seq < consumer.record.start_seq:
            raise error(10204, err="below start time")
    start = seq or consumer.engine.numbers["floor_stream"] + 1
    consumer.engine.reset(start)
    consumer.keep_state()
    request.changes = consumer.durable
    return consumer.info() | {"reset_seq": start}
