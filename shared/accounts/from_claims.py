"""An account's JWT as what an account is (security_ops 2.10.2). Pure."""

from collections.abc import Sequence

from phloem.shared.accounts.definition import (
    SERVICE_THRESHOLD_NS,
    Definition,
    Destination,
    Export,
    Import,
    Kind,
    Latency,
    Limits,
    ResponseType,
    SubjectMapping,
)
from phloem.shared.security import claims as jwt
from phloem.shared.security.admission import least

WHOLE_WEIGHT = 100


def definition(claims: jwt.AccountClaims) -> Definition:
    """What the kernel and monitoring need to know of it."""
    body, granted = claims.nats, claims.nats.limits
    return Definition(
        name=claims.sub,
        title=claims.name,
        limits=Limits(
            connections=least(granted.conn),
            subscriptions=least(granted.subs),
            payload=least(granted.payload),
            leafnodes=least(granted.leaf),
        ),
        exports=tuple(_export(entry) for entry in body.exports if entry is not None),
        imports=tuple(_import(entry) for entry in body.imports if entry is not None),
        mappings=tuple(_mapping(source, to) for source, to in body.mappings.items()),
    )


def _export(entry: jwt.Export) -> Export:
    latency = entry.service_latency
    return Export(
        kind=Kind(entry.type),
        subject=entry.subject,
        token_required=entry.token_req,
        token_position=entry.account_token_position,
        response_type=ResponseType(entry.response_type) if entry.response_type else ResponseType.SINGLETON,
        threshold_ns=entry.response_threshold or SERVICE_THRESHOLD_NS,
        latency=Latency(latency.sampling, latency.results) if latency is not None else None,
        allow_trace=entry.allow_trace,
        revocations=dict(entry.revocations),
    )


def _import(entry: jwt.Import) -> Import:
    kind = Kind(entry.type)
    subject, to = entry.subject, entry.local_subject
    if not to and entry.to:  # the old way: a prefix of streams; the exporter's subject of a service
        if kind is Kind.STREAM:
            to = f"{entry.to.removesuffix('.')}.{subject}"
        else:
            subject, to = entry.to, entry.subject
    return Import(
        kind=kind,
        account=entry.account,
        subject=subject,
        to=to,
        share=entry.share,
        allow_trace=entry.allow_trace,
        token=entry.token,
    )


def _mapping(source: str, targets: Sequence[jwt.WeightedMapping]) -> SubjectMapping:
    return SubjectMapping(
        source,
        tuple(Destination(to.subject, to.weight or WHOLE_WEIGHT, to.cluster) for to in targets),
    )
