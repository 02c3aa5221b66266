"""Which page answers which request (security_ops 4.5)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phloem.shared.server.system.account_pages import ACCOUNT_PAGES
from phloem.shared.server.system.asked import FILTERS, BadRequest, read
from phloem.shared.server.system.filters import is_for
from phloem.shared.server.system.pages import PAGES, Figures
from phloem.shared.server.system.requests import Asked, Desk
from phloem.shared.server.system.statsz import StatszMessage, statsz

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


class Answers:
    """Makes pages."""

    def __init__(self, server: "Server", desk: Desk) -> None:
        self._server = server
        self._desk = desk
        self._figures = Figures(server)

    def of_server(self, name: str, asked: Asked) -> None:
        """A page about the server."""
        if name == "STATSZ":
            self._statsz(asked)
        elif name == "IDZ":
            self._idz(asked)
        else:
            page = PAGES[name]
            self._desk.answer(asked, page.words, page.options, lambda wish: page.make(self._figures, wish))

    def of_named_account(self, name: str, asked: Asked) -> None:
        """A page about the account in the subject; the system account may ask about any."""
        self._account_page(name, asked.tokens[3], asked)

    def of_account(self, name: str, asked: Asked) -> None:
        """A page about the account that asks, which never sees another one's."""
        self._account_page(name, asked.account.name, asked)

    def broadcast(self, subject: str) -> None:
        """STATSZ to whoever listens."""
        self._desk.voice.say(subject, self._stats())

    def _account_page(self, name: str, account: str, asked: Asked) -> None:
        page = ACCOUNT_PAGES[name]

        def make(wish: Mapping[str, Any]) -> object:
            return page.make(self._figures, {**wish, ".": account})

        self._desk.answer(asked, page.words, page.options, make)

    def _stats(self) -> StatszMessage:
        return StatszMessage(server=self._desk.voice.info(), statsz=statsz(self._figures))

    def _statsz(self, asked: Asked) -> None:
        """Without a reply subject it goes to everybody."""
        server, voice = self._server, self._desk.voice
        if not asked.reply:
            asked = asked._replace(reply=f"$SYS.SERVER.{server.server_id}.STATSZ".encode())
        try:
            wish = read(asked.body, "StatszEventOptions", FILTERS) if asked.body else {}
        except BadRequest as problem:
            error = {"code": 400, "description": str(problem)}
            self._desk.reply(asked, {"server": voice.info(), "error": error})
            return
        if is_for(wish, voice.info(counted=False)):
            self._desk.reply(asked, self._stats())

    def _idz(self, asked: Asked) -> None:
        """Who is there, whatever the filters say."""
        if asked.reply:
            info = self._desk.voice.info(counted=False)
            self._desk.reply(asked, {"name": info.name, "host": info.host, "id": info.id})
