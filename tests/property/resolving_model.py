"""The verdicts on imports as nats-server comes to them: everything in its order, each search from the beginning."""

from collections.abc import Iterator, Mapping

from phloem.shared.accounts.crossings import (
    Refused,
    export_of,
    service_crossing,
    stream_crossing,
)
from phloem.shared.accounts.definition import Definition, Import, Kind
from phloem.shared.wire import subjects
from phloem.shared.wire.transform import without_references

Judge = Mapping[str, bool]
"""By token, whether an activation is good."""


class Model:
    """All accounts at one time. ``most``: accounts that a search passes."""

    def __init__(self, definitions: Mapping[str, Definition], judge: Judge, most: int) -> None:
        self._definitions, self._judge, self._most = definitions, judge, most
        self._accepted: dict[tuple[str, Kind], list[tuple[str, str, str]]] = {}  # exporter, subject, local
        self.refused: list[tuple[str, Import, str]] = []
        for kind in Kind:
            for name, definition in definitions.items():
                for entry in definition.imports:
                    if entry.kind is kind and (reason := self._add(name, entry)):
                        self.refused.append((name, entry, reason))

    def accepted(self, kind: Kind) -> dict[str, list[tuple[str, str, str]]]:
        """By account; exporter, its subject and the local one each."""
        return {name: made for (name, one), made in self._accepted.items() if one is kind and made}

    def _add(self, name: str, entry: Import) -> str:
        exporter = self._definitions.get(entry.account)
        if exporter is None:
            return f'"{entry.account}" account not defined for {entry.kind.value} import'
        local, accepted = entry.to or entry.subject, self._accepted.setdefault((name, entry.kind), [])
        if not self._allowed(name, exporter, entry):
            return f"{entry.kind.value} import not authorized"
        asked = [local, entry.subject]
        if entry.kind is Kind.SERVICE:
            asked = [local if subjects.is_literal(entry.subject) else without_references(local)[0]]
        for subject in asked:
            if reason := self._cycle(entry.kind, name, exporter.name, subject):
                return reason
        try:
            if entry.kind is Kind.STREAM:
                pattern = stream_crossing(exporter.name, entry.subject, local).local
            else:
                pattern = service_crossing(exporter.name, entry.subject, local).local
        except Refused as why:
            return str(why)
        for other, subject, there in accepted:
            if entry.kind is Kind.STREAM and (other, subject) == (exporter.name, entry.subject):
                return "stream import already exists"
            if entry.kind is Kind.SERVICE and (other, there) == (exporter.name, local):
                return (
                    f'duplicate service import subject "{local}", previously used in import for account '
                    f'"{other}", subject "{subject}"'
                )
        accepted.append((exporter.name, entry.subject, pattern))
        return ""

    def _allowed(self, name: str, exporter: Definition, entry: Import) -> bool:
        export = export_of(exporter, entry.kind, entry.subject)
        if export is None:
            return False
        if export.token_position:
            tokens = [] if export.subject == entry.subject else entry.subject.split(".")
            return tokens[export.token_position - 1 : export.token_position] == [name]
        if export.token_required:
            return self._judge.get(entry.token, False)
        return export.accounts is None or name in export.accounts

    def _following(self, kind: Kind, account: str, subject: str) -> Iterator[tuple[str, str]]:
        exports = self._definitions[account].exports
        if kind is Kind.STREAM and not any(
            e.kind is kind and subjects.matches(e.subject, subject) for e in exports
        ):
            return
        for exporter, theirs, local in self._accepted.get((account, kind), ()):
            if subjects.collide(subject, local if kind is Kind.STREAM else theirs):
                yield exporter, local if subjects.matches(subject, local) else subject

    def _cycle(self, kind: Kind, importer: str, exporter: str, subject: str) -> str:
        visited = {importer}
        path = [(exporter, self._following(kind, exporter, subject))]
        while path:
            account, ways = path[-1]
            step = next(ways, None)
            if step is None:
                path.pop()
                continue
            if step[0] in visited:
                return "import forms a cycle"
            visited.add(account)
            if len(visited) >= self._most:
                return "search cycle depth exhausted"
            path.append((step[0], self._following(kind, *step)))
        return ""
