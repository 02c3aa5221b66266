"""What monitoring shows of JetStream: its accounts, streams and consumers as records."""

from typing import TYPE_CHECKING, Literal

from phloem.shared.server.monitor.records import (
    AccountFigures,
    ConsumerFigures,
    JetStreamFigures,
    StreamFigures,
)
from phloem.shared.wire.info import API_LEVEL

if TYPE_CHECKING:
    from phloem.shared.server.jetstream.account import AccountJetStream
    from phloem.shared.server.jetstream.consumer import Consumer
    from phloem.shared.server.jetstream.stream import Stream
    from phloem.shared.server.jetstream.system import JetStream


def figures(system: "JetStream") -> JetStreamFigures:
    """The whole of it, as it is now."""
    options = system.options
    return JetStreamFigures(
        max_memory=system.memory.limit,
        max_storage=system.disk.limit,
        store_dir=str(system.folder),
        sync_interval_ns=options.sync_interval_ns,
        domain=options.domain,
        strict=options.strict,
        max_request_batch=options.limits.max_request_batch,
        max_ack_pending=options.limits.max_ack_pending,
        max_duplicate_window_ns=options.limits.duplicate_window_ns,
        api_level=API_LEVEL,
        store=system.store.stats,
        store_error=system.store.failed,
        store_full=system.store.full,
        damage=[*system.damage, *([system.store.mending] if system.store.mending else [])],
        accounts=[_account(account) for account in system.accounts.values()],
    )


def _account(account: "AccountJetStream") -> AccountFigures:
    return AccountFigures(
        name=account.name,
        memory=account.used("memory"),
        storage=account.used("file"),
        memory_limit=account.options.max_memory,
        storage_limit=account.options.max_store,
        reserved_memory=account.reserved("memory"),
        reserved_storage=account.reserved("file"),
        api_total=account.api_total,
        api_errors=account.api_errors,
        streams=[_stream(stream) for stream in account.streams.values()],
    )


def _stream(stream: "Stream") -> StreamFigures:
    file_sync: Literal["always", "interval"] = "interval" if stream.relaxed else "always"
    return StreamFigures(
        name=stream.name,
        sync="memory" if stream.config.storage == "memory" else file_sync,
        messages=stream.log.messages,
        bytes=stream.log.bytes,
        last_seq=stream.log.last_seq,
        lost=stream.lost(),
        damaged=stream.log.damaged,
        info=lambda: stream.info(full=False, leader=True),
        consumers=[_consumer(consumer) for consumer in stream.consumers.values()],
    )


def _consumer(consumer: "Consumer") -> ConsumerFigures:
    return ConsumerFigures(
        name=consumer.record.name,
        direct=consumer.config.direct,
        numbers=lambda: consumer.engine.numbers,
        info=lambda: consumer.info(full=False),
    )
