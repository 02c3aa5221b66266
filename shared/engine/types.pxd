"""The engine's table of contents: streams and consumers as the per-message path sees them.

A Stream takes what is published to its subjects (``Sub.sink``) and appends it to its Log; its acknowledgements wait in
the Engine until the batch that holds the message is durable. A Consumer reads the log and hands messages out. Both
belong to one Engine, which the kernel calls once a round (``Core.work``). One thread uses all of it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from phloem.shared.kernel.types cimport AccountState, Conn, Core, Plan
from phloem.shared.store.types cimport Filter, Journal, Log

cdef extern from *:
    """
    #define NEVER_NS ((uint64_t)1 << 63)
    """
    uint64_t NEVER_NS  # no time of any clock

cdef extern from "<string.h>" nogil:  # what Cython's own libc.string leaves out
    void* memmem(const void* haystack, size_t n, const void* needle, size_t m)

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
    uint8_t duplicate  # an acknowledgement that says so

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

cdef struct Slot:  # a message id: 96 bits of its hash, and which message had it
    uint64_t high  # slots are in the order of hashes
    uint32_t low
    uint32_t behind  # sequence - Slice.base + 1; 0: nothing is here

cdef struct Stamp:  # the messages from ``seq`` to the next stamp were stored by ``ts``
    uint64_t seq
    int64_t ts

cdef struct Slice:  # the ids of a part of a duplicate window
    Slice* older
    Slot* slots  # places for ``cap`` ids by hash, and some behind them
    uint64_t cap
    uint64_t count
    uint64_t base  # sequence of the first message
    int64_t first_ts  # of it
    int64_t last_ts  # of the last one
    int64_t stamp_ts  # when the last stamp began
    Stamp* stamps
    uint32_t nstamps
    uint32_t stamp_cap
    uint8_t mapped  # the slots are in a file

cdef enum Unread:
    UNREAD = 1  # nobody has looked yet where the window begins
    READING = 2

cdef struct Ids:  # the message ids of one stream's duplicate window
    Engine* engine  # NULL: in none
    Ids* next  # in the engine's list
    Log* log
    Slice* newest
    uint64_t key[2]
    const char* folder  # where large slices are; NULL: on the heap
    int64_t window_ns
    int64_t over_ts  # what was stored until then is over, however long the window is
    int64_t due_ts  # no slice is over before this
    void* owner  # the Python MessageIds, borrowed: told when a slice begins
    uint8_t configured
    uint8_t renew  # the window has another length: the next id begins a slice
    uint8_t unread  # what the last run left: messages from read_at to read_to, once that is known
    uint64_t read_at
    uint64_t read_to
    uint64_t last_seq  # the last message that had an id
    char* last  # the id
    uint32_t last_len
    uint32_t last_cap

cdef enum Group:
    NO_GROUP = 0
    GROUP_OPEN = 1  # if it cannot be stored at once it is nobody's: who gave it looks, and gives no other behind it
    GROUP_STORED = 2

cdef struct Stream:
    Engine* engine
    void (*acked)(Stream* s, Consumer* c, uint64_t seq) noexcept nogil  # stream.pyx, which needs this module's types first
    AccountState* account
    Log* log
    Ids* ids
    void* owner  # the Python Stream, borrowed
    Consumer** consumers
    uint32_t nconsumers
    uint32_t consumer_cap
    Conn source  # kind SYSTEM: what is published for this stream comes from here
    char* ack_head  # {"stream":"NAME","seq":   or with the domain
    uint32_t ack_head_len
    const char* name  # of the Python Stream
    uint32_t name_len
    char* scope  # <domain or _>.<hash of the account>, of acknowledgements of 11 tokens
    uint32_t scope_len
    uint32_t slow
    uint8_t retention
    uint8_t no_ack
    uint8_t sealed
    uint8_t discard_new
    uint8_t discard_new_per_subject
    uint8_t gone
    uint8_t group  # a message of a group is being taken in: Group
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

cdef enum AckPolicy:
    ACK_NONE = 0
    ACK_ALL = 1
    ACK_EXPLICIT = 2
    ACK_FLOW = 3  # answers to flow control acknowledge everything before

cdef enum PriorityPolicy:
    NO_PRIORITY = 0
    OVERFLOW = 1
    PINNED = 2
    PRIORITIZED = 3

cdef enum Happened:  # what Python is told of a consumer
    INACTIVE = 1  # nobody has used it for its inactive threshold
    MAX_DELIVERIES = 2
    NAKED = 3
    TERMINATED = 4
    ACKED = 5  # only with sampling
    PIN_SET = 6
    PIN_LOST = 7
    RESUMED = 8

cdef struct Event:
    Consumer* consumer
    int what
    uint64_t stream_seq
    uint64_t consumer_seq
    uint64_t deliveries
    uint64_t ns

cdef struct Pending:  # a message that was handed out and is not acknowledged
    Pending* before  # in order of stream sequences
    Pending* after
    uint64_t stream_seq
    uint64_t consumer_seq  # of its first delivery
    uint64_t last_seq  # consumer sequence of its last delivery
    uint64_t sent_ns
    uint64_t due_ns  # when it is handed out again; 0: it is in the queue for that already (counted in Consumer.queued)
    uint32_t deliveries

cdef struct Pull:  # a request that waits for messages
    Pull* next
    int64_t batch  # how many messages are left of it
    int64_t max_bytes  # how many bytes; -1: no limit
    uint64_t expires_ns  # 0: it waits as long as somebody listens
    uint64_t heartbeat_ns  # 0: none
    uint64_t heartbeat_due_ns
    uint64_t min_pending
    uint64_t min_ack_pending
    uint64_t delivered
    uint8_t no_wait
    uint8_t priority
    uint8_t pinned  # its id is the pinned one
    uint8_t claims  # it has an id
    uint16_t reply_len
    char reply[1]

cdef struct Span:  # neighbours that were handed out one after the other and not yet noted
    uint64_t stream_seq
    uint64_t consumer_seq
    uint64_t count

cdef struct Consumer:
    Stream* stream
    void* owner  # the Python Consumer, borrowed
    uint32_t ident
    char* name
    uint32_t name_len
    uint32_t hash
    Consumer* chain  # in the engine's table
    char* ack_head  # $JS.ACK.<stream>.<consumer>.
    uint32_t ack_head_len
    Filter filter
    Conn source  # what it hands out comes from here
    # configuration
    uint8_t ack_policy
    uint8_t push
    uint8_t headers_only
    uint8_t replay_original
    uint8_t flow_control
    uint8_t priority_policy
    uint8_t durable_state  # notes go to the journal
    uint8_t samples  # percent of acknowledgements that Python is told of
    int64_t max_deliver  # -1: no limit
    int64_t max_ack_pending
    int64_t max_waiting
    uint64_t ack_wait_ns
    uint64_t* backoff_ns
    uint32_t nbackoff
    uint64_t heartbeat_ns
    uint64_t inactive_ns  # 0: never
    uint64_t rate_bytes  # a second; 0: no limit
    uint64_t pin_ttl_ns
    char* deliver_subject
    uint32_t deliver_len
    char* deliver_group
    uint32_t group_len
    # state
    uint8_t gone
    uint8_t busy  # in the engine's list
    uint8_t noting  # in the engine's list
    uint8_t active  # push: somebody listens
    uint64_t paused_until_ns  # 0: not
    uint64_t next_seq  # nothing below has to be looked at for the first time
    uint64_t* last_seqs  # deliver policy last_per_subject: these first
    uint64_t nlast
    uint64_t last_at
    uint64_t delivered_consumer
    uint64_t delivered_stream
    uint64_t floor_consumer
    uint64_t floor_stream
    uint64_t num_pending
    uint64_t redelivered  # messages now pending that were handed out more than once
    Pending** table  # by stream sequence, open addressing
    uint32_t table_cap
    uint32_t npending
    Pending* oldest
    Pending* newest
    uint64_t* given_up  # handed out as often as allowed and still kept (retention by interest), ascending
    uint32_t ngiven
    uint32_t given_cap
    uint32_t queued  # how many pending ones wait to be handed out again
    uint64_t* again  # a queue of stream sequences to hand out again; some may not be due any more
    uint32_t again_first
    uint32_t again_count
    uint32_t again_cap
    Pull* pulls
    Pull* last_pull
    uint32_t npulls
    char pin[24]  # id of the pinned client; empty: nobody is
    uint64_t pinned_ns
    uint64_t pin_due_ns
    uint64_t changes  # of the account's interest when ``active`` was found
    uint64_t due_ns  # when something is due, 0: nothing is
    uint64_t pending_due_ns  # of that, what was handed out and not acknowledged
    uint64_t hold_ns  # nothing new before this (rate, replay)
    uint64_t replay_ts  # of the message before
    uint64_t last_sent_ns
    uint64_t last_ack_ns
    uint64_t last_used_ns
    int64_t window  # bytes on their way that flow control allows
    int64_t unconfirmed
    int64_t asked  # of them, those that the outstanding question covers
    uint32_t question  # its number, 0: none is out
    uint32_t questions
    Span* spans
    uint32_t nspans
    uint32_t span_cap
    uint64_t* acked  # not yet noted
    uint32_t nacked
    uint32_t acked_cap
    uint64_t noted_ns

cdef struct Engine:
    Core* core
    Journal* journal  # NULL: memory streams only
    void* owner  # the Python Engine, borrowed
    Conn source  # kind SYSTEM: what the server itself says comes from here
    Conn gate  # never connected: its ``pending`` is what the journal has not written, so that publishers are held
    int64_t wall_offset_ns  # wall clock minus monotonic clock
    uint8_t scoped_replies  # what is handed out names domain and account to be acknowledged by
    Answers at_once  # memory streams, errors: at the end of the round
    Answers written  # streams whose sync mode is an interval: when the batch has been written
    Answers durable  # when the batch is on the disk
    char* copy  # of the answer that is being sent
    uint32_t copy_cap
    char* lent  # a message while it is delivered to the server itself, which may remove it
    uint32_t lent_cap
    int wake_fd  # an eventfd: there is work although nothing has arrived
    uint8_t woken
    uint64_t sync_interval_ns  # of what is only written at first
    uint64_t unsynced_ns  # since when there is some; 0: none
    Stream** news
    uint32_t nnews
    uint32_t news_cap
    Consumer** consumers  # all
    uint32_t nconsumers
    uint32_t consumer_cap
    Consumer** by_name  # hash table with chains
    uint32_t by_name_cap
    Consumer** busy  # may have something to hand out
    uint32_t nbusy
    uint32_t busy_cap
    Consumer** noting  # have something to note
    uint32_t nnoting
    uint32_t noting_cap
    Event* events  # for Python
    uint32_t nevents
    uint32_t event_cap
    Ids* ids  # of all streams
    uint64_t ids_due_ns  # when some of them are over; 0: there are none
    uint8_t ids_unread  # some are to be read back
    uint64_t due_ns  # when the first consumer has something to do; 0: none has
    uint8_t more  # a turn was over before there was nothing left
    char* scratch  # a message that is put together
    uint32_t scratch_cap
