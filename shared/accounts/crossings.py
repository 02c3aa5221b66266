"""What crosses between accounts: which imports are allowed, and which subject becomes which (security_ops 2.6).

``resolve`` takes all accounts and gives, for each, what it really imports, and what is wrong with the rest, in
nats-server's words. A service's local subject is the requester's, a stream's the subscriber's.

Rules: an export of exactly the imported subject decides, else the first that covers it; ``token_position`` asks for the
importer's name in the import's subject, ``token_required`` for an activation that ``judge`` accepts, ``accounts`` for
membership. Imports that would form a cycle are refused in the order in which they stand, all streams before services.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from phloem.shared.accounts.definition import (
    SERVICE_THRESHOLD_NS,
    Definition,
    Export,
    Import,
    Kind,
    Latency,
    ResponseType,
)
from phloem.shared.wire import subjects
from phloem.shared.wire.transform import BadTransform, Part, Transform, with_references, without_references

SEARCH_MAX = 1024  # accounts that a search for cycles passes
PERCENT = 100

Judge = Callable[[Definition, Export, str, Import], bool]
"""Exporter, its export, the importer's name, the import: whether its activation is good now."""


class Problem(NamedTuple):
    """Something of ``account`` that cannot be; ``reason`` in nats-server's words."""

    account: str
    thing: Export | Import
    reason: str

    @property
    def text(self) -> str:
        """The line that nats-server writes about a configuration."""
        kind, what = self.thing.kind.value, "import" if isinstance(self.thing, Import) else "export"
        if self.reason.startswith(('"', "Error")):
            return self.reason
        return f'Error adding {kind} {what} "{self.thing.subject}": {self.reason}'


class StreamCrossing(NamedTuple):
    """Messages on ``subject`` of ``exporter`` are there on ``local``, which is a pattern.

    ``spelling``: as it was written. ``forth`` and ``back``: to the local subject and from it; None: equal or literal.
    """

    exporter: str
    subject: str
    local: str
    spelling: str = ""
    forth: Sequence[Part] | None = None
    back: Sequence[Part] | None = None


class ServiceCrossing(NamedTuple):
    """Requests on ``local`` go to ``subject`` of ``exporter``. ``export``: the pattern that it exports, if it does."""

    exporter: str
    subject: str
    local: str
    spelling: str = ""
    forth: Sequence[Part] | None = None
    share: bool = False
    export: str = ""
    response_type: ResponseType = ResponseType.SINGLETON
    threshold_ns: int = SERVICE_THRESHOLD_NS
    latency: Latency | None = None


class Crossings(NamedTuple):
    """By importing account; those without any are not there."""

    streams: Mapping[str, Sequence[StreamCrossing]]
    services: Mapping[str, Sequence[ServiceCrossing]]
    problems: Sequence[Problem]


class Refused(Exception):
    """Why an import cannot be."""


def nobody(_exporter: Definition, _export: Export, _importer: str, _import: Import) -> bool:
    """The judge where there are no activations."""
    return False


def resolve(definitions: Mapping[str, Definition], judge: Judge = nobody) -> Crossings:
    """What all accounts really import."""
    work = _Work(definitions, judge)
    for kind in Kind:
        for definition in definitions.values():
            work.check_exports(definition, kind)
    for kind in Kind:
        for definition in definitions.values():
            for import_ in definition.imports:
                if import_.kind is kind:
                    work.add(definition, import_)
    return Crossings(work.streams, work.services, work.problems)


def export_of(definition: Definition, kind: Kind, subject: str) -> Export | None:
    """The export that speaks of ``subject``: the same, or the first that covers it."""
    exports = {export.subject: export for export in definition.exports if export.kind is kind}
    exact = exports.get(subject)
    if exact is not None:
        return exact
    return next((export for name, export in exports.items() if subjects.matches(name, subject)), None)


