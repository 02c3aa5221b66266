"""Accounts that operators vouch for: looked up when somebody needs them, and kept up to date (security_ops 2.10).

An account that is not there is asked for once, whoever waits for it; its imports name others, which are fetched with
it. Claims that change take effect on those who are connected (``members``), on JetStream and on what crosses between
accounts.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from phloem.shared import limits
from phloem.shared.accounts.definition import Definition, Limits
from phloem.shared.accounts.from_claims import definition
from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.kernel import Reason
from phloem.shared.limits import SECOND_NS
from phloem.shared.security import trust as trusting
from phloem.shared.security.account_rules import tiers
from phloem.shared.security.claims import OPEN_LIMITS, AccountClaims, JetStreamLimits, OperatorLimits
from phloem.shared.security.claims import Account as AccountBody
from phloem.shared.security.nkeys import Prefix, is_public
from phloem.shared.security.trust import Account, Trust, verify_account
from phloem.shared.server.definitions import with_default_domain
from phloem.shared.server.options_jetstream import SINGLE_TIER, AccountJetStream
from phloem.shared.server.options_trust import MEMORY, URL
from phloem.shared.server.resolvers import (
    MISSING,
    NO_KEY,
    NOT_FOUND,
    MemoryResolver,
    Resolver,
    UrlResolver,
    check_name,
)

if TYPE_CHECKING:
    from phloem.shared.server.alarms import Alarm
    from phloem.shared.server.claim_service import ClaimService
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.server")

EXPIRED = "account expired"
BOOTSTRAP_S = 1.0  # between attempts to find the system account
NOT_THERE = (MISSING, NOT_FOUND, NO_KEY)
NOTHING = Limits(connections=0, subscriptions=0, payload=0, leafnodes=0)


class TrustedAccount:
    """One of them. ``token`` is the JWT that holds; ``expired``: nobody comes in, until there is a new one."""

    __slots__ = ("account", "alarm", "definition", "expired", "token", "updated_ns")

    def __init__(self, account: Account, token: str) -> None:
        self.account = account
        self.token = token
        self.definition: Definition = definition(account.claims)
        self.alarm: Alarm | None = None
        self.expired = False
        self.updated_ns = 0

    @property
    def name(self) -> str:
        """Its public key."""
        return self.account.name


class TrustedAccounts:
    """All that were needed so far. ``pinned``: the only ones whose users may come in, if there is such a list."""

    def __init__(
        self,
        server: "Server",
        trust: Trust,
    ) -> None:
        self._server = server
        self.trust = trust
        self.resolver: Resolver = MemoryResolver({})
        self.pinned: frozenset[str] | None = None
        self._service: ClaimService | None = None
        self._known: dict[str, TrustedAccount] = {}
        self._fetching: dict[str, asyncio.Task[TrustedAccount]] = {}
        self._room = asyncio.Semaphore(limits.ACCOUNT_FETCHES)
        # who writes into a resolver's folder; who waits gets it in order: so do two updates of an account, and two
        # resolvers of one folder, when a reload replaces one while it writes
        self.turn = asyncio.Lock()

    # --- life cycle --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get the resolver going and have the system account. Raises ConfigError."""
        clock = self._server.clock
        began_ns = clock.monotonic_ns()
        await self.resolver.start()
        self._server.login.refusals.looked_up(clock.monotonic_ns() - began_ns)  # the first of the looks
        self._answer_requests()
        name, options = self._server.options.system_account, self._server.options
        if not is_public(name, Prefix.ACCOUNT):
            return
        try:
            await self.find(name)
        except InvalidJWT as error:
            if len(options.operators) != 1 or isinstance(self.resolver, MemoryResolver):
                raise ConfigError(f"error resolving system account: {error}") from error
            self._bootstrap(name, options.operators[0].claims.iss)

    def another_resolver(self) -> Resolver:
        """Reload: the one that the options name now, which nobody asks yet. Raises ConfigError."""
        return resolver_of(self._server, self)

    def use_resolver(self, resolver: Resolver) -> None:
        """From now on this one is asked, and answers.

        Accounts that are known stay as they are until there are new claims; ``reload`` says which ones of a resolver
        in memory go.
        """
        if self._service is not None:
            self._service.withdraw()
        self.resolver = resolver
        for known in self._known.values():
            if known.expired:  # the old one had no news of it, this one may
                known.updated_ns = -limits.ACCOUNT_REFRESH_NS
        self._answer_requests()

    def _answer_requests(self) -> None:
        """About claims; what a resolver keeps, it answers for itself."""
        from phloem.shared.server.claim_service import ClaimService  # noqa: PLC0415  (it imports the resolver's side)

        self._service = None
        if self._system:
            resolver = self.resolver
            self._service = (
                resolver if isinstance(resolver, ClaimService) else ClaimService(self._server, self)
            )
            self._service.serve()

    def _bootstrap(self, name: str, operator: str) -> None:
        """The system account is what accounts are put into the resolver with, itself among them."""
        log.info("Using bootstrapping system account")
        claims = AccountClaims(sub=name, iss=operator, nats=AccountBody(limits=OPEN_LIMITS))
        self._known[name] = TrustedAccount(Account(claims, {name: None}), "")
        self._server.account(name)
        self._server.spawn(self._until_there(name), "system account")

    async def _until_there(self, name: str) -> None:
        while not self._known[name].token:
            await asyncio.sleep(BOOTSTRAP_S)
            try:
                self.update(await self.resolver.fetch(name), name)
            except InvalidJWT:
                continue
        log.info("System account fetched and updated")

    def use_pinned(self, pinned: Iterable[str]) -> None:
        """The only accounts whose users may come in; the system account always may."""
        accounts = frozenset(pinned)
        self.pinned = accounts | {self._system} if accounts else None

    def reload(self) -> None:
        """The configuration may have other JWTs. What is gone from a resolver in memory is gone altogether."""
        self.resolver.reload(self._server.options.resolver_preload)
        if not isinstance(self.resolver, MemoryResolver):
            return
        for name in list(self._known):
            token = self.resolver.get(name)
            why = "removed"
            if token is not None:
                try:
                    self.update(token, name)
                except InvalidJWT:
                    why = "bad claims"
                else:
                    continue
            if not self._known[name].expired:
                log.info('Reloaded: deleting account [%s]: "%s"', why, name)
                self._turn_out(name)

    def _turn_out(self, name: str) -> None:
        for peer in self._server.members.of(name):
            peer.conn.close(Reason.AUTHENTICATION_VIOLATION, b"Authorization Violation")
        self.remove(name)

    # --- asking ------------------------------------------------------------------------------------------

    def get(self, name: str) -> TrustedAccount | None:
        """An account that is known, whatever its state."""
        return self._known.get(name)

    def ready(self, name: str) -> TrustedAccount | None:
        """An account that can be used without asking anybody."""
        known = self._known.get(name)
        if known is None or known.expired or name in self._fetching:
            return None
        return known

    def missing(self, name: str) -> InvalidJWT | None:
        """What ``find`` would raise, where that is known without asking anybody."""
        known = self._known.get(name)
        if known is not None or name in self._fetching:
            return None
        try:
            check_name(name)
        except InvalidJWT as error:
            return error
        resolver = self.resolver
        return (
            InvalidJWT(MISSING)
            if isinstance(resolver, MemoryResolver) and resolver.get(name) is None
            else None
        )

    def all(self) -> Mapping[str, TrustedAccount]:
        """Those that are known, by name."""
        return self._known

    async def find(self, name: str) -> TrustedAccount:
        """The account, asked for if need be.

        Raises:
            InvalidJWT: There is none, nobody trusted vouches for it, or it has expired.
        """
        known = self._known.get(name)
        if known is not None and not known.expired and name not in self._fetching:
            return known
        if known is not None and known.expired and not self._may_refresh(known):
            raise InvalidJWT(EXPIRED)
        task = self._fetching.get(name)
        if task is None:
            task = self._server.spawn(self._fetch(name), f"account {name}")
            self._fetching[name] = task
            task.add_done_callback(lambda done: self._fetched(name, done))
        return await asyncio.shield(task)

    def _may_refresh(self, known: TrustedAccount) -> bool:
        if known.name in self._fetching:
            return True
        return self._server.clock.monotonic_ns() - known.updated_ns >= limits.ACCOUNT_REFRESH_NS

    def _fetched(self, name: str, task: "asyncio.Task[TrustedAccount]") -> None:
        self._fetching.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; if they have all gone, nobody does

    async def _fetch(self, name: str) -> TrustedAccount:
        check_name(name)
        known = self._known.get(name)
        try:
            async with self._room:
                token = await self.resolver.fetch(name)
        except InvalidJWT as error:
            # peers choose which accounts are asked for; that one is not there is told with their failure
            level = logging.DEBUG if str(error) in NOT_THERE else logging.WARNING
            log.log(level, "Account fetch failed: %s", error)
            raise InvalidJWT(EXPIRED) from None if known is not None and known.expired else error
        self._server.do(lambda: self._apply(token, name))
        found = self._known[name]
        await self._fetch_exporters(found)
        if found.expired:
            raise InvalidJWT(EXPIRED)
        return found

    async def _fetch_exporters(self, importer: TrustedAccount) -> None:
        """Accounts that this one imports from. What comes from one that is not there is not imported."""
        for entry in importer.definition.imports:
            if entry.account in self._known or entry.account in self._fetching:
                continue  # in a circle of imports each waits for nobody
            try:
                await self.find(entry.account)
            except InvalidJWT as error:
                log.error(
                    "Can't locate account [%s] for import of [%s] %s (err=%s)",
                    entry.account,
                    entry.subject,
                    entry.kind.value,
                    error,
                )
        self._server.do(self._publish_definitions)

    # --- new claims ----------------------------------------------------------------------------------------

    def update(self, token: str, name: str) -> None:
        """New claims for an account that is known; those of one that is not are left alone.

        Raises:
            InvalidJWT: Nobody trusted signed them, they are another account's, or make no sense now.
        """
        known = self._known.get(name)
        if known is None or known.token == token:
            return
        self._apply(token, name)
        missing = [
            entry for entry in self._known[name].definition.imports if entry.account not in self._known
        ]
        if missing:
            self._server.spawn(self._fetch_exporters(self._known[name]), f"imports of {name}")

    def remove(self, name: str) -> None:
        """The account is deleted: everybody goes, nobody comes in, until there are new claims."""
        known = self._known.get(name)
        if known is None:
            return
        log.debug("Disable account %s due to remove", name)
        if known.alarm is not None:
            known.alarm.cancel()
        known.expired, known.updated_ns = True, self._server.clock.monotonic_ns()
        known.token = ""
        known.definition = known.definition._replace(limits=NOTHING, exports=(), imports=(), mappings=())
        self._server.members.limits[name] = NOTHING
        self._server.members.expire(name)
        self._use_jetstream(name, None)
        self._publish_definitions()

    def _apply(self, token: str, name: str) -> None:
        """Raises InvalidJWT as ``update`` does."""
        server = self._server
        now_s = server.clock.wall_ns() // SECOND_NS
        claims = verify_account(token, self.trust, now_s, name)
        account = trusting.account(claims, self.trust)
        before = self._known.get(name)
        log.debug("Updating account claims: %s/%s", name, claims.name)
        now = TrustedAccount(account, token)
        now.definition = with_default_domain(now.definition, server.options.default_js_domain)
        now.updated_ns = server.clock.monotonic_ns()
        self._known[name] = now
        self._set_alarm(now, now_s)
        server.account(name)
        server.members.limits[name] = now.definition.limits
        if before is not None:
            if before.alarm is not None:
                before.alarm.cancel()
            server.members.renew(before.account, account)
        if now.expired:
            server.members.expire(name)
        self._use_jetstream(name, jetstream_limits(claims.nats.limits))
        self._publish_definitions()

    def _set_alarm(self, known: TrustedAccount, now_s: int) -> None:
        expires_s = known.account.claims.exp
        if expires_s == 0:
            return
        if expires_s <= now_s:
            known.expired = True
            return
        due_ns = known.updated_ns + (expires_s - now_s) * SECOND_NS
        known.alarm = self._server.alarms.at(due_ns, lambda: self._expire(known))
        self._server.schedule()

    def _expire(self, known: TrustedAccount) -> None:
        known.expired, known.updated_ns = True, self._server.clock.monotonic_ns()
        self._server.members.expire(known.name)

    def jetstream_accounts(self) -> list[tuple[str, AccountJetStream]]:
        """Those that may keep streams."""
        found = [
            (name, jetstream_limits(known.account.claims.nats.limits)) for name, known in self._known.items()
        ]
        return [(name, limits) for name, limits in found if limits is not None and name != self._system]

    def _use_jetstream(self, name: str, options: AccountJetStream | None) -> None:
        if self._server.jetstream is not None and name != self._system:
            self._server.jetstream.use_account(name, options)

    @property
    def _system(self) -> str:
        return self._server.options.system_account

    # --- imports ---------------------------------------------------------------------------------------------

    def _publish_definitions(self) -> None:
        """Tell what crosses between accounts now."""
        self._server.crossings.define({name: known.definition for name, known in self._known.items()})


