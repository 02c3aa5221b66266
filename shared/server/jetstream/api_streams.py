"""API endpoints of streams: create, update, info, lists, purge, single messages (reference 1.1, 1.3, 2.3, 5.2, 5.3)."""

import base64
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from phloem.shared.jetstream import stream_config, strict_json
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.stream_rules import (
    ServerLimits,
    check_filters,
    check_single,
    check_update,
    checked,
)
from phloem.shared.jetstream.times import parse_rfc3339, rfc3339
from phloem.shared.limits import SEQUENCE_MAX
from phloem.shared.server.jetstream.direct import GetRequest, NotThere, find
from phloem.shared.server.jetstream.stream import Stream, StreamRecord
from phloem.shared.server.options_jetstream import SINGLE_TIER
from phloem.shared.wire.subjects import collide, matches

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.api import Request
    from phloem.shared.server.jetstream.system import JetStream

Sequence = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
NAMES_PAGE, LIST_PAGE, SUBJECTS_PAGE = 1024, 256, 100_000


class PageRequest(msgspec.Struct):
    """Which part of a list."""

    offset: int = 0
    subject: str = ""


class InfoRequest(msgspec.Struct):
    """How much a stream's info shall say."""

    deleted_details: bool = False
    subjects_filter: str = ""
    offset: int = 0


class PurgeRequest(msgspec.Struct):
    """What to remove."""

    filter: str = ""
    seq: Sequence = 0
    keep: Sequence = 0


class DeleteRequest(msgspec.Struct):
    """Which message to remove."""

    seq: Sequence = 0
    no_erase: bool = False


def decoded(request: "Request", kind: type[Any]) -> Any:
    """The optional body. Raises ApiError 10025."""
    if request.empty():
        return kind()
    return demanded(request, kind)


def demanded(request: "Request", kind: type[Any]) -> Any:
    """The body, which has to be there. Raises ApiError 10025."""
    return strict_json.decode(request.body, kind, strict=request.system.options.strict)


def stream_of(request: "Request") -> Stream:
    """The stream that is asked about. Raises ApiError 10059."""
    stream = request.account.streams.get(request.tokens[0])
    if stream is None:
        raise error(10059)
    return stream


def _limits(request: "Request") -> ServerLimits:
    options = request.account.options
    return ServerLimits(
        duplicate_window_ns=request.system.options.limits.duplicate_window_ns,
        max_bytes_required=options.max_bytes_required,
        memory_max_bytes=options.memory_max_stream_bytes,
        disk_max_bytes=options.disk_max_stream_bytes,
    )


def _read_config(request: "Request") -> tuple[StreamConfig, bool]:
    if not request.body.strip():
        raise error(10056)
    return stream_config.decode(request.body, strict=request.system.options.strict)


def _room(account: "AccountJetStream", config: StreamConfig, *, new: bool) -> None:
    """What the account bounds, as far as it is looked at before anything else. Raises ApiError."""
    options = account.options
    if account.system.out_of_space:
        raise error(10023)
    if options.tiers and SINGLE_TIER not in options.tiers:
        raise error(10120)
    if new and 0 <= options.max_streams <= len(account.streams):
        raise error(10027)
    if 0 < options.max_consumers < config.max_consumers:
        raise error(10026)


def _room_for_bytes(account: "AccountJetStream", config: StreamConfig) -> None:
    """Raises ApiError 10028 or 10047."""
    if config.max_bytes > 0:
        limit = account.quota(config).limit
        if account.reserved(config.storage, but=config.name) + config.max_bytes > limit:
            raise error(10028 if config.storage == "memory" else 10047)


def checked_for_restore(request: "Request", config: StreamConfig) -> StreamConfig:
    """The configuration of a backup, with its defaults. Raises ApiError."""
    config = checked(config, _limits(request), request.account.find)
    check_single(config)
    return config


def may_restore(account: "AccountJetStream", config: StreamConfig) -> None:
    """Whether there is room for this stream, and nobody has its name or its subjects. Raises ApiError."""
    _room(account, config, new=True)
    _room_for_bytes(account, config)
    if config.name in account.streams:
        raise error(10130)
    if account.overlapping(config):
        raise error(10065)


