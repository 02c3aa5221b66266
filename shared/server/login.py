"""Who a connection is: from what it shows to an account and permissions (security_ops 2.1).

One way for clients and leaf links, in nats-server's order: a proxy's signature; with operators a user JWT and nothing
else; otherwise nkeys, users, token. Then an auth callout, where one is in charge. Most is decided at once. What takes
longer, bcrypt, an account that has to be fetched, a callout, is a task, and the connection stands still meanwhile: a
peer has one login at a time, and it ends with the connection.

Whatever was wrong, the peer hears the same at the same time after CONNECT (``refusals.py``); ``Verdict.why`` is for the
log.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

from phloem.shared import limits
from phloem.shared.accounts.auth import (
    PROXY_NOT_TRUSTED,
    PROXY_REQUIRED,
    Authenticator,
    Candidate,
    Credentials,
    Identity,
)
from phloem.shared.accounts.definition import Limits
from phloem.shared.errors import CredentialsRefused, InvalidJWT, NKeyError
from phloem.shared.kernel import Connection, Reason
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.admission import Peer, account_of, admit, present, signature_refusal
from phloem.shared.security.claims import UserClaims
from phloem.shared.security.nkeys import verify, verify_nothing
from phloem.shared.security.tokens import decode_as, decode_base64url, encode_base64url
from phloem.shared.server.refusals import Refusals
from phloem.shared.server.tls import mapped_types

if TYPE_CHECKING:
    from phloem.shared.server.callout import Callout
    from phloem.shared.server.options import Options
    from phloem.shared.server.options_auth import Account
    from phloem.shared.server.server import Server
    from phloem.shared.server.trusted_accounts import TrustedAccount, TrustedAccounts

log = logging.getLogger("phloem.client")

_REASONS = {PROXY_NOT_TRUSTED: Reason.PROXY_NOT_TRUSTED, PROXY_REQUIRED: Reason.PROXY_REQUIRED}


class Visitor(NamedTuple):
    """Who comes in. ``kind``: Client or Leafnode; ``type``: STANDARD, LEAFNODE and so on; ``label``: for the log.

    ``mapped`` is set where certificates name users: it says which of some users the peer's certificate names.
    ``certificates``: those of the peer as PEM.
    """

    conn: Connection
    label: object
    kind: str
    type: str
    host: str
    nonce: str
    shown: Credentials
    name: str = ""
    lang: str = ""
    version: str = ""
    protocol: int = 0
    mapped: Callable[[Iterable[str]], str | None] | None = None
    certificates: Sequence[str] = ()


class Verdict(NamedTuple):
    """Who it is; ``identity`` of ``None``: nobody who may come in, and ``why``, for the log.

    ``event_account`` and ``event_reason``: the account of the callout that decided, and how it is told there; the
    system account hears of all in the same way.
    """

    identity: Identity | None
    why: str = ""
    event_account: str = ""
    event_reason: str = ""

    @property
    def reason(self) -> Reason:
        """Why the connection is closed."""
        return _REASONS.get(self.why, Reason.AUTHENTICATION_VIOLATION)


Outcome = Verdict | Coroutine[Any, Any, Verdict]
Done = Callable[[Verdict], None]


class Login:
    """The way in. ``trusted`` and ``callout`` are there if the configuration names operators or a callout."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self.refusals = Refusals(server)
        self.trusted: TrustedAccounts | None = None
        self.callout: Callout | None = None
        self.pinned_account_fails = 0

    # --- life cycle ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Who vouches for whom, by the options. Raises ConfigError."""
        options, server = self._server.options, self._server
        if options.operators or options.trusted_keys:
            from phloem.shared.server.trusted_accounts import opened  # noqa: PLC0415  (most servers have no operators)

            self.trusted = opened(server)
        self.reload()
        if self.trusted is not None:
            await self.trusted.start()

    def reload(self) -> None:
        """Options that may change while the server runs."""
        configured = self._server.options.authorization.auth_callout
        self.callout = None
        if configured is not None or self.trusted is not None:
            from phloem.shared.server.callout import Callout  # noqa: PLC0415  (nor a callout)

            self.callout = Callout(self._server, configured)
        if self.trusted is None:
            self._server.members.limits.clear()
        for account in self._server.options.accounts:
            self._server.members.limits[account.name] = limits_of(account)
        if self.trusted is not None:
            self.trusted.use_pinned(self._server.options.resolver_pinned_accounts)
            if self._server.ready:
                self.trusted.reload()

    async def stop(self) -> None:
        """Nobody comes in any more."""
        self.refusals.stop()
        if self.trusted is not None:
            await self.trusted.resolver.stop()

    # --- what INFO says ----------------------------------------------------------------------------

    @property
    def required(self) -> bool:
        """Whether INFO says that CONNECT has to show something."""
        return self.trusted is not None or self._server.auth.required

    @property
    def configured(self) -> bool:
        """Whether CONNECT is needed before anything else."""
        return self.trusted is not None or self._server.auth.configured

    @property
    def challenges(self) -> bool:
        """Whether clients get a nonce: somebody may have to sign it."""
        return self.trusted is not None or self._server.auth.has_nkeys or bool(self._proxies())

    def nonce(self) -> str:
        """A new one: 15 characters."""
        return encode_base64url(self._server.rng.randbytes(limits.NONCE_BYTES))

    def stand_in(self, connection_type: str) -> Identity | None:
        """Who a client is that has not sent CONNECT yet; ``None``: nobody."""
        return None if self.trusted is not None else self._server.auth.stand_in(connection_type)

    def renew(self, identity: Identity, connection_type: str = "") -> Identity | None:
        """What somebody is after a reload; ``None``: he has to log in again."""
        if identity.proxy and identity.proxy not in self._proxies():
            return None
        if identity.admitted is not None:
            pinned = self.trusted.pinned if self.trusted is not None else None
            return identity if pinned is None or identity.account in pinned else None
        renewed = self._server.auth.renew(identity, connection_type)
        return renewed and renewed._replace(asks=identity.asks, proxy=identity.proxy)

    # --- coming in -----------------------------------------------------------------------------------

    def begin(self, visitor: Visitor, done: Done, among: Authenticator | None = None) -> None:
        """Decide, and call ``done``: now, or later, unless the connection is gone by then.

        ``among``: users of a listener of its own, whom no operator and no callout decides about.
        """
        began_ns = self._server.clock.monotonic_ns()
        outcome = self._decide(visitor, among)
        if isinstance(outcome, Verdict) and outcome.identity is not None:
            done(outcome)
            return
        conn = visitor.conn
        conn.wait()
        # each step has a time of its own, which is over before this one
        conn.set_deadline(began_ns + self._timeout_ns + limits.LOGIN_SLACK_NS)
        if isinstance(outcome, Verdict):
            self._refuse(visitor, outcome, began_ns, done)
            return
        task = self._server.spawn(self._later(visitor, outcome, began_ns, done), f"login cid:{conn.cid}")
        self._waiting[conn.cid] = task
        task.add_done_callback(lambda _: self._over(conn, outcome))

    @property
    def waiting(self) -> int:
        """How many logins take longer."""
        return len(self._waiting)

    def _over(self, conn: Connection, outcome: Coroutine[Any, Any, Verdict]) -> None:
        self._waiting.pop(conn.cid, None)
        outcome.close()  # if it never began

    def forget(self, conn: Connection) -> None:
        """The connection is gone."""
        self.refusals.forget(conn.cid)
        task = self._waiting.pop(conn.cid, None)
        if task is not None:
            task.cancel()

    async def _later(
        self, visitor: Visitor, outcome: Coroutine[Any, Any, Verdict], began_ns: int, done: Done
    ) -> None:
        verdict = await outcome
        if visitor.conn.closed:
            return
        if verdict.identity is None:
            self._refuse(visitor, verdict, began_ns, done)
            return
        self._server.do(lambda: done(verdict))

    def _refuse(self, visitor: Visitor, verdict: Verdict, began_ns: int, done: Done) -> None:
        """At the time that any other refusal of a CONNECT of ``began_ns`` would have."""
        self.refusals.hold(visitor.conn.cid, began_ns, lambda: done(verdict))

    def _decide(self, visitor: Visitor, among: Authenticator | None) -> Outcome:
        try:
            proxy = self._vouching(visitor)
        except CredentialsRefused as refused:
            return Verdict(None, refused.reason)
        if among is None and self.trusted is not None:
            return self._by_jwt(visitor, proxy, self.trusted)
        try:
            found = (among or self._server.auth).find(
                visitor.shown,
                visitor.type,
                nonce=visitor.nonce.encode(),
                proxied=bool(proxy),
                mapped=visitor.mapped,
            )
        except CredentialsRefused as refused:
            return self._or_callout(visitor, Verdict(None, refused.reason), proxy, among)
        if isinstance(found, Identity):
            return self._or_callout(visitor, Verdict(found._replace(proxy=proxy)), proxy, among)
        if found.slow:
            return self._slowly(visitor, found, proxy, among)
        return self._or_callout(visitor, self._matched(found, proxy, right=found.matches()), proxy, among)

    @staticmethod
    def _matched(found: Candidate, proxy: str, *, right: bool) -> Verdict:
        if not right or found.identity is None:
            return Verdict(None, found.refusal)
        return Verdict(found.identity._replace(proxy=proxy))

    async def _slowly(
        self, visitor: Visitor, found: Candidate, proxy: str, among: Authenticator | None
    ) -> Verdict:
        """bcrypt on another thread; the connection stands still meanwhile, the server does not."""
        right = await asyncio.get_running_loop().run_in_executor(None, found.matches)
        verdict = self._or_callout(visitor, self._matched(found, proxy, right=right), proxy, among)
        return verdict if isinstance(verdict, Verdict) else await verdict

    # --- proxies ---------------------------------------------------------------------------------------

    def _proxies(self) -> Sequence[str]:
        return [proxy.key for proxy in self._server.options.proxies.trusted]

    def _vouching(self, visitor: Visitor) -> str:
        """The key of the trusted proxy that signed the nonce; empty: nobody says so.

        Raises:
            CredentialsRefused: Somebody does, whom nobody trusts.
        """
        signature, trusted = visitor.shown.proxy_sig, self._proxies()
        if not signature or not trusted:
            return ""
        try:
            raw = decode_base64url(signature)
        except InvalidJWT:
            raise CredentialsRefused(PROXY_NOT_TRUSTED) from None
        for key in trusted:
            try:
                verify(key, visitor.nonce.encode(), raw)
            except NKeyError:
                continue
            return key
        raise CredentialsRefused(PROXY_NOT_TRUSTED)

    # --- operators ---------------------------------------------------------------------------------------

    def _by_jwt(self, visitor: Visitor, proxy: str, trusted: "TrustedAccounts") -> Outcome:
        peer = peer_of(visitor, proxy)
        try:
            claims = present(
                visitor.shown.jwt, peer, self._server.clock.wall_ns(), self._server.options.default_sentinel
            )
        except CredentialsRefused as refused:
            verify_nothing()
            return Verdict(None, refused.reason)
        try:
            name = account_of(claims, trusted.pinned)
        except CredentialsRefused as refused:
            self.pinned_account_fails += 1
            signature_refusal(claims, peer)
            return Verdict(None, refused.reason)
        known = trusted.ready(name)
        if known is not None:
            return self._in_account(visitor, claims, known, proxy, trusted)
        missing = trusted.missing(name)
        if missing is not None:
            return self._unknown(visitor, claims, missing, proxy)
        return self._after_lookup(visitor, claims, name, proxy, trusted)

    async def _after_lookup(
        self, visitor: Visitor, claims: UserClaims, name: str, proxy: str, trusted: "TrustedAccounts"
    ) -> Verdict:
        began_ns = self._server.clock.monotonic_ns()
        try:
            known = await trusted.find(name)
        except InvalidJWT as error:
            return self._unknown(visitor, claims, error, proxy)
        finally:
            self.refusals.looked_up(self._server.clock.monotonic_ns() - began_ns)
        verdict = self._in_account(visitor, claims, known, proxy, trusted)
        return verdict if isinstance(verdict, Verdict) else await verdict

    @staticmethod
    def _unknown(visitor: Visitor, claims: UserClaims, error: InvalidJWT, proxy: str) -> Verdict:
        signature_refusal(claims, peer_of(visitor, proxy))
        return Verdict(None, f"Account JWT lookup error: {error}")

    def _in_account(
        self,
        visitor: Visitor,
        claims: UserClaims,
        known: "TrustedAccount",
        proxy: str,
        trusted: "TrustedAccounts",
    ) -> Outcome:
        now_ns, account = self._server.clock.wall_ns(), known.account
        try:
            admitted = admit(
                claims, account, trusted.trust, peer_of(visitor, proxy), now_ns, local_zone(now_ns)
            )
        except CredentialsRefused as refused:
            verdict, user = Verdict(None, refused.reason), visitor.shown.raw_user
        else:
            verdict = Verdict(
                Identity(
                    admitted.user.sub,
                    account.name,
                    admitted.rules,
                    admitted=admitted,
                    proxy=proxy,
                    title=account.claims.name,
                )
            )
            user = visitor.shown.raw_user or admitted.user.sub
        callout = account.claims.nats.authorization
        if not callout.auth_users or self.callout is None or verdict.identity is None:
            return verdict
        if user not in callout.auth_users:
            token = self._token_of(visitor)
            return self.callout.ask_account(visitor, known, proxy, token, claims)
        return verdict._replace(identity=verdict.identity._replace(asks=True))

    def _token_of(self, visitor: Visitor) -> str:
        """The JWT that counted: the one shown, or the sentinel."""
        sentinel = self._server.options.default_sentinel
        if not sentinel:
            return visitor.shown.jwt
        try:
            decode_as(visitor.shown.jwt, UserClaims)
        except InvalidJWT:
            return sentinel
        return visitor.shown.jwt

    # --- callouts ----------------------------------------------------------------------------------------

    def _or_callout(
        self, visitor: Visitor, verdict: Verdict, proxy: str, among: Authenticator | None
    ) -> Outcome:
        callout = self.callout
        if callout is None or among is not None or not callout.in_charge(visitor, verdict.identity):
            return verdict
        if callout.is_own_user(visitor, verdict.identity):
            return callout.bound(verdict)
        return callout.ask_configured(visitor, proxy, required=verdict.why == PROXY_REQUIRED)

    @property
    def _timeout_ns(self) -> int:
        return self._server.options.auth_timeout_ns


def authenticator(o: "Options") -> Authenticator:
    """Who is written down in the configuration."""
    a = o.authorization
    return Authenticator(
        users=(*o.users, *o.nkeys),
        user=a.user,
        password=a.password,
        token=a.token,
        no_auth_user=o.no_auth_user,
        permissions=a.default_permissions,
        anonymous=o.anonymous,
        proxy_required=a.proxy_required,
        by_certificate=mapped_types(o),
    )


def limits_of(account: "Account") -> Limits:
    """Those of a block of the configuration."""
    bounds = account.limits
    return Limits(bounds.max_connections, bounds.max_subscriptions, bounds.max_payload, bounds.max_leafnodes)


def peer_of(visitor: Visitor, proxy: str) -> Peer:
    """The same as admission takes it."""
    return Peer(visitor.type, visitor.host, visitor.nonce.encode(), visitor.shown.sig, bool(proxy))


def local_zone(now_ns: int) -> tzinfo:
    """The machine's time zone, for users who may come at times of the day."""
    return datetime.fromtimestamp(now_ns // SECOND_NS, UTC).astimezone().tzinfo or UTC
