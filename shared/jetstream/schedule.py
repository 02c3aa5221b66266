"""When a scheduled message is due, and what a schedule must look like (reference 2.11).

Patterns are ``@at <RFC 3339>``, ``@every <duration>``, six cron fields with the seconds first, and names for some of
those. Cron goes by the wall clock of a time zone: an hour that is left out in spring is passed over, one that comes
twice in autumn counts twice. A repeat that was missed does not come later; the next one is in the future.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from phloem.shared.dates import utc
from phloem.shared.jetstream.errors import ApiError, error
from phloem.shared.jetstream.headers import Wishes, field_of, with_field
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.times import SECOND_NS, parse_go_duration, parse_rfc3339
from phloem.shared.jetstream.ttl import parse_ttl
from phloem.shared.wire import subjects

YEARS = 5  # a cron pattern that fits no day of them is a mistake
ZONE_NAME_MAX = 64
NAMED = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: i for i, name in enumerate(MONTHS, 1)}),
    (0, 6, {name: i for i, name in enumerate(DAYS)}),
)
PURGE = b"purge"
LastHeader = Callable[[bytes], bytes | None]


class Due(NamedTuple):
    """When a message is due."""

    ns: int
    repeats: bool


class BadSchedule(Exception):
    """The pattern is none."""


class Field(NamedTuple):
    """One field of a cron pattern."""

    values: frozenset[int]
    star: bool


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise BadSchedule
    return int(text)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> Field:
    span, slash, every = text.partition("/")
    first, hyphen, last = span.partition("-")
    star = first in ("*", "?")
    if star:
        start, end = low, high
    else:
        start = _number(first, names)
        end = _number(last, names) if hyphen else start
    step = 1
    if slash:
        step = _number(every, {})
        if not hyphen:
            end = high
        star = star and step == 1
    if start < low or end > high or start > end or step == 0:
        raise BadSchedule
    return Field(frozenset(range(start, end + 1, step)), star)


def _field(text: str, low: int, high: int, names: dict[str, int]) -> Field:
    parts = [_range(part, low, high, names) for part in text.split(",") if part]
    return Field(frozenset().union(*(part.values for part in parts)), any(part.star for part in parts))


class Cron:
    """Six fields, and where they hold. Raises BadSchedule."""

    def __init__(self, pattern: str, zone: tzinfo) -> None:
        texts = pattern.split()
        if len(texts) != len(BOUNDS):
            raise BadSchedule
        fields = [_field(text, *bounds) for text, bounds in zip(texts, BOUNDS, strict=True)]
        self._seconds, self._minutes, self._hours = (sorted(field.values) for field in fields[:3])
        self._days, self._months, self._weekdays = fields[3:]
        self._zone = zone

    def _fits(self, day: date) -> bool:
        if day.month not in self._months.values:
            return False
        in_month = day.day in self._days.values
        in_week = day.isoweekday() % 7 in self._weekdays.values
        if self._days.star or self._weekdays.star:
            return in_month and in_week
        return in_month or in_week

    def _utc(self, day: date, hour: int, minute: int, second: int, fold: int) -> datetime | None:
        """None: this time of the day is left out."""
        local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=self._zone, fold=fold)
        found = local.astimezone(UTC)
        back = found.astimezone(self._zone)
        return (
            found if back.replace(tzinfo=None) == local.replace(tzinfo=None) and back.fold == fold else None
        )

    def _in_day(self, day: date, after: datetime) -> datetime | None:
        for hour in self._hours:
            for fold in (0, 1):
                end = datetime(day.year, day.month, day.day, hour, 59, 59, tzinfo=self._zone, fold=fold)
                if end.astimezone(UTC) <= after:
                    continue
                for minute in self._minutes:
                    last = self._utc(day, hour, minute, 59, fold)
                    if last is None or last <= after:
                        continue
                    for second in self._seconds:
                        found = self._utc(day, hour, minute, second, fold)
                        if found is not None and found > after:
                            return found
        return None

    def next(self, after_ns: int) -> int:
        """The first time behind this one. Raises BadSchedule when there is none for years."""
        try:
            after = utc(after_ns // SECOND_NS)
            day = after.astimezone(self._zone).date()
            last = day.year + YEARS
            while day.year <= last:
                found = self._in_day(day, after) if self._fits(day) else None
                if found is not None:
                    return round(found.timestamp()) * SECOND_NS
                day += timedelta(days=1)
        except (OverflowError, ValueError):
            pass
        raise BadSchedule


def _round(ns: int) -> int:
    return (ns + SECOND_NS // 2) // SECOND_NS * SECOND_NS


def zone_of(wishes: Wishes) -> tzinfo | None:
    """None: no zone was named. Raises ApiError 10223."""
    name = wishes.get(b"Nats-Schedule-Time-Zone")
    if name is None:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415  (half a megabyte, for those who name a zone)

    try:
        if not 0 < len(name) <= ZONE_NAME_MAX:
            raise ValueError(name)
        return ZoneInfo(name.decode())
    except (ValueError, KeyError, OSError):
        raise error(10223) from None


def due_of(pattern: bytes, zone: tzinfo | None, ts: int, now: int) -> Due:
    """When it is due next after ``ts``. Raises BadSchedule."""
    try:
        text = pattern.decode()
        if text.startswith(("@at ", "@every ")):
            if zone is not None:
                raise BadSchedule
            if text.startswith("@at "):
                return Due(max(parse_rfc3339(text[4:]), 1), repeats=False)
            every = parse_go_duration(text[7:])
            if not SECOND_NS <= every < 1 << 62:
                raise BadSchedule
            due = _round(ts) + every
            return Due(due if due >= now else _round(now) + every, repeats=True)
    except ValueError:
        raise BadSchedule from None
    cron = Cron(NAMED.get(text, text), zone or UTC)
    due = cron.next(ts)
    return Due(due if due >= now else cron.next(_round(now)), repeats=True)


def due_in(wishes: Wishes, ts: int, now: int) -> Due | None:
    """When a stored message is due; None: it is no schedule."""
    pattern = wishes.get(b"Nats-Schedule")
    if not pattern:
        return None
    try:
        return due_of(pattern, zone_of(wishes), ts, now)
    except (BadSchedule, ApiError):
        return None


def check_schedule(
    config: StreamConfig, subject: bytes, header: bytes, wishes: Wishes, now: int, last: LastHeader
) -> bytes:
    """What a publish says of schedules; its header, with a rollup for one. Raises ApiError."""
    pattern = wishes.get(b"Nats-Schedule")
    if pattern:
        if not config.allow_msg_schedules:
            raise error(10188)
        zone = zone_of(wishes)
        try:
            due_of(pattern, zone, now, now)
        except BadSchedule:
            raise error(10189) from None
        header = _checked(config, subject, header, wishes)
    elif b"Nats-Schedule-Time-Zone" in wishes:
        try:
            zone_of(wishes)
        except ApiError:
            raise error(10223 if config.allow_msg_schedules else 10188) from None
    _check_scheduler(config, subject, wishes, last)
    return header


def _checked(config: StreamConfig, subject: bytes, header: bytes, wishes: Wishes) -> bytes:
    ttl = wishes.get(b"Nats-Schedule-TTL")
    if ttl and parse_ttl(ttl) == 0:
        raise error(10191)
    if wishes.get(b"Nats-Schedule-Rollup", b"sub") not in (b"sub", b""):
        raise error(10192)
    if ttl and not config.allow_msg_ttl:
        raise error(10166)
    target, source = wishes.get(b"Nats-Schedule-Target", b""), wishes.get(b"Nats-Schedule-Source", b"")
    if not _literal(target) or target == subject:
        raise error(10190)
    if source and (not _literal(source) or source in (target, subject)):
        raise error(10203)
    if not _covered(config, target):
        raise error(10190)
    if source and not _covered(config, source):
        raise error(10203)
    rollup = wishes.get(b"Nats-Rollup")
    if not rollup:
        wishes[b"Nats-Rollup"] = b"sub"
        return with_field(header, b"Nats-Rollup: sub")
    if rollup.lower() != b"sub":
        raise error(10192)
    return header


def _literal(subject: bytes) -> bool:
    text = subject.decode(errors="surrogateescape")
    return subjects.is_valid(text) and subjects.is_literal(text)


def _covered(config: StreamConfig, subject: bytes) -> bool:
    text = subject.decode(errors="surrogateescape")
    return any(subjects.collide(one, text) for one in config.subjects)


def _check_scheduler(config: StreamConfig, subject: bytes, wishes: Wishes, last: LastHeader) -> None:
    """A client may only take a schedule back."""
    following, scheduler = wishes.get(b"Nats-Schedule-Next"), wishes.get(b"Nats-Scheduler")
    if not following:
        if scheduler:
            raise error(10212)
        return
    if following != PURGE or not scheduler or scheduler == subject or not _literal(scheduler):
        raise error(10212)
    if not config.allow_msg_schedules:
        raise error(10188)
    known = last(scheduler)
    if known is not None and not field_of(known, b"Nats-Schedule"):
        raise error(10212)
