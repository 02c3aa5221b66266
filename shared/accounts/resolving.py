"""Which imports are allowed, kept up to date while accounts change (security_ops 2.6).

``Resolving`` has the verdicts on all imports. ``update`` looks again only where a verdict can be another one:

* at all imports of an account whose definition has changed;
* at those of who imports from it, if its exports have changed, or an activation decides;
* where a search for cycles may come by: at who imports from an account, directly or not, and stands behind it, if what
  that account really imports has changed.

What comes out is what it would be if all had been looked at in their order: an export of exactly the imported subject
decides, else the first that covers it; ``token_position`` asks for the importer's name in the import's subject,
``token_required`` for an activation that ``judge`` accepts, ``accounts`` for membership. Imports that would form a
cycle (``cycles.py``) are refused in the order in which they stand, all streams before services.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic

from phloem.shared.accounts.crossings import (
    Crossings,
    Problem,
    Refused,
    ServiceCrossing,
    StreamCrossing,
    bad_latency,
    service_crossing,
    stream_crossing,
)
from phloem.shared.accounts.cycles import Accepted, Cycles
from phloem.shared.accounts.definition import Definition, Export, Import, Kind, Latency
from phloem.shared.accounts.subject_index import SubjectIndex
from phloem.shared.wire import subjects
from phloem.shared.wire.transform import without_references

Judge = Callable[[Definition, Export, str, Import], bool]
"""Exporter, its export, the importer's name, the import: whether its activation is good now."""


def nobody(_exporter: Definition, _export: Export, _importer: str, _import: Import) -> bool:
    """The judge where there are no activations."""
    return False


def resolve(definitions: Mapping[str, Definition], judge: Judge = nobody) -> Crossings:
    """What all accounts really import."""
    resolving = Resolving(judge)
    resolving.update(definitions)
    return resolving.crossings()


class _Exports:
    """An account's exports by subject."""

    def __init__(self, definition: Definition) -> None:
        self._exact: dict[Kind, dict[str, Export]] = {kind: {} for kind in Kind}
        for export in definition.exports:
            self._exact[export.kind][export.subject] = export
        self._covering: dict[Kind, SubjectIndex[Export]] = {}
        self._latencies: dict[str, Latency | None] = {}
        self._definition = definition

    def of(self, kind: Kind, subject: str) -> Export | None:
        """As ``crossings.export_of``."""
        exact = self._exact[kind].get(subject)
        return exact if exact is not None else next(iter(self._index(kind).covering(subject)), None)

    def passes(self, subject: str) -> bool:
        """Whether a stream covers it."""
        return bool(self._exact[Kind.STREAM]) and self.of(Kind.STREAM, subject) is not None

    def latency(self, export: Export) -> Latency | None:
        """How a service is measured, if that makes sense."""
        if export.subject not in self._latencies:
            bad = bad_latency(self._definition, export)
            self._latencies[export.subject] = None if bad else export.latency
        return self._latencies[export.subject]

    def _index(self, kind: Kind) -> SubjectIndex[Export]:
        if kind not in self._covering:
            index = self._covering[kind] = SubjectIndex[Export]()
            for subject, export in self._exact[kind].items():
                index.add(subject, export)
        return self._covering[kind]


