"""Accounts of a configuration as what accounts are, wherever they are written down (``accounts/definition.py``)."""

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.accounts.definition import Definition, Kind, Limits
from phloem.shared.accounts.definition import Export as ExportDefinition
from phloem.shared.accounts.definition import Import as ImportDefinition
from phloem.shared.server.options import Options
from phloem.shared.server.options_accounts import AccountLimits, Export, Import
from phloem.shared.server.options_auth import Account


def definitions(options: Options) -> dict[str, Definition]:
    """Every account that the configuration knows, by name, ``$G`` and the system account among them."""
    found = {name: Definition(name, name) for name in options.account_names}
    found[GLOBAL_ACCOUNT] = found[GLOBAL_ACCOUNT]._replace(mappings=options.mappings)
    return found | {account.name: definition(account) for account in options.accounts}


def definition(account: Account) -> Definition:
    """One account."""
    return Definition(
        account.name,
        account.name,
        limits=_limits(account.limits),
        exports=tuple(export(entry) for entry in account.exports if entry.stream or entry.service),
        imports=tuple(
            import_of(entry)
            for entry in account.imports
            if entry.stream is not None or entry.service is not None
        ),
        mappings=account.mappings,
    )


def export(entry: Export) -> ExportDefinition:
    """One export; what is for services only is left out of a stream's."""
    return ExportDefinition(
        kind=Kind.SERVICE if entry.service else Kind.STREAM,
        subject=entry.service or entry.stream,
        accounts=frozenset(entry.accounts) or None,
        token_position=entry.account_token_position,
        response_type=entry.response_type,
        threshold_ns=entry.response_threshold_ns,
        latency=entry.latency,
        allow_trace=entry.allow_trace,
    )


def import_of(entry: Import) -> ImportDefinition:
    """One import; a ``prefix`` becomes the subject in here."""
    source = entry.service or entry.stream
    assert source is not None
    to = entry.to
    if entry.stream is not None and entry.prefix:
        to = f"{entry.prefix.removesuffix('.')}.{source.subject}"
    return ImportDefinition(
        kind=Kind.SERVICE if entry.service is not None else Kind.STREAM,
        account=source.account,
        subject=source.subject,
        to="" if to == source.subject else to,
        share=entry.share and entry.service is not None,
        allow_trace=entry.allow_trace,
    )


def _limits(limits: AccountLimits) -> Limits:
    return Limits(
        connections=limits.max_connections,
        subscriptions=limits.max_subscriptions,
        payload=limits.max_payload,
        leafnodes=limits.max_leafnodes,
    )
