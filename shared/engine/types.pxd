"""The engine's table of contents: streams and consumers as the per-message path sees them.

A Stream takes what is published to its subjects (``Sub.sink``) and appends it to its Log; its acknowledgements wait in
the Engine until the batch that holds the message is durable. A Consumer reads the log and hands messages out. Both
belong to one Engine, which the kernel calls once a round (``Core.work``). One thread uses all of it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from phloem.shared.kernel.types cimport AccountState, Conn, Core, Plan
from phloem.shared.store.types cimport Filter, Journal, Log

cdef enum Retention:
    LIMITS = 0
    INTEREST = 1
    WORK_QUEUE = 2

cdef enum Slow:  # why a stream's messages are looked at by Python, one by one
    SLOW_ALWAYS = 1 << 0  # transform, republish, counters, schedules, mirror, ...
    SLOW_NATS_HEADERS = 1 << 1  # a message with a header whose name begins with "Nats-" (always set)

cdef struct Ack:  # an answer that waits for its batch
    uint64_t batch
    uint64_t seq
    Stream* stream  # NULL: the stream is gone, or ``data`` is the whole answer
    uint32_t reply_len
    uint32_t data_len  # bytes of a body that is not the usual one, behind the reply subject
    size_t at  # in the Engine's ack text

cdef struct Stream:
    Engine* engine
    AccountState* account
    Log* log
    void* owner  # the Python Stream, borrowed
    Consumer** consumers
    uint32_t nconsumers
    uint32_t consumer_cap
    Conn source  # kind SYSTEM: what is published for this stream comes from here
    char* ack_head  # {"stream":"NAME","seq":   or with the domain
    uint32_t ack_head_len
    uint32_t slow
    uint8_t retention
    uint8_t no_ack
    uint8_t sealed
    uint8_t discard_new
    uint8_t discard_new_per_subject
    uint8_t gone
    uint8_t news  # in the engine's list: something became visible, consumers have to look
    int64_t max_msgs  # -1: no limit, here and below
    int64_t max_bytes
    int64_t max_per_subject
    int64_t max_msg_size
    int64_t* account_room  # bytes that the account may still store here; NULL: no limit
    uint64_t in_msgs

cdef struct Consumer:  # consumer.pyx
    Stream* stream

cdef struct Engine:
    Core* core
    Journal* journal  # NULL: memory streams only
    void* owner  # the Python Engine, borrowed
    Conn gate  # never connected: its ``pending`` is what the journal has not written, so that publishers are held
    int64_t wall_offset_ns  # wall clock minus monotonic clock
    Ack* acks  # a queue in the order of batches
    uint32_t ack_first
    uint32_t nacks
    uint32_t ack_cap
    char* ack_text
    size_t ack_text_len
    size_t ack_text_cap
    Stream** news
    uint32_t nnews
    uint32_t news_cap
    Consumer** busy  # have something to hand out and could not yet
    uint32_t nbusy
    uint32_t busy_cap
