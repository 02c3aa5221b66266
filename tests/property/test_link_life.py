"""While a remote is wanted and its link is not up, something is going to happen: for arbitrary stories."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from phloem.shared.leaf.life import Life, State

GUARD_NS = 60
MOST_NS = 40  # of a pause

EVENTS = ("begin", "connected", "up", "over", "crashed", "hurry", "late_connected", "late_up", "late_over")
STORIES = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 200), st.integers(0, MOST_NS)), max_size=60
)


def tell(life: Life, event: str, now_ns: int, pause_ns: int) -> None:
    attempt = life.attempt - event.startswith("late_")
    match event.removeprefix("late_"):
        case "begin":
            life.begin(now_ns, GUARD_NS)
        case "connected":
            life.connected(attempt)
        case "up":
            life.up(attempt, now_ns)
        case "over":
            life.over(attempt, now_ns, pause_ns)
        case "crashed":
            life.crashed(now_ns, pause_ns)
        case "hurry":
            life.hurry(now_ns, pause_ns)


@settings(max_examples=examples(1000))
@given(STORIES)
def test_something_is_always_going_to_happen(story: list[tuple[str, int, int]]) -> None:
    now_ns, life = 0, Life(0)
    for event, passes_ns, pause_ns in story:
        now_ns += passes_ns
        tell(life, event, now_ns, pause_ns)
        if life.state is State.UP:
            assert life.due_ns is None
        else:
            assert life.due_ns is not None
            assert life.due_ns <= now_ns + max(GUARD_NS, MOST_NS)
        assert life.since_ns <= now_ns


@given(STORIES)
def test_an_attempt_that_is_over_says_nothing_any_more(story: list[tuple[str, int, int]]) -> None:
    now_ns, life = 0, Life(0)
    for event, passes_ns, pause_ns in story:
        now_ns += passes_ns
        before = (life.state, life.due_ns, life.since_ns, life.attempt)
        tell(life, event, now_ns, pause_ns)
        if event.startswith("late_"):
            assert (life.state, life.due_ns, life.since_ns, life.attempt) == before


@given(STORIES, STORIES)
def test_nothing_happens_after_the_end(
    before: list[tuple[str, int, int]], after: list[tuple[str, int, int]]
) -> None:
    life = Life(0)
    for event, at_ns, pause_ns in before:
        tell(life, event, at_ns, pause_ns)
    life.end()
    for event, at_ns, pause_ns in after:
        tell(life, event, at_ns, pause_ns)
        assert life.state is State.ENDED
        assert life.due_ns is None
