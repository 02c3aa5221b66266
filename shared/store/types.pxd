"""The store's table of contents: every structure of a log, who owns it and how long it lives.

A **log** holds the messages of one stream. Its newest part is in memory (``Table``), because the intake journal has it
already; a memory log is nothing but that. Now and then a file log's Table is *frozen*: a new one takes what comes, and
the mover (flush.pyx) writes the frozen one into LMDB, where it becomes a *segment*: blocks of messages and a sorted
index of their subjects. A message is therefore in the active Table, in the frozen Table, or on disk, in this order.

A message of the active Table is removed by freeing its Entry. One that is frozen or on disk is removed by a bit in a
``DeadSet``, which the next flush carries into LMDB: what the mover reads never changes under its hands.

Threads. All of it belongs to the loop's thread, except: the frozen Table and frozen DeadSet are read by the mover, and
a batch that has been handed over belongs to the journal's thread until it is reported durable.

Sequences. ``last_seq`` is the last one given out. ``visible_seq`` is the last one that may be shown: in a file log the
last whose batch is on the disk (or written, when the stream's sync mode is an interval). Deciding about a new message
(what is the last sequence of this subject, is the stream full) looks at everything; reading for somebody else looks at
what is visible.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Found:
    DAMAGED = -1  # it is there, but its checksum says that it is not what was stored; never served
    MISSING = 0
    FOUND = 1

cdef enum:
    PAGE_SLOTS = 512  # sequences of one page of a Table, bits of one page of a DeadSet
    SEQ_GIVEN_MAX = 0x2000000000000000  # 2^61: nobody may ask for a higher one, so that as many are left for what follows
    SEQ_MAX = 0x3FFFFFFFFFFFFFFF  # no sequence is higher: one that is read is damage, and adding to one never overflows

cdef struct Record:  # a message as a reader sees it; pointers hold until the next call on its log, at most for this tick
    uint64_t seq
    int64_t ts  # wall clock, nanoseconds since 1970
    const char* subject
    const char* body  # header block, then payload
    uint32_t subject_len
    uint32_t header_len
    uint32_t size  # header_len included

cdef struct Topic:  # one subject, as one Table knows it; the numbers speak of the whole log
    Topic* chain
    Entry* oldest  # messages of this Table only, linked by ``newer``
    Entry* newest
    uint64_t count  # live messages in the whole log; 0 in a file log: the disk has to forget the subject
    uint64_t first  # no live message is older; exact after log_subject
    uint64_t last  # the newest live message, 0: none
    uint32_t hash
    uint16_t length
    char text[1]

cdef struct Entry:  # one message in memory
    Entry* newer  # of the same Topic
    Entry* older
    Topic* topic
    uint64_t seq
    int64_t ts
    uint32_t header_len
    uint32_t size
    uint32_t check  # record_check of it, taken when it was stored
    uint64_t previous  # the subject's last message before this one, 0: none; blocks keep it, so that one leads to the next
    char body[1]

cdef struct Page:
    uint64_t number  # sequence / PAGE_SLOTS
    uint32_t used  # never 0
    Entry* slots[PAGE_SLOTS]

cdef struct Table:
    Page** pages  # those with messages, by their numbers
    uint32_t npages
    uint32_t page_cap
    uint64_t first  # lowest sequence that may be here, 0: none
    uint64_t last
    uint64_t count
    size_t bytes  # of memory
    Topic** topics
    uint32_t topic_cap
    uint32_t ntopics
    uint64_t seed

cdef struct DeadPage:
    uint64_t number  # sequence / PAGE_SLOTS
    uint64_t bits[8]

cdef struct DeadSet:  # removed sequences whose messages the Table or the disk still holds
    DeadPage** slots  # open addressing by page number
    uint32_t cap
    uint32_t count  # pages
    uint64_t total  # sequences
    uint64_t below  # everything below this is dead as well (a purge does not list what it removes)

cdef struct Filter:  # what a consumer, a purge or a question asks for; 0 patterns: everything
    char** patterns
    uint16_t* lengths
    uint32_t count
    uint64_t* gathered  # what matches on disk, where that is little: sequences in order (disk.pyx)
    uint32_t ngathered
    uint32_t gathered_at
    uint64_t gathered_from  # they are all that match from here
    uint64_t gathered_to  # to here
    uint64_t gathered_flush  # at this number of flushes of the log

cdef struct SubjectState:
    uint64_t count
    uint64_t first
    uint64_t last

# subject NULL: everything below ``seq`` was removed at once
ctypedef void (*removed_fn)(void* context, Log* l, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
ctypedef bint (*subject_fn)(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil

cdef struct Log:
    Journal* journal  # NULL: a memory log, or one that is being read back
    void* disk  # what disk.pyx keeps for this log; NULL: nothing is on disk yet, or a memory log
    uint32_t ident  # of the log within its store, never used again for another
    uint8_t memory  # storage: memory; without a journal otherwise: while the journal is read back
    uint8_t relaxed  # sync mode "interval": shown when written, synced within the store's interval
    uint8_t dirty  # in the journal's list of logs that the filling batch touches (log.pyx enters it, submit clears it)
    uint8_t suspect  # some of it was lost: what is there is served, nothing is added (the caller sees to that)
    uint8_t deleted  # the stream is gone; what is on disk goes with the next flush
    uint64_t first_seq  # of the oldest live message; last_seq + 1 when there is none
    uint64_t last_seq
    uint64_t visible_seq
    uint64_t batch_seq  # last_seq when the batch that is being written was handed over
    int64_t last_ts
    uint64_t messages
    uint64_t bytes  # as nats-server counts them for this kind of storage
    uint64_t subjects  # distinct ones that have live messages
    uint64_t journalled  # bytes of its messages' records in the journal since it was opened
    uint64_t disk_last  # messages up to here are on disk, or were
    uint64_t disk_first  # none is on disk below this
    Table* active
    Table* frozen  # NULL: no flush is under way
    DeadSet dead
    DeadSet* frozen_dead
    removed_fn removed  # told of every message that is removed, while it can still be read; NULL: nobody
    void* removed_context
    uint8_t compress
    uint64_t damaged_first  # found damaged while reading; 0: nothing was
    uint64_t damaged_last
    void* owner  # the Python Log, borrowed

cdef struct Buffer:  # grows, never shrinks below what it has proved to need
    char* data
    size_t length
    size_t cap

cdef enum FlushState:
    NO_FLUSH = 0
    LAST_BATCH = 1  # the last batch of the generation is being closed or is under way
    FROZEN = 2  # it is on the disk: the mover may begin
    MOVING = 3
    MOVED = 4  # or it failed

cdef enum Full:  # for what there is no space; bits
    FULL_STORE = 1
    FULL_JOURNAL = 2
    FULL_BEHIND = 4  # no lack of space: the mover is behind, and the journal does not grow further than can be read back

cdef struct FrozenLog:  # what the mover has to know of a log, as it was when it was frozen
    Log* log
    Table* table
    DeadSet* dead
    uint32_t ident
    uint8_t compress
    uint8_t deleted
    uint64_t first_seq
    uint64_t last_seq
    uint64_t messages
    uint64_t bytes
    uint64_t subjects
    int64_t last_ts

cdef struct Journal:  # the part of it that the loop's thread sees; ``writer`` is what the writing thread sees
    Buffer filling  # records of the next batch, behind room for the frame's head
    uint64_t batch  # its number; the first is a random one
    uint64_t durable  # highest batch that is on the disk; all lower ones are, too
    uint64_t written  # highest batch that has been written, synced or not
    uint8_t busy  # a batch is under way
    uint8_t strict  # something in the filling batch has to be synced before it is acknowledged
    uint8_t failed  # the disk refused: nothing is acknowledged any more until the store is opened again
    uint8_t full  # Full: what would need more is refused, reading goes on
    uint8_t unsynced  # written and not yet synced (interval mode)
    uint8_t flush_state  # FlushState
    uint8_t doubtful  # LMDB refused to read: what cannot be read may be there again once its file has been mended
    int error  # errno of what failed
    size_t pending_bytes  # filling and under way
    int64_t base_ts  # of the filling batch
    uint32_t removed_ident  # an open range of removed sequences; 0: none
    uint64_t removed_first
    uint64_t removed_last
    uint64_t generation
    uint64_t offset  # in the generation's file
    uint64_t synced_offset  # up to where it was synced last
    uint64_t generation_bytes  # a generation that has reached this is moved to LMDB
    Log** logs  # all open ones
    uint32_t nlogs
    uint32_t log_cap
    Log** dirty
    uint32_t ndirty
    uint32_t dirty_cap
    Log** under  # touched by the batch that is under way
    uint32_t nunder
    uint32_t under_cap
    FrozenLog* frozen
    uint32_t nfrozen
    uint32_t frozen_cap
    # gathering: small batches that follow one another closely are made one (``journal_submit``)
    int timer_fd
    uint8_t timer_armed
    uint8_t holding
    uint8_t hold_fruitful
    uint32_t hold_rounds
    uint32_t hold_skip  # as many chances are passed over
    uint32_t hold_passed
    size_t hold_length
    uint8_t followed  # the filling batch had something in it when the last one was done
    void (*attend)(void* context) noexcept nogil  # calls the Store: a generation ends, is to be moved, has been moved
    void* owner  # the Python Store, borrowed
    void* writer
    size_t frame_tail  # bytes behind the records of a frame; 0: it is not encrypted
    # figures
    uint64_t messages
    uint64_t batches
    uint64_t syncs
    uint64_t bytes_written
    uint64_t device_bytes  # the same in whole pages, a page again with each sync that finds it changed: what a card writes
    uint64_t sync_ns
    uint64_t sync_ns_max
    size_t last_batch_bytes
