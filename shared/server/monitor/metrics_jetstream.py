"""The JetStream part of /metrics: accounts, streams, consumers and the store.

Streams and consumers have series of their own up to a bound (``limits.METRICS_NAMED``), the first by name;
``jetstream_unnamed`` says how many are left out. A server without JetStream shows none of it.

What a message costs the disk is ``(store_journal_bytes_total + store_lmdb_bytes_total)`` over
``store_messages_total``; ``store_written_per_message`` is that since the start.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from phloem.shared import limits
from phloem.shared.server.monitor.prometheus import Labels, family, one
from phloem.shared.server.monitor.records import ConsumerFigures, JetStreamFigures, StreamFigures
from phloem.shared.server.monitor.render import SECOND_NS

if TYPE_CHECKING:
    from phloem.shared.engine.consumer_face import Numbers

_STORE = (
    ("messages_total", "counter", "Messages stored.", "messages", 1),
    ("written_per_message", "gauge", "Bytes written to the disk for each of them.", "written_per_message", 1),
    ("batches_total", "counter", "Batches that were written to the journal.", "batches", 1),
    ("last_batch_bytes", "gauge", "Size of the last batch.", "last_batch_bytes", 1),
    ("pending_bytes", "gauge", "Waiting for the disk.", "pending_bytes", 1),
    ("syncs_total", "counter", "Batches after which the device was told to keep what it has.", "syncs", 1),
    ("sync_seconds_total", "counter", "Time spent waiting for that.", "sync_ns", SECOND_NS),
    ("sync_seconds_max", "gauge", "The longest of these waits.", "sync_ns_max", SECOND_NS),
    ("journal_bytes_total", "counter", "Bytes written to the journal.", "journal_bytes", 1),
    ("generation_bytes", "gauge", "Size of the journal that is not in LMDB yet.", "generation_bytes", 1),
    ("flushes_total", "counter", "Times that the journal was moved into LMDB.", "flushes", 1),
    ("flush_seconds_total", "counter", "Time spent on that, beside the service.", "flush_ns", SECOND_NS),
    ("moved_messages_total", "counter", "Messages moved into LMDB.", "moved_messages", 1),
    ("moved_bytes_total", "counter", "Bytes of blocks and indexes moved into LMDB.", "moved_bytes", 1),
    ("lmdb_bytes_total", "counter", "Bytes that LMDB has written for that.", "lmdb_bytes", 1),
    ("lmdb_syncs_total", "counter", "Times that LMDB has synced for that.", "lmdb_syncs", 1),
    (
        "thinned_bytes_total",
        "counter",
        "Bytes of blocks written again because much was removed.",
        "thinned_bytes",
        1,
    ),
    ("damaged_total", "counter", "Records found damaged and not served.", "damaged", 1),
    ("looks_total", "counter", "Times that the pages of data.mdb were looked at for damage.", "looks", 1),
    ("look_seconds_total", "counter", "Time spent on that, beside the service.", "look_ns", SECOND_NS),
    (
        "mends_total",
        "counter",
        "Times that data.mdb was damaged and made anew, at the start or later.",
        "mends",
        1,
    ),
    ("full", "gauge", "1 while there is no space for more.", "full", 1),
    ("failed", "gauge", "1 when the disk refused a write: nothing is acknowledged.", "failed", 1),
)
_STREAM: tuple[tuple[str, str, Callable[[StreamFigures], int]], ...] = (
    ("messages", "Messages in the stream.", lambda stream: stream.messages),
    ("bytes", "Bytes of the stream, as its limits count them.", lambda stream: stream.bytes),
    ("last_seq", "Sequence of the last message.", lambda stream: stream.last_seq),
    ("sync_always", "1 if acknowledged is on the disk.", lambda stream: stream.sync == "always"),
)
_CONSUMER: tuple[tuple[str, str, Callable[["Numbers"], int]], ...] = (
    ("pending", "Messages not handed out yet.", lambda numbers: numbers["num_pending"]),
    ("ack_pending", "Handed out, not acknowledged.", lambda numbers: numbers["num_ack_pending"]),
    ("redelivered", "Of these, handed out again.", lambda numbers: numbers["num_redelivered"]),
    ("waiting", "Pull requests that wait.", lambda numbers: numbers["num_waiting"]),
    ("delivered", "Messages handed out.", lambda numbers: numbers["delivered_consumer"]),
)


def jetstream_families(js: JetStreamFigures | None) -> Iterator[str]:
    """All metrics of JetStream."""
    if js is None:
        return
    yield from _accounts(js)
    streams: list[tuple[Labels, StreamFigures]] = [
        ({"account": account.name, "stream": stream.name}, stream)
        for account in js.accounts
        for stream in account.streams
    ]
    consumers: list[tuple[Labels, ConsumerFigures]] = [
        ({**labels, "consumer": consumer.name}, consumer)
        for labels, stream in streams
        for consumer in stream.consumers
    ]
    unnamed = [
        ({"kind": kind}, max(count - limits.METRICS_NAMED, 0))
        for kind, count in (("stream", len(streams)), ("consumer", len(consumers)))
    ]
    yield family("jetstream_unnamed", "gauge", "Streams and consumers without series of their own.", unnamed)
    streams.sort(key=lambda found: tuple(found[0].values()))
    consumers.sort(key=lambda found: tuple(found[0].values()))
    del streams[limits.METRICS_NAMED :], consumers[limits.METRICS_NAMED :]
    for name, about, of_stream in _STREAM:
        yield family(
            f"stream_{name}", "gauge", about, [(labels, of_stream(stream)) for labels, stream in streams]
        )
    heard = [(labels, consumer.numbers()) for labels, consumer in consumers]
    for name, about, of_consumer in _CONSUMER:
        samples = [(labels, of_consumer(numbers)) for labels, numbers in heard]
        yield family(f"consumer_{name}", "gauge", about, samples)
    for name, kind, about, key, unit in _STORE:
        yield one(f"store_{name}", kind, about, js.store[key] / unit)


def _accounts(js: JetStreamFigures) -> Iterator[str]:
    labelled = [({"account": account.name}, account) for account in js.accounts]
    yield family(
        "jetstream_streams", "gauge", "Streams.", [(labels, len(a.streams)) for labels, a in labelled]
    )
    yield family(
        "jetstream_consumers",
        "gauge",
        "Consumers.",
        [(labels, sum(len(stream.consumers) for stream in a.streams)) for labels, a in labelled],
    )
    yield family(
        "jetstream_bytes",
        "gauge",
        "Bytes of all streams, as their limits count them.",
        [
            ({**labels, "storage": storage}, used)
            for labels, a in labelled
            for storage, used in (("file", a.storage), ("memory", a.memory))
        ],
    )
    yield family(
        "jetstream_api_requests_total",
        "counter",
        "Requests to the JetStream API.",
        [(labels, a.api_total) for labels, a in labelled],
    )
    yield family(
        "jetstream_api_errors_total",
        "counter",
        "Of these, answered with an error.",
        [(labels, a.api_errors) for labels, a in labelled],
    )
