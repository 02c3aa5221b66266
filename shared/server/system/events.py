"""Events: who comes, who goes, who is refused (security_ops 4.6).

Nothing is made up as long as nobody listens: a connection then costs a few look-ups.
"""

from typing import TYPE_CHECKING, Any

from phloem.shared.kernel import Reason
from phloem.shared.server.clients import Client
from phloem.shared.server.leaf_link import Link
from phloem.shared.server.login import Verdict
from phloem.shared.server.system.no_events import NoEvents
from phloem.shared.server.system.numbers import Numbers
from phloem.shared.server.system.voice import Voice

if TYPE_CHECKING:
    from phloem.shared.server.server import Server

LINK_CHANGED = "io.phloem.server.advisory.v1.link"
ACCOUNT_REFUSAL = "$SYS.ACCOUNT.CLIENT.AUTH.ERR"


class Events(NoEvents):
    """Tells the system account."""

    def __init__(self, server: "Server", voice: Voice, numbers: Numbers) -> None:
        self._server = server
        self._voice = voice
        self._numbers = numbers

    def connected(self, peer: Client | Link) -> None:
        """Of a leaf that has linked here only the number is told, as nats-server does."""
        account = _account(peer)
        self._numbers.changed(account)
        if isinstance(peer, Link) and peer.outgoing is None:
            return
        subject = f"$SYS.ACCOUNT.{account}.CONNECT"
        if self._voice.heard(subject):
            from phloem.shared.server.system.client_info import client_info  # noqa: PLC0415  (only if somebody listens)

            self._voice.say(subject, self._voice.event("client_connect", {"client": client_info(peer)}))

    def disconnected(self, peer: Client | Link, reason: Reason) -> None:
        """Also of a client that has not logged in; of such a link there is nothing to tell."""
        if isinstance(peer, Link) and not peer.admitted:
            return
        if reason is Reason.AUTHENTICATION_VIOLATION and isinstance(peer, Client) and peer.connect is None:
            self._refusal(peer, reason)  # it said something else before CONNECT
        account = _account(peer)
        self._numbers.changed(account)
        subject = f"$SYS.ACCOUNT.{account}.DISCONNECT"
        if self._voice.heard(subject):
            self._voice.say(subject, self._ending(peer, reason))

    def refused(self, peer: Client | Link, verdict: Verdict) -> None:
        """Told in the system account, and of a client in the account where it was until now or that decided."""
        account = self._server.account(verdict.event_account or _account(peer))
        if isinstance(peer, Client) and self._voice.heard(ACCOUNT_REFUSAL, account):
            event = self._ending(peer, verdict.reason)
            if verdict.event_account:
                event["reason"] = verdict.event_reason
            self._voice.say(ACCOUNT_REFUSAL, event, account)
        self._refusal(peer, verdict.reason)

    def link_changed(self, fields: dict[str, Any]) -> None:
        """Only phloem has links of that kind."""
        subject = f"$SYS.SERVER.{self._server.server_id}.PHLOEM.LINK"
        if self._voice.heard(subject):
            self._voice.say(subject, self._voice.event("", {"type": LINK_CHANGED, **fields}))

    def lame_duck(self) -> None:
        """Clients are about to be sent away."""
        self._voice.say(f"$SYS.SERVER.{self._server.server_id}.LAMEDUCK", self._voice.info())

    def stop(self) -> None:
        """The last thing that is told, unless lame duck mode was."""
        if self._server.ldm is None:
            self._voice.say(f"$SYS.SERVER.{self._server.server_id}.SHUTDOWN", self._voice.info())

    def _refusal(self, peer: Client | Link, reason: Reason) -> None:
        subject = f"$SYS.SERVER.{self._server.server_id}.CLIENT.AUTH.ERR"
        if self._voice.heard(subject):
            self._voice.say(subject, self._ending(peer, reason))

    def _ending(self, peer: Client | Link, reason: Reason) -> dict[str, Any]:
        from phloem.shared.server.system.client_info import client_info  # noqa: PLC0415  (only if somebody listens)

        stats, now = peer.conn.stats, self._server.clock.wall_ns()
        fields = {
            "client": client_info(peer, stop_wall_ns=now),
            "sent": {"msgs": stats["in_msgs"], "bytes": stats["in_bytes"]},
            "received": {"msgs": stats["out_msgs"], "bytes": stats["out_bytes"]},
            "reason": reason.text,
        }
        return self._voice.event("client_disconnect", fields, now)


def _account(peer: Client | Link) -> str:
    return peer.account if isinstance(peer, Link) else peer.identity.account
