"""Accounts of a configuration as what accounts are, wherever they are written down (``accounts/definition.py``)."""

from collections.abc import Mapping

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.accounts.definition import Definition, Destination, Kind, Limits, SubjectMapping
from phloem.shared.accounts.definition import Export as ExportDefinition
from phloem.shared.accounts.definition import Import as ImportDefinition
from phloem.shared.server.options import Options
from phloem.shared.server.options_accounts import AccountLimits, Export, Import
from phloem.shared.server.options_auth import Account

JETSTREAM_SUBJECTS = {  # what is asked without a domain: what it is called inside of one
    "$JS.API.INFO": "INFO",
    **{
        f"$JS.API.{kind}.>": f"{kind}.>"
        for kind in ("STREAM", "CONSUMER", "DIRECT", "META", "SERVER", "ACCOUNT")
    },
    "$KV.>": "$KV.>",
    "$OBJ.>": "$OBJ.>",
}


def definitions(options: Options) -> dict[str, Definition]:
    """Every account that the configuration knows, by name, ``$G`` and the system account among them."""
    found = {name: Definition(name, name) for name in options.account_names}
    found[GLOBAL_ACCOUNT] = found[GLOBAL_ACCOUNT]._replace(mappings=options.mappings)
    found |= {account.name: definition(account) for account in options.accounts}
    keeps_streams = options.jetstream is not None and options.jetstream.on and not options.accounts
    return {
        name: known
        if name == GLOBAL_ACCOUNT and keeps_streams
        else with_default_domain(known, options.default_js_domain)
        for name, known in found.items()
    }


def with_default_domain(account: Definition, domains: Mapping[str, str]) -> Definition:
    """The account with requests to JetStream led to the domain that ``default_js_domain`` has for it."""
    domain = domains.get(account.name, "")
    if not domain:
        return account
    own = {mapping.source for mapping in account.mappings}
    led = [
        SubjectMapping(subject, (Destination(f"$JS.{domain}.API.{rest}"),))
        for subject, rest in JETSTREAM_SUBJECTS.items()
        if subject not in own
    ]
    return account._replace(mappings=(*account.mappings, *led))


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
