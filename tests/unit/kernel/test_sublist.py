"""The trie against a matcher that splits and compares."""

from hypothesis import given
from hypothesis import strategies as st

from phloem.shared.kernel.sublist import Trie
from tests.fuzz.targets import covers

tokens = st.sampled_from([b"a", b"b", b"c", b"d*", b"\xc3\xa9", b"x" * 300])
literals = st.lists(tokens, min_size=1, max_size=5).map(b".".join)
patterns = st.builds(
    lambda head, tail: b".".join([*head, *tail]),
    st.lists(st.one_of(tokens, st.just(b"*")), min_size=1, max_size=4),
    st.sampled_from([[], [b">"]]),
)
entries = st.lists(st.tuples(patterns, st.sampled_from([None, b"q", b"g"])), max_size=40)


def filled(held: list[tuple[bytes, bytes | None]]) -> Trie:
    trie = Trie(seed=3)
    for ident, (pattern, queue) in enumerate(held):
        trie.insert(pattern, ident, queue)
    return trie


@given(entries, literals)
def test_match_is_the_naive_match(held: list[tuple[bytes, bytes | None]], subject: bytes) -> None:
    assert filled(held).match(subject) == [n for n, (p, _) in enumerate(held) if covers(p, subject, False)]


@given(entries, patterns)
def test_subset_is_the_naive_subset(held: list[tuple[bytes, bytes | None]], pattern: bytes) -> None:
    assert filled(held).match(pattern, True) == [
        n for n, (p, _) in enumerate(held) if covers(p, pattern, True)
    ]


@given(entries, st.randoms(use_true_random=False), literals)
def test_what_is_removed_no_longer_matches(
    held: list[tuple[bytes, bytes | None]], random: object, subject: bytes
) -> None:
    trie = filled(held)
    order = list(range(len(held)))
    random.shuffle(order)  # type: ignore[attr-defined]
    left = set(order)
    for ident in order:
        trie.remove(ident)
        left.remove(ident)
        assert trie.match(subject) == sorted(n for n in left if covers(held[n][0], subject, False))
    assert trie.empty()


@given(entries)
def test_patterns_read_back(held: list[tuple[bytes, bytes | None]]) -> None:
    assert filled(held).patterns() == {n: [pattern] for n, (pattern, _) in enumerate(held)}


def test_empty_tokens_match_nothing() -> None:
    trie = filled([(b">", None), (b"*.*", None)])
    for subject in (b"", b".", b"a.", b".a", b"a..b"):
        assert trie.match(subject) == []


def test_thousands_of_children_come_and_go() -> None:
    """The table of a Node grows and shrinks; every child stays findable on the way."""
    trie, count = Trie(), 3_000
    for n in range(count):
        trie.insert(b"a.%d" % n, n)
    for n in range(0, count, 2):
        trie.remove(n)
    assert [trie.match(b"a.%d" % n) for n in range(count)] == [[n] if n % 2 else [] for n in range(count)]
    for n in range(1, count, 2):
        trie.remove(n)
        assert trie.match(b"a.%d" % (count - 1)) == ([count - 1] if n < count - 1 else [])
    assert trie.empty()


def test_deepest_pattern() -> None:
    """As many tokens as a link's control line holds."""
    trie, deep = Trie(), b".".join([b"*"] * 32_000)
    trie.insert(deep, 1)
    trie.insert(b"*.>", 2)
    assert trie.match(deep.replace(b"*", b"a")) == [1, 2]
    assert trie.match(b"a.b") == [2]
    trie.remove(1)
    trie.remove(2)
    assert trie.empty()
