"""Dates of times, on machines whose own calendar ends in 2038 as well. Pure."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(seconds: int) -> datetime:
    """The date of a time since 1970; ``datetime.fromtimestamp`` ends in 2038 on machines with 32 bits.

    Raises:
        OverflowError: It is after the year 9999.
    """
    return _EPOCH + timedelta(seconds=seconds)
