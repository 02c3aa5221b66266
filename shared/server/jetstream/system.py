"""JetStream of one server: its store, its engine, and the accounts that may keep streams.

Life cycle: ``start`` opens the store, makes the accounts and brings back their streams and consumers, which costs time
for each of them and none for their messages. ``stop`` tells waiting pull requests, writes consumers' state, and moves
everything to LMDB. In between ``after_tick`` is called whenever the kernel has worked.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.accounts.auth import GLOBAL_ACCOUNT
from phloem.shared.clock import boot_number
from phloem.shared.engine.engine import Engine, Quota
from phloem.shared.errors import ConfigError
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.server.feature_flags import SCOPED_ACKS
from phloem.shared.server.jetstream.account import AccountJetStream
from phloem.shared.server.jetstream.api import Api
from phloem.shared.server.jetstream.api_backup import Transfers
from phloem.shared.server.jetstream.intake import Intakes
from phloem.shared.server.jetstream.memory import bound_of_streams
from phloem.shared.server.jetstream.steady_date import SteadyDate
from phloem.shared.server.options_jetstream import AccountJetStream as AccountOptions
from phloem.shared.server.options_jetstream import BatchLimits
from phloem.shared.server.options_jetstream import JetStream as JetStreamOptions
from phloem.shared.server.store_keys import keys_of
from phloem.shared.store.keyring import TITLES, Keys
from phloem.shared.store.store import Store, StoreDamaged, StoreError
from phloem.shared.store.vault import Vault

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.server import Server

log = logging.getLogger("phloem.jetstream")

FLOOR = b"\x02floor"  # store key: a time that is over, as somebody knew it
NEXT_IDENT = b"\x02ident"  # store key: the lowest number that no log and no consumer has had
DEFAULT_STORE_DIR = "/tmp/nats/jetstream"  # nats-server's
SHARE = 0.75  # of free space, where no bound is set


class BatchLoad:
    """What open batches of all streams take, and may take."""

    def __init__(self, bounds: BatchLimits) -> None:
        self.batches = self.bytes = self.fast = 0
        self.bound(bounds)

    def bound(self, bounds: BatchLimits) -> None:
        """What they may take from now on."""
        self.most_messages = bounds.max_msgs or limits.BATCH_MESSAGES
        self.most_of_stream = bounds.max_inflight_per_stream or limits.BATCHES_PER_STREAM
        self.most = bounds.max_inflight_total or limits.BATCHES
        self.most_fast_of_stream = bounds.max_inflight_per_stream or limits.FAST_BATCHES_PER_STREAM
        self.most_fast = bounds.max_inflight_total or limits.FAST_BATCHES
        self.idle_ns = bounds.timeout_ns or limits.BATCH_IDLE_NS


class JetStream:
    """Streams of all accounts of a server. Raises ConfigError from ``start`` when the folder cannot be used."""

    def __init__(self, server: "Server", options: JetStreamOptions) -> None:
        self.server = server
        self.options = options
        self.clock = server.clock
        self.date = SteadyDate(server.clock)
        self.boot = boot_number()
        self.ahead_ns = self._ahead()  # what stamps are made with; another one when the clock is set
        self.floor_ns = limits.CLOCK_EARLIEST_NS  # it is certainly later than this
        self.steppers: list[Callable[[int, int], None]] = []  # told when the clock was set, before and after
        self.folder = Path(options.store_dir or DEFAULT_STORE_DIR) / "jetstream" / "phloem"
        self.accounts: dict[str, AccountJetStream] = {}
        self.store: Store
        self.engine: Engine
        self.api: Api
        self.transfers = Transfers(self)
        self.memory = Quota(0)
        self.disk = Quota(0)
        self._looked_ns = 0
        self._glance: asyncio.TimerHandle
        self._next_ident = 1
        self.watchers: list[
            Callable[[], None]
        ] = []  # asked after each tick: something may have become visible
        self.on_accounts: list[Callable[[], None]] = []  # told when accounts have come or gone
        self.before_move: list[Callable[[], None]] = []  # told when a generation of the journal ends
        self.intakes: dict[int, Intakes] = {}  # of streams that take from others
        self.batch_load = BatchLoad(options.limits.batch)
        self.stopping = False
        self.damage: list[str] = []  # what was lost of no stream since the start; a stream has a mark
        self.encryption = ""  # the cipher, as nats-server names it

    def start(self) -> None:
        """Open the store and bring everything back."""
        try:
            self._open()
        except StoreError as error:
            raise ConfigError(str(error)) from error
        self.memory.limit, self.disk.limit = self._bounds()
        known = int.from_bytes(self.store.get(FLOOR) or b"")
        self.floor_ns = max(known, self.floor_ns)
        self.date.begin(known, self.floor_ns)
        if self.doubtful:
            log.warning("the clock says %s, which cannot be", rfc3339(self.clock.wall_ns()))
        self.engine = Engine(self.server.kernel, self.store)
        self.engine.set_sync_interval(self.options.sync_interval_ns or limits.SYNC_INTERVAL_NS)
        self.engine.set_scoped_replies(self.server.options.feature_flags.get(SCOPED_ACKS, False))
        self._set_clock()
        # what is brought back has its timers from now on
        self.server.kernel.set_now(self.clock.monotonic_ns())
        self._next_ident = int.from_bytes(self.store.get(NEXT_IDENT) or b"\x01")
        self.api = Api(self)
        for name, options in self._accounts():
            self.add_account(name, options)
        self._refuse_others()
        self._greet()
        self._tell_losses()
        self._glance_later()

    def _open(self) -> None:
        """Raises StoreError. A damaged file is set aside; what is good in it is kept (store/repair.py)."""
        keys = keys_of(self.server.options)
        self.encryption = TITLES[keys.cipher] if keys is not None and keys.key else ""
        try:
            self._tell(self._opened(keys))
        except StoreDamaged as error:
            from phloem.shared.store.repair import mend  # noqa: PLC0415  (seldom needed, and large)

            log.error("%s; what is readable is kept now, this may take a while", error)
            done = mend(self.folder, keys=keys)
            told = [finding for finding in done.lost if finding.kind != "mark"]
            for finding in told:
                log.error("%s", finding)
            log.error("%s was made anew%s", self.folder, "" if told else ": nothing is lost")
            log.error("the damaged store is in %s", done.damaged)
            self.damage = [str(finding) for finding in told if not finding.ident]
            self._tell(self._opened(keys))
            self.store.figures["mends"] += 1

    def _tell(self, damage: list[str]) -> None:
        for text in damage:
            log.error("%s", text)
        self.damage += damage

    def _opened(self, keys: Keys | None) -> list[str]:
        """What was found damaged. Long work, as encrypting what is there, is told of."""
        self.store = Store(
            str(self.folder),
            seed=self.server.rng.getrandbits(64),
            generation_bytes=self.server.generation_bytes,
            on_freeze=self._freeze,
            on_problem=lambda text: log.error("%s", text),
            vault=self._vault(keys),
            sparing=self.server.sparing,
        )
        self.store.on_mended = self._mended
        return self.store.open()

    def _mended(self, lost: list[str]) -> None:
        """data.mdb was damaged while it was in use and is a new one. What it should say of streams and consumers is
        known here, so it is written again: it may have been among what was lost."""
        self.damage += lost
        self.store.put(NEXT_IDENT, self._next_ident.to_bytes(4))
        for account in self.accounts.values():
            for stream in account.streams.values():
                account.keep(account.stream_key(stream.name), stream.record)
                for consumer in stream.consumers.values():
                    consumer.keep_record()
                    consumer.keep_state()
                    consumer.engine.recount()
        self._tell_losses()

    def _glance_later(self) -> None:
        self._glance = self.server.call_about(limits.STORE_GLANCE_S, self._glance_now)

    def _glance_now(self) -> None:
        """A store that nothing is written to is looked at now and then; else damage would wait for the next message."""
        self.store.glance_due(self.clock.monotonic_ns())
        self._glance_later()

    def _vault(self, keys: Keys | None) -> Vault | None:
        """What the folder is encrypted with; only those who encrypt load what that takes."""
        if keys is None or not keys.key:
            return None  # the Store refuses a folder that has keys
        from phloem.shared.store.encrypt import prepare  # noqa: PLC0415

        return prepare(self.folder, keys, lambda text: log.info("%s", text))

    def _tell_losses(self) -> None:
        for account in self.accounts.values():
            for stream in account.streams.values():
                if lost := stream.lost():
                    log.error("Stream '%s > %s' is read-only: %s", account.name, stream.name, lost)

    def _bounds(self) -> tuple[int, int]:
        memory, disk = self.options.max_memory_store, self.options.max_file_store
        if memory < 0:
            memory = bound_of_streams()
        if disk < 0:
            system = os.statvfs(self.folder)
            own = sum(entry.stat().st_blocks for entry in os.scandir(self.folder) if entry.is_file()) * 512
            disk = int((system.f_bavail * system.f_frsize + own) * SHARE)
        return memory, disk

    def look_again(self) -> None:
        """The bound that follows the disk, before somebody is refused for it: others may have given space back since
        the start. At most once a second."""
        now_ns = self.clock.monotonic_ns()
        if self.options.max_file_store >= 0 or now_ns < self._looked_ns + limits.SECOND_NS:
            return
        self._looked_ns = now_ns
        self.disk.limit = self._bounds()[1]
        for account in self.accounts.values():
            account.relimit(account.options)

    def _accounts(self) -> list[tuple[str, AccountOptions]]:
        """Without accounts of its own the global one has JetStream; otherwise each says so for itself."""
        options = self.server.options
        if self.server.login.trusted is not None:
            return self.server.login.trusted.jetstream_accounts()
        named = [account for account in options.accounts if account.name != self.server.system_account]
        if not named:
            return [(GLOBAL_ACCOUNT, AccountOptions())]
        return [(a.name, a.jetstream) for a in named if a.jetstream is not None and a.jetstream.on]

    def _greet(self) -> None:
        sync = (
            f"every {self.options.sync_interval_ns / 1e9:g}s" if self.options.sync_interval_ns else "always"
        )
        log.info("Starting JetStream")
        log.info("  Store Directory: %s (sync: %s)", self.folder, sync)
        if self.encryption:
            log.info("  Encryption:      %s", self.encryption)
        streams = sum(len(account.streams) for account in self.accounts.values())
        log.info("  Streams: %d, restored in %d accounts", streams, len(self.accounts))

    def add_account(self, name: str, options: AccountOptions) -> AccountJetStream:
        """The account's JetStream, with what the store has of it."""
        account = AccountJetStream(self, name, options)
        self.accounts[name] = account
        self.engine.hear(account.kernel_account, account.on_ack)
        self.api.serve(account)
        account.recover()
        return account

    def reload_accounts(self) -> None:
        """New limits, new accounts; an account without JetStream now keeps its streams on disk, out of reach."""
        wanted = dict(self._accounts())
        for name in [name for name in self.accounts if name not in wanted]:
            self.accounts.pop(name).close()
        for name, options in wanted.items():
            if name in self.accounts:
                self.accounts[name].relimit(options)
            else:
                self.api.forget(name)
                self.add_account(name, options)
        self._refuse_others()
        self._tell_accounts()

    def use_account(self, name: str, options: AccountOptions | None) -> None:
        """Limits of an account that the configuration does not have; ``None``: it has no JetStream."""
        there = self.accounts.get(name)
        if options is None:
            if there is not None:
                self.accounts.pop(name).close()
            self.api.forget(name)
            self.api.refuse(name)
        elif there is not None:
            there.relimit(options)
        else:
            self.api.forget(name)
            self.add_account(name, options)
        self._tell_accounts()

    def _tell_accounts(self) -> None:
        for hear in self.on_accounts:
            hear()

    def _refuse_others(self) -> None:
        """Accounts without JetStream are told so when they ask."""
        system_account = self.server.system_account
        for account in self.server.options.accounts:
            if account.name not in self.accounts and account.name != system_account:
                self.api.forget(account.name)
                self.api.refuse(account.name)
        self.api.forget(system_account)
        self.api.serve_system(system_account)

    def new_ident(self) -> int:
        """A number for a log or a consumer that nobody had before."""
        ident = self._next_ident
        self._next_ident += 1
        self.store.put(NEXT_IDENT, self._next_ident.to_bytes(4))
        return ident

    @property
    def doubtful(self) -> bool:
        """Whether the clock is certainly wrong: it is later than that."""
        return self.clock.wall_ns() < self.floor_ns

    def _ahead(self) -> int:
        return self.clock.wall_ns() - self.clock.monotonic_ns()

    def _set_clock(self) -> None:
        self.engine.set_clock(self.look_at_clock())

    def look_at_clock(self) -> int:
        """``wall - monotonic``; if the clock was set that is noticed here."""
        ahead = self._ahead()
        if abs(ahead - self.ahead_ns) > limits.CLOCK_ERA_NS:
            self._step()
        return ahead

    def know_time(self, ahead_ns: int) -> None:
        """The true time is the monotonic one plus this, whatever the system's clock says."""
        self.date.know(ahead_ns)
        if abs(ahead_ns - self.ahead_ns) > limits.CLOCK_STEP_NS:
            self._begin_eras(self.ahead_ns, self.ahead_ns, doubted=self.doubtful)

    def _begin_eras(self, before: int, ahead: int, *, doubted: bool) -> None:
        for account in self.accounts.values():
            for stream in account.streams.values():
                stream.expiry.eras.stepped(before, ahead, doubted=doubted)
                stream.expiry.schedule()

    def _step(self) -> None:
        """The clock was set, unless it was only read slowly. It is noticed before anything is stamped by it."""
        found = [self._ahead() for _ in range(3)]
        ahead, before = sorted(found)[1], self.ahead_ns
        if abs(ahead - before) <= limits.CLOCK_ERA_NS:
            return
        doubted = before + self.clock.monotonic_ns() < self.floor_ns
        self.ahead_ns = ahead
        if abs(ahead - before) > limits.CLOCK_STEP_NS:
            self._begin_eras(before, ahead, doubted=doubted)
        for told in self.steppers:
            told(before, ahead)

    def before_tick(self) -> None:
        """The time stamps of what comes in."""
        self._set_clock()

    def after_tick(self) -> None:
        """What has happened to the store and to consumers."""
        self.store.tell()
        for consumer, what, *numbers in self.engine.take_events():
            for account in self.accounts.values():
                runtime = account.by_engine.get(id(consumer))
                if runtime is not None:
                    runtime.happened(what, *numbers)
                    break
        if self.intakes and not self.stopping:
            self._take_in()
        for watcher in self.watchers:
            watcher()

    def _take_in(self) -> None:
        """Mirrors and sources; where there is more than one part, the next tick goes on."""
        more = False
        for intakes in list(self.intakes.values()):
            more = intakes.work() or more
        if more:
            self.engine.wake()

    def linked(self, account: str) -> None:
        """A leaf link of an account has come up: what takes from afar looks at once."""
        for intakes in self.intakes.values():
            intakes.linked(account)

    @property
    def out_of_space(self) -> bool:
        """Whether the store takes nothing new: an answer that waits for the disk would not come."""
        return self.store.full or bool(self.store.failed)

    def intake_held(self) -> bool:
        """Whether the disk has to catch up first."""
        return bool(self.store.stats["pending_bytes"] > limits.INTAKE_PENDING_BYTES)

    def file_streams(self) -> "Iterator[Stream]":
        """Those that are kept on the disk, of all accounts."""
        for account in self.accounts.values():
            yield from (stream for stream in account.streams.values() if stream.config.storage == "file")

    def _freeze(self) -> None:
        for told in self.before_move:
            told()
        for account in self.accounts.values():
            for stream in account.streams.values():
                for consumer in stream.consumers.values():
                    consumer.keep_state()

    def relimit(self, options: JetStreamOptions) -> None:
        """Other bounds and limits while it runs; what is open keeps what it takes."""
        self.options = options
        self.batch_load.bound(options.limits.batch)
        if options.max_memory_store >= 0:
            self.memory.limit = options.max_memory_store
        if options.max_file_store >= 0:
            self.disk.limit = options.max_file_store

    def switch_off(self) -> None:
        """The server goes on without it."""
        self.stop()
        self.api.forget_all()

    def stop(self) -> None:
        """Say good-bye and put everything on the disk."""
        self.stopping = True
        self._glance.cancel()
        self.transfers.cancel()
        self._freeze()
        for account in self.accounts.values():
            account.shut_down()
        self.server.kernel.settle()
        self.engine.close()
        try:
            self.store.close()
        except StoreError as error:
            log.error("%s", error)


def opened(server: "Server") -> JetStream | None:
    """JetStream, started, if the options ask for it. Raises ConfigError."""
    options = server.options.jetstream
    if options is None or not options.on:
        return None
    system = JetStream(server, options)
    system.start()
    return system
