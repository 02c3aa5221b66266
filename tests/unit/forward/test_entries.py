"""When an entry has its turn."""

import pytest

from phloem.edge.forward.settings import entry_of
from phloem.shared.errors import ConfigError
from phloem.shared.forward.entries import Turn
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.options_forward import Forward

HOUR = 3600


def turn(**fields: object) -> Turn:
    return Turn(entry_of(Forward(name="N", subjects=("a",), **fields)))  # type: ignore[arg-type]


def test_hours_over_midnight() -> None:
    it = turn(hours=("22:00-06:00", "12:00-12:30"))
    assert it.wait_ns(1, 23 * HOUR) == it.wait_ns(1, 0) == it.wait_ns(1, 12 * HOUR) == 0
    assert it.wait_ns(1, 6 * HOUR) == 6 * HOUR * SECOND_NS
    assert it.wait_ns(1, 13 * HOUR) == 9 * HOUR * SECOND_NS


def test_hours_mean_nothing_without_a_clock() -> None:
    assert turn(hours=("22:00-06:00",)).wait_ns(1, None) == 0


def test_no_hours() -> None:
    with pytest.raises(ConfigError, match='forward "N": "25:00-01:00": a day has 24 hours'):
        turn(hours=("25:00-01:00",))


def test_a_rate_is_a_debt_that_is_waited_for() -> None:
    it = turn(rate=1000)
    assert it.wait_ns(SECOND_NS, None) == 0
    it.spent(3000)
    assert it.wait_ns(SECOND_NS, None) == 2 * SECOND_NS + 1
    assert it.wait_ns(3 * SECOND_NS + 1, None) == 0
