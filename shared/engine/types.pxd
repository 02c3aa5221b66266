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

cdef struct Answer:  # what is sent once its batch is safe: an acknowledgement, or any message of the server
    uint64_t batch
    uint64_t seq
    Stream* stream  # whose usual acknowledgement it is; NULL: the header and the body are in the text
    AccountState* account
    size_t at  # of the subject in the queue's text, the header and the body behind it
    uint32_t subject_len
    uint32_t header_len
    uint32_t size  # header_len included

cdef struct Answers:  # a queue in the order of batches
    Answer* list
    uint32_t first
    uint32_t count
    uint32_t cap
    char* text
    size_t text_len
    size_t text_cap

cdef struct Quota:  # of one account (or the server) and one kind of storage
    int64_t used
    int64_t limit

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
    uint64_t waiting  # Core.inbox_serial when a message went to Python: what comes later may not overtake it
    uint8_t news  # in the engine's list: something became visible, consumers have to look
    int64_t max_msgs  # -1: no limit, here and below
    int64_t max_bytes
    int64_t max_per_subject
    int64_t max_msg_size
    Quota* quota  # what the account may keep in this kind of storage; NULL: no limit
    uint64_t counted_bytes  # how much of it is this stream's
    uint64_t told_seq  # consumers know what is visible up to here
    uint64_t in_msgs

cdef struct Consumer:  # consumer.pyx
    Stream* stream

cdef struct Engine:
    Core* core
    Journal* journal  # NULL: memory streams only
    void* owner  # the Python Engine, borrowed
    Conn source  # kind SYSTEM: what the server itself says comes from here
    Conn gate  # never connected: its ``pending`` is what the journal has not written, so that publishers are held
    int64_t wall_offset_ns  # wall clock minus monotonic clock
    Answers at_once  # memory streams, errors: at the end of the round
    Answers written  # streams whose sync mode is an interval: when the batch has been written
    Answers durable  # when the batch is on the disk
    char* copy  # of the answer that is being sent
    uint32_t copy_cap
    int wake_fd  # an eventfd: there is work although nothing has arrived
    uint8_t woken
    Stream** news
    uint32_t nnews
    uint32_t news_cap
    Consumer** busy  # have something to hand out and could not yet
    uint32_t nbusy
    uint32_t busy_cap
