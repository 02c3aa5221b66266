"""Records that join the journal's filling batch, and what becomes of batches (journal.pyx). For the loop's thread;
nothing here waits.

A batch is written in one piece and synced once; it is durable as a whole or not there at all.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .types cimport *
from .vault cimport Opener, Vault

cdef enum RecordType:
    R_MESSAGE = 1  # ident, seq, ts, subject length, header length, size, check, previous, subject, body
    R_REMOVED = 2  # ident, first, last
    R_PURGED = 3  # ident, below
    R_SKIPPED = 4  # ident, last sequence
    R_NOTE = 5  # owner, length, bytes
    R_PAIR = 6  # key length, value length + 1 (0: deleted), key, value
    R_DROPPED = 7  # ident: the log is deleted

cdef enum:
    BEHIND_MAX = 1 << 30  # bytes of a generation that waits for the mover, above which nothing new is taken
    FRAME = 48  # bytes of a batch's head: magic, length, generation, batch, base_ts, durable, check
    SHUT_TAIL = 24  # behind an encrypted batch's records: base_ts, which is encrypted with them, and the tag

cdef void journal_message(Journal* j, Log* l, uint64_t seq, int64_t ts, const char* subject, uint32_t n,
                          const char* body, uint32_t header_len, uint32_t size, uint32_t check) noexcept nogil
cdef void journal_removed(Journal* j, Log* l, uint64_t seq) noexcept nogil  # neighbours join into ranges
cdef void journal_purged(Journal* j, Log* l, uint64_t below) noexcept nogil  # everything below is gone
cdef void journal_skipped(Journal* j, Log* l, uint64_t last_seq) noexcept nogil  # sequences given out to nobody
cdef void journal_note(Journal* j, uint32_t owner, const char* data, uint32_t n) noexcept nogil
cdef void journal_pair(Journal* j, const char* key, uint32_t kn, const char* value, int64_t vn) noexcept nogil  # vn -1: deleted
cdef void journal_dropped(Journal* j, uint32_t ident) noexcept nogil

cdef void journal_submit(Journal* j) noexcept nogil  # hands the filling batch to the writer if it is idle
cdef bint journal_reap(Journal* j) noexcept nogil  # takes what the writer has finished; whether anything was

cdef uint64_t journal_batch(Journal* j) noexcept nogil  # when it is durable, so is all that was recorded so far
cdef void journal_sync(Journal* j) noexcept nogil  # what was written without a sync gets one

cdef struct Writer:
    void* lock
    void* signal
    int fd
    int next_fd  # where the batch after a switch goes; -1: not prepared
    int old_fd  # of the generation that has ended
    int event_fd
    uint8_t state  # WriterState
    uint8_t sync
    uint8_t stop
    uint8_t full  # the batch waits for space
    Vault* vault  # NULL: nothing is encrypted
    int error
    char* data
    size_t length
    uint64_t offset
    uint64_t took_ns
    Buffer spare
    # tests put their own here
    ssize_t (*pwrite_fn)(int fd, const void* data, size_t n, int64_t offset) noexcept nogil
    int (*sync_fn)(int fd) noexcept nogil

cdef void writer_loop(Writer* w) noexcept nogil
cdef Writer* writer_new(int event_fd) noexcept nogil
cdef void writer_stop(Writer* w) noexcept nogil
cdef void writer_free(Writer* w) noexcept nogil
cdef uint64_t frame_check(const char* head, const char* payload, size_t n) noexcept nogil
cdef size_t frame_at(Opener* o, const char* data, size_t size, size_t at, uint64_t generation,
                     uint64_t* batch) noexcept nogil
cdef size_t frame_plain(Opener* o, const char* frame, char* to) noexcept nogil
cdef void journal_freeze(Journal* j) noexcept nogil
