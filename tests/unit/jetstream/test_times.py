"""Times as JetStream writes them, on machines whose own clock ends in 2038 as well."""

from datetime import datetime, tzinfo

import pytest

from phloem.shared import dates
from phloem.shared.jetstream.times import ZERO, parse_rfc3339, rfc3339
from phloem.shared.server.monitor.render import date


class Of32Bits(datetime):
    """``datetime`` where ``time_t`` has 32 bits."""

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> "Of32Bits":
        if not -(1 << 31) <= timestamp < 1 << 31:
            raise OverflowError("timestamp out of range for platform time_t")
        return super().fromtimestamp(timestamp, tz)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00.000000001Z",
        "2026-11-28T12:00:00.25Z",
        "2038-01-19T03:14:08Z",
        "2090-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
    ],
)
def test_a_time_is_written_as_it_was_read(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dates, "datetime", Of32Bits)
    ns = parse_rfc3339(text)
    assert rfc3339(ns) == date(ns) == text


def test_no_time() -> None:
    assert rfc3339(0) == rfc3339(None) == ZERO
