"""What crosses between accounts, and which subject becomes which (security_ops 2.6).

A service's local subject is the requester's, a stream's the subscriber's. Which imports are allowed is decided in
``resolving.py``, in nats-server's words for those that are not.
"""

from collections.abc import Mapping, Sequence
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

PERCENT = 100


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


def export_of(definition: Definition, kind: Kind, subject: str) -> Export | None:
    """The export that speaks of ``subject``: the same, or the first that covers it."""
    exports = {export.subject: export for export in definition.exports if export.kind is kind}
    exact = exports.get(subject)
    if exact is not None:
        return exact
    return next((export for name, export in exports.items() if subjects.matches(name, subject)), None)


def bad_latency(definition: Definition, export: Export) -> str:
    """Why a service cannot be measured like that; empty if it can."""
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
