"""A stream of an account: its log, what it takes in, and what an answer says of it."""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.engine import engine as compiled
from phloem.shared.jetstream.consumer_config import ConsumerConfig
from phloem.shared.jetstream.identity import short_hash
from phloem.shared.jetstream.stream_config import StreamConfig, printed, sync_interval
from phloem.shared.jetstream.times import rfc3339
from phloem.shared.limits import SEQUENCE_MAX
from phloem.shared.server.jetstream.consumer import Consumer, ConsumerRecord
from phloem.shared.server.jetstream.direct import DirectGet
from phloem.shared.server.jetstream.expiry import Expiry
from phloem.shared.server.jetstream.groups import Groups
from phloem.shared.server.jetstream.intake import Intakes
from phloem.shared.server.jetstream.publish import Publish
from phloem.shared.server.jetstream.schedules import Schedules
from phloem.shared.store.log import Damaged, Log

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream

log = logging.getLogger("phloem.jetstream")

RETENTION = {"limits": compiled.LIMITS, "interest": compiled.INTEREST, "workqueue": compiled.WORK_QUEUE}
GAPS_MAX = 1 << 20  # removed sequences listed in one answer


class StreamRecord(msgspec.Struct):
    """What the store remembers of a stream beside its messages."""

    ident: int
    created_ns: int
    config: StreamConfig


