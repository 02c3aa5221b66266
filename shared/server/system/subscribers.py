"""How many clients listen: ``$SYS.DEBUG.SUBSCRIBERS`` and ``$SYS.REQ.ACCOUNT.NSUBS`` (security_ops 4.5)."""

import base64
import binascii
import logging
from typing import TYPE_CHECKING

from phloem.shared.server.system.asked import BadRequest, Fields, read
from phloem.shared.server.system.requests import Asked, Desk, importer
from phloem.shared.wire.subjects import is_literal, matches

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.system")

COUNT: Fields = {"acc": "string", "subject": "string", "queue": "[]uint8"}


class Subscribers:
    """Counts subscriptions of clients and of leafs."""

    def __init__(self, server: "Server", desk: Desk) -> None:
        self._server = server
        self._desk = desk

    def debug(self, asked: Asked) -> None:
        """The body is a subject, or a subject and a queue group, in the account that asks."""
        if asked.reply:
            subject, *group = asked.body.decode("utf-8", "surrogateescape").strip().split(" ")
            queue = group[0].encode("utf-8", "surrogateescape") if group else None
            account = importer(asked) or asked.account.name
            self._desk.text(asked, str(self.count(account, subject, queue)))

    def of_account(self, asked: Asked) -> None:
        """As one server asks another. Nothing is said of an account without connections."""
        try:
            wish = read(asked.body, "accNumSubsReq", COUNT)
            queue = base64.b64decode(wish["queue"], validate=True) if "queue" in wish else None
        except (BadRequest, binascii.Error) as problem:
            log.error("Error unmarshalling account nsubs request message: %s", problem)
            return
        account = wish.get("acc", "")
        if asked.reply and any(record.account == account for record in self._server.source.connections()):
            self._desk.text(asked, str(self.count(account, wish.get("subject", ""), queue)))

    def count(self, account: str, subject: str, queue: bytes | None) -> int:
        """Subscriptions that a message on ``subject`` reaches; with wildcards, those that it covers."""
        literal = is_literal(subject)
        clients, links = self._server.clients.open.values(), self._server.leafs.up
        peers = [c.conn for c in clients if c.identity.account == account]
        peers += [link.conn for link in links if link.account == account and not link.spoke]
        found = 0
        for peer in peers:
            for pattern, group, *_ in peer.subscriptions():
                if queue is None or group == queue:
                    text = pattern.decode("utf-8", "surrogateescape")
                    found += matches(text, subject) if literal else matches(subject, text)
        return found
