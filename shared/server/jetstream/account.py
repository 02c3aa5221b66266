"""One account's streams and consumers: by name, with their limits, and as the store remembers them.

The store has a pair for each stream and each consumer: a JSON document with its configuration, its number and the time
of its creation. What they contain is found by the number.
"""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from phloem.shared.engine.engine import Quota
from phloem.shared.jetstream.stream_config import StreamConfig
from phloem.shared.jetstream.stream_rules import subjects_collide
from phloem.shared.server.jetstream.consumer import Consumer, ConsumerRecord
from phloem.shared.server.jetstream.stream import Stream, StreamRecord

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.system import JetStream
    from phloem.shared.server.options_jetstream import AccountJetStream as AccountOptions

log = logging.getLogger("phloem.jetstream")

NO_LIMIT = (1 << 62) - 1


class AccountJetStream:
    """What an account keeps."""

    def __init__(self, system: "JetStream", name: str, options: "AccountOptions") -> None:
        self.system = system
        self.name = name
        self.options = options
        self.kernel_account = system.server.account(name)
        self.streams: dict[str, Stream] = {}
        self.by_engine: dict[int, Consumer] = {}  # id of the engine's consumer
        self.memory = Quota(NO_LIMIT)
        self.disk = Quota(NO_LIMIT)
        self.api_total = 0
        self.api_errors = 0
        self.relimit(options)

    def relimit(self, options: "AccountOptions") -> None:
        """Limits of a new configuration; streams that exist stay."""
        self.options = options
        self.memory.limit = options.max_memory if options.max_memory >= 0 else self.system.memory.limit
        self.disk.limit = options.max_store if options.max_store >= 0 else self.system.disk.limit

    def quota(self, config: StreamConfig) -> Quota:
        """What bounds a stream beside its own limits."""
        return self.memory if config.storage == "memory" else self.disk

    # --- what the store remembers ------------------------------------------------------------------

    def stream_key(self, stream: str) -> bytes:
        """The store's key of a stream's record."""
        return f"s/{self.name}/{stream}".encode()

    def consumer_key(self, stream: str, consumer: str) -> bytes:
        """The store's key of a consumer's record."""
        return f"c/{self.name}/{stream}/{consumer}".encode()

    def restore_key(self, ident: int) -> bytes:
        """The store's key for a log that is being restored and has no stream yet."""
        return f"r/{self.name}/{ident}".encode()

    def recover(self) -> None:
        """Streams and consumers of the last run; what was half restored goes."""
        store = self.system.store
        for key, _ in list(store.scan(f"r/{self.name}/".encode())):
            ident = int(key.rpartition(b"/")[2])
            store.open_log(ident)
            store.drop_log(ident)
            store.delete(key)
        for _, value in store.scan(self.stream_key("")):
            record = msgspec.json.decode(value, type=StreamRecord)
            self.streams[record.config.name] = Stream(self, record)
        for _, value in store.scan(f"c/{self.name}/".encode()):
            consumer = msgspec.json.decode(value, type=ConsumerRecord)
            stream = self.streams.get(consumer.stream)
            if stream is not None:
                stream.add_consumer(consumer)
        for stream in self.streams.values():
            stream.start()

    def keep(self, key: bytes, record: Any) -> None:
        """Write a record; durable with the next batch."""
        self.system.store.put(key, msgspec.json.encode(record))

    # --- questions -------------------------------------------------------------------------------------

    def find(self, name: str) -> StreamConfig | None:
        """The configuration of a stream of this account."""
        stream = self.streams.get(name)
        return stream.config if stream else None

    def overlapping(self, config: StreamConfig) -> bool:
        """Whether another stream has a subject that collides with one of these."""
        return any(
            subjects_collide(mine, theirs)
            for other in self.streams.values()
            if other.config.name != config.name
            for theirs in other.config.subjects
            for mine in config.subjects
        )

    def reserved(self, storage: str, but: str = "") -> int:
        """Bytes that streams of one storage have been promised."""
        return sum(
            max(stream.config.max_bytes, 0)
            for stream in self.streams.values()
            if stream.config.storage == storage and stream.config.name != but
        )

    def used(self, storage: str) -> int:
        """Bytes that streams of one storage take."""
        return sum(s.log.bytes for s in self.streams.values() if s.config.storage == storage)

    # --- acknowledgements with an argument ------------------------------------------------------------

    def on_ack(self, subject: bytes, reply: bytes, header: bytes, payload: bytes) -> None:
        """-NAK with a delay, +TERM, +NXT: the rare kinds."""
        tokens = subject.decode(errors="replace").split(".")
        at = 2 if len(tokens) == 9 else 4
        stream = self.streams.get(tokens[at]) if len(tokens) > at + 3 else None
        consumer = stream.consumers.get(tokens[at + 1]) if stream else None
        if consumer is not None and tokens[at + 3].isdigit():
            consumer.on_ack(int(tokens[at + 3]), reply, payload)

    # --- the end -----------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """The server stops."""
        for stream in self.streams.values():
            stream.shut_down()

    def close(self) -> None:
        """The account has no JetStream any more."""
        self.system.transfers.cancel(self)
        self.shut_down()
        self.system.api.forget(self.name)
