"""The system account at work: which subjects are served there and in the other accounts, and the timer of STATSZ.

What answers a request is imported when the first one comes: most servers are never asked.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.kernel import Account
from phloem.shared.server.system.control import Control
from phloem.shared.server.system.events import Events
from phloem.shared.server.system.numbers import Numbers
from phloem.shared.server.system.requests import Asked, Desk
from phloem.shared.server.system.subscribers import Subscribers
from phloem.shared.server.system.user_info import UserInfo
from phloem.shared.server.system.voice import Voice

if TYPE_CHECKING:
    from phloem.shared.server.server import Server
    from phloem.shared.server.system.answers import Answers

SERVER = "$SYS.REQ.SERVER"
ACCOUNT = "$SYS.REQ.ACCOUNT"
NAMES = (
    *("IDZ", "STATSZ", "VARZ", "SUBSZ", "CONNZ", "ROUTEZ", "GATEWAYZ", "LEAFZ"),
    *("ACCOUNTZ", "JSZ", "HEALTHZ", "PROFILEZ", "EXPVARZ", "IPQUEUESZ", "RAFTZ"),
)
ACCOUNT_NAMES = ("SUBSZ", "CONNZ", "LEAFZ", "JSZ", "INFO", "STATZ")
# In every other account: the subject, and what is asked there of the account itself.
OWN = (
    (f"{ACCOUNT}.PING.CONNZ", "CONNZ"),
    (f"{SERVER}.PING.CONNZ", "CONNZ"),
    (f"{ACCOUNT}.PING.STATZ", "STATZ"),
)
USER_INFO = "$SYS.REQ.USER.INFO"


class System:
    """Serves from when it is made."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.voice = Voice(server)
        self.numbers = Numbers(server, self.voice)
        self.events = Events(server, self.voice, self.numbers)
        self.desk = Desk(server, self.voice)
        self._users = UserInfo(server, self.desk)
        self._answers: Answers | None = None
        self._statsz_ns = limits.STATSZ_FIRST_NS
        self._timer: asyncio.TimerHandle | None = server.call_later(self._statsz_ns / 1e9, self._heartbeat)
        self._serve_system()
        for account in list(server.accounts.values()):
            self.serve(account)

    def serve(self, account: Account) -> None:
        """An account may ask about itself."""
        if account.name == self.voice.account.name:
            return
        for subject, name in OWN:
            self.desk.serve(account, subject, partial(self._of_account, name))
        self.desk.serve(account, USER_INFO, self._of_user)

    def stop(self) -> None:
        """The server stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.numbers.stop()
        self.events.stop()

    def _serve_system(self) -> None:
        account, desk, server_id = self.voice.account, self.desk, self._server.server_id
        control, subscribers = Control(self._server, desk), Subscribers(self._server, desk)
        for name in NAMES:
            for who in (server_id, "PING"):
                desk.serve(account, f"{SERVER}.{who}.{name}", partial(self._of_server, name))
        desk.serve(account, f"{SERVER}.PING", partial(self._of_server, "STATSZ"))
        for name in ACCOUNT_NAMES:
            desk.serve(account, f"{ACCOUNT}.*.{name}", partial(self._of_named_account, name))
        desk.serve(account, f"{ACCOUNT}.*.CONNS", self._connections)
        desk.serve(account, f"{ACCOUNT}.NSUBS", subscribers.of_account)
        desk.serve(account, "$SYS.DEBUG.SUBSCRIBERS", subscribers.debug)
        desk.serve(account, USER_INFO, self._users.about_sender)
        desk.serve(account, "$SYS.REQ.USER.*.INFO", self._users.of_importer)
        desk.serve(account, f"{SERVER}.{server_id}.RELOAD", control.reload)
        desk.serve(account, f"{SERVER}.{server_id}.KICK", control.kick)
        desk.serve(account, f"{SERVER}.{server_id}.LDM", control.lame_duck)

    def _of_server(self, name: str, asked: Asked) -> None:
        self.answers.of_server(name, asked)

    def _of_named_account(self, name: str, asked: Asked) -> None:
        self.answers.of_named_account(name, asked)

    def _of_account(self, name: str, asked: Asked) -> None:
        if not self._has_imported(asked):
            self.answers.of_account(name, asked)

    def _of_user(self, asked: Asked) -> None:
        if not self._has_imported(asked):
            self._users.about_sender(asked)

    def _has_imported(self, asked: Asked) -> bool:
        """Whether the account has an import of its own here, by which it is answered."""
        return self._server.crossings.asks(asked.account.name, self.voice.account.name, asked.subject)

    @property
    def answers(self) -> "Answers":
        """Made when the first request comes."""
        if self._answers is None:
            from phloem.shared.server.system.answers import Answers  # noqa: PLC0415  (most are never asked)

            self._answers = Answers(self._server, self.desk)
        return self._answers

    def _connections(self, asked: Asked) -> None:
        """How many connections an account has, as an event."""
        event = self.numbers.event(asked.tokens[3])
        if asked.reply and event is not None:
            self.desk.reply(asked, event)

    def _heartbeat(self) -> None:
        """Often at first, so that others soon know of this server."""
        self._statsz_ns = min(self._statsz_ns * 2, limits.STATSZ_EVERY_NS)
        self._timer = self._server.call_later(self._statsz_ns / 1e9, self._heartbeat)
        subject = f"$SYS.SERVER.{self._server.server_id}.STATSZ"
        if self.voice.heard(subject):
            self.answers.broadcast(subject)
