"""What happens in the demo, and what is told of it."""

import pytest

from phloem.edge.demo.story import Act, Do, Facts, Story
from phloem.shared.limits import SECOND_NS

TOTAL_S = 10


def at(seconds: float) -> int:
    return round(seconds * SECOND_NS)


def facts(read: int, arrived: int, historical: int = 0, raised: int = 0, alarms: int = 0) -> Facts:
    return Facts(read, arrived, historical, raised, alarms)


def test_from_beginning_to_end() -> None:
    story = Story(at(TOTAL_S))
    assert story.due(at(1.9), facts(19, 19)) == Do.NOTHING
    assert story.due(at(2), facts(20, 20)) == Do.CUT
    assert story.cut(at(2)).startswith("the cable is cut")
    assert story.act == Act.CUT
    assert story.due(at(5.4), facts(54, 20)) == Do.NOTHING
    assert story.due(at(5.5), facts(55, 20)) == Do.ALARM
    assert story.raised(at(5.5), facts(55, 20)) == "an alarm is raised at the edge, behind 35 readings"
    assert story.due(at(5.9), facts(59, 20, raised=1)) == Do.NOTHING
    assert story.due(at(6), facts(60, 20, raised=1)) == Do.MEND
    assert story.mended(at(6), facts(60, 20, raised=1)) == "the cable is mended after 4.0 s; 40 readings wait"
    assert story.arrived(at(6.1), facts(61, 20, raised=1)) == []
    assert story.due(at(6.1), facts(61, 20, raised=1)) == Do.NOTHING  # nothing has come yet
    assert story.arrived(at(6.5), facts(65, 20, raised=1, alarms=1)) == [
        "the alarm is at the hub, 0.5 s after the mending, before 35 older readings"
    ]
    assert story.arrived(at(7), facts(70, 30, 10, 1, 1)) == [
        "the first readings of the backlog are at the hub, 1.0 s after the mending"
    ]
    assert story.due(at(7), facts(70, 30, 10, 1, 1)) == Do.ALARM
    story.raised(at(7), facts(70, 30, 10, 1, 1))
    assert story.due(at(7.1), facts(71, 30, 10, 2, 1)) == Do.NOTHING
    assert story.arrived(at(7.5), facts(75, 50, 30, 2, 2)) == [
        "the alarm is at the hub, 0.5 s after it was raised, before 20 older readings"
    ]
    assert story.arrived(at(8), facts(80, 60, 40, 2, 2)) == [
        "caught up 2.0 s after the mending: 40 readings came marked as historical"
    ]
    assert (story.act, story.overtaken, story.peak) == (Act.CAUGHT_UP, 55, 45)
    assert story.arrived(at(9), facts(90, 90, 40, 2, 2)) == []
    assert story.due(at(9.9), facts(99, 90, 40, 2, 2)) == Do.NOTHING


def test_an_alarm_that_nothing_waits_for_overtakes_nothing() -> None:
    story = Story(at(TOTAL_S))
    story.raised(at(1), facts(10, 10))
    assert story.arrived(at(1.5), facts(15, 15, raised=1, alarms=1)) == [
        "the alarm is at the hub, 0.5 s after it was raised, before 0 older readings"
    ]
    assert story.overtaken == 0


def test_one_reading_is_one() -> None:
    story = Story(at(TOTAL_S))
    assert story.raised(at(1), facts(10, 9)).endswith("behind 1 reading")


@pytest.mark.parametrize(("read", "arrived", "waiting"), [(5, 3, 2), (3, 5, 0)])
def test_waiting(read: int, arrived: int, waiting: int) -> None:
    """The hub's subscriber may be ahead of the edge's: both are clients of their own."""
    assert facts(read, arrived).waiting == waiting
