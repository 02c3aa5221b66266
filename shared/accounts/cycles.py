"""Whether an import would form a cycle, as nats-server searches for one (accounts.go: ``checkForImportCycle``).

The search goes from the exporter along what it imports itself, as far as subjects collide. It sees what was accepted
before: imports of accounts that stand before the importer. So a verdict depends on the order of accounts, and on those
accounts only that the search can come to.

An account is *settled* if all that it imports, and what is behind that, stands before it. A search from there comes
nowhere twice on a straight way, and never back to an importer behind it; how long such a way is, is found once for all
importers. So a long chain of accounts costs each importer one look.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from phloem.shared.accounts.subject_index import SubjectIndex
from phloem.shared.wire import subjects

SEARCH_MAX = 1024  # accounts that a search passes
EXHAUSTED, CYCLE = "search cycle depth exhausted", "import forms a cycle"
INDEXED_FROM = 8  # imports of an account


class _Accepted(Protocol):
    @property
    def exporter(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def local(self) -> str: ...


Accepted = TypeVar("Accepted", bound=_Accepted)


class _Imports(Generic[Accepted]):
    """What one account imports. ``subject_of``: what the search collides with."""

    def __init__(self, accepted: Sequence[Accepted], subject_of: Callable[[Accepted], str]) -> None:
        self.accepted = accepted
        self.settled = False
        self._subject_of = subject_of
        self._index: SubjectIndex[Accepted] | None = None

    def colliding(self, subject: str) -> Sequence[Accepted]:
        if len(self.accepted) < INDEXED_FROM:
            return [one for one in self.accepted if subjects.collide(subject, self._subject_of(one))]
        if self._index is None:
            self._index = SubjectIndex()
            for one in self.accepted:
                self._index.add(self._subject_of(one), one)
        return self._index.colliding(subject)


class Cycles(Generic[Accepted]):
    """Imports of one kind that were accepted, by account. ``passes``: whether an account lets a subject out at all."""

    def __init__(self, subject_of: Callable[[Accepted], str], passes: Callable[[str, str], bool]) -> None:
        self._subject_of, self._passes = subject_of, passes
        self._imports: dict[str, _Imports[Accepted]] = {}
        self._position: Mapping[str, int] = {}
        self._straight: dict[tuple[str, str], int | None] = {}
        self.looks = 0  # at an account during searches, since the beginning

    def begin(self, position: Mapping[str, int]) -> None:
        """Accounts are about to be looked at in this order; of the others everything is as it was."""
        self._position = position
        self._straight.clear()

    def of(self, account: str) -> Sequence[Accepted]:
        """What an account imports."""
        imports = self._imports.get(account)
        return imports.accepted if imports is not None else ()

    def accept(self, account: str, accepted: Sequence[Accepted]) -> None:
        """An account has been looked at; those before it have been, too."""
        if not accepted:
            self._imports.pop(account, None)
            return
        self._imports[account] = imports = _Imports(accepted, self._subject_of)
        place = self._position[account]
        imports.settled = all(
            self._position.get(one.exporter, place) < place and self._is_settled(one.exporter)
            for one in accepted
        )

    def forget(self) -> None:
        """Begin anew."""
        self._imports.clear()

    def wrong(self, importer: str, exporter: str, subject: str, own: Sequence[Accepted]) -> str:
        """Why ``importer``, with its imports ``own`` so far, cannot import ``subject``; empty if it can."""
        if exporter != importer and self._position[exporter] >= self._position[importer]:
            return ""
        if exporter != importer and self._is_settled(exporter):
            length = self._length(exporter, subject)
            if length is not None:
                return EXHAUSTED if length + 1 >= SEARCH_MAX else ""
        return self._search(importer, exporter, subject, _Imports(own, self._subject_of))

    def _is_settled(self, account: str) -> bool:
        imports = self._imports.get(account)
        return imports is None or imports.settled

    def _next(
        self, account: str, subject: str, imports: "_Imports[Accepted] | None"
    ) -> Iterator[tuple[str, str]]:
        self.looks += 1
        if imports is not None and self._passes(account, subject):
            for one in imports.colliding(subject):
                yield one.exporter, one.local if subjects.matches(subject, one.local) else subject

    def _length(self, account: str, subject: str) -> int | None:
        """Of the way from a settled account; None: it branches."""
        way: list[tuple[str, str]] = []
        while (account, subject) not in self._straight:
            following = list(self._next(account, subject, self._imports.get(account)))
            if len(following) != 1:
                self._straight[account, subject] = None if following else 0
                break
            way.append((account, subject))
            account, subject = following[0]
        length = self._straight[account, subject]
        for place in reversed(way):
            length = None if length is None else length + 1
            self._straight[place] = length
        return length

    def _search(self, importer: str, exporter: str, subject: str, own: "_Imports[Accepted]") -> str:
        """Whether what ``exporter`` imports leads back, as far as subjects collide."""
        before = self._position[importer]

        def following(account: str, subject: str) -> Iterator[tuple[str, str]]:
            if account == importer:
                return self._next(account, subject, own)
            seen = self._position.get(account, before) < before
            return self._next(account, subject, self._imports.get(account) if seen else None)

        visited = {importer}
        path = [(exporter, following(exporter, subject))]
        while path:
            account, ways = path[-1]
            step = next(ways, None)
            if step is None:
                path.pop()
                continue
            if step[0] in visited:
                return CYCLE
            visited.add(account)
            if len(visited) >= SEARCH_MAX:
                return EXHAUSTED
            path.append((step[0], following(*step)))
        return ""
