"""What changes something: reload the configuration, cut a connection, ask a client to go elsewhere."""

import logging
from typing import TYPE_CHECKING, Any

from phloem.shared.errors import ConfigError
from phloem.shared.kernel import Reason
from phloem.shared.server.monitor.query import BadParameter
from phloem.shared.server.system.asked import BadRequest, read
from phloem.shared.server.system.requests import Asked, Desk
from phloem.shared.wire.info import encode_info

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.system")

NOT_A_PROCESS = "can only reload config when a file is provided using -c or --config"
NO_LDM = "client does not support Lame Duck Mode or is not ready to receive the notification"


class Control:
    """``$SYS.REQ.SERVER.<id>.RELOAD``, ``.KICK`` and ``.LDM``; a connection is named by ``cid``."""

    def __init__(self, server: "Server", desk: Desk) -> None:
        self._server = server
        self._desk = desk

    def reload(self, asked: Asked) -> None:
        """Not at once: the kernel is in the middle of something, and a reload may close who asks."""
        self._server.call_later(0, lambda: self._reload(asked))

    def _reload(self, asked: Asked) -> None:
        def run(_wish: Any) -> None:
            if self._server.reload is None:
                raise BadParameter(NOT_A_PROCESS)
            try:
                self._server.reload()
            except (ConfigError, OSError) as error:
                raise BadParameter(str(error)) from None

        self._desk.answer(asked, "EventFilterOptions", {}, run, data=False)

    def kick(self, asked: Asked) -> None:
        """End a connection, a client's or a leaf's."""
        cid = self._cid(asked, "KickClientReq")

        def run(_wish: Any) -> None:
            server = self._server
            peer = server.clients.open.get(cid) or server.leafs.open.get(cid)
            if peer is None:
                raise BadParameter("no such client or leafnode id")
            peer.conn.close(Reason.KICKED)

        if cid >= 0:
            self._desk.answer(asked, "EventFilterOptions", {}, run, data=False)

    def lame_duck(self, asked: Asked) -> None:
        """Tell one client that it should connect to another server."""
        cid = self._cid(asked, "LDMClientReq")

        def run(_wish: Any) -> None:
            server = self._server
            client = server.clients.open.get(cid)
            if client is None:
                raise BadParameter("no such client id")
            if client.connect is None or client.connect.protocol < 1:
                raise BadParameter(NO_LDM)
            client.conn.send(encode_info(server.client_info(client_id=cid, ldm=True)))

        if cid >= 0:
            self._desk.answer(asked, "EventFilterOptions", {}, run, data=False)

    @staticmethod
    def _cid(asked: Asked, words: str) -> int:
        """The number of a connection; negative for a body without sense, which stays without an answer."""
        try:
            return int(read(asked.body, words, {"cid": "uint64"}).get("cid", 0))
        except BadRequest as problem:
            log.error("Error unmarshalling kick client request: %s", problem)
            return -1