class Resolving:
    """The verdicts on the imports of all accounts.

    ``judged`` imports have been looked at since the beginning, and accounts during searches for cycles ``looks`` times.
    """

    def __init__(self, judge: Judge = nobody) -> None:
        self._judge = judge
        self._numbers = itertools.count()
        self._definitions: dict[str, Definition] = {}
        self._position: dict[str, int] = {}
        self._exports: dict[str, _Exports] = {}
        self._importers: dict[Kind, dict[str, set[str]]] = {kind: {} for kind in Kind}
        self._named_by: dict[str, set[str]] = {}  # in lists of who may import
        self._streams = Cycles[StreamCrossing](lambda one: one.local, self._passes)
        self._services = Cycles[ServiceCrossing](lambda one: one.subject, lambda _account, _subject: True)
        self._wrong_exports: dict[str, list[Problem]] = {}
        self._wrong_imports: dict[Kind, dict[str, list[Problem]]] = {kind: {} for kind in Kind}
        self.judged = 0

    # --- what is so ------------------------------------------------------------------------------------

    @property
    def looks(self) -> int:
        """See above."""
        return self._streams.looks + self._services.looks

    def streams(self, account: str) -> Sequence[StreamCrossing]:
        """What an account really imports."""
        return self._streams.of(account)

    def services(self, account: str) -> Sequence[ServiceCrossing]:
        """The same."""
        return self._services.of(account)

    def is_complete(self, account: str) -> bool:
        """Whether all its imports are allowed."""
        return not any(account in wrong for wrong in self._wrong_imports.values())

    def problems(self) -> list[Problem]:
        """What is wrong, in the order in which it is found when everything is looked at."""
        found: list[Problem] = []
        exporters = sorted(self._wrong_exports, key=self._position.__getitem__)
        for kind in Kind:
            found += [p for name in exporters for p in self._wrong_exports[name] if p.thing.kind is kind]
        for kind in Kind:
            wrong = self._wrong_imports[kind]
            found += [p for name in sorted(wrong, key=self._position.__getitem__) for p in wrong[name]]
        return found

    def crossings(self) -> Crossings:
        """All of it."""
        streams = {name: self.streams(name) for name in self._definitions if self.streams(name)}
        services = {name: self.services(name) for name in self._definitions if self.services(name)}
        return Crossings(streams, services, self.problems())

    # --- changes ---------------------------------------------------------------------------------------

    def update(self, definitions: Mapping[str, Definition], again: Iterable[str] = ()) -> set[str]:
        """These are all accounts from now on; ``again`` have activations that may have run out.

        Gives the accounts that were looked at; for the others nothing is different.
        """
        if not self._keeps_order(definitions):
            there = set(self._definitions)
            self.update({})  # in another order each verdict may be another one
            return there | self.update(definitions)
        changed = {name for name, after in definitions.items() if self._has_changed(name, after)}
        gone = self._definitions.keys() - definitions.keys()
        come = definitions.keys() - self._definitions.keys()
        opened: set[str] = set()  # whose exports may be others, by themselves or by who gives leave
        passing: set[str] = set()  # which let other streams through than before
        for name in changed | gone:
            before, after = self._definitions.get(name), definitions.get(name)
            other = before is None or after is None or before.exports != after.exports
            if other or (after is not None and _asks_leave(after)):
                opened.add(name)
            if other:
                passing.add(name)
            self._replace(name, before, after)
        self._position.update((name, next(self._numbers)) for name in definitions if name in come)
        self._definitions = dict(definitions)
        naming = {by for name in gone | come for by in self._named_by.get(name, ())}
        for name in changed | gone | naming:
            self._check_exports(name)
        looked_at = changed | gone
        for kind in Kind:
            due = {by for name in opened for by in self._importers[kind].get(name, ())}
            due |= changed | gone | (set(again) & self._definitions.keys())
            if kind is Kind.STREAM:
                looked_at |= self._look(kind, self._streams, _Streams, due, passing)
            else:
                looked_at |= self._look(kind, self._services, _Services, due, set())
        for name in gone:
            del self._position[name]
        return looked_at

    def _keeps_order(self, definitions: Mapping[str, Definition]) -> bool:
        """Those that stay are in the order in which they were, and new ones behind them."""
        stay = (name for name in self._definitions if name in definitions)
        return all(name == was for name, was in zip(definitions, stay, strict=False))

    def _has_changed(self, name: str, after: Definition) -> bool:
        before = self._definitions.get(name)
        if before is after:
            return False
        if before is None or before.exports != after.exports or before.imports != after.imports:
            return True
        # keys of who gives leave, and what is in an activation, are in no definition
        return _asks_leave(after) or any(entry.token for entry in after.imports)

    def _replace(self, name: str, before: Definition | None, after: Definition | None) -> None:
        """Who imports from whom, and who names whom."""
        self._exports.pop(name, None)
        for links, other in self._links(before):
            links[other].discard(name)
            if not links[other]:
                del links[other]
        for links, other in self._links(after):
            links.setdefault(other, set()).add(name)

    def _links(self, definition: Definition | None) -> Iterator[tuple[dict[str, set[str]], str]]:
        """Where an account stands under the name of another one, each place once."""
        if definition is None:
            return
        for kind, exporter in dict.fromkeys((entry.kind, entry.account) for entry in definition.imports):
            yield self._importers[kind], exporter
        named = (one for export in definition.exports for one in export.accounts or ())
        yield from ((self._named_by, one) for one in dict.fromkeys(named))

    def _look(
        self,
        kind: Kind,
        cycles: Cycles[Accepted],
        accepting: "type[_Accepting[Accepted]]",
        due: set[str],
        passing: set[str],
    ) -> set[str]:
        """Look at accounts in their order, and at those behind them whose search may go another way now."""
        cycles.begin(self._position)
        waiting = [(self._position[name], name) for name in due]
        heapq.heapify(waiting)
        due, reached = set(due), set[str]()
        while waiting:
            place, name = heapq.heappop(waiting)
            add = accepting(self, cycles)
            self._judge_all(kind, name, add)
            before, after = cycles.of(name), tuple(add.accepted)
            cycles.accept(name, after)
            if before == after and not (after and name in passing):
                continue
            for importer in self._behind(kind, name, reached):
                if self._position[importer] > place and importer not in due:
                    due.add(importer)
                    heapq.heappush(waiting, (self._position[importer], importer))
        return due

    def _behind(self, kind: Kind, name: str, reached: set[str]) -> Iterator[str]:
        """Who imports from an account, directly or not; but nobody who was ``reached`` before from one before it."""
        names = [name]
        while names:
            for importer in self._importers[kind].get(names.pop(), ()):
                if importer not in reached:
                    reached.add(importer)
                    names.append(importer)
                    yield importer

    # --- exports ---------------------------------------------------------------------------------------

    def _of(self, account: str) -> _Exports:
        if account not in self._exports:
            self._exports[account] = _Exports(self._definitions[account])
        return self._exports[account]

    def _passes(self, account: str, subject: str) -> bool:
        return self._of(account).passes(subject)

    def _check_exports(self, name: str) -> None:
        definition = self._definitions.get(name)
        problems = list(self._export_problems(definition)) if definition is not None else []
        if problems:
            self._wrong_exports[name] = problems
        else:
            self._wrong_exports.pop(name, None)

    def _export_problems(self, definition: Definition) -> Iterator[Problem]:
        for export in definition.exports:
            for name in sorted(export.accounts or ()):
                if name not in self._definitions:
                    text = f'"{name}" account not defined for {export.kind.value} export'
                    yield Problem(definition.name, export, text)
            position, tokens = export.token_position, export.subject.split(".")
            if position and (position > len(tokens) or tokens[position - 1] != "*"):
                yield Problem(definition.name, export, "sublist: invalid subject")
            if export.latency is not None and (reason := bad_latency(definition, export)):
                text = (
                    f'Error adding service latency sampling for "{export.subject}" '
                    f'on subject "{export.latency.subject}": {reason}'
                )
                yield Problem(definition.name, export, text)

    # --- imports ---------------------------------------------------------------------------------------

    def _judge_all(self, kind: Kind, name: str, add: "_Accepting[Accepted]") -> None:
        """What an account imports, now that those before it have been looked at."""
        definition = self._definitions.get(name)
        problems: list[Problem] = []
        for entry in definition.imports if definition is not None else ():
            if entry.kind is not kind:
                continue
            self.judged += 1
            try:
                exporter = self._definitions.get(entry.account)
                if exporter is None:
                    raise Refused(f'"{entry.account}" account not defined for {kind.value} import')
                add(name, exporter, entry)
            except Refused as problem:
                problems.append(Problem(name, entry, str(problem)))
        if problems:
            self._wrong_imports[kind][name] = problems
        else:
            self._wrong_imports[kind].pop(name, None)

    def authorize(self, exporter: Definition, importer: str, entry: Import) -> Export:
        """The export by which an import is allowed. Raises Refused."""
        kind = entry.kind
        export = self._of(exporter.name).of(kind, entry.subject)
        if export is None or not subjects.is_valid(entry.subject):
            raise Refused(f"{kind.value} import not authorized")
        if export.token_position:
            # an import of the pattern itself names nobody
            tokens = [] if export.subject == entry.subject else entry.subject.split(".")
            place = export.token_position - 1
            allowed = place < len(tokens) and tokens[place] == importer
        elif export.token_required:
            allowed = self._judge(exporter, export, importer, entry)
        else:
            allowed = export.accounts is None or importer in export.accounts
        if not allowed:
            raise Refused(f"{kind.value} import not authorized")
        return export

    def latency(self, exporter: Definition, export: Export) -> Latency | None:
        """How a service is measured."""
        return self._of(exporter.name).latency(export)