def jetstream_limits(granted: OperatorLimits) -> AccountJetStream | None:
    """What an account may keep on this server; ``None``: nothing. Of tiers the one without replicas counts."""
    by_tier = {name: _keeping(tier) for name, tier in tiers(granted).items()}
    if not by_tier:
        return None
    if "" in by_tier:
        return by_tier[""]
    single = by_tier.get(SINGLE_TIER, AccountJetStream(max_memory=0, max_store=0))
    return msgspec.structs.replace(single, tiers=by_tier)


def _keeping(tier: JetStreamLimits) -> AccountJetStream:
    return AccountJetStream(
        max_memory=tier.mem_storage,
        max_store=tier.disk_storage,
        max_streams=tier.streams if tier.streams > 0 else -1,
        max_consumers=tier.consumer if tier.consumer > 0 else -1,
        max_bytes_required=tier.max_bytes_required,
        memory_max_stream_bytes=tier.mem_max_stream_bytes,
        disk_max_stream_bytes=tier.disk_max_stream_bytes,
        max_ack_pending=tier.max_ack_pending,
    )


def opened(server: "Server") -> TrustedAccounts:
    """By the options. Raises ConfigError."""
    trusted = TrustedAccounts(server, server.options.trust)
    trusted.resolver = resolver_of(server, trusted)
    return trusted


def resolver_of(server: "Server", trusted: TrustedAccounts) -> Resolver:
    """The one that the options name. Raises ConfigError."""
    options = server.options
    configured, preload = options.resolver, options.resolver_preload
    if configured is None or configured.kind == MEMORY:
        return MemoryResolver(preload)
    if configured.kind == URL:
        return UrlResolver(
            configured.url, context=lambda: server.tls.contexts.resolver, timeout_ns=configured.timeout_ns
        )
    if not options.operators:
        raise ConfigError("Could not start resolver: no operator key found")
    from phloem.shared.server.claim_service import FolderResolver  # noqa: PLC0415  (only who keeps JWTs needs it)

    return FolderResolver(server, trusted, configured, options.operators[0].claims)
