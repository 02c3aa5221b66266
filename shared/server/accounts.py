"""What crosses between accounts, as the kernel has to know it: at the start, after a reload, with an account's new JWT.

``define`` replaces all definitions. What is allowed is decided in ``accounts.resolving``, which looks only at what may
have changed; the kernel is told of the accounts for which something has, so that everything else goes on without a gap.
Who asks a service is told to the kernel for those whose imports share it.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from phloem.shared.accounts.crossings import Problem, ServiceCrossing, StreamCrossing, export_of
from phloem.shared.accounts.definition import Definition, Kind, ResponseType
from phloem.shared.accounts.mappings import Resolved, resolve_mapping
from phloem.shared.accounts.resolving import Resolving
from phloem.shared.accounts.system_services import with_exports
from phloem.shared.jetstream.identity import short_hash
from phloem.shared.kernel import imports as told
from phloem.shared.server import service_events
from phloem.shared.server.activations import Activations
from phloem.shared.server.service_events import pieces
from phloem.shared.wire.transform import BadTransform, Part

if TYPE_CHECKING:
    from phloem.shared.kernel import Served
    from phloem.shared.server.members import Peer
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")

REPLY_KINDS = {
    ResponseType.SINGLETON: told.SINGLETON,
    ResponseType.STREAM: told.STREAMED,
    ResponseType.CHUNKED: told.CHUNKED,
}
UNSIGNED = (1 << 32) - 1


class _Told(NamedTuple):
    """What the kernel knows of one account."""

    streams: Sequence[StreamCrossing] = ()
    services: Sequence[ServiceCrossing] = ()
    mappings: Sequence[Resolved] = ()

    @property
    def shares(self) -> bool:
        """Whether some exporter learns who asks."""
        return any(service.share for service in self.services)


class Accounts:
    """The definitions of a server's accounts and what follows from them."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._told: dict[str, _Told] = {}
        self._export_ids: dict[tuple[str, str], int] = {}
        self._exports: dict[int, tuple[str, str]] = {}
        self.definitions: Mapping[str, Definition] = {}
        self._resolving = Resolving(Activations(server).judge)
        self._system: tuple[Definition, Definition] | None = None  # as it was given, and with its exports

    def begin(self) -> None:
        """There is a kernel now: it is told which server this is."""
        mark, piece = short_hash(self._server.name).encode(), service_events.system_piece(self._server)
        self._server.kernel.introduce(mark, piece)

    def define(self, definitions: Mapping[str, Definition]) -> None:
        """These are all accounts from now on. What is wrong is left out and logged."""
        self._use(self._with_system(definitions), ())

    def again(self, importers: Iterable[str]) -> None:
        """Something else than a definition has changed: activations of these accounts have run out."""
        self._use(self.definitions, importers)

    @property
    def problems(self) -> Sequence[Problem]:
        """What is wrong, of all accounts."""
        return self._resolving.problems()

    def is_complete(self, account: str) -> bool:
        """Whether an account has all that it wants to import."""
        return self._resolving.is_complete(account)

    def streams(self, account: str) -> Sequence[StreamCrossing]:
        """What an account really imports."""
        return self._resolving.streams(account)

    def services(self, account: str) -> Sequence[ServiceCrossing]:
        """The same."""
        return self._resolving.services(account)

    def asks(self, account: str, exporter: str, local: str) -> bool:
        """Whether an account has imported a service under this name."""
        return any(
            one.exporter == exporter and one.local == local for one in self._resolving.services(account)
        )

    def _with_system(self, definitions: Mapping[str, Definition]) -> Mapping[str, Definition]:
        """What the system account offers to everybody belongs to its definition."""
        name = self._server.system_account
        given = definitions.get(name)
        if given is None:
            return definitions
        if self._system is None or self._system[0] is not given:
            self._system = (given, with_exports(given))
        return {**definitions, name: self._system[1]}

    def _use(self, definitions: Mapping[str, Definition], again: Iterable[str]) -> None:
        before, self.definitions = self.definitions, dict(definitions)
        names = self._resolving.update(self.definitions, again)
        for problem in self._resolving.problems():
            if problem.account in names:
                log.debug("Account %s: %s", problem.account, problem.text)
        names |= {name for name, now in self.definitions.items() if before.get(name) is not now}
        for name in sorted(names):
            self._tell(name, self._wanted(name))
        self._server.schedule()

    # --- who asks ------------------------------------------------------------------------------------

    def introduce(self, peer: "Peer") -> None:
        """A client or link is in its account now."""
        told_before = self._told.get(peer.identity.account)
        if told_before is not None and told_before.shares:
            peer.conn.set_identity(*pieces(self._server, peer))

    def on_served(self, served: "Served") -> None:
        """A measured request is over: its event goes to the exporter's account."""
        exporter, subject = self._exports.get(served["export_id"], ("", ""))
        definition = self.definitions.get(exporter)
        export = export_of(definition, Kind.SERVICE, subject) if definition is not None else None
        if export is not None and export.latency is not None:
            event = service_events.event(self._server, served)
            account = self._server.account(exporter)
            self._server.kernel.publish(account, export.latency.subject.encode(), body=event)

    # --- telling the kernel --------------------------------------------------------------------------

    def _wanted(self, name: str) -> _Told:
        definition = self.definitions.get(name)
        mappings: list[Resolved] = []
        for mapping in definition.mappings if definition is not None else ():
            try:
                mappings.append(resolve_mapping(mapping, self._server.leafs.own_cluster))
            except BadTransform as problem:
                log.debug('Account %s: Error adding mapping for "%s" : %s', name, mapping.source, problem)
        return _Told(self.streams(name), self.services(name), tuple(mappings))

    def _tell(self, name: str, wanted: _Told) -> None:
        before = self._told.get(name, _Told())
        if wanted == before:
            return
        account = self._server.account(name)
        self._told[name] = wanted
        if wanted.mappings != before.mappings:
            account.set_mappings([_mapping(one) for one in wanted.mappings])
        if wanted.streams != before.streams:
            account.set_stream_imports([self._stream(one) for one in wanted.streams])
        if wanted.services != before.services:
            account.set_service_imports([self._service(one) for one in wanted.services])
        if wanted.shares and not before.shares:
            for peer in self._server.members.of(name):
                self.introduce(peer)
        if wanted == _Told():
            del self._told[name]

    def _stream(self, one: StreamCrossing) -> told.StreamImport:
        return told.StreamImport(
            self._server.account(one.exporter),
            _bytes(one.subject),
            _bytes(one.local),
            _bytes(one.spelling),
            _steps(one.forth),
            _steps(one.back),
        )

    def _service(self, one: ServiceCrossing) -> told.ServiceImport:
        return told.ServiceImport(
            self._server.account(one.exporter),
            _bytes(one.subject),
            _bytes(one.local),
            _bytes(one.spelling),
            _steps(one.forth),
            REPLY_KINDS[one.response_type],
            one.threshold_ns,
            one.share,
            self._export_id(one),
            one.latency.sampling if one.latency is not None else -1,
        )

    def _export_id(self, one: ServiceCrossing) -> int:
        """The same number for all who import the same export."""
        if not one.export:
            return 0
        key = (one.exporter, one.export)
        if key not in self._export_ids:
            self._export_ids[key] = number = len(self._export_ids) + 1
            self._exports[number] = key
        return self._export_ids[key]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _steps(parts: Sequence[Part] | None) -> list[told.Step] | None:
    if not parts:
        return None
    return [told.Step(part.what, part.tokens, _number(part), _bytes(part.text)) for part in parts]


def _number(part: Part) -> int:
    """What is below 0 cuts nothing; of partitions it is read as unsigned, as Go does it."""
    if part.what == "partition":
        return part.number & UNSIGNED
    return abs(part.number) if part.what == "random" else max(part.number, 0)


def _mapping(one: Resolved) -> told.Mapping:
    destinations = [told.Destination(_steps(share.parts), share.below) for share in one.shares]
    return told.Mapping(_bytes(one.source), destinations)
