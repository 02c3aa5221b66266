"""Imports and mappings for tests, written like nats-server's: ``*`` in their order, ``$1`` where it matters."""

from phloem.shared.kernel import Account
from phloem.shared.kernel.imports import (
    SINGLETON,
    Destination,
    Mapping,
    ServiceImport,
    Step,
    StreamImport,
)


def steps(source: bytes, spelled: bytes) -> list[Step]:
    """From ``source`` with wildcards to ``spelled`` with ``$1`` or ``*`` in their order."""
    tokens = source.split(b".")
    stars = [at for at, token in enumerate(tokens) if token == b"*"]
    made, used = [], 0
    for token in spelled.split(b"."):
        if token == b">":
            made.append(Step("rest", (len(tokens) - 1,)))
        elif token == b"*":
            made.append(Step("wildcard", (stars[used],)))
            used += 1
        elif token[:1] == b"$" and token[1:].isdigit():
            made.append(Step("wildcard", (stars[int(token[1:]) - 1],)))
        else:
            made.append(Step("literal", text=token))
    return made


def pattern(spelled: bytes) -> bytes:
    return b".".join(b"*" if token[:1] == b"$" else token for token in spelled.split(b"."))


def _back(subject: bytes, spelled: bytes) -> list[Step]:
    """From the local pattern to the exporter's subject."""
    places = []
    stars = iter(range(1, 100))
    for at, token in enumerate(spelled.split(b".")):
        if token == b"*":
            places.append((next(stars), at))
        elif token[:1] == b"$":
            places.append((int(token[1:]), at))
    where = dict(places)
    made, number = [], 0
    for token in subject.split(b"."):
        if token == b"*":
            number += 1
            made.append(Step("wildcard", (where[number],)))
        elif token == b">":
            made.append(Step("rest", (len(spelled.split(b".")) - 1,)))
        else:
            made.append(Step("literal", text=token))
    return made


def is_wild(subject: bytes) -> bool:
    return any(token in (b"*", b">") for token in subject.split(b"."))


def stream(exporter: Account, subject: bytes, local: bytes = b"") -> StreamImport:
    local = local or subject
    if local == subject or not is_wild(subject):
        return StreamImport(exporter, subject, local)
    return StreamImport(
        exporter, subject, pattern(local), local, steps(subject, local), _back(subject, local)
    )


def service(
    exporter: Account,
    subject: bytes,
    local: bytes = b"",
    *,
    kind: int = SINGLETON,
    threshold_ns: int = 120_000_000_000,
    share: bool = False,
    export_id: int = 0,
    sampling: int = -1,
) -> ServiceImport:
    local = local or subject
    forth = _back(subject, local) if local != subject and is_wild(subject) else None
    return ServiceImport(
        exporter, subject, pattern(local), local, forth, kind, threshold_ns, share, export_id, sampling
    )


def mapping(source: bytes, *destinations: tuple[bytes | list[Step], int]) -> Mapping:
    """Destinations with their weights."""
    below, made = 0, []
    for subject, weight in destinations:
        below += weight
        forth = subject if isinstance(subject, list) else steps(source, subject)
        made.append(Destination(forth, below))
    return Mapping(source, made)
