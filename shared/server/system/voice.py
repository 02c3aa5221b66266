"""The server's own voice: messages that carry a ServerInfo, which has the next number and the time.

Nothing is made up that nobody would hear: ask ``heard`` first.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phloem.shared.jetstream.identity import text_of
from phloem.shared.kernel import Account
from phloem.shared.server.monitor.render import compact_json, date
from phloem.shared.server.system.encoding import packed
from phloem.shared.server.system.filters import ServerInfo
from phloem.shared.wire.info import PROTOCOL_VERSION

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

TYPE = "io.nats.server.advisory.v1."
EVENT_ID_LENGTH = 22
JETSTREAM = 1  # in ServerInfo.flags


class Voice:
    """Speaks in the system account, unless told another one."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._seq = 0
        self.account = server.account(server.system_account)

    def info(self, *, counted: bool = True) -> ServerInfo:
        """For the next message; not ``counted`` for comparing with."""
        server = self._server
        jetstream, options = server.jetstream is not None, server.options
        self._seq += counted
        return ServerInfo(
            name=server.name,
            host=server.client_info().host,
            id=server.server_id,
            cluster=server.leafs.own_cluster,
            domain=options.jetstream.domain if jetstream and options.jetstream is not None else "",
            ver=PROTOCOL_VERSION,
            tags=server.tags,
            metadata=options.server_metadata,
            jetstream=jetstream,
            flags=JETSTREAM if jetstream else 0,
            seq=self._seq,
            time=date(server.clock.wall_ns()),
        )

    def event(self, kind: str, fields: Mapping[str, Any], wall_ns: int = 0) -> dict[str, Any]:
        """An event of this type, with an id of its own, that happened at ``wall_ns``, now without."""
        return {
            "type": TYPE + kind,
            "id": text_of(self._server.rng.randbytes(EVENT_ID_LENGTH), EVENT_ID_LENGTH),
            "timestamp": date(wall_ns or self._server.clock.wall_ns()),
            "server": self.info(),
            **fields,
        }

    def heard(self, subject: str, account: Account | None = None) -> bool:
        """Whether anybody would get a message on this subject."""
        return self._server.kernel.interested(account or self.account, encoded(subject))

    def say(self, subject: str, document: object, account: Account | None = None) -> None:
        """Publish a document as JSON."""
        self.publish(encoded(subject), compact_json(document), account)

    def publish(
        self, subject: bytes, body: bytes, account: Account | None = None, *, encoding: str = ""
    ) -> None:
        """Publish bytes, packed if somebody asked for it."""
        header, body = packed(body, encoding)
        self._server.kernel.publish(account or self.account, subject, b"", header, body)


def encoded(subject: str) -> bytes:
    """A subject's bytes; what came from the wire goes back as it was."""
    return subject.encode("utf-8", "surrogateescape")
