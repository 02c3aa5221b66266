"""Requests about accounts' claims in the system account, and the resolvers that keep claims in a folder (security_ops
2.10.6).

Every server with operators takes updates of accounts that are in use. One that keeps all of them (FULL) also stores,
lists, deletes and hands them out, and compares its own with other servers'; one that keeps some (CACHE) asks others for
what it does not have.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from phloem.shared.errors import ConfigError, InvalidJWT
from phloem.shared.jetstream.identity import short_hash, text_of
from phloem.shared.limits import SECOND_NS
from phloem.shared.security.claim_requests import (
    UPDATE_FAILED,
    UPDATED,
    ClaimsRefused,
    operator_keys,
    to_cache,
    to_delete,
    to_store,
)
from phloem.shared.security.claims import AccountClaims
from phloem.shared.security.tokens import decode_as
from phloem.shared.server.claim_folder import ClaimFolder
from phloem.shared.server.options_trust import CACHE
from phloem.shared.server.resolvers import NOT_FOUND, checked_preload
from phloem.shared.server.system.requests import Asked, Handler

if TYPE_CHECKING:
    from phloem.shared.security.claims import OperatorClaims
    from phloem.shared.server.alarms import Alarm
    from phloem.shared.server.options_trust import Resolver as ResolverOptions
    from phloem.shared.server.server import Server
    from phloem.shared.server.trusted_accounts import TrustedAccounts

log = logging.getLogger("phloem.server")

UPDATE_OLD, UPDATE_NEW = "$SYS.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"
LOOKUP = "$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP"
UPDATE, LIST, DELETE, PACK = (f"$SYS.REQ.CLAIMS.{name}" for name in ("UPDATE", "LIST", "DELETE", "PACK"))
EXPIRE_NS = 60 * SECOND_NS  # between looks for files whose time is over
INBOX_CHARACTERS = 22
CACHE_LIMIT = 1000  # accounts, where the configuration says nothing


class ClaimService:
    """Updates of accounts that are in use; what MEMORY and URL resolvers do about requests."""

    def __init__(self, server: "Server", trusted: "TrustedAccounts") -> None:
        self._server = server
        self._trusted = trusted
        self._heard: list[int] = []

    def serve(self) -> None:
        """Answer requests from now on."""
        for subject in (UPDATE_OLD, UPDATE_NEW):
            self._hear(subject, self._update)

    def withdraw(self) -> None:
        """No more answers: there is another one."""
        for subscription in self._heard:
            self._server.kernel.unsubscribe(subscription)
        self._heard.clear()

    def _update(self, asked: Asked) -> None:
        name = _account(asked)
        if not asked.body:
            self._refuse(asked, ClaimsRefused(name, "jwt update error", "request body is empty"))
            return
        token = asked.body.decode("utf-8", "replace")
        try:
            if decode_as(token, AccountClaims).sub != name:
                raise InvalidJWT("subject does not match jwt content")
            known = self._trusted.get(name) is not None
            if known:
                self._trusted.update(token, name)
        except InvalidJWT as error:
            self._refuse(asked, ClaimsRefused(name, UPDATE_FAILED, str(error)))
            return
        self._agree(asked, UPDATED if known else "jwt update skipped", name)

    def _hear(self, subject: str, handler: Handler) -> None:
        server = self._server
        account = server.account(server.options.system_account)

        def heard(subject: bytes, reply: bytes, header: bytes, body: bytes) -> None:
            handler(Asked(account, subject.decode("utf-8", "surrogateescape"), reply, header, body))

        self._heard.append(server.kernel.subscribe(account, subject.encode(), None, heard))

    # --- answers -------------------------------------------------------------------------------------------

    def _agree(self, asked: Asked, message: str, name: str = "") -> None:
        log.debug("%s%s", message, f" - {name}" if name else "")
        data = {"account": name, "code": HTTPStatus.OK.value, "message": message}
        self._answer(asked, {"data": {key: value for key, value in data.items() if value}})

    def _refuse(self, asked: Asked, refused: ClaimsRefused) -> None:
        log.error("%s", refused.description)
        code = HTTPStatus.INTERNAL_SERVER_ERROR.value
        error = {"account": refused.account, "code": code, "description": refused.description}
        self._answer(asked, {"error": {key: value for key, value in error.items() if value}})

    def _answer(self, asked: Asked, fields: dict[str, Any]) -> None:
        system = self._server.system
        if asked.reply and system is not None:
            system.desk.reply(asked, {"server": system.voice.info(), **fields})

    def _send(self, asked: Asked, body: bytes) -> None:
        if asked.reply:
            self._server.kernel.publish(asked.account, asked.reply, b"", b"", body)


class FolderResolver(ClaimService):
    """JWTs in a folder: all of them, or those in use (``options.kind``)."""

    def __init__(
        self,
        server: "Server",
        trusted: "TrustedAccounts",
        options: "ResolverOptions",
        operator: "OperatorClaims",
    ) -> None:
        """Raises ConfigError when the folder cannot be used, or what is to be preloaded is no account's JWT."""
        super().__init__(server, trusted)
        self._options = options
        self._operator = operator
        self._cache = options.kind == CACHE
        self._folder = ClaimFolder(
            options.dir,
            limit=options.limit or (CACHE_LIMIT if self._cache else 0),
            evicts=self._cache,
            ttl_ns=options.ttl_ns,
            hard_delete=options.hard_delete or self._cache,
            wall_ns=server.clock.wall_ns,
            changed=self._changed,
            deleted=trusted.remove,
        )
        self._alarms: dict[str, Alarm] = {}
        self._turn = trusted.turn
        self._inbox = b""
        self._preload = checked_preload(server.options.resolver_preload)

    def _changed(self, name: str, token: str) -> None:
        try:
            self._trusted.update(token, name)
        except InvalidJWT as error:
            log.error('DirResolver - Update for account "%s" resulted in error %s', name, error)

    # --- as a resolver -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """What the configuration has is in the folder when this returns. Raises ConfigError."""
        try:
            async with self._turn:
                await self._put_in(self._preload)
        except OSError as error:
            raise ConfigError(f"resolver: {error}") from error

    async def _put_in(self, preload: Mapping[str, str]) -> None:
        """It is this one's turn. Raises OSError."""
        for name, token in preload.items():
            try:
                await self._put(name, token, newer=True)
            except InvalidJWT as error:
                log.error("Account %s is not preloaded: %s", name, error)

    async def fetch(self, name: str) -> str:
        """From the folder, or from another server. Raises InvalidJWT."""
        async with self._turn:
            token = self._folder.load(name)
        if token:
            return token
        token = await self._look_up(name)
        if decode_as(token, AccountClaims).sub != name:
            raise InvalidJWT("subject does not match jwt content")
        await self._store(name, token, newer=True)
        return token

    def reload(self, preload: Mapping[str, str]) -> None:
        """Look for what was changed by hand, and put in what the configuration has, once it is this one's turn."""
        self._preload = checked_preload(preload)
        self._server.spawn(self._look(), "reload of claims")

    async def _look(self) -> None:
        async with self._turn:
            self._server.do(self._folder.reload)
            try:
                await self._put_in(self._preload)
            except OSError as error:
                log.error("Accounts are not preloaded: %s", error)

    async def _alone(self, work: Callable[[], None]) -> None:
        """Nothing is written meanwhile."""
        async with self._turn:
            self._server.do(work)

    async def _store(self, name: str, token: str, *, newer: bool = False) -> None:
        """Keep a JWT, with ``newer`` if it is; on the disk, and in force, when this returns.

        The disk is another thread's, one file at a time. Raises InvalidJWT and OSError.
        """
        async with self._turn:
            await self._put(name, token, newer=newer)

    async def _put(self, name: str, token: str, *, newer: bool) -> None:
        folder = self._folder
        if (newer and not folder.is_newer(name, token)) or not folder.admit(name, token):
            return
        await asyncio.to_thread(folder.write, name, token)
        self._server.do(lambda: folder.keep(name, token))

    async def stop(self) -> None:
        """No more timers."""
        self._cancel()

    def _cancel(self) -> None:
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def withdraw(self) -> None:
        """No more answers and timers; the folder stays as it is."""
        super().withdraw()
        self._cancel()

    async def _look_up(self, name: str) -> str:
        """Ask all other servers; the first that has it counts. Raises InvalidJWT."""
        server = self._server
        account = server.account(server.options.system_account)
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        silent = 0

        def heard(_subject: bytes, _reply: bytes, _header: bytes, body: bytes) -> None:
            nonlocal silent
            silent += not body
            if body and not found.done():
                found.set_result(body.decode("utf-8", "replace"))
            elif silent >= asked and not found.done():
                found.set_result("")

        asked = 1
        inbox = self._new_inbox()
        subscription = server.kernel.subscribe(account, inbox, None, heard)
        due_ns = server.clock.monotonic_ns() + self._options.timeout_ns
        late = InvalidJWT("fetching jwt timed out")
        alarm = server.alarms.at(due_ns, lambda: None if found.done() else found.set_exception(late))

        def ask() -> None:
            nonlocal asked
            asked = server.kernel.publish(account, LOOKUP.format(name).encode(), inbox)
            if asked == 0:
                found.set_result("")  # there is nobody else

        try:
            server.do(ask)
            token = await found
        finally:
            alarm.cancel()
            server.kernel.unsubscribe(subscription)
        if not token:
            raise InvalidJWT(NOT_FOUND)
        return token

    def _new_inbox(self) -> bytes:
        server = self._server
        token = text_of(server.rng.randbytes(INBOX_CHARACTERS), INBOX_CHARACTERS)
        return f"$SYS._INBOX.{short_hash(server.server_id)}.{token}".encode()

    # --- requests --------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer requests from now on, and compare with others now and then."""
        log.info("Managing %s jwt in exclusive directory %s", "some" if self._cache else "all", self._folder)
        super().serve()
        self._hear(UPDATE, self._update_any)
        self._hear(LIST, self._list)
        self._hear(DELETE, self._delete)
        self._every("expiry", min(EXPIRE_NS, self._options.ttl_ns // 2 or EXPIRE_NS), self._expire)
        if self._cache:
            return
        self._hear(LOOKUP.format("*"), self._lookup)
        # not in a queue group as nats-server's: the member of a group that is nearest would be this server itself
        self._hear(PACK, self._pack)
        self._inbox = self._new_inbox()
        self._hear(self._inbox.decode(), self._merge)
        self._every("sync", self._options.interval_ns, self._compare)

    def _expire(self) -> None:
        self._server.spawn(self._alone(self._folder.expire), "expiry of claims")

    def _every(self, name: str, interval_ns: int, work: Callable[[], None]) -> None:
        def ring() -> None:
            self._every(name, interval_ns, work)
            work()

        due_ns = self._server.clock.monotonic_ns() + interval_ns
        self._alarms[name] = self._server.alarms.at(due_ns, ring)
        self._server.schedule()

    def _update(self, asked: Asked) -> None:
        self._take(asked, _account(asked))

    def _update_any(self, asked: Asked) -> None:
        self._take(asked, "")

    def _take(self, asked: Asked, name: str) -> None:
        token, now_s = asked.body.decode("utf-8", "replace"), self._server.clock.wall_ns() // SECOND_NS
        failed = UPDATE_FAILED
        try:
            if self._cache:
                failed = "jwt update cache resulted in error"
                kept = to_cache(token, self._operator, now_s, self._trusted.all(), name)
                if kept is None:
                    self._agree(asked, "jwt update cache skipped", decode_as(token, AccountClaims).sub)
                    return
                claims = kept
            else:
                claims = to_store(token, self._operator, now_s, name)
        except ClaimsRefused as refused:
            self._refuse(asked, refused)
            return
        self._server.spawn(self._keep(asked, claims.sub, token, failed), f"claims of {claims.sub}")

    async def _keep(self, asked: Asked, name: str, token: str, failed: str) -> None:
        try:
            await self._store(name, token)
        except (InvalidJWT, OSError) as error:
            refused = ClaimsRefused(name, failed, str(error))
            self._server.do(lambda: self._refuse(asked, refused))
        else:
            done = "jwt updated cache" if self._cache else UPDATED
            self._server.do(lambda: self._agree(asked, done, name))

    def _list(self, asked: Asked) -> None:
        self._answer(asked, {"data": [name for name, _ in self._folder.all()]})

    def _delete(self, asked: Asked) -> None:
        options = self._options
        try:
            names = to_delete(
                asked.body.decode("utf-8", "replace"),
                operator_keys(self._operator),
                self._server.options.system_account,
                allowed=options.allow_delete or self._cache,
            )
        except ClaimsRefused as refused:
            self._refuse(asked, refused)
            return
        self._server.spawn(self._forget(asked, names), "deletion of claims")

    async def _forget(self, asked: Asked, names: Sequence[str]) -> None:
        failures = []
        async with self._turn:
            for name in names:
                if name not in self._folder:
                    continue
                try:
                    await asyncio.to_thread(self._folder.take_away, name)
                except OSError as error:
                    failures.append(str(error))
                else:
                    self._server.do(partial(self._folder.delete, name))
        self._server.do(lambda: self._deleted(asked, len(names), failures))

    def _deleted(self, asked: Asked, count: int, failures: Sequence[str]) -> None:
        if failures:
            done = f"deleted {count - len(failures)} accounts, failed for {len(failures)}"
            self._refuse(asked, ClaimsRefused("", done, "\n".join(failures)))
        else:
            self._agree(asked, f"deleted {count} accounts")

    def _lookup(self, asked: Asked) -> None:
        """Nothing is the answer for an account that is not here."""
        self._send(asked, (self._folder.load(_account(asked)) or "").encode())

    # --- comparing with other servers ------------------------------------------------------------------------

    def _compare(self) -> None:
        server = self._server
        account = server.account(server.options.system_account)
        server.kernel.publish(account, PACK.encode(), self._inbox, b"", self._folder.digest)

    def _pack(self, asked: Asked) -> None:
        """One message for each JWT and an empty one; the empty one alone if the asker has the same."""
        if asked.reply == self._inbox:
            return
        if asked.body != self._folder.digest:
            for name, token in self._folder.all():
                self._send(asked, f"{name}|{token}".encode())
        self._send(asked, b"")

    def _merge(self, asked: Asked) -> None:
        for line in filter(None, asked.body.decode("utf-8", "replace").split("\n")):
            name, _, token = line.partition("|")
            try:
                if decode_as(token, AccountClaims).sub != name:
                    raise InvalidJWT("jwt subject nkey and provided nkey do not match")
            except InvalidJWT as error:
                log.error("DirResolver - Merging resulted in error: %s", error)
            else:
                self._server.spawn(self._keep_newer(name, token), f"claims of {name}")

    async def _keep_newer(self, name: str, token: str) -> None:
        try:
            await self._store(name, token, newer=True)
        except (InvalidJWT, OSError) as error:
            log.error("DirResolver - Merging resulted in error: %s", error)


def _account(asked: Asked) -> str:
    """The account that the subject names."""
    tokens = asked.tokens
    return tokens[3] if tokens[1] == "REQ" else tokens[2]