def create(request: "Request") -> dict[str, Any]:
    """STREAM.CREATE."""
    account = request.account
    config, pedantic = _read_config(request)
    if config.name != request.tokens[0]:
        raise error(10056)
    if set(config.name) & {"/", "\\"}:
        raise error(10128)
    if config.sealed:
        raise ApiError(500, 10052, "stream configuration for create can not be sealed")
    if config.mirror_direct and config.mirror is None:
        raise ApiError(500, 10052, "stream has no mirror but does have mirror direct")
    known = account.streams.get(config.name)
    _room(account, config, new=known is None)
    config = checked(config, _limits(request), account.find, pedantic=pedantic)
    check_single(config)
    if known is not None:
        if known.config != config:
            raise error(10058)
        return known.info() | {"did_create": True}
    _room_for_bytes(account, config)
    check_filters(config)
    if account.overlapping(config):
        raise error(10065)
    record = StreamRecord(
        ident=request.system.new_ident(), created_ns=request.system.clock.wall_ns(), config=config
    )
    stream = Stream(account, record)
    account.streams[config.name] = stream
    account.keep(account.stream_key(config.name), record)
    stream.start()
    request.changes = True
    _advise(request, stream, "CREATED", "create")
    return stream.info() | {"did_create": True}


def advise_stream(
    system: "JetStream", account: "AccountJetStream", name: str, word: str, action: str
) -> None:
    """The advisory of what was done with a stream."""
    system.api.advise(
        account,
        f"ADVISORY.STREAM.{word}.{name}",
        "advisory.v1.stream_action",
        {"stream": name, "action": action},
    )


def _advise(request: "Request", stream: Stream, word: str, action: str) -> None:
    advise_stream(request.system, request.account, stream.name, word, action)


def update(request: "Request") -> dict[str, Any]:
    """STREAM.UPDATE: the whole new configuration."""
    stream, config = judge(request)
    stream.update(config)
    request.changes = True
    _advise(request, stream, "UPDATED", "modify")
    return stream.info()


def judge(request: "Request") -> tuple[Stream, StreamConfig]:
    """A stream, and the configuration that it would have after an update. Raises ApiError."""
    account = request.account
    config, pedantic = _read_config(request)
    config = checked(config, _limits(request), account.find, pedantic=pedantic)
    if config.name != request.tokens[0]:
        raise error(10056)
    stream = stream_of(request)
    check_single(config)
    config = check_update(stream.config, config)
    _room(account, config, new=False)
    _room_for_bytes(account, config)
    _consumer_limits(stream, config)
    if account.overlapping(config):
        raise error(10065)
    return stream, config


def _consumer_limits(stream: Stream, config: StreamConfig) -> None:
    """Consumers that exist have to fit."""
    limits = config.consumer_limits
    broken = [
        consumer.record.name
        for consumer in stream.consumers.values()
        if 0 < limits.max_ack_pending < consumer.config.max_ack_pending
        or 0 < limits.inactive_threshold < consumer.config.inactive_threshold
    ]
    if broken:
        raise error(10069, err=f"change to limits violates consumers: {', '.join(broken)}")


def _matching(request: "Request", page: PageRequest) -> list[Stream]:
    streams = [stream for _, stream in sorted(request.account.streams.items())]
    if not page.subject:
        return streams
    return [s for s in streams if any(collide(subject, page.subject) for subject in s.config.subjects)]


def part_of(found: list[Any], offset: int, size: int) -> tuple[dict[str, int], list[Any]]:
    """One page of a list, and what is said of it."""
    offset = min(max(offset, 0), len(found))
    return {"total": len(found), "offset": offset, "limit": size}, found[offset : offset + size]


def names(request: "Request") -> dict[str, Any]:
    """STREAM.NAMES."""
    page = decoded(request, PageRequest)
    head, found = part_of([stream.name for stream in _matching(request, page)], page.offset, NAMES_PAGE)
    return head | {"streams": found or None}


def listing(request: "Request") -> dict[str, Any]:
    """STREAM.LIST."""
    page = decoded(request, PageRequest)
    head, found = part_of(_matching(request, page), page.offset, LIST_PAGE)
    return head | {"streams": [stream.info(full=False) for stream in found]}


def info(request: "Request") -> dict[str, Any]:
    """STREAM.INFO."""
    wanted = decoded(request, InfoRequest)
    stream = stream_of(request)
    page = {"total": 0, "offset": 0, "limit": 0}
    offset = 0
    if wanted.subjects_filter:
        total = len(stream.log.subjects((wanted.subjects_filter.encode(),)))
        offset = min(max(wanted.offset, 0), total)
        if total:
            page = {"total": total, "offset": offset, "limit": SUBJECTS_PAGE}
    state = stream.state(
        wanted.subjects_filter, deleted=wanted.deleted_details, offset=offset, limit=SUBJECTS_PAGE
    )
    if not state.get("subjects", True):
        del state["subjects"]
    return page | stream.info(state, leader=True)