class _Work:
    def __init__(self, definitions: Mapping[str, Definition], judge: Judge) -> None:
        self._definitions = definitions
        self._judge = judge
        self.streams: dict[str, list[StreamCrossing]] = {}
        self.services: dict[str, list[ServiceCrossing]] = {}
        self.problems: list[Problem] = []

    # --- exports ---------------------------------------------------------------------------------

    def check_exports(self, definition: Definition, kind: Kind) -> None:
        for export in definition.exports:
            if export.kind is not kind:
                continue
            for name in sorted(export.accounts or ()):
                if name not in self._definitions:
                    text = f'"{name}" account not defined for {export.kind.value} export'
                    self.problems.append(Problem(definition.name, export, text))
            position, tokens = export.token_position, export.subject.split(".")
            if position and (position > len(tokens) or tokens[position - 1] != "*"):
                self.problems.append(Problem(definition.name, export, "sublist: invalid subject"))
            if export.latency is not None and (reason := _bad_latency(definition, export)):
                text = (
                    f'Error adding service latency sampling for "{export.subject}" '
                    f'on subject "{export.latency.subject}": {reason}'
                )
                self.problems.append(Problem(definition.name, export, text))

    def _authorize(self, exporter: Definition, importer: str, import_: Import) -> Export:
        kind = import_.kind
        export = export_of(exporter, kind, import_.subject)
        if export is None or not subjects.is_valid(import_.subject):
            raise Refused(f"{kind.value} import not authorized")
        if export.token_position:
            # an import of the pattern itself names nobody
            tokens = [] if export.subject == import_.subject else import_.subject.split(".")
            place = export.token_position - 1
            allowed = place < len(tokens) and tokens[place] == importer
        elif export.token_required:
            allowed = self._judge(exporter, export, importer, import_)
        else:
            allowed = export.accounts is None or importer in export.accounts
        if not allowed:
            raise Refused(f"{kind.value} import not authorized")
        return export

    # --- imports ---------------------------------------------------------------------------------

    def add(self, definition: Definition, import_: Import) -> None:
        exporter = self._definitions.get(import_.account)
        try:
            if exporter is None:
                raise Refused(f'"{import_.account}" account not defined for {import_.kind.value} import')
            if import_.kind is Kind.STREAM:
                self._add_stream(definition.name, exporter, import_)
            else:
                self._add_service(definition.name, exporter, import_)
        except Refused as problem:
            self.problems.append(Problem(definition.name, import_, str(problem)))

    def _add_stream(self, name: str, exporter: Definition, import_: Import) -> None:
        self._authorize(exporter, name, import_)
        local = import_.to or import_.subject
        for subject in (local, import_.subject):
            if self._forms_cycle(self._colliding_streams, name, exporter.name, subject):
                raise Refused("import forms a cycle")
        crossing = stream_crossing(exporter.name, import_.subject, local)
        already = self.streams.setdefault(name, [])
        if any(one.exporter == exporter.name and one.subject == import_.subject for one in already):
            raise Refused("stream import already exists")
        already.append(crossing)

    def _add_service(self, name: str, exporter: Definition, import_: Import) -> None:
        local = import_.to or import_.subject
        if not subjects.is_valid(local) or not subjects.is_valid(import_.subject):
            raise Refused("sublist: invalid subject")
        export = self._authorize(exporter, name, import_)
        asked = local if subjects.is_literal(import_.subject) else without_references(local)[0]
        if self._forms_cycle(self._colliding_services, name, exporter.name, asked):
            raise Refused("import forms a cycle")
        already = self.services.setdefault(name, [])
        for one in already:
            if one.exporter == exporter.name and one.local == local:
                raise Refused(
                    f'duplicate service import subject "{local}", previously used in import for account '
                    f'"{one.exporter}", subject "{one.subject}"'
                )
        crossing = service_crossing(exporter.name, import_.subject, local)
        already.append(
            crossing._replace(
                share=import_.share,
                export=export.subject,
                response_type=export.response_type,
                threshold_ns=export.threshold_ns,
                latency=None if _bad_latency(exporter, export) else export.latency,
            )
        )

    # --- cycles ----------------------------------------------------------------------------------

    def _colliding_streams(self, account: str, subject: str) -> Iterator[tuple[str, str]]:
        exports = self._definitions[account].exports
        if not any(e.kind is Kind.STREAM and subjects.matches(e.subject, subject) for e in exports):
            return
        for one in self.streams.get(account, ()):
            if subjects.collide(subject, one.local):
                yield one.exporter, one.local if subjects.matches(subject, one.local) else subject

    def _colliding_services(self, account: str, subject: str) -> Iterator[tuple[str, str]]:
        for one in self.services.get(account, ()):
            if subjects.collide(subject, one.subject):
                yield one.exporter, one.local if subjects.matches(subject, one.local) else subject

    @staticmethod
    def _forms_cycle(
        colliding: Callable[[str, str], Iterator[tuple[str, str]]], importer: str, exporter: str, subject: str
    ) -> bool:
        """Whether what ``exporter`` itself imports leads back, as far as subjects collide."""
        visited = {importer}
        path = [(exporter, colliding(exporter, subject))]
        while path:
            account, following = path[-1]
            step = next(following, None)
            if step is None:
                path.pop()
                continue
            if step[0] in visited:
                return True
            visited.add(account)
            if len(visited) >= SEARCH_MAX:
                raise Refused("search cycle depth exhausted")
            path.append((step[0], colliding(*step)))
        return False