class Stream:
    """One stream while the server runs."""

    engine: compiled.Stream
    log: Log

    def __init__(self, account: "AccountJetStream", record: StreamRecord) -> None:
        self.account = account
        self.system = account.system
        self.record = record
        self.consumers: dict[str, Consumer] = {}
        self.held = ""  # why nothing is taken for now: the disk is for others
        self.held_messages = 0  # that were refused for it
        self.log = self._open_log()
        self.publish = Publish(self)
        self.engine = compiled.Stream(
            self.system.engine,
            account.kernel_account,
            self.log,
            self.config.name.encode(),
            self.system.options.domain.encode(),
            short_hash(account.name).encode(),
            self.publish.take,
        )
        self.expiry = Expiry(self)
        self.schedules = Schedules(self)
        self.direct = DirectGet(self)
        self.intakes = Intakes(self)
        self.groups = Groups(self)

    @property
    def config(self) -> StreamConfig:
        """The configuration that holds."""
        return self.record.config

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.name

    def _open_log(self) -> Log:
        config = self.config
        if config.storage == "memory":
            made = Log(seed=self.system.server.rng.getrandbits(64))
        else:
            made = self.system.store.open_log(
                self.record.ident,
                relaxed=self.relaxed,
                compress=config.compression == "s2",
                name=f"{self.account.name} > {self.name}",
            )
        if config.first_seq > 1 and made.last_seq == 0:
            made.skip(min(config.first_seq - 1, SEQUENCE_MAX))
        return made

    def lost(self) -> str:
        """What the store has lost of this stream, and what can be done; while there is something, nothing is added."""
        lost = self.system.store.lost(self.record.ident) if self.config.storage == "file" else None
        if lost is None:
            return ""
        first, last, text = lost
        where = f"of sequences {first} to {last}, " if last else ""
        return (
            f"messages were lost ({where}{text}); stop the server and use phloem store check, then phloem store "
            f"repair, on {self.system.folder}, or purge or delete the stream"
        )

    @property
    def relaxed(self) -> bool:
        """Whether messages are acknowledged before they are synced."""
        return bool(self.system.options.sync_interval_ns) or sync_interval(self.config)

    def start(self) -> None:
        """Apply the configuration: limits act, subjects are listened to."""
        config = self.config
        if config.storage == "file":
            self.system.store.configure_log(
                self.record.ident, relaxed=self.relaxed, compress=config.compression == "s2"
            )
        self._configure()
        self.publish.configure(config)
        self.engine.listen([subject.encode() for subject in config.subjects])
        self.direct.listen(on=config.allow_direct)
        self._per_subject_limit()
        self.intakes.configure()
        self.expiry.schedule()
        self.schedules.schedule()

    def hold(self, why: str) -> None:
        """Refuse what is published, or take it again (no reason)."""
        if bool(why) != bool(self.held):
            self.held = why
            self._configure()
        self.held = why

    def _configure(self) -> None:
        config = self.config
        self.engine.configure(
            slow=self.publish.always(config) or bool(self.held),
            retention=RETENTION[config.retention],
            no_ack=config.no_ack,
            sealed=config.sealed,
            discard_new=config.discard == "new",
            discard_new_per_subject=config.discard_new_per_subject,
            max_msgs=config.max_msgs,
            max_bytes=config.max_bytes,
            max_msgs_per_subject=config.max_msgs_per_subject,
            max_msg_size=config.max_msg_size,
            quota=self.account.quota(config),
        )

    def _per_subject_limit(self) -> None:
        """A lowered max_msgs_per_subject acts at once."""
        most = self.config.max_msgs_per_subject
        if most > 0 and self.log.messages > self.log.subjects_count * 1:
            for subject, count in self.log.subjects().items():
                if count > most:
                    self.log.purge((subject,), keep=most)
            self.engine.changed()

    def update(self, config: StreamConfig) -> None:
        """Another configuration, already checked."""
        before = self.config.retention
        self.record = msgspec.structs.replace(self.record, config=config)
        self.account.keep(self.account.stream_key(self.name), self.record)
        self.start()
        if before != config.retention:
            self.publish.interest_changed()

    # --- consumers -------------------------------------------------------------------------------------

    def add_consumer(self, record: ConsumerRecord) -> Consumer:
        """A consumer, new or of the last run."""
        consumer = Consumer(self, record)
        self.consumers[record.name] = consumer
        self.account.by_engine[id(consumer.engine)] = consumer
        return consumer

    def consumer_configs(self, but: str = "") -> list[ConsumerConfig]:
        """Of the other consumers."""
        return [c.config for name, c in self.consumers.items() if name != but and not c.config.direct]

    # --- what answers say ------------------------------------------------------------------------------

    def state(
        self, subjects: str = "", *, deleted: bool = False, offset: int = 0, limit: int = 0
    ) -> dict[str, Any]:
        """``state`` in answers; with a filter the counts of its subjects."""
        log_ = self.log
        first_ts = 0
        if log_.messages:
            try:
                message = log_.next()
                first_ts = message.ts if message else 0
            except Damaged:
                first_ts = 0
        empty = log_.last_seq == 0
        state: dict[str, Any] = {
            "messages": log_.messages,
            "bytes": log_.bytes,
            "first_seq": 0 if empty and not self.config.first_seq else log_.first_seq,
            "first_ts": rfc3339(first_ts),
            "last_seq": log_.last_seq,
            "last_ts": rfc3339(log_.last_ts),
        }
        if log_.subjects_count:
            state["num_subjects"] = log_.subjects_count
        if subjects:
            found = [(s.decode(errors="replace"), n) for s, n in log_.subjects((subjects.encode(),)).items()]
            state["subjects"] = dict(found[offset : offset + limit])
        holes = log_.last_seq - log_.first_seq + 1 - log_.messages if not empty else 0
        if holes:
            state["num_deleted"] = holes
            if deleted:
                state["deleted"] = log_.gaps(GAPS_MAX)
        state["consumer_count"] = sum(not c.config.direct for c in self.consumers.values())
        return state

    def info(
        self, state: dict[str, Any] | None = None, *, full: bool = True, leader: bool = False
    ) -> dict[str, Any]:
        """StreamInfo."""
        config = printed(self.config, full=full)
        if (
            self.relaxed and self.config.storage == "file"
        ):  # what says nothing is on the disk when it is acknowledged
            config["metadata"]["_phloem.sync"] = "interval"
        shown: dict[str, Any] = {
            "config": config,
            "created": rfc3339(self.record.created_ns),
            "state": state or self.state(),
        }
        if self.system.options.domain:
            shown["domain"] = self.system.options.domain
        if leader:
            shown["cluster"] = {"leader": self.system.server.name}
        shown |= self.intakes.info()
        shown["ts"] = rfc3339(self.system.clock.wall_ns())
        return shown

    # --- the end ---------------------------------------------------------------------------------------

    def close(self, status: bytes) -> None:
        """Nothing is taken or handed out any more."""
        for consumer in list(self.consumers.values()):
            consumer.close(status)
        self.direct.listen(on=False)
        self.intakes.close()
        self.expiry.cancel()
        self.schedules.cancel()
        self.publish.close()
        self.engine.close()

    def shut_down(self) -> None:
        """The server stops: whoever waits is told."""
        self.intakes.close()
        for consumer in self.consumers.values():
            consumer.shut_down()
        self.expiry.cancel()
        self.schedules.cancel()
        self.publish.close()

    def delete(self) -> None:
        """Everything of it goes."""
        account, store = self.account, self.system.store
        for consumer in list(self.consumers.values()):
            consumer.delete()
        self.intakes.close(forget=True)
        self.close(b"")
        if self.config.storage == "file":
            store.drop_log(self.record.ident)
        self.publish.forget()
        store.delete(account.stream_key(self.name))
        account.streams.pop(self.name, None)