def delete(request: "Request") -> dict[str, Any]:
    """STREAM.DELETE."""
    request.demand_empty()
    stream = stream_of(request)
    stream.delete()
    request.changes = True
    _advise(request, stream, "DELETED", "delete")
    return {"success": True}


def _first_left(stream: Stream, wanted: list[str], purged: tuple[bytes, ...]) -> int:
    """Where a consumer with these filters goes on after a purge of these subjects (nats-server's idea of it)."""
    log = stream.log
    if not purged or not wanted:
        return log.first_seq
    subject = purged[0].decode()
    if all(matches(subject, one) for one in wanted):
        found = log.next(purged)
        return found.seq if found is not None else log.last_seq + 1
    return log.first_seq if any(collide(subject, one) for one in wanted) else 0


def purge(request: "Request") -> dict[str, Any]:
    """STREAM.PURGE."""
    stream = stream_of(request)
    wanted = decoded(request, PurgeRequest)
    if stream.config.sealed:
        raise error(10109)
    if stream.config.deny_purge:
        raise error(10110, err="stream purge not permitted")
    if wanted.seq and wanted.keep:
        raise error(10003)
    if wanted.seq > SEQUENCE_MAX:
        raise error(10052, err=f"purge sequence can not be above {SEQUENCE_MAX}")
    filters = (wanted.filter.encode(),) if wanted.filter and wanted.filter != ">" else ()
    if filters and all(matches(wanted.filter, subject) for subject in stream.config.subjects):
        filters = ()
    purged = 0 if wanted.seq == 1 else stream.log.purge(filters, below=wanted.seq, keep=wanted.keep)
    stream.engine.changed()
    for consumer in stream.consumers.values():
        consumer.engine.pass_over(_first_left(stream, consumer.config.filters, filters))
    request.changes = stream.config.storage == "file"
    return {"success": True, "purged": purged}


def get_message(request: "Request") -> dict[str, Any]:
    """STREAM.MSG.GET."""
    if not request.body.strip():
        raise error(10003)
    wanted = demanded(request, GetRequest)
    if wanted.batch > 0 or wanted.max_bytes > 0 or wanted.multi_last:
        raise error(10003)
    if wanted.start_time:
        try:
            parse_rfc3339(wanted.start_time)
        except ValueError as problem:
            raise error(10025, err=str(problem)) from None
    if wanted.last_by_subj and (wanted.seq or wanted.next_by_subj or wanted.start_time):
        raise error(10003)
    if (wanted.seq and wanted.start_time) or not (
        wanted.seq or wanted.last_by_subj or wanted.next_by_subj or wanted.start_time
    ):
        raise error(10003)
    stream = stream_of(request)
    try:
        message = find(stream, wanted)
    except NotThere:
        raise error(10003) from None
    if message is None:
        raise error(10037)
    request.changes = message.seq > stream.log.visible_seq
    shown: dict[str, Any] = {"subject": message.subject.decode(errors="replace"), "seq": message.seq}
    if message.header and not wanted.no_hdr:
        shown["hdrs"] = base64.b64encode(message.header).decode()
    if message.payload:
        shown["data"] = base64.b64encode(message.payload).decode()
    shown["time"] = rfc3339(message.ts)
    return {"message": shown}


def delete_message(request: "Request") -> dict[str, Any]:
    """STREAM.MSG.DELETE."""
    if not request.body.strip():
        raise error(10003)
    stream = stream_of(request)
    wanted = demanded(request, DeleteRequest)
    if stream.config.sealed:
        raise error(10109)
    if stream.config.deny_delete:
        raise error(10057, err="message delete not permitted")
    if not stream.log.remove(wanted.seq):
        if stream.config.storage == "memory" or stream.log.first_seq <= wanted.seq <= stream.log.last_seq:
            raise error(10043, seq=wanted.seq)
        raise error(
            10057, err="no message found" if wanted.seq <= stream.log.last_seq else "stream store EOF"
        )
    stream.engine.changed()
    request.changes = True
    return {"success": True}