def _bad_latency(definition: Definition, export: Export) -> str:
    latency = export.latency
    if latency is None:
        return ""
    if not 0 <= latency.sampling <= PERCENT:
        return "bad sampling percentage, should be 1-100"
    if not subjects.is_valid(latency.subject) or not subjects.is_literal(latency.subject):
        return "invalid publish subject"
    if export_of(definition, Kind.SERVICE, latency.subject) is not None:
        return "invalid publish subject"
    return "" if export.response_type is ResponseType.SINGLETON else "bad service response type"


def stream_crossing(exporter: str, subject: str, local: str) -> StreamCrossing:
    """How a stream becomes local. Raises Refused."""
    if subjects.is_literal(subject) or local == subject:
        return StreamCrossing(exporter, subject, local)
    if (subject, local) == (">", ">"):
        return StreamCrossing(exporter, subject, local)
    try:
        forth = Transform(subject, with_references(local), strict=True)
    except BadTransform as problem:
        raise Refused(
            f'failed to create mapping transform for stream import subject from "{subject}" to "{local}": {problem}'
        ) from None
    pattern, _ = without_references(with_references(local))
    return StreamCrossing(exporter, subject, pattern, local, forth.parts, _reversed(subject, forth))


def service_crossing(exporter: str, subject: str, local: str) -> ServiceCrossing:
    """How a request's subject becomes the exporter's. Raises Refused."""
    if subjects.is_literal(subject) or local == subject:
        return ServiceCrossing(exporter, subject, local)
    try:
        forth = Transform(subject, with_references(local), strict=True)
        pattern, references = without_references(with_references(local))
        # as nats-server reverses it: the references are put in for the wildcards in the order in which they stand
        left = iter(references)
        back = ".".join(next(left, token) if token == "*" else token for token in subject.split("."))
        parts = Transform(pattern, back, strict=True).parts
    except BadTransform as problem:
        raise Refused(
            f'failed to create mapping transform for service import subject from "{local}" to "{subject}": {problem}'
        ) from None
    assert forth.parts
    return ServiceCrossing(exporter, subject, pattern, local, parts)


def _reversed(subject: str, forth: Transform) -> list[Part]:
    """From the local subject back to the exporter's: each wildcard from where it was put."""
    put = {part.tokens[0]: place for place, part in enumerate(forth.parts) if part.what == "wildcard"}
    some = next(iter(put.values()), 0)  # a wildcard may be named twice, and another then not at all
    parts: list[Part] = []
    for place, token in enumerate(subject.split(".")):
        if token == "*":
            parts.append(Part("wildcard", (put.get(place, some),)))
        elif token == ">":
            parts.append(Part("rest", (len(forth.parts) - 1,)))
        else:
            parts.append(Part("literal", text=token))
    return parts