class _Accepting(Generic[Accepted]):
    """One account's imports of a kind, as they are accepted."""

    def __init__(self, resolving: Resolving, cycles: Cycles[Accepted]) -> None:
        self._resolving, self._cycles = resolving, cycles
        self._there: dict[tuple[str, str], Accepted] = {}  # by exporter and what has to be there only once
        self.accepted: list[Accepted] = []

    def __call__(self, name: str, exporter: Definition, entry: Import) -> None:
        """Accept it. Raises Refused."""
        raise NotImplementedError


class _Streams(_Accepting[StreamCrossing]):
    def __call__(self, name: str, exporter: Definition, entry: Import) -> None:
        self._resolving.authorize(exporter, name, entry)
        local = entry.to or entry.subject
        for subject in (local, entry.subject):
            if reason := self._cycles.wrong(name, exporter.name, subject, self.accepted):
                raise Refused(reason)
        crossing = stream_crossing(exporter.name, entry.subject, local)
        key = (exporter.name, entry.subject)
        if key in self._there:
            raise Refused("stream import already exists")
        self._there[key] = crossing
        self.accepted.append(crossing)


class _Services(_Accepting[ServiceCrossing]):
    def __call__(self, name: str, exporter: Definition, entry: Import) -> None:
        local = entry.to or entry.subject
        if not subjects.is_valid(local) or not subjects.is_valid(entry.subject):
            raise Refused("sublist: invalid subject")
        export = self._resolving.authorize(exporter, name, entry)
        asked = local if subjects.is_literal(entry.subject) else without_references(local)[0]
        if reason := self._cycles.wrong(name, exporter.name, asked, self.accepted):
            raise Refused(reason)
        there = self._there.get((exporter.name, local))
        if there is not None:
            raise Refused(
                f'duplicate service import subject "{local}", previously used in import for account '
                f'"{there.exporter}", subject "{there.subject}"'
            )
        crossing = service_crossing(exporter.name, entry.subject, local)._replace(
            share=entry.share,
            export=export.subject,
            response_type=export.response_type,
            threshold_ns=export.threshold_ns,
            latency=self._resolving.latency(exporter, export),
        )
        self._there.setdefault((exporter.name, crossing.local), crossing)
        self.accepted.append(crossing)


def _asks_leave(definition: Definition) -> bool:
    return any(export.token_required for export in definition.exports)
