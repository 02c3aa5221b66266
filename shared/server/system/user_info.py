"""``$SYS.REQ.USER.INFO``: who the server thinks one is, and what one may do (security_ops 4.5)."""

from typing import TYPE_CHECKING, Any

from phloem.shared.accounts.auth import Rules, SubjectRules, permission_lists
from phloem.shared.server.system.requests import Asked, Desk

if TYPE_CHECKING:
    from phloem.shared.server.server import Server


class UserInfo:
    """Answers whoever asks about itself."""

    def __init__(self, server: "Server", desk: Desk) -> None:
        self._server = server
        self._desk = desk

    def about_sender(self, asked: Asked) -> None:
        """The body is not looked at."""
        server = self._server
        cid = server.kernel.source_cid
        client, link = server.clients.open.get(cid), server.leafs.open.get(cid)
        data: dict[str, Any] = {"user": "", "account": ""}
        rules: Rules | None = None
        if client is not None:
            data["user"], rules = client.identity.name, client.identity.permissions
        elif link is not None:
            data["user"], rules = link.user, link.identity.permissions
        if client is not None or link is not None:
            data["account"] = data["account_name"] = asked.account.name
        if permission_lists(rules) is not None:
            data["permissions"] = _shown(rules)
        self._desk.answer(asked._replace(body=b"", header=b""), "UserInfo", {}, lambda _wish: data)

    def of_nobody(self, asked: Asked) -> None:
        """Asked from within the system account about another one: there is no user to tell of."""
        nobody = {"user": "", "account": ""}
        self._desk.answer(asked._replace(body=b"", header=b""), "UserInfo", {}, lambda _wish: nobody)


def _shown(rules: Rules | None) -> dict[str, Any]:
    assert rules is not None
    shown: dict[str, Any] = {"publish": _lists(rules.publish), "subscribe": _lists(rules.subscribe)}
    if rules.allow_responses is not None:
        shown["responses"] = {"max": rules.allow_responses.max_msgs, "ttl": rules.allow_responses.ttl_ns}
    return shown


def _lists(rules: SubjectRules | None) -> dict[str, Any]:
    if rules is None:
        return {}
    lists = {"allow": rules.allow, "deny": rules.deny}
    return {name: list(subjects) for name, subjects in lists.items() if subjects}
