"""Subject mappings: where what is published goes instead, with which share (security_ops 2.7)."""

from collections.abc import Sequence
from typing import NamedTuple

from phloem.shared.accounts.definition import Destination, SubjectMapping
from phloem.shared.wire import subjects
from phloem.shared.wire.transform import BadTransform, Part, validate_mapping, with_references

PERCENT = 100


class Share(NamedTuple):
    """A destination that is taken if a random number of 100 is below ``below``; None: the subject stays."""

    parts: Sequence[Part] | None
    below: int


class Resolved(NamedTuple):
    """A mapping on this server; beyond the last share a message is dropped."""

    source: str
    shares: Sequence[Share]


def resolve_mapping(mapping: SubjectMapping, cluster: str = "") -> Resolved:
    """What holds on a server of ``cluster`` ("": it has none): its own destinations, or those of no cluster.

    What is left of 100 keeps its subject, unless the source is a destination itself: then it is dropped.

    Raises:
        BadTransform: With nats-server's words.
    """
    groups = _groups(mapping)
    own = groups.get(cluster) or groups[""]
    return Resolved(mapping.source, [Share(parts, to.weight) for to, parts in own])


def shown_destinations(mapping: SubjectMapping) -> list[Destination]:
    """Where it goes, as nats-server shows it: weights are sums up to there. Raises BadTransform."""
    return [to for group in _groups(mapping).values() for to, _ in group]


def _groups(mapping: SubjectMapping) -> dict[str, list[tuple[Destination, Sequence[Part] | None]]]:
    """By cluster, in the order in which they are tried, with weights as sums up to there."""
    source = mapping.source
    if not subjects.is_valid(source):
        raise BadTransform("invalid subject")
    seen: set[str] = set()
    groups: dict[str, list[tuple[Destination, Sequence[Part] | None]]] = {"": []}
    totals: dict[str, int] = {}
    for destination in mapping.destinations:
        if destination.subject in seen:
            raise BadTransform(f'duplicate entry for "{destination.subject}"')
        seen.add(destination.subject)
        _check_weight(destination, totals)
        parts = validate_mapping(source, destination.subject).parts
        groups.setdefault(destination.cluster, []).append((destination, parts or None))
    for cluster, group in groups.items():
        left = PERCENT - totals.get(cluster, 0)
        if left and source not in seen:
            stays = source if subjects.is_literal(source) else with_references(source)
            group.append((Destination(stays, left, cluster), None))
        below = 0
        group.sort(key=lambda share: share[0].weight)
        for place, (destination, made) in enumerate(group):
            below += destination.weight
            group[place] = (destination._replace(weight=below), made)
    return groups


def _check_weight(destination: Destination, totals: dict[str, int]) -> None:
    if destination.weight > PERCENT:
        raise BadTransform("individual weights need to be <= 100")
    totals[destination.cluster] = totals.get(destination.cluster, 0) + destination.weight
    if totals[destination.cluster] > PERCENT:
        raise BadTransform("total weight needs to be <= 100")
