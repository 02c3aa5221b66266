"""What monitoring says of one account beside its figures, gathered from where it is known."""

from typing import TYPE_CHECKING

from phloem.shared.accounts.definition import Definition, Destination, SubjectMapping
from phloem.shared.accounts.system_services import JETSTREAM, JETSTREAM_EXPORT, imports_of
from phloem.shared.server.definitions import JETSTREAM_SUBJECTS
from phloem.shared.server.monitor.records import AccountFacts

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


def facts(server: "Server", name: str) -> AccountFacts:
    """Of an account that is there."""
    crossings, trusted = server.crossings, server.login.trusted
    definition = crossings.definitions.get(name) or Definition(name)
    known = trusted.get(name) if trusted is not None else None
    updated_ns = 0
    if known is not None and known.token:
        updated_ns = server.clock.wall_ns() - (server.clock.monotonic_ns() - known.updated_ns)
    system, streams = crossings.definitions.get(server.system_account), server.jetstream is not None
    own = imports_of(name, system, jetstream=streams) if system is not None else ()
    if streams and server.is_system(name):
        definition = definition._replace(exports=(*definition.exports, JETSTREAM_EXPORT))
    return AccountFacts(
        definition=definition,
        streams=crossings.streams(name),
        services=crossings.services(name),
        system_services=tuple(own),
        mappings=(*definition.mappings, *_to_jetstream(server, definition)),
        complete=crossings.is_complete(name),
        expired=known is not None and known.expired,
        updated_wall_ns=updated_ns,
        token=known.token if known is not None else "",
        claims=known.account.claims if known is not None and known.token else None,
    )


def _to_jetstream(server: "Server", definition: Definition) -> list[SubjectMapping]:
    """With a domain, JetStream is asked by that name as well; nats-server maps these subjects."""
    options = server.options.jetstream
    if server.jetstream is None or options is None or not options.domain:
        return []
    prefix = f"$JS.{options.domain}.API."
    if server.is_system(definition.name):
        return [SubjectMapping(f"{prefix}>", (Destination(JETSTREAM),))]
    there = {mapping.source for mapping in definition.mappings}
    return [
        SubjectMapping(f"{prefix}{rest}", (Destination(subject),))
        for subject, rest in JETSTREAM_SUBJECTS.items()
        if f"{prefix}{rest}" not in there
    ]
