"""``$SYS.REQ.USER.INFO``: who the server thinks one is, and what one may do (security_ops 4.5)."""

from typing import TYPE_CHECKING, Any

from phloem.shared.accounts.auth import Identity, Rules, SubjectRules, permission_lists
from phloem.shared.limits import SECOND_NS
from phloem.shared.server.system.requests import Asked, Desk

if TYPE_CHECKING:
    from phloem.shared.server.members import Peer
    from phloem.shared.server.server import Server


class UserInfo:
    """Answers whoever asks about itself."""

    def __init__(self, server: "Server", desk: Desk) -> None:
        self._server = server
        self._desk = desk

    def about_sender(self, asked: Asked) -> None:
        """The body is not looked at."""
        self._about(asked, self._sender())

    def of_importer(self, asked: Asked) -> None:
        """Asked in the system account: by somebody of another one who has imported it, else there is no user."""
        sender = self._sender()
        own = sender is None or self._server.is_system(sender.identity.account)
        self._about(asked, None if own else sender)

    def _sender(self) -> "Peer | None":
        server = self._server
        cid = server.kernel.source_cid
        return server.clients.open.get(cid) or server.leafs.open.get(cid)

    def _about(self, asked: Asked, peer: "Peer | None") -> None:
        data: dict[str, Any] = {"user": "", "account": ""}
        if peer is not None:
            account = peer.identity.account
            data = {"user": peer.identity.name, "account": account, **_more(peer.identity, account)}
            if (until_ns := _until_ns(peer.identity)) > 0:
                left = (until_ns - self._server.clock.wall_ns()) // SECOND_NS
                data["expires"] = max(left, 0) * SECOND_NS
        self._desk.answer(asked._replace(body=b"", header=b""), "UserInfo", {}, lambda _wish: data)


def _more(identity: Identity, account: str) -> dict[str, Any]:
    """What is left out where there is nothing to say: names for people, permissions."""
    admitted, rules = identity.admitted, identity.permissions
    more: dict[str, Any] = {"account_name": identity.title or account}
    if admitted is not None and admitted.user.name and not identity.by_callout:
        more["user_name"] = admitted.user.name
    if rules is not None and permission_lists(rules) is not None:
        more["permissions"] = _shown(rules)
    return more


def _until_ns(identity: Identity) -> int:
    """When the claims that let somebody in run out; 0: never."""
    return identity.admitted.user.exp * SECOND_NS if identity.admitted is not None else 0


def _shown(rules: Rules) -> dict[str, Any]:
    shown: dict[str, Any] = {"publish": _lists(rules.publish), "subscribe": _lists(rules.subscribe)}
    if rules.allow_responses is not None:
        shown["responses"] = {"max": rules.allow_responses.max_msgs, "ttl": rules.allow_responses.ttl_ns}
    return shown


def _lists(rules: SubjectRules | None) -> dict[str, Any]:
    if rules is None:
        return {}
    lists = {"allow": rules.allow, "deny": rules.deny}
    return {name: list(subjects) for name, subjects in lists.items() if subjects}
