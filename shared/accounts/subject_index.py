"""Values by subject: which patterns cover a subject and which collide with one, without looking at all of them.

What is found is what ``wire.subjects`` says of each pattern, in the order in which they were added. A pattern's place
is found by its tokens, so each of them is looked at once at most, however many wildcards there are.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class _Node(Generic[Value]):
    __slots__ = ("below", "here", "rest")

    def __init__(self) -> None:
        self.below: dict[str, _Node[Value]] = {}
        self.here: list[tuple[int, Value]] = []  # patterns that end here
        self.rest: list[tuple[int, Value]] = []  # those that go on with ">"


class SubjectIndex(Generic[Value]):
    """Patterns with what belongs to them."""

    def __init__(self) -> None:
        self._root: _Node[Value] = _Node()
        self._count = 0

    def add(self, pattern: str, value: Value) -> None:
        """The same pattern may be added more than once."""
        node = self._root
        for token in pattern.split("."):
            if token == ">":
                node.rest.append((self._count, value))
                break
            node = node.below.setdefault(token, _Node())
        else:
            node.here.append((self._count, value))
        self._count += 1

    def covering(self, subject: str) -> list[Value]:
        """Of patterns that cover ``subject``, which may be a pattern itself (``subjects.matches``)."""
        tokens = subject.split(".")
        found: list[tuple[int, Value]] = []
        nodes = [self._root]
        for token in tokens:
            for node in nodes:
                found += node.rest
            if token == ">":
                break
            nodes = list(_next(nodes, {token, "*"}))
        else:
            for node in nodes:
                found += node.here
        return _in_order(found)

    def colliding(self, subject: str) -> list[Value]:
        """Of patterns that some subject matches that ``subject`` matches, too (``subjects.collide``)."""
        tokens = subject.split(".")
        found: list[tuple[int, Value]] = []
        nodes = [self._root]
        for token in tokens:
            for node in nodes:
                found += node.rest
            if token == ">":
                for node in nodes:
                    for child in node.below.values():
                        found += _all(child)
                break
            nodes = list(_next(nodes, None if token == "*" else {token, "*"}))
        else:
            for node in nodes:
                found += node.here
        return _in_order(found)


def _next(nodes: list[_Node[Value]], tokens: set[str] | None) -> Iterator[_Node[Value]]:
    """Below these nodes, by some tokens; ``None``: by any."""
    for node in nodes:
        if tokens is None:
            yield from node.below.values()
        else:
            yield from (node.below[token] for token in tokens if token in node.below)


def _all(node: _Node[Value]) -> Iterator[tuple[int, Value]]:
    nodes = [node]
    while nodes:
        node = nodes.pop()
        yield from node.here
        yield from node.rest
        nodes += node.below.values()


def _in_order(found: list[tuple[int, Value]]) -> list[Value]:
    return [value for _, value in sorted(found, key=lambda entry: entry[0])]
