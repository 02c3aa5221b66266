"""Accounts: whether what their claims say makes sense, in the order and with the texts of NATS's JWT library."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from phloem.shared import limits
from phloem.shared.errors import InvalidJWT
from phloem.shared.security.claims import (
    ANY,
    NO_LIMIT,
    SERVICE,
    STREAM,
    Account,
    AccountClaims,
    ActivationClaims,
    Export,
    ExternalAuthorization,
    Import,
    JetStreamLimits,
    MsgTrace,
    OperatorLimits,
    WeightedMapping,
)
from phloem.shared.security.issues import Issues, quoted
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.permission_rules import check_permissions
from phloem.shared.security.subjects import (
    check_renaming,
    check_subject,
    has_wildcards,
    is_contained,
    without_references,
)
from phloem.shared.security.tokens import decode_as

CheckActivation = Callable[[ActivationClaims, Issues], None]

RESPONSE_TYPES = ("", "Singleton", "Stream", "Chunked")
SELF_SIGNED_LIMITS = "self-signed account JWTs shouldn't contain operator limits"


def check_account(claims: AccountClaims, check_activation: CheckActivation, issues: Issues) -> None:
    """All but its times. ``check_activation`` is what is done with the tokens of imports."""
    account = claims.nats
    _check_imports(account.imports, claims.sub, check_activation, issues)
    _check_exports(account.exports, issues)
    _check_tiers(account.limits, issues)
    check_permissions(account.default_permissions, issues)
    _check_mappings(account.mappings, issues)
    _check_authorization(account.authorization, issues)
    if account.trace is not None:
        _check_trace(account.trace, issues)
    _check_counts(account, issues)
    for key, scope in account.signing_keys.items():
        if scope is None and not is_public(key, Prefix.ACCOUNT):
            issues.error(f"{quoted(key)} is not a valid account signing key")
        elif scope is not None and not is_public(scope.key, Prefix.ACCOUNT):
            issues.error(f"{scope.key[: limits.JWT_QUOTED]} is not an account public key")
    _check_info(account.description, account.info_url, issues)
    if account.cluster_traffic not in ("", "system", "owner"):
        issues.error(f"unknown cluster traffic option: {quoted(account.cluster_traffic)}")
    if is_public(claims.iss, Prefix.ACCOUNT) and account.limits != OperatorLimits():
        issues.warning(SELF_SIGNED_LIMITS)


def check_import(entry: Import, importer: str, check_activation: CheckActivation, issues: Issues) -> None:
    """One import of the account ``importer``."""
    if entry.type not in (STREAM, SERVICE):
        issues.error(f"invalid import type: {quoted(entry.type or 'unknown')}")
    if entry.type == SERVICE and entry.allow_trace:
        issues.error("AllowTrace only valid for stream import")
    if not entry.account:
        issues.error("account to import from is not specified")
    if entry.to:
        issues.warning("the field to has been deprecated (use LocalSubject instead)")
    check_subject(entry.subject, issues)
    if entry.local_subject:
        check_renaming(entry.local_subject, entry.subject, issues)
        if entry.to:
            issues.error("Local Subject replaces To")
    if entry.share and entry.type != SERVICE:
        text = "sharing information (for latency tracking) is only valid for services"
        issues.error(f"{text}: {quoted(entry.subject)}")
    if not entry.token:
        return
    try:
        activation = decode_as(entry.token, ActivationClaims)
    except InvalidJWT:
        issues.error(f"import {quoted(entry.subject)} contains an invalid activation token")
        return
    _check_token(activation, entry, importer, check_activation, issues)


def _check_token(
    token: ActivationClaims, entry: Import, importer: str, check_activation: CheckActivation, issues: Issues
) -> None:
    if entry.account not in (token.iss, token.nats.issuer_account):
        issues.error(f"activation token doesn't match account for import {quoted(entry.subject)}")
    if token.sub != importer:
        text = "activation token doesn't match account it is being included in"
        issues.error(f"{text}, {quoted(entry.subject)}")
    if token.nats.kind != entry.type:
        kinds = f"{token.nats.kind or 'unknown'} and type of import {entry.type or 'unknown'}"
        issues.error(f"mismatch between token import type {kinds}")
    check_activation(token, issues)
    subject = entry.to if entry.type == SERVICE and entry.to else entry.subject
    if not is_contained(subject, token.nats.subject):
        text = f"activation token import subject {quoted(token.nats.subject)}"
        issues.error(f"{text} doesn't match import {quoted(entry.subject)}")


def _check_imports(
    imports: Sequence[Import | None], importer: str, check_activation: CheckActivation, issues: Issues
) -> None:
    taken: dict[str, dict[str, bool]] = {}
    for entry in imports:
        if entry is None:
            issues.error("null import is not allowed")
            continue
        if entry.type == SERVICE:
            subject = entry.to or without_references(entry.local_subject) or entry.subject
            others = taken.setdefault(entry.account, {})
            account = quoted(entry.account)
            for other in _near(subject, others):
                if is_contained(subject, other) or is_contained(other, subject):
                    both = f"{quoted(subject)} and {quoted(other)}"
                    issues.error(f"overlapping subject namespace for {both} in same account {account}")
            if subject in others:
                issues.error(f"overlapping subject namespace for {quoted(subject)} in account {account}")
            others[subject] = has_wildcards(subject)
        check_import(entry, importer, check_activation, issues)


def _near(subject: str, others: dict[str, bool]) -> list[str]:
    """Those that ``subject`` may overlap; without wildcards that is itself and those that have some."""
    if has_wildcards(subject):
        return list(others)
    return [other for other, wild in others.items() if wild or other == subject]


def _check_exports(exports: Sequence[Export | None], issues: Issues) -> None:
    subjects: dict[str, list[str]] = {SERVICE: [], STREAM: []}
    for export in exports:
        if export is None:
            issues.error("null export is not allowed")
            continue
        subjects[SERVICE if export.type == SERVICE else STREAM].append(export.subject)
        _check_export(export, issues)
    for kind, names in subjects.items():
        _check_overlaps(kind, names, issues)


def _check_overlaps(kind: str, subjects: list[str], issues: Issues) -> None:
    """Each subject that covers another one, once."""
    found: dict[str, str] = {}
    wild = [(at, subject) for at, subject in enumerate(subjects) if has_wildcards(subject)]
    seen = set[str]()
    for at, subject in enumerate(subjects):
        if subject in seen:  # one without wildcards covers nothing but itself
            found.setdefault(subject, subject)
        seen.add(subject)
        for beside, other in wild:
            if at != beside and is_contained(subject, other):
                found.setdefault(other, subject)
    for other, subject in found.items():
        issues.error(f"{kind} export subject {quoted(other)} already exports {quoted(subject)}")


def _check_export(export: Export, issues: Issues) -> None:
    service = export.type == SERVICE
    if export.type not in (SERVICE, STREAM):
        issues.error(f"invalid export type: {quoted('unknown')}")
    if service and export.response_type not in RESPONSE_TYPES:
        issues.error(f"invalid response type for service: {quoted(export.response_type)}")
    if export.type == STREAM:
        if export.response_type:
            issues.error(f"invalid response type for stream: {quoted(export.response_type)}")
        if export.allow_trace:
            issues.error("AllowTrace only valid for service export")
    if (latency := export.service_latency) is not None:
        if not service:
            issues.error("latency tracking only permitted for services")
        if latency.sampling and not 1 <= latency.sampling <= 100:
            issues.error("sampling percentage needs to be between 1-100")
        check_subject(latency.results, issues)
        if has_wildcards(latency.results):
            issues.error("results subject can not contain wildcards")
    if export.response_threshold < 0:
        issues.error("negative response threshold is invalid")
    if export.response_threshold > 0 and not service:
        issues.error("response threshold only valid for services")
    check_subject(export.subject, issues)
    if export.account_token_position > 0:
        _check_position(export, issues)
    _check_info(export.description, export.info_url, issues)


def _check_position(export: Export, issues: Issues) -> None:
    position, subject = export.account_token_position, export.subject[: limits.JWT_QUOTED]
    tokens = export.subject.split(".")
    if not has_wildcards(export.subject):
        issues.error(f"Account Token Position can only be used with wildcard subjects: {subject}")
    elif position > len(tokens):
        issues.error(f"Account Token Position {position} exceeds length of subject '{subject}'")
    elif (token := tokens[position - 1]) != "*":
        text = f"Account Token Position {position} matches '{token[: limits.JWT_QUOTED]}'"
        issues.error(f"{text} but must match a * in: {subject}")


def _check_tiers(granted: OperatorLimits, issues: Issues) -> None:
    if not granted.tiered_limits:
        return
    if granted.jetstream != JetStreamLimits():
        issues.error("JetStream Limits and tiered JetStream Limits are mutually exclusive")
    if "" in granted.tiered_limits:
        issues.error('Tiered JetStream Limits can not contain a blank "" tier name')


def _check_mappings(mappings: dict[str, tuple[WeightedMapping, ...]], issues: Issues) -> None:
    for subject, targets in mappings.items():
        check_subject(subject, issues)
        by_cluster: dict[str, int] = {}
        for target in targets:
            check_subject(target.subject, issues)
            weight = target.weight or 100
            if weight > 100:
                issues.error(f"Mapping {quoted(subject)} has a weight {weight} that exceeds 100")
            by_cluster[target.cluster] = total = by_cluster.get(target.cluster, 0) + weight
            if target.cluster and total > 100:
                where = f"Mapping {quoted(subject)} in cluster {quoted(target.cluster)}"
                issues.error(f"{where} exceeds 100% among all of it's weighted to mappings")
        if by_cluster.get("", 0) > 100:
            text = "exceeds 100% among all of it's weighted to mappings"
            issues.error(f"Mapping {quoted(subject)} {text}")


def _check_authorization(callout: ExternalAuthorization, issues: Issues) -> None:
    if callout.allowed_accounts and not callout.auth_users:
        issues.error("External authorization cannot have accounts without users specified")
    for user in callout.auth_users:
        if not is_public(user, Prefix.USER):
            issues.error(f"AuthUser {quoted(user)} is not a valid user public key")
    for account in callout.allowed_accounts:
        if account == ANY and len(callout.allowed_accounts) > 1:
            issues.error(f"AllowedAccounts can only be a list of accounts or {quoted(ANY)}")
        elif account != ANY and not is_public(account, Prefix.ACCOUNT):
            issues.error(f"Account {quoted(account)} is not a valid account public key")
    if callout.xkey and not is_public(callout.xkey, Prefix.CURVE):
        issues.error(f"XKey {quoted(callout.xkey)} is not a valid public xkey")


def _check_trace(trace: MsgTrace, issues: Issues) -> None:
    found = Issues()
    check_subject(trace.dest, found)
    for issue in list(found)[:1]:
        issues.error(f"the account Trace.Destination {issue.description}")
    if has_wildcards(trace.dest):
        subject = f"subject {quoted(trace.dest)}"
        issues.error(f"the account Trace.Destination {subject} is not a valid publish subject")
    if not 0 <= trace.sampling <= 100:
        text = f"value '{trace.sampling}' is not valid, should be in the range [1..100]"
        issues.error(f"the account Trace.Sampling {text}")


def _check_counts(account: Account, issues: Issues) -> None:
    granted, imports, exports = account.limits, len(account.imports), len(account.exports)
    too_many = "the account contains more imports than allowed by the operator"
    if granted != OperatorLimits() and 0 <= granted.imports < imports:
        issues.error(too_many)
    if granted.imports != NO_LIMIT and imports > granted.imports:
        issues.error(too_many)
    if granted.exports == NO_LIMIT:
        return
    if exports > granted.exports:
        issues.error("the account contains more exports than allowed by the operator")
    if not granted.wildcards:
        for export in account.exports:
            if export is not None and has_wildcards(export.subject):
                issues.error("the account contains wildcard exports that are not allowed by the operator")


def _check_info(description: str, url: str, issues: Issues) -> None:
    if len(description.encode("utf-8", "replace")) > limits.JWT_INFO_BYTES:
        issues.error("Description is too long")
    if not url:
        return
    if len(url.encode("utf-8", "replace")) > limits.JWT_INFO_BYTES:
        issues.error("Info URL is too long")
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname and parts.scheme)
    except ValueError:
        complete = False
    if not complete:
        issues.error("error parsing info url: no hostname or scheme")


def tiers(granted: OperatorLimits) -> dict[str, JetStreamLimits]:
    """JetStream limits by tier, ``""`` without tiers; empty: JetStream is off.

    Zero or less for the size of one stream and for outstanding messages is no limit.
    """
    if not granted.jetstream_enabled:
        return {}
    plain = granted.jetstream
    if plain.mem_storage or plain.disk_storage:
        return {"": _open(plain)}
    return {name: _open(tier) for name, tier in granted.tiered_limits.items()}


def _open(tier: JetStreamLimits) -> JetStreamLimits:
    names = ("max_ack_pending", "mem_max_stream_bytes", "disk_max_stream_bytes")
    zeros = {name: NO_LIMIT for name in names if getattr(tier, name) <= 0}
    return msgspec.structs.replace(tier, **zeros)
