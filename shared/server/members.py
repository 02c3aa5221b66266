"""Who is in which account: clients and leaf links that have logged in, with what an account allows them.

Everything that happens to somebody because of his account happens here: one connection too many, a JWT that runs out,
claims that have changed, an account that has expired (security_ops 2.10.4). How a peer came in is decided in ``login``.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from phloem.shared import limits
from phloem.shared.accounts.auth import Identity, Rules, permission_lists
from phloem.shared.accounts.definition import Limits
from phloem.shared.kernel import KIND_LEAF, Connection, Permissions, Reason
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import renewal
from phloem.shared.security.admission import SubjectRules, UserRules, least
from phloem.shared.security.callout import SUBJECT as CALLOUT_SUBJECT
from phloem.shared.security.renewal import Leaves

if TYPE_CHECKING:
    from phloem.shared.security.trust import Account
    from phloem.shared.server.alarms import Alarm
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")

TOO_MANY_SUBSCRIPTIONS = b"maximum subscriptions exceeded"
GRACE_NS = SECOND_NS // 50  # between being told of too many subscriptions and the end, as in nats-server
REASONS = {reason.text: reason for reason in Reason}


class Peer(Protocol):
    """A client or a leaf link."""

    conn: Connection
    identity: Identity

    def changed(self, permissions: Permissions | None) -> None:
        """``identity`` may do other things than before."""


class Member:
    """One of them, and what will end his stay."""

    __slots__ = ("alarms", "peer")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.alarms: list[Alarm] = []


class Members:
    """All that have logged in. ``limits``: of accounts that have any."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._accounts: dict[str, dict[int, Member]] = {}
        self._where: dict[int, str] = {}
        self._compiled: OrderedDict[Rules | None, Permissions] = OrderedDict()
        self._by_id: dict[int, tuple[Rules, Permissions | None]] = {}
        self.limits: dict[str, Limits] = {}

    def of(self, account: str) -> Sequence[Peer]:
        """Those of one account, oldest first."""
        members = self._accounts.get(account, {})
        return [members[cid].peer for cid in sorted(members)]

    def count(self, account: str) -> int:
        """How many there are."""
        return len(self._accounts.get(account, ()))

    # --- coming and going ------------------------------------------------------------------------------

    def enter(self, peer: Peer) -> bool:
        """Somebody has logged in; whether there was room. His account and what he may do are in ``peer.identity``."""
        self.leave(peer.conn)
        name, cid = peer.identity.account, peer.conn.cid
        there = self._accounts.setdefault(name, {})
        if not self._has_room(name, there, leaf=peer.conn.kind == KIND_LEAF):
            if not there:
                del self._accounts[name]
            self.close(peer, Leaves(renewal.TOO_MANY_CONNECTIONS, Reason.MAX_ACCOUNT_CONNECTIONS.text))
            return False
        there[cid] = member = Member(peer)
        self._where[cid] = name
        self._set_alarm(member)
        self._server.crossings.introduce(peer)
        return True

    def leave(self, conn: Connection) -> bool:
        """Somebody is gone, or logs in once more; whether he was there."""
        name = self._where.pop(conn.cid, None)
        if name is None:
            return False
        there = self._accounts[name]
        member = there.pop(conn.cid)
        for alarm in member.alarms:
            alarm.cancel()
        if not there:
            del self._accounts[name]
        return True

    def _has_room(self, name: str, there: dict[int, Member], *, leaf: bool) -> bool:
        bounds = self.limits.get(name, Limits())
        if not leaf:
            return bounds.connections < 0 or len(there) < bounds.connections
        links = sum(member.peer.conn.kind == KIND_LEAF for member in there.values())
        return bounds.leafnodes < 0 or links < bounds.leafnodes

    def _set_alarm(self, member: Member) -> None:
        admitted = member.peer.identity.admitted
        if admitted is None or admitted.expires_ns is None:
            return
        due_ns = self._server.clock.monotonic_ns() + admitted.expires_ns
        leaves = Leaves(renewal.USER_EXPIRED, Reason.AUTHENTICATION_EXPIRED.text)
        member.alarms.append(self._server.alarms.at(due_ns, lambda: self.close(member.peer, leaves)))
        self._server.schedule()

    # --- what they may do --------------------------------------------------------------------------------

    def bounds(self, identity: Identity) -> tuple[int, int]:
        """Bytes of a message and number of subscriptions; -1 for no limit."""
        options = self._server.options
        account, admitted = self.limits.get(identity.account, Limits()), identity.admitted
        payload, subs = account.payload, account.subscriptions
        if admitted is not None:
            payload, subs = admitted.max_payload, admitted.max_subscriptions
        return least(options.max_payload, payload), least(options.max_subscriptions or -1, subs)

    @staticmethod
    def rules(identity: Identity) -> Rules | None:
        """What somebody may do; ``None``: everything."""
        return _without_callout(identity.permissions) if identity.asks else identity.permissions

    def permissions(self, identity: Identity) -> Permissions | None:
        """What somebody may do, compiled; equal rules are compiled once as long as they are in use."""
        if identity.admitted is None and not identity.asks:
            return self._configured(identity.permissions)
        rules = self.rules(identity)
        known = self._compiled.get(rules)
        if known is None:
            lists = permission_lists(rules)
            if lists is None:
                return None
            known = self._compiled[rules] = Permissions(self._server.kernel, **lists)
            if len(self._compiled) > limits.SHARED_PERMISSIONS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(rules)
        return known

    def _configured(self, rules: Rules | None) -> Permissions | None:
        """Users of the configuration share one compiled set as long as it lasts."""
        if rules is None:
            return None
        known = self._by_id.get(id(rules))
        if known is None:
            lists = permission_lists(rules)
            known = (rules, None if lists is None else Permissions(self._server.kernel, **lists))
            self._by_id[id(rules)] = known
        return known[1]

    def forget_rules(self) -> None:
        """There is another configuration."""
        self._by_id.clear()

    def apply_limits(self, peer: Peer) -> None:
        """The limits of now; who has more subscriptions than he may have goes."""
        payload, subs = self.bounds(peer.identity)
        peer.conn.limit(max_payload=payload, max_subs=subs, trace=self._server.options.trace)
        self.check_subscriptions(peer)

    def check_subscriptions(self, peer: Peer) -> None:
        """Whoever has as many subscriptions as he may have, or more, when limits are set, is told and closed."""
        _payload, most = self.bounds(peer.identity)
        member = self._accounts.get(peer.identity.account, {}).get(peer.conn.cid)
        if member is None or most < 0 or peer.conn.stats["subscriptions"] < most:
            return
        peer.conn.complain(TOO_MANY_SUBSCRIPTIONS)
        due_ns = self._server.clock.monotonic_ns() + GRACE_NS
        close = self._server.alarms.at(due_ns, lambda: peer.conn.close(Reason.MAX_SUBSCRIPTIONS))
        member.alarms.append(close)
        self._server.schedule()

    # --- changes -------------------------------------------------------------------------------------------

    def renew(self, before: "Account", after: "Account") -> None:
        """The claims of an account have changed; its limits are in ``limits`` already."""
        most, stayed = self.limits.get(after.name, Limits()).connections, 0
        for peer in self.of(after.name):
            identity = peer.identity
            if 0 <= most <= stayed:
                self.close(peer, Leaves(renewal.TOO_MANY_CONNECTIONS, Reason.MAX_ACCOUNT_CONNECTIONS.text))
                continue
            stayed += 1
            if identity.admitted is None:
                continue
            outcome = renewal.renew(identity.admitted, before, after, by_callout=identity.by_callout)
            if isinstance(outcome, Leaves):
                self.close(peer, outcome)
                continue
            peer.identity = identity._replace(admitted=outcome, permissions=outcome.rules)
            self.apply_limits(peer)
            if outcome.rules != identity.permissions:
                peer.changed(self.permissions(peer.identity))

    def shrink(self) -> None:
        """The configuration has changed: of accounts with more connections than they may have the newest go."""
        for name, bounds in self.limits.items():
            if bounds.connections < 0:
                continue
            for peer in self.of(name)[bounds.connections :]:
                self.close(peer, Leaves(renewal.TOO_MANY_CONNECTIONS, Reason.MAX_ACCOUNT_CONNECTIONS.text))

    def expire(self, account: str) -> None:
        """An account has expired, or was deleted."""
        for peer in self.of(account):
            self.close(peer, Leaves(renewal.ACCOUNT_EXPIRED, Reason.AUTHENTICATION_EXPIRED.text))

    def close(self, peer: Peer, leaves: Leaves) -> None:
        """Somebody has to go."""
        peer.conn.close(REASONS[leaves.reason], leaves.wire_text.encode())


def _without_callout(rules: Rules | None) -> Rules:
    """The same without publishing requests of the server's own to an auth callout."""
    publish = rules.publish if rules is not None else None
    denied = SubjectRules(
        None if publish is None or publish.allow is None else tuple(publish.allow),
        (*(publish.deny if publish is not None else ()), CALLOUT_SUBJECT),
    )
    if rules is None:
        return UserRules(publish=denied)
    return UserRules(denied, rules.subscribe, rules.allow_responses)  # type: ignore[arg-type]
