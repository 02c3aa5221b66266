"""The model's matcher, which everything else is measured against, held to what wire.md 1.11 says in words."""

from hypothesis import given
from hypothesis import strategies as st
from tests.property.model import is_literal, is_valid, matches

words = st.text(
    st.characters(blacklist_characters=" .*>\t\r\n\f", blacklist_categories=["Cs"]), min_size=1, max_size=4
)
tokens = st.one_of(st.sampled_from(["a", "b"]), words)
literals = st.lists(tokens, min_size=1, max_size=5)
patterns = st.lists(st.one_of(tokens, st.just("*")), min_size=1, max_size=5)


@given(literals)
def test_a_literal_matches_itself(subject: list[str]) -> None:
    assert matches(".".join(subject), ".".join(subject))


@given(literals, literals)
def test_a_literal_matches_nothing_else(one: list[str], two: list[str]) -> None:
    assert matches(".".join(one), ".".join(two)) == (one == two)


@given(literals, st.data())
def test_stars_stand_for_one_token_each(subject: list[str], data: st.DataObject) -> None:
    starred = [data.draw(st.sampled_from([token, "*"])) for token in subject]
    assert matches(".".join(starred), ".".join(subject))
    assert not matches(".".join([*starred, "*"]), ".".join(subject))
    assert not matches(".".join(starred), ".".join([*subject, "x"]))


@given(literals, st.integers(0, 5))
def test_a_final_gt_stands_for_one_or_more(subject: list[str], kept: int) -> None:
    pattern = ".".join([*subject[:kept], ">"])
    assert matches(pattern, ".".join(subject)) == (kept < len(subject))


@given(patterns, literals)
def test_a_star_pattern_needs_the_same_number_of_tokens(pattern: list[str], subject: list[str]) -> None:
    if matches(".".join(pattern), ".".join(subject)):
        assert len(pattern) == len(subject)


@given(patterns, literals)
def test_widening_a_pattern_loses_nothing(pattern: list[str], subject: list[str]) -> None:
    if matches(".".join(pattern), ".".join(subject)):
        for at in range(len(pattern)):
            assert matches(".".join([*pattern[:at], "*", *pattern[at + 1 :]]), ".".join(subject))
            assert matches(".".join([*pattern[:at], ">"]), ".".join(subject))


@given(literals, words)
def test_wildcards_inside_a_token_are_plain_text(subject: list[str], word: str) -> None:
    for odd in (word + "*", "*" + word, word + ">", ">" + word, "**", ">>"):
        assert matches(".".join([*subject, odd]), ".".join([*subject, odd]))
        assert not matches(".".join([*subject, odd]), ".".join([*subject, word]))


@given(patterns, st.integers(0, 5))
def test_an_empty_token_is_no_subject(pattern: list[str], at: int) -> None:
    broken = ".".join([*pattern[:at], "", *pattern[at:]])
    assert not is_valid(broken)
    assert not is_literal(broken)
    assert not matches(">", broken)


@given(patterns)
def test_gt_is_valid_at_the_end_only(pattern: list[str]) -> None:
    assert is_valid(".".join(pattern))
    assert is_valid(".".join([*pattern, ">"]))
    assert not is_valid(".".join([">", *pattern]))


@given(literals)
def test_what_is_literal(subject: list[str]) -> None:
    assert is_literal(".".join(subject))
    assert not is_literal(".".join([*subject, "*"]))
    assert not is_literal(".".join([*subject, ">"]))
    assert is_literal(".".join([*subject, "a*"]))
