"""Auth callouts: a service of the user's decides who comes in (security_ops 2.9).

The server publishes a signed request in the callout's account and waits for the answer, at most the authentication
timeout. What is asked and what an answer means is in ``security/callout``; here it is sent, awaited and looked up.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from phloem.shared.accounts.auth import GLOBAL_ACCOUNT, PROXY_REQUIRED, Identity
from phloem.shared.accounts.definition import Limits
from phloem.shared.errors import CredentialsRefused, InvalidJWT
from phloem.shared.jetstream.identity import short_hash
from phloem.shared.kernel import Account
from phloem.shared.security import callout as asking
from phloem.shared.security import trust
from phloem.shared.security.callout import Asked
from phloem.shared.security.callout_claims import (
    AuthorizationRequest,
    ClientInformation,
    ClientTLS,
    ConnectOptions,
    ServerID,
)
from phloem.shared.security.claims import (
    OPEN_LIMITS,
    AccountClaims,
    Permission,
    Permissions,
    ResponsePermission,
    UserClaims,
)
from phloem.shared.security.claims import Account as AccountBody
from phloem.shared.security.nkeys import KEY_BYTES, KeyPair, Prefix
from phloem.shared.security.xkeys import NONCE_BYTES
from phloem.shared.server.login import Verdict, Visitor, local_zone, peer_of
from phloem.shared.wire.info import PROTOCOL_VERSION

if TYPE_CHECKING:
    from phloem.shared.accounts.auth import Rules, SubjectRules
    from phloem.shared.server.options_trust import AuthCallout
    from phloem.shared.server.server import Server
    from phloem.shared.server.trusted_accounts import TrustedAccount

log = logging.getLogger("phloem.client")

INBOX_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class _Question(NamedTuple):
    """One request: about whom, what an answer has to fit, what the visitor had been found to be without it."""

    visitor: Visitor
    asked: Asked
    proxy: str
    token: str = ""
    tags: tuple[str, ...] = ()
    name_tag: str = ""
    proxy_required: bool = False


class Callout:
    """Asks. ``configured`` is the block of the configuration; with operators the accounts say whether to ask."""

    def __init__(self, server: "Server", configured: "AuthCallout | None" = None) -> None:
        self._server = server
        self._configured = configured

    # --- who is asked about ------------------------------------------------------------------------------

    @property
    def account(self) -> str:
        """The account of the configured callout's service."""
        return (self._configured.account if self._configured else "") or GLOBAL_ACCOUNT

    def in_charge(self, visitor: Visitor, identity: Identity | None) -> bool:
        """Whether the configured callout has the last word, or an account that it has nothing to do with was found."""
        if self._configured is None:
            return False
        account = identity.account if identity is not None else GLOBAL_ACCOUNT
        if visitor.kind == "Leafnode" or account == GLOBAL_ACCOUNT:
            return True
        allowed = self._configured.allowed_accounts
        return not allowed or account in allowed

    def is_own_user(self, visitor: Visitor, identity: Identity | None) -> bool:
        """Whether it is one of those who are never asked about."""
        assert self._configured is not None
        name = visitor.shown.raw_user or (identity.name if identity is not None else "")
        return name in self._configured.auth_users

    def bound(self, verdict: Verdict) -> Verdict:
        """What was decided without asking; the callout's own users may not ask as the server does."""
        identity = verdict.identity
        if identity is None:
            return verdict._replace(event_account=self.account, event_reason=verdict.reason.text)
        return verdict._replace(identity=identity._replace(asks=identity.account == self.account))

    # --- asking --------------------------------------------------------------------------------------------

    def ask_configured(self, visitor: Visitor, proxy: str, *, required: bool) -> Coroutine[Any, Any, Verdict]:
        """Ask the configured callout. ``required``: the user that was named has to come through a proxy."""
        configured = self._configured
        assert configured is not None
        asked = Asked(
            account=self.account,
            user=self._ephemeral_user(),
            server=self._server.server_id,
            issuer=configured.issuer,
            xkey=configured.xkey,
        )
        return self._ask(_Question(visitor, asked, proxy, proxy_required=required))

    def ask_account(
        self, visitor: Visitor, known: "TrustedAccount", proxy: str, token: str, claims: UserClaims
    ) -> Coroutine[Any, Any, Verdict]:
        """Ask the callout of the account that the visitor's JWT, ``token``, let him into."""
        external = known.account.claims.nats.authorization
        asked = Asked(
            account=known.name,
            user=self._ephemeral_user(),
            server=self._server.server_id,
            signers=known.account.signers,
            callout=external,
            xkey=external.xkey,
        )
        body = claims.nats
        return self._ask(_Question(visitor, asked, proxy, token, body.tags, claims.name, body.proxy_required))

    def _ephemeral_user(self) -> str:
        """A key that nobody has: an answer to another request does not fit."""
        with KeyPair(Prefix.USER, self._server.rng.randbytes(KEY_BYTES)) as pair:
            return pair.public_key

    async def _ask(self, question: _Question) -> Verdict:
        asked, account = question.asked, question.asked.account
        body = await self._answer(question)
        if body is None:
            log.debug("Authorization callout response not received in time on account %s", account)
            return Verdict(None, "no answer from the auth callout", account)
        try:
            return await self._judge(question, body)
        except CredentialsRefused as refused:
            log.warning("%s - %s", question.visitor.label, refused.reason)
            proxy = refused.reason.lower() == PROXY_REQUIRED
            why = PROXY_REQUIRED if proxy else refused.reason
            return Verdict(None, why, asked.account, refused.reason)

    async def _answer(self, question: _Question) -> bytes | None:
        """What the service says; ``None``: nothing in time."""
        server = self._server
        account = server.account(question.asked.account)
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def settle(body: bytes | None) -> None:
            if not answer.done():
                answer.set_result(body)

        now_ns, timeout_ns = server.clock.monotonic_ns(), server.options.auth_timeout_ns
        inbox = self._inbox()
        subscription = server.kernel.subscribe(account, inbox, None, lambda *message: settle(message[3]))
        alarm = server.alarms.at(now_ns + timeout_ns, lambda: settle(None))
        server.schedule()
        try:
            server.do(lambda: self._send(account, inbox, question, timeout_ns))
            return await answer
        finally:
            alarm.cancel()
            server.kernel.unsubscribe(subscription)

    def _send(self, account: Account, inbox: bytes, question: _Question, timeout_ns: int) -> None:
        server, asked = self._server, question.asked
        token = asking.request(asked, self._request(question), server.key, server.clock.wall_ns(), timeout_ns)
        if not asked.xkey:
            server.kernel.publish(account, asking.SUBJECT.encode(), inbox, b"", token.encode())
            return
        sealed = asking.sealed_request(token, asked, server.curve, server.rng.randbytes(NONCE_BYTES))
        header = f"NATS/1.0\r\n{asking.XKEY_HEADER}: {server.curve.public_key}\r\n\r\n".encode()
        server.kernel.publish(account, asking.SUBJECT.encode(), inbox, header, sealed)

    def _inbox(self) -> bytes:
        server = self._server
        token = "".join(server.rng.choices(INBOX_CHARACTERS, k=22))
        return f"$SYS._INBOX.{short_hash(server.server_id)}.{token}".encode()

    def _request(self, question: _Question) -> AuthorizationRequest:
        server, visitor, asked = self._server, question.visitor, question.asked
        shown, options = visitor.shown, server.options
        return AuthorizationRequest(
            server_id=ServerID(
                name=server.name,
                host=options.host,
                id=server.server_id,
                version=PROTOCOL_VERSION,
                cluster=server.leafs.own_cluster,
                tags=options.server_tags,
                xkey=server.curve.public_key if asked.xkey else "",
            ),
            client_info=ClientInformation(
                host=visitor.host,
                id=visitor.conn.cid,
                user=shown.raw_user,
                name=visitor.name,
                tags=question.tags,
                name_tag=question.name_tag,
                kind=visitor.kind,
                type="nats" if visitor.kind == "Client" else "",
                nonce=visitor.nonce if shown.sig else "",
            ),
            connect_opts=ConnectOptions(
                jwt=question.token or (shown.jwt if asked.operator_mode else ""),
                nkey=shown.nkey,
                sig=shown.sig,
                auth_token=shown.token,
                user=shown.user,
                pass_=shown.password,
                name=visitor.name,
                lang=visitor.lang,
                version=visitor.version,
                protocol=visitor.protocol,
            ),
            client_tls=ClientTLS(certs=tuple(visitor.certificates)) if visitor.certificates else None,
        )

    # --- what the answer means -----------------------------------------------------------------------------

    async def _judge(self, question: _Question, body: bytes) -> Verdict:
        """Raises CredentialsRefused."""
        server, asked, visitor = self._server, question.asked, question.visitor
        now_ns = server.clock.wall_ns()
        zone = local_zone(now_ns)
        curve = server.curve if asked.xkey else None
        user = asking.answer(body, asked, curve, peer_of(visitor, question.proxy), now_ns, zone)
        if question.proxy_required and not question.proxy:
            raise CredentialsRefused("Proxy connection required")
        account = await self._account(asking.answered_account(user, asked), asked)
        admitted = asking.admit_answered(user, asked, account, now_ns, zone)
        identity = Identity(
            name=user.name or visitor.shown.raw_user,
            account=account.name,
            permissions=admitted.rules,
            admitted=admitted,
            by_callout=True,
            asks=account.name == asked.account,
            proxy=question.proxy,
            title=account.claims.name,
        )
        return Verdict(identity)

    async def _account(self, name: str, asked: Asked) -> trust.Account:
        """The account to put somebody into. Raises CredentialsRefused."""
        server = self._server
        text = f'No valid account "{name}" for auth callout response on account "{asked.account}"'
        if asked.operator_mode:
            assert server.login.trusted is not None
            try:
                return (await server.login.trusted.find(name)).account
            except InvalidJWT as error:
                raise CredentialsRefused(f"{text}: {error}") from None
        if name not in server.accounts:
            raise CredentialsRefused(f"{text}: account missing")
        limits = server.members.limits.get(name, Limits())
        granted = msgspec.structs.replace(OPEN_LIMITS, payload=limits.payload, subs=limits.subscriptions)
        rules = next((a.default_permissions for a in server.options.accounts if a.name == name), None)
        body = AccountBody(limits=granted, default_permissions=_as_claims(rules))
        return trust.Account(AccountClaims(sub=name, nats=body), {})


def _as_claims(rules: "Rules | None") -> Permissions:
    """Permissions of the configuration as a JWT would have them."""
    if rules is None:
        return Permissions()
    responses = rules.allow_responses
    return Permissions(
        pub=_direction(rules.publish),
        sub=_direction(rules.subscribe),
        resp=ResponsePermission(max=responses.max_msgs, ttl=responses.ttl_ns) if responses else None,
    )


def _direction(rules: "SubjectRules | None") -> Permission:
    if rules is None:
        return Permission()
    return Permission(
        allow=None if rules.allow is None else tuple(rules.allow), deny=tuple(rules.deny) or None
    )
