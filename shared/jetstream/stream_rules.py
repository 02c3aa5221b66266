"""What a stream's configuration may be, in the order in which nats-server looks (reference 2.3), and how it may change.

``checked`` gives the configuration with its defaults filled in. What needs to know other streams is asked through
``find``; what needs the account (limits, overlaps with other streams) is the API's.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.stream_config import Placement, StreamConfig, StreamSource, SubjectTransform
from phloem.shared.jetstream.times import SECOND_NS, go_duration
from phloem.shared.limits import SEQUENCE_MAX
from phloem.shared.wire import subjects
from phloem.shared.wire.subjects import collide as subjects_collide
from phloem.shared.wire.transform import BadTransform, Transform, validate_mapping

Find = Callable[[str], StreamConfig | None]

DESCRIPTION_MAX = 4096
METADATA_MAX = 128 << 10
NAME_MAX = 255
AGE_MIN_NS = 100_000_000
DUPLICATES_NS = 120 * SECOND_NS
COUNTS = ("max_msgs", "max_msgs_per_subject", "max_bytes", "max_msg_size", "max_consumers")
BAD_NAME = set(" \t\r\n\f.*>\\/")

__all__ = ["ServerLimits", "check_filters", "check_single", "check_update", "checked", "subjects_collide"]


class ServerLimits(NamedTuple):
    """What the server and the account bound."""

    duplicate_window_ns: int = 0
    max_bytes_required: bool = False  # this and what follows: of the account
    memory_max_bytes: int = 0
    disk_max_bytes: int = 0


def _bad(text: str) -> ApiError:
    return ApiError(500, 10052, text)


def checked(
    config: StreamConfig, limits: ServerLimits, find: Find, *, pedantic: bool = False
) -> StreamConfig:
    """Raises ApiError for the first rule that it breaks."""
    config = msgspec.structs.replace(config)
    _names(config)
    _counts(config, pedantic)
    _times(config, limits, pedantic)
    _features(config, pedantic)
    if config.mirror is not None:
        _mirror(config, config.mirror, find, pedantic=pedantic)
    _sources(config, find)
    _externals(config, find)
    _cycle(config, find)
    if not config.subjects and config.mirror is None and not config.sources:
        config.subjects = [config.name]
    _subjects(config)
    _bytes_of_account(config, limits)
    _transforms(config, pedantic)
    return config


def check_single(config: StreamConfig) -> None:
    """A server alone keeps everything once. Raises ApiError 10074."""
    if config.num_replicas > 1:
        raise error(10074)


def _names(config: StreamConfig) -> None:
    if not config.name or set(config.name) & BAD_NAME:
        raise _bad(r"stream name is required and can not contain '.', '*', '>', '\', '/'")
    if len(config.name) > NAME_MAX:
        raise _bad(f"stream name is too long, maximum allowed is {NAME_MAX}")
    if len(config.description) > DESCRIPTION_MAX:
        raise _bad(f"stream description is too long, maximum allowed is {DESCRIPTION_MAX}")
    if sum(len(key) + len(value) for key, value in config.metadata.items()) > METADATA_MAX:
        raise _bad(f"stream metadata exceeds maximum size of {METADATA_MAX} bytes")
    if config.num_replicas > 5:
        raise _bad("maximum replicas is 5")
    if config.num_replicas < 0:
        raise error(10133)
    config.num_replicas = config.num_replicas or 1


def _counts(config: StreamConfig, pedantic: bool) -> None:
    for name in COUNTS:
        value = getattr(config, name)
        if pedantic and value < -1:
            raise error(10157, err=f"{name} must be set to -1")
        if value <= 0:
            setattr(config, name, -1)


def _times(config: StreamConfig, limits: ServerLimits, pedantic: bool) -> None:
    if config.max_age < 0:
        raise _bad("max age can not be negative")
    if 0 < config.max_age < AGE_MIN_NS:
        raise _bad("max age needs to be >= 100ms")
    most = limits.duplicate_window_ns
    if config.duplicate_window < 0:
        raise _bad("duplicates window can not be negative")
    if config.duplicate_window == 0 and config.mirror is None and not config.sources:
        config.duplicate_window = DUPLICATES_NS
        for bound, why in (
            (most, "duplicate window limits are higher than current limits"),
            (config.max_age, "duplicate window cannot be bigger than max age"),
        ):
            if 0 < bound < config.duplicate_window:
                if pedantic:
                    raise error(10157, err=why)
                config.duplicate_window = bound
    if config.max_age and config.duplicate_window > config.max_age:
        raise _bad("duplicates window can not be larger then max age")
    if most and config.duplicate_window > most:
        raise _bad(f"duplicates window can not be larger then server limit of {go_duration(most)}")
    if 0 < config.duplicate_window < AGE_MIN_NS:
        raise _bad("duplicates window needs to be >= 100ms")


def _features(config: StreamConfig, pedantic: bool) -> None:
    if config.first_seq > SEQUENCE_MAX:
        raise _bad(f"first sequence can not be above {SEQUENCE_MAX}")
    if config.deny_purge and config.allow_rollup_hdrs:
        raise _bad("roll-ups require the purge permission")
    if config.allow_msg_counter:
        for wrong, what in (
            (config.discard == "new", "use discard new"),
            (config.allow_msg_ttl, "use message TTLs"),
            (config.allow_msg_schedules, "use message schedules"),
        ):
            if wrong:
                raise _bad(f"counter stream cannot {what}")
        if config.retention != "limits":
            raise _bad("counter stream can only use limits retention")
    if config.discard_new_per_subject:
        if config.discard != "new":
            raise _bad("discard new per subject requires discard new policy to be set")
        if config.max_msgs_per_subject <= 0:
            raise _bad("discard new per subject requires max msgs per subject > 0")
    _markers(config, pedantic)
    if config.allow_msg_schedules:
        if config.discard == "new":
            raise _bad("message scheduling cannot use discard new")
        if pedantic and not config.allow_rollup_hdrs:
            raise _bad("message scheduling cannot be set if roll-ups are disabled")
        config.allow_rollup_hdrs, config.deny_purge = True, False
    if config.persist_mode == "async":
        if config.storage != "file":
            raise _bad("async persist mode is only supported on file storage")
        if config.allow_atomic:
            raise _bad("async persist mode is not supported with atomic batch publish")


def _markers(config: StreamConfig, pedantic: bool) -> None:
    ttl = config.subject_delete_marker_ttl
    if ttl < 0:
        raise _bad("subject delete marker TTL must not be negative")
    if ttl == 0:
        return
    if ttl < SECOND_NS:
        raise _bad("subject delete marker TTL must be at least 1 second")
    if pedantic and not config.allow_msg_ttl:
        raise _bad("subject delete marker cannot be set if message TTLs are disabled")
    if pedantic and not config.allow_rollup_hdrs:
        raise _bad("subject delete marker cannot be set if roll-ups are disabled")
    config.allow_msg_ttl = True
    if not config.allow_rollup_hdrs:
        config.allow_rollup_hdrs, config.deny_purge = True, False


def _mirror(config: StreamConfig, mirror: StreamSource, find: Find, *, pedantic: bool) -> None:
    for wrong, number in (
        (config.first_seq, 10143),
        (config.subjects, 10034),
        (config.sources, 10031),
        (config.allow_msg_counter, 10173),
        (config.allow_atomic, 10198),
        (config.allow_batched, 10209),
        (config.allow_msg_schedules, 10186),
        (_bad_consumer(mirror), 10213),
        (mirror.filter_subject and mirror.subject_transforms, 10150),
    ):
        if wrong:
            raise error(number)
    if config.subject_delete_marker_ttl > 0:
        raise _bad("subject delete markers forbidden on mirrors")
    transforms = mirror.subject_transforms or []
    for place, transform in enumerate(transforms):
        _transform(transform, 10151, 10154)
        if any(subjects_collide(transform.src, other.src) for other in _others(transforms, place)):
            raise error(10152)
    if mirror.external is not None:
        return
    if not mirror.name or set(mirror.name) & BAD_NAME:
        raise error(10142)
    origin = find(mirror.name)
    if origin is not None:
        if 0 < config.max_msg_size < origin.max_msg_size:
            raise error(10030)
        if pedantic and config.mirror_direct != origin.allow_direct:
            raise error(10157, err="origin stream has direct get set, mirror has it disabled")
        config.mirror_direct = origin.allow_direct


def _others(transforms: list[SubjectTransform], place: int) -> list[SubjectTransform]:
    return transforms[:place] + transforms[place + 1 :]


def _transform(transform: SubjectTransform, source_error: int, destination_error: int) -> None:
    if transform.src and not subjects.is_valid(transform.src):
        raise error(source_error, err=f"invalid subject {transform.src}")
    try:
        validate_mapping(transform.src or ">", transform.dest)
    except BadTransform as problem:
        raise error(destination_error, err=str(problem)) from None


def _sources(config: StreamConfig, find: Find) -> None:
    seen, consumers = set(), set()
    if config.sources and config.allow_msg_schedules:
        raise error(10187)
    for source in config.sources:
        if not source.name or set(source.name) & BAD_NAME:
            raise error(10141)
        key = msgspec.json.encode(
            (
                source.name,
                source.external,
                source.consumer and source.consumer.name,
                source.filter_subject,
                source.subject_transforms,
            )
        )
        if key in seen:
            raise error(10140)
        seen.add(key)
        transforms = source.subject_transforms or []
        if source.filter_subject and transforms:
            raise error(10144)
        for transform in transforms:
            _transform(transform, 10145, 10146)
        for place, transform in enumerate(transforms):
            if any(subjects.matches(other.src, transform.src) for other in _others(transforms, place)):
                raise error(10147)
        if _bad_consumer(source):
            raise error(10215)
        if source.consumer is not None:
            key = msgspec.json.encode((source.name, source.external, source.consumer.name))
            if key in consumers:
                raise error(10216)
            consumers.add(key)
        origin = find(source.name) if source.external is None else None
        if origin is not None and 0 < config.max_msg_size < origin.max_msg_size:
            raise error(10046)


def _bad_consumer(source: StreamSource) -> bool:
    """A consumer that is there already decides itself where it begins and what it is for."""
    if source.consumer is None:
        return False
    name, deliver = source.consumer.name, source.consumer.deliver_subject
    return (
        not name
        or bool(set(name) & BAD_NAME)
        or not subjects.is_literal(deliver)
        or not subjects.is_valid(deliver)
        or bool(source.opt_start_seq or source.opt_start_time or source.filter_subject)
    )


def _externals(config: StreamConfig, find: Find) -> None:
    """What is asked of others must not come back to the streams that are taken from."""
    origins = [*([config.mirror] if config.mirror is not None else []), *config.sources]
    elsewhere = [origin.external for origin in origins if origin.external is not None]
    here = [find(origin.name) for origin in origins if origin.external is None]
    for deliver in (external.deliver for external in elsewhere if external.deliver):
        if not subjects.is_valid(deliver) or not subjects.is_literal(deliver):
            raise error(10024, prefix=deliver)
        for subject in (subject for known in here if known is not None for subject in known.subjects):
            if subjects_collide(subject, f"{deliver}.{subject}"):
                raise error(10022, prefix=deliver, subject=subject)
    for api in (external.api for external in elsewhere if external.api):
        if not subjects.is_valid(api) or not subjects.is_literal(api):
            raise _bad(f'stream external api prefix "{api}" must be a valid subject without wildcards')
        if api == "$JS.API":
            raise error(10021, prefix=api, subject="$JS.API")


def _cycle(config: StreamConfig, find: Find) -> None:
    """Whether messages would come back to where they started."""
    todo, seen = [config], set()
    while todo:
        one = todo.pop(0)
        seen.add(one.name)
        for source in (source for source in one.sources if source.external is None):
            wanted = source.filter_subject
            if source.name not in seen:
                origin = find(source.name)
                todo += [origin] if origin is not None else []
            elif not wanted or any(subjects_collide(subject, wanted) for subject in one.subjects):
                raise _bad("detected cycle")
        if one.mirror is not None and one.mirror.external is None:
            if one.mirror.name in seen:
                raise _bad("detected cycle")
            origin = find(one.mirror.name)
            todo += [origin] if origin is not None else []


def check_filters(config: StreamConfig) -> None:
    """Of what is taken from others; the last that is looked at before a stream is made. Raises ApiError 10049."""
    if config.mirror is not None and not _good_filter(config.mirror):
        wanted = config.mirror.filter_subject
        raise ApiError(500, 10049, f"subject filter '{wanted}' for the mirror invalid subject")
    for source in config.sources:
        if not _good_filter(source):
            wanted = source.filter_subject
            raise ApiError(500, 10049, f"subject filter '{wanted}' for the source: invalid subject")


def _good_filter(source: StreamSource) -> bool:
    return not source.filter_subject or subjects.is_valid(source.filter_subject)


def _subjects(config: StreamConfig) -> None:
    for place, subject in enumerate(config.subjects):
        if not subjects.is_valid(subject):
            raise _bad("invalid subject")
        if subject == ">":
            if not config.no_ack:
                raise _bad("capturing all subjects requires no-ack to be true")
            if config.num_replicas != 1:
                raise _bad("capturing all subjects requires replicas of 1")
        if not config.no_ack:
            for api in ("$JS.>", "$JSC.>", "$NRG.>"):
                if subjects_collide(subject, api) and not subjects.matches("$JS.EVENT.>", subject):
                    raise _bad("subjects that overlap with jetstream api require no-ack to be true")
            if subjects_collide(subject, "$SYS.>") and not subjects.matches("$SYS.ACCOUNT.>", subject):
                raise _bad("subjects that overlap with system api require no-ack to be true")
        for other in config.subjects[place + 1 :]:
            if subjects_collide(other, subject):
                raise _bad(f'subject "{subject}" overlaps with "{other}"')


def _bytes_of_account(config: StreamConfig, limits: ServerLimits) -> None:
    if limits.max_bytes_required and config.max_bytes <= 0:
        raise error(10113)
    most = limits.memory_max_bytes if config.storage == "memory" else limits.disk_max_bytes
    if 0 < most < config.max_bytes:
        raise error(10122)


def _transforms(config: StreamConfig, pedantic: bool) -> None:
    change = config.subject_transform
    if change is not None:
        _transform(change, 10155, 10156)
    again = config.republish
    if again is not None:
        if pedantic and not again.src:
            raise error(10157, err="republish source can not be empty")
        again.src = again.src or ">"
        if (again.src, again.dest) == (">", ">") and change is not None and config.subjects == [change.src]:
            if pedantic:
                raise error(10157, err="implicit republish based on subject transform")
            again.src = again.dest = change.dest
        if any(subjects_collide(again.dest, subject) for subject in config.subjects):
            raise _bad("stream configuration for republish destination forms a cycle")
        try:
            Transform(again.src, again.dest)
        except BadTransform:
            raise _bad(
                f"stream configuration for republish with transform from '{again.src}' to '{again.dest}' not valid"
            ) from None
    if config.placement is not None and config.placement.preferred:
        raise _bad("preferred server not permitted in placement")
    if config.placement is not None:
        config.placement.tags = config.placement.tags or None
    if config.placement == Placement():
        config.placement = None


def check_update(old: StreamConfig, new: StreamConfig) -> StreamConfig:
    """What may not change (reference 2.4). Raises ApiError."""
    text = "stream configuration update can not "
    for wrong, why in (
        (old.storage != new.storage, text + "change storage type"),
        (
            old.retention != new.retention and "workqueue" in (old.retention, new.retention),
            text + "change retention policy to/from workqueue",
        ),
        (old.sealed and not new.sealed, text + "unseal a sealed stream"),
        (old.deny_delete and not new.deny_delete, text + "cancel deny message deletes"),
        (old.deny_purge and not new.deny_purge, text + "cancel deny purge"),
        (old.allow_msg_ttl and not new.allow_msg_ttl, "message TTL status can not be disabled"),
        (old.allow_msg_counter != new.allow_msg_counter, text + "change message counter setting"),
        (old.allow_msg_schedules and not new.allow_msg_schedules, "message schedules can not be disabled"),
        ((old.persist_mode == "async") != (new.persist_mode == "async"), text + "change persist mode"),
    ):
        if wrong:
            raise _bad(why)
    if new.mirror is not None and new.mirror != old.mirror:
        raise error(10055)
    if new.republish is not None and not new.republish.dest:
        text = f"stream configuration for republish from '{new.republish.src}' to '>': invalid subject"
        raise error(10069, err=text)
    if new.sealed and not old.sealed:
        new.max_age, new.discard, new.allow_rollup_hdrs = 0, "new", False
        new.deny_delete = new.deny_purge = True
    return new
