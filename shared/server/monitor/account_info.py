"""What crosses from and to one account, and its claims, as nats-server shows them (security_ops 4.4; monitor.go:
``accountInfo``). Imports are those that are really there; subjects of services are those of the exporter.
"""

from collections.abc import Mapping
from typing import Any

from phloem.shared.accounts.definition import Definition, Export, Kind, Latency, ResponseType
from phloem.shared.accounts.mappings import shown_destinations
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.go_values import to_plain
from phloem.shared.security.validation import validate
from phloem.shared.server.monitor.records import AccountFacts
from phloem.shared.server.monitor.render import date
from phloem.shared.wire.transform import BadTransform

RESPONSES = {
    ResponseType.SINGLETON: "Singleton",
    ResponseType.STREAM: "Streamed",
    ResponseType.CHUNKED: "Chunked",
}


def exports(definition: Definition) -> list[dict[str, Any]]:
    """Services, then streams."""
    return [
        _export(one) for kind in (Kind.SERVICE, Kind.STREAM) for one in definition.exports if one.kind is kind
    ]


def _export(one: Export) -> dict[str, Any]:
    shown: dict[str, Any] = {"subject": one.subject, "type": one.kind.value}
    if one.token_required:
        shown["token_req"] = True
    if one.kind is Kind.SERVICE:
        shown["response_type"] = RESPONSES[one.response_type]
        if one.latency is not None:
            shown["service_latency"] = _latency(one.latency)
    if one.accounts:
        shown["approved_accounts"] = sorted(one.accounts)
    if one.revocations:
        shown["revoked_activations"] = times(one.revocations)
    return shown


def _latency(latency: Latency) -> dict[str, Any]:
    return {"sampling": latency.sampling or "headers", "results": latency.subject}


def imports(facts: AccountFacts) -> list[dict[str, Any]]:
    """Streams, then services; those that every account has by itself come last."""
    shown: list[dict[str, Any]] = [
        {
            "subject": one.subject,
            "account": one.exporter,
            "local_subject": one.local,
            "type": "stream",
            "invalid": False,
            "share": False,
            "tracking": False,
        }
        for one in facts.streams
    ]
    there = {(one.exporter, one.local) for one in facts.services}
    for one in facts.services:
        entry = _service(one.exporter, one.subject, one.local, share=one.share)
        if one.latency is not None:
            entry["latency"] = _latency(one.latency)
        shown.append(entry)
    for own in facts.system_services:
        if (own.account, own.to) not in there:
            shown.append(_service(own.account, own.subject, own.to, share=own.share))
    return shown


def _service(exporter: str, subject: str, local: str, *, share: bool) -> dict[str, Any]:
    return {
        "subject": subject,
        "account": exporter,
        "to": local,
        "local_subject": local,
        "type": "service",
        "invalid": False,
        "share": share,
        "tracking": False,
    }


def mappings(facts: AccountFacts) -> dict[str, list[dict[str, Any]]]:
    """By source."""
    found = {}
    for mapping in facts.mappings:
        try:
            destinations = shown_destinations(mapping)
        except BadTransform:
            continue  # it is not in force
        found[mapping.source] = [
            {"subject": to.subject, "weight": to.weight, **({"cluster": to.cluster} if to.cluster else {})}
            for to in destinations
        ]
    return dict(sorted(found.items()))


def issues(facts: AccountFacts, now_s: int) -> list[dict[str, Any]]:
    """What is wrong with the claims now."""
    if facts.claims is None:
        return []
    return [
        {"description": one.description, "blocking": one.blocking, "time_check": one.time_check}
        for one in validate(facts.claims, now_s)
    ]


def claims(facts: AccountFacts) -> dict[str, Any] | None:
    """As they are in the JWT."""
    return to_plain(facts.claims) if facts.claims is not None else None


def times(revocations: Mapping[str, int]) -> dict[str, str]:
    """Dates for seconds."""
    return {key: date(at_s * SECOND_NS) for key, at_s in sorted(revocations.items())}
