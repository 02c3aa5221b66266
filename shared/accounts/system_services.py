"""What the system account offers to everybody, and what every account has of it by itself (security_ops 4.5).

nats-server writes both as exports and imports (events.go: ``addSystemAccountExports``, ``registerSystemImports``). The
exports are in the system account's definition, so that others can import them by other names. What an account has by
itself is served in that account without an import (``server/system``); here it is for whoever wants to see it.
"""

from collections.abc import Iterator

from phloem.shared.accounts.crossings import export_of
from phloem.shared.accounts.definition import Definition, Export, Import, Kind, ResponseType

ACCOUNT_TOKEN = 4  # of the subject, which is the importer's name
USER_INFO, CONNZ, STATZ = (
    f"$SYS.REQ.{name}" for name in ("USER.{}.INFO", "ACCOUNT.{}.CONNZ", "ACCOUNT.{}.STATZ")
)
SUBSCRIBERS = "$SYS.DEBUG.SUBSCRIBERS"
OWN_USER_INFO = "$SYS.REQ.USER.INFO"
JETSTREAM = "$JS.API.>"

JETSTREAM_EXPORT = Export(Kind.SERVICE, JETSTREAM)
USER_INFO_EXPORT = Export(Kind.SERVICE, USER_INFO.format("*"))
EXPORTS = (
    *(
        Export(
            Kind.SERVICE,
            name.format("*"),
            token_position=ACCOUNT_TOKEN,
            response_type=ResponseType.STREAM,
        )
        for name in (CONNZ, STATZ)
    ),
    Export(Kind.SERVICE, SUBSCRIBERS),
    USER_INFO_EXPORT,
)


def with_exports(system: Definition) -> Definition:
    """The system account with what it offers; its own exports of the same subjects come first."""
    added = [one for one in EXPORTS if export_of(system, Kind.SERVICE, one.subject) is None]
    return system._replace(exports=(*system.exports, *added))


def imports_of(account: str, offers: Definition, *, jetstream: bool) -> Iterator[Import]:
    """What an account has of the system account, which ``offers`` it, by itself; of JetStream, if there is any."""
    system = offers.name
    connz, statz = CONNZ.format(account), STATZ.format(account)
    if account != system:
        for subject, to in (
            (connz, CONNZ.format("PING")),
            (connz, "$SYS.REQ.SERVER.PING.CONNZ"),
            (statz, STATZ.format("PING")),
        ):
            yield Import(Kind.SERVICE, system, subject, to)
    if account != system or USER_INFO_EXPORT in offers.exports:
        yield Import(Kind.SERVICE, system, USER_INFO.format(account), OWN_USER_INFO, share=True)
    if jetstream and account != system:
        yield Import(Kind.SERVICE, system, JETSTREAM, JETSTREAM, share=True)
