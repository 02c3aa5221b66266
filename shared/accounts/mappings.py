"""Subject mappings: where what is published goes instead, with which share (security_ops 2.7)."""

from collections.abc import Sequence
from typing import NamedTuple

from phloem.shared.accounts.definition import Destination, SubjectMapping
from phloem.shared.wire import subjects
from phloem.shared.wire.transform import BadTransform, Part, validate_mapping

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
    if not subjects.is_valid(mapping.source):
        raise BadTransform("invalid subject")
    seen: set[str] = set()
    groups: dict[str, list[tuple[int, Sequence[Part] | None]]] = {"": []}
    totals: dict[str, int] = {}
    for destination in mapping.destinations:
        if destination.subject in seen:
            raise BadTransform(f'duplicate entry for "{destination.subject}"')
        seen.add(destination.subject)
        _check_weight(destination, totals)
        parts = validate_mapping(mapping.source, destination.subject).parts
        groups.setdefault(destination.cluster, []).append((destination.weight, parts or None))
    own = groups.get(cluster) or groups[""]
    left = PERCENT - sum(weight for weight, _ in own)
    if left and mapping.source not in seen:
        own.append((left, None))
    below, shares = 0, []
    for weight, made in sorted(own, key=lambda share: share[0]):
        below += weight
        shares.append(Share(made, below))
    return Resolved(mapping.source, shares)


def _check_weight(destination: Destination, totals: dict[str, int]) -> None:
    if destination.weight > PERCENT:
        raise BadTransform("individual weights need to be <= 100")
    totals[destination.cluster] = totals.get(destination.cluster, 0) + destination.weight
    if totals[destination.cluster] > PERCENT:
        raise BadTransform("total weight needs to be <= 100")
