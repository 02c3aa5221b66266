"""What is wrong between accounts: exports for accounts that are not there, imports of what nobody exports.

nats-server looks at it when all else in the file is right, in this order, and tells it at ``accounts``.
"""

from collections.abc import Collection, Iterator, Sequence

from phloem.shared.accounts.definition import ResponseType
from phloem.shared.jetstream.subjects import is_literal, matches
from phloem.shared.server.load_auth import is_valid_subject
from phloem.shared.server.options_accounts import Export
from phloem.shared.server.options_auth import Account

STREAM, SERVICE = "stream", "service"


def mistakes(accounts: Sequence[Account], defined: Collection[str], *, system_account: bool) -> Iterator[str]:
    """What is wrong with the exports and imports of ``accounts``, of which others may be told of ``defined``."""
    for kind in (STREAM, SERVICE):
        for account in accounts:
            yield from _export_mistakes(account, kind, defined, system_account=system_account)
    for kind in (STREAM, SERVICE):
        for account in accounts:
            for entry in account.imports:
                source = entry.stream if kind == STREAM else entry.service
                if source is not None and source.account not in defined:
                    yield f'"{source.account}" account not defined for {kind} import'


def _export_mistakes(
    account: Account, kind: str, defined: Collection[str], *, system_account: bool
) -> Iterator[str]:
    services = list[str]()
    for export in account.exports:
        subject = export.stream if kind == STREAM else export.service
        if not subject:
            continue
        for name in export.accounts:
            if name not in defined:
                yield f'"{name}" account not defined for {kind} export'
        if not _has_token(subject, export.account_token_position):
            yield f'Error adding {kind} export "{subject}": sublist: invalid subject'
            continue
        if kind == SERVICE:
            services.append(subject)
            yield from _latency_mistakes(export, services, system_account=system_account)


def _has_token(subject: str, position: int) -> bool:
    """Whether a token from 1 on, if one is named, is a wildcard."""
    tokens = subject.split(".")
    return position <= 0 or (position <= len(tokens) and tokens[position - 1] == "*")


def _latency_mistakes(export: Export, services: Collection[str], *, system_account: bool) -> Iterator[str]:
    """Measurements go to a subject that one can publish to, and that is no service of this account itself."""
    if export.latency is None:
        return
    results = export.latency.subject
    head = f'Error adding service latency sampling for "{export.service}"'
    if not system_account:
        yield f"{head}: system account not setup"
        return
    publishable = is_valid_subject(results) and is_literal(results)
    if not publishable or any(matches(service, results) for service in services):
        yield f'{head} on subject "{results}": invalid publish subject'
    elif export.response_type is not ResponseType.SINGLETON:
        yield f'{head} on subject "{results}": bad service response type'
