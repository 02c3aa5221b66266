"""The intake journal: a batch is gathered while the one before is on its way to the disk; one write and one sync carry
all that arrived meanwhile (group commit).

A file is one *generation*: what one flush moves into LMDB. Its frames follow one another; each begins with a head that
names generation and batch, the last batch that was on the disk when it was closed, and has a checksum over everything,
so that a torn write, or what an earlier use of a recycled file left behind, is never taken for a batch. Numbers of
batches go on from one generation to the next and from one run to the next.

Records have a type and varints: ``R_MESSAGE`` costs 16 to 20 bytes over subject, header and payload.

In an encrypted store the head stands for everybody to read but for the time, which is encrypted with the records: its
place and the checksum's have the nonce instead. The writing thread encrypts.

The writing thread holds no lock of Python's. It owns ``Writer.data`` while ``state`` is WORK, and nothing else.
"""

from libc.errno cimport EDQUOT, EINTR, EIO, ENOSPC, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport hash_bytes

from .log cimport log_freeze
from .types cimport *
from .varint cimport put_varint, zigzag
from .vault cimport TAG, Opener, Vault, frame_open, frame_shut, opener_room

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(void* m, void* attributes)
    int pthread_mutex_lock(void* m)
    int pthread_mutex_unlock(void* m)
    int pthread_mutex_destroy(void* m)
    int pthread_cond_init(void* c, void* attributes)
    int pthread_cond_wait(void* c, void* m)
    int pthread_cond_signal(void* c)
    int pthread_cond_destroy(void* c)

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void* data, size_t n, int64_t offset)
    int fdatasync(int fd)
    ssize_t read(int fd, void* buf, size_t n)
    ssize_t write(int fd, const void* buf, size_t n)
    int usleep(unsigned int microseconds)

cdef extern from *:
    """
    #include <errno.h>
    static inline void set_errno(int value) { errno = value; }
    """
    void set_errno(int value) nogil

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int clock_gettime(int clock, timespec* t)

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    int CLOCK_MONOTONIC

cdef enum WriterState:
    IDLE = 0
    WORK = 1
    DONE = 2

cdef enum:
    MAGIC = 0x314C4850  # "PHL1"
    MAGIC_SHUT = 0x324C4850  # "PHL2": an encrypted one
    BATCH_MIN = 1 << 16
    PAGE = 4096  # what a disk writes at least
    GATHER_BYTES = 16384  # a batch of this size is not made to wait: its pages are full
    GATHER_NS = 1_200_000  # a publisher that sends every millisecond is heard once more
    GATHER_ROUNDS = 6  # at most this often in a row: 7 ms in all
    GATHER_SKIP_MAX = 64  # chances passed over after a wait that brought nothing
    RECORD_HEAD = 96
    SPACE_RETRY_US = 200_000  # a batch for which there was no space is tried again so often


# --- records ---------------------------------------------------------------------------------------


cdef inline char* _room(Journal* j, size_t n) noexcept nogil:
    """Space for ``n`` more bytes at the end of the filling batch; the caller says how many it used."""
    cdef size_t need
    if j.filling.length == 0:
        j.filling.length = FRAME
    need = j.filling.length + n
    if need > j.filling.cap:
        j.filling.cap = need * 2 if need * 2 > BATCH_MIN else BATCH_MIN
        j.filling.data = <char*>must(realloc(j.filling.data, j.filling.cap))
    return j.filling.data + j.filling.length


cdef inline void _used(Journal* j, char* end) noexcept nogil:
    cdef size_t length = end - j.filling.data
    j.pending_bytes += length - j.filling.length
    j.filling.length = length


cdef void _close_range(Journal* j) noexcept nogil:
    cdef char* at
    if j.removed_ident:
        at = _room(j, RECORD_HEAD)
        at[0] = R_REMOVED
        at = put_varint(at + 1, j.removed_ident)
        at = put_varint(at, j.removed_first)
        _used(j, put_varint(at, j.removed_last))
        j.removed_ident = 0


cdef inline void _about(Journal* j, Log* l) noexcept nogil:
    if j.removed_ident:
        _close_range(j)
    if not l.relaxed:
        j.strict = 1


cdef void journal_message(Journal* j, Log* l, uint64_t seq, int64_t ts, const char* subject, uint32_t n,
                          const char* body, uint32_t header_len, uint32_t size, uint32_t check) noexcept nogil:
    cdef char* at
    _about(j, l)
    at = _room(j, RECORD_HEAD + <size_t>n + size)
    if j.base_ts == 0:
        j.base_ts = ts
    at[0] = R_MESSAGE
    at = put_varint(at + 1, l.ident)
    at = put_varint(at, seq)
    at = put_varint(at, zigzag(ts - j.base_ts))
    at = put_varint(at, n)
    at = put_varint(at, header_len)
    at = put_varint(at, size)
    memcpy(at, &check, 4)
    memcpy(at + 4, subject, n)
    memcpy(at + 4 + n, body, size)
    l.journalled += <uint64_t>(at + 4 + n + size - (j.filling.data + j.filling.length))
    _used(j, at + 4 + n + size)
    j.messages += 1


cdef void journal_removed(Journal* j, Log* l, uint64_t seq) noexcept nogil:
    if not l.relaxed:
        j.strict = 1
    if j.removed_ident == l.ident and seq == j.removed_last + 1:
        j.removed_last = seq
        return
    if j.removed_ident:
        _close_range(j)
    if j.filling.length == 0:
        _room(j, RECORD_HEAD)
    j.removed_ident, j.removed_first, j.removed_last = l.ident, seq, seq


cdef void _two(Journal* j, Log* l, int type, uint64_t value) noexcept nogil:
    cdef char* at
    _about(j, l)
    at = _room(j, RECORD_HEAD)
    at[0] = <char>type
    at = put_varint(at + 1, l.ident)
    _used(j, put_varint(at, value))


cdef void journal_purged(Journal* j, Log* l, uint64_t below) noexcept nogil:
    _two(j, l, R_PURGED, below)


cdef void journal_skipped(Journal* j, Log* l, uint64_t last_seq) noexcept nogil:
    _two(j, l, R_SKIPPED, last_seq)


cdef void journal_note(Journal* j, uint32_t owner, const char* data, uint32_t n) noexcept nogil:
    cdef char* at
    _close_range(j)
    j.strict = 1
    at = _room(j, RECORD_HEAD + n)
    at[0] = R_NOTE
    at = put_varint(at + 1, owner)
    at = put_varint(at, n)
    memcpy(at, data, n)
    _used(j, at + n)


cdef void journal_pair(Journal* j, const char* key, uint32_t kn, const char* value, int64_t vn) noexcept nogil:
    cdef char* at
    _close_range(j)
    j.strict = 1
    at = _room(j, RECORD_HEAD + kn + (vn if vn > 0 else 0))
    at[0] = R_PAIR
    at = put_varint(at + 1, kn)
    at = put_varint(at, <uint64_t>(vn + 1))
    memcpy(at, key, kn)
    at += kn
    if vn > 0:
        memcpy(at, value, vn)
        at += vn
    _used(j, at)


cdef void journal_dropped(Journal* j, uint32_t ident) noexcept nogil:
    cdef char* at
    _close_range(j)
    j.strict = 1
    at = _room(j, RECORD_HEAD)
    at[0] = R_DROPPED
    _used(j, put_varint(at + 1, ident))


# --- batches ---------------------------------------------------------------------------------------


cdef uint64_t frame_check(const char* head, const char* payload, size_t n) noexcept nogil:
    """Over the head without its last 8 bytes, and everything behind it."""
    cdef uint32_t low = hash_bytes(payload, n, hash_bytes(head, FRAME - 8, MAGIC))
    cdef uint32_t high = hash_bytes(head, FRAME - 8, low)
    return (<uint64_t>high << 32) | low


cdef size_t frame_at(Opener* o, const char* data, size_t size, size_t at, uint64_t generation,
                     uint64_t* batch) noexcept nogil:
    """Bytes of the generation's frame at ``at``, and its batch; 0: there is no valid one."""
    cdef const char* p = data + at
    cdef uint32_t magic, length
    cdef uint64_t its, check
    batch[0] = 0
    if at > size or size - at < FRAME:
        return 0
    memcpy(&magic, p, 4)
    memcpy(&length, p + 4, 4)
    memcpy(&its, p + 8, 8)
    memcpy(&check, p + FRAME - 8, 8)
    if its != generation or length > size - at - FRAME:
        return 0
    if o.vault != NULL:
        if magic != MAGIC_SHUT or length < SHUT_TAIL \
                or not frame_open(o, p, FRAME, length - TAG, opener_room(o, length)):
            return 0
    elif magic != MAGIC or check != frame_check(p, p + FRAME, length):
        return 0
    memcpy(batch, p + 16, 8)
    return FRAME + <size_t>length


cdef size_t frame_plain(Opener* o, const char* frame, char* to) noexcept nogil:
    """An encrypted frame that was found to be valid, as it would be without encryption but for its checksum; ``to`` has
    as many bytes as the frame. How many it is; 0: it is not valid."""
    cdef uint32_t length, plain
    memcpy(&length, frame + 4, 4)
    if length < SHUT_TAIL or not frame_open(o, frame, FRAME, length - TAG, to + FRAME):
        return 0
    plain = length - SHUT_TAIL
    memcpy(to, frame, FRAME)
    memcpy(to + 4, &plain, 4)
    memcpy(to + 24, to + FRAME + plain, 8)
    memset(to + FRAME - 8, 0, 8)
    return FRAME + plain


cdef void _close_frame(Journal* j) noexcept nogil:
    cdef char* head
    cdef uint32_t magic = MAGIC_SHUT if j.frame_tail else MAGIC
    cdef uint32_t length
    cdef uint64_t check
    if j.frame_tail:
        head = _room(j, j.frame_tail)
        memcpy(head, &j.base_ts, 8)
        _used(j, head + j.frame_tail)
    head = j.filling.data
    length = <uint32_t>(j.filling.length - FRAME)
    memset(head, 0, FRAME)
    memcpy(head, &magic, 4)
    memcpy(head + 4, &length, 4)
    memcpy(head + 8, &j.generation, 8)
    memcpy(head + 16, &j.batch, 8)
    memcpy(head + 24, &j.base_ts, 8)
    memcpy(head + 32, &j.durable, 8)
    if j.frame_tail:
        return  # the writing thread does the rest
    check = frame_check(head, head + FRAME, length)
    memcpy(head + FRAME - 8, &check, 8)


cdef void journal_freeze(Journal* j) noexcept nogil:
    """Everything that is in memory belongs to the generation that ends: a new Table takes what comes."""
    cdef uint32_t i
    cdef Log* l
    cdef FrozenLog* f
    j.nfrozen = 0
    for i in range(j.nlogs):
        l = j.logs[i]
        if l.deleted or l.frozen != NULL:
            continue
        log_freeze(l)
        j.frozen = <FrozenLog*>grow(j.frozen, &j.frozen_cap, j.nfrozen + 1, sizeof(FrozenLog))
        f = &j.frozen[j.nfrozen]
        j.nfrozen += 1
        f.log, f.table, f.dead, f.ident = l, l.frozen, l.frozen_dead, l.ident
        f.compress, f.deleted = l.compress, 0
        f.first_seq, f.last_seq, f.last_ts = l.first_seq, l.last_seq, l.last_ts
        f.messages, f.bytes, f.subjects = l.messages, l.bytes, l.subjects


cdef void journal_sync(Journal* j) noexcept nogil:
    if j.filling.length == 0:
        _room(j, 0)  # an empty batch
    j.strict = 1


cdef uint64_t journal_batch(Journal* j) noexcept nogil:
    if j.filling.length or j.removed_ident:
        return j.batch
    if not j.busy and j.durable < j.batch - 1:
        journal_sync(j)
        return j.batch
    return j.batch - 1


cdef void _arm(Journal* j, uint64_t ns) noexcept nogil:
    cdef itimerspec t
    memset(&t, 0, sizeof(t))
    t.it_value.tv_nsec = <long>ns
    timerfd_settime(j.timer_fd, 0, &t, NULL)
    j.timer_armed = 1


cdef bint _gathers(Journal* j) noexcept nogil:
    """Whether a small batch waits for more. It does when the one before had not even been written when this one began,
    which a publisher that waits for each acknowledgement never causes, and when such waits have been worth it."""
    if j.filling.length >= GATHER_BYTES:
        j.holding = 0
        return False
    if j.holding:
        if j.filling.length > j.hold_length:
            j.hold_fruitful = 1
            j.hold_rounds += 1
            if j.hold_rounds < GATHER_ROUNDS:
                j.hold_length = j.filling.length
                _arm(j, GATHER_NS)
                return True
        j.holding = 0
        j.hold_skip = 0 if j.hold_fruitful else min(<uint32_t>GATHER_SKIP_MAX, j.hold_skip * 2 + 2)
        j.hold_passed = 0
        return False
    if not j.followed:
        return False
    if j.hold_passed < j.hold_skip:
        j.hold_passed += 1
        return False
    j.holding, j.hold_fruitful, j.hold_rounds = 1, 0, 0
    j.hold_length = j.filling.length
    _arm(j, GATHER_NS)
    return True


cdef void journal_submit(Journal* j) noexcept nogil:
    cdef Writer* w = <Writer*>j.writer
    cdef uint64_t ticks
    cdef Log** swap
    cdef uint32_t i, cap
    cdef Buffer buffer
    cdef bint timer = j.timer_armed and read(j.timer_fd, &ticks, 8) == 8
    if timer:
        j.timer_armed = 0
    if j.busy or j.failed or w.fd < 0 or (j.filling.length == 0 and not j.removed_ident):
        return
    if (j.holding and not timer and j.filling.length < GATHER_BYTES) or _gathers(j):
        return
    if j.offset + j.filling.length > j.generation_bytes and j.flush_state == NO_FLUSH and w.next_fd >= 0:
        j.flush_state = LAST_BATCH
        j.strict = 1  # a later sync is one of another file: what was not synced yet would pass for durable
        j.attend(j.owner)
    _close_range(j)
    _close_frame(j)
    for i in range(j.ndirty):
        j.dirty[i].dirty = 0
        j.dirty[i].batch_seq = j.dirty[i].last_seq
    swap, cap = j.under, j.under_cap
    j.under, j.under_cap, j.nunder = j.dirty, j.dirty_cap, j.ndirty
    j.dirty, j.dirty_cap, j.ndirty = swap, cap, 0
    buffer = w.spare
    w.spare = j.filling
    j.filling = buffer
    j.filling.length = 0
    pthread_mutex_lock(w.lock)
    w.data, w.length, w.offset, w.sync = w.spare.data, w.spare.length, j.offset, j.strict
    w.state = WORK
    pthread_cond_signal(w.signal)
    pthread_mutex_unlock(w.lock)
    j.busy = 1
    j.strict = 0
    j.base_ts = 0
    j.batch += 1
    j.followed = 0


cdef bint journal_reap(Journal* j) noexcept nogil:
    cdef Writer* w = <Writer*>j.writer
    cdef uint32_t i
    cdef Log* l
    if j.flush_state == MOVED:
        j.attend(j.owner)
    if not j.busy:
        return False
    pthread_mutex_lock(w.lock)
    i = w.state
    if w.full:
        j.full |= FULL_JOURNAL
    pthread_mutex_unlock(w.lock)
    if i != DONE:
        return False
    w.state = IDLE
    w.full = 0
    j.full &= ~FULL_JOURNAL
    j.busy = 0
    j.pending_bytes -= w.length - FRAME
    if w.error:
        j.failed, j.error = 1, w.error
        return True
    j.offset += w.length
    j.batches += 1
    j.bytes_written += w.length
    j.last_batch_bytes = w.length
    j.written = j.batch - 1
    if w.sync:
        j.device_bytes += ((j.offset + PAGE - 1) & ~<uint64_t>(PAGE - 1)) - (j.synced_offset & ~<uint64_t>(PAGE - 1))
        j.synced_offset = j.offset
        j.durable = j.written
        j.unsynced = 0
        j.syncs += 1
        j.sync_ns += w.took_ns
        if w.took_ns > j.sync_ns_max:
            j.sync_ns_max = w.took_ns
    else:
        j.unsynced = 1
    for i in range(j.nunder):
        l = j.under[i]
        if l != NULL and (w.sync or l.relaxed):
            l.visible_seq = l.batch_seq
    j.nunder = 0
    j.followed = j.filling.length > 0
    if j.flush_state == LAST_BATCH:
        j.generation += 1
        j.offset = j.synced_offset = 0
        w.old_fd, w.fd, w.next_fd = w.fd, w.next_fd, -1
        j.flush_state = FROZEN
        j.attend(j.owner)
    elif j.flush_state != NO_FLUSH and j.offset > BEHIND_MAX:
        j.full |= FULL_BEHIND
    return True


# --- the writing thread ----------------------------------------------------------------------------


cdef uint64_t _now() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1_000_000_000 + <uint64_t>t.tv_nsec


cdef bint _wait_for_space(Writer* w) noexcept nogil:
    """Nothing of the batch has been acknowledged, and it can still be written when somebody has made room."""
    cdef uint64_t one = 1
    cdef int error = errno
    cdef bint stop
    pthread_mutex_lock(w.lock)
    stop = w.stop
    if not w.full and not stop:
        w.full = 1
        write(w.event_fd, &one, 8)
    pthread_mutex_unlock(w.lock)
    if not stop:
        usleep(SPACE_RETRY_US)
    set_errno(error)
    return not stop


cdef int _carry_out(Writer* w) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t n
    cdef uint64_t begin
    if w.vault != NULL:
        frame_shut(w.vault, w.data, FRAME, w.length - FRAME - TAG)
    while done < w.length:
        n = w.pwrite_fn(w.fd, w.data + done, w.length - done, <int64_t>(w.offset + done))
        if n < 0:
            if errno == EINTR or ((errno == ENOSPC or errno == EDQUOT) and _wait_for_space(w)):
                continue
            return errno
        if n == 0:
            return EIO
        done += <size_t>n
    if w.sync:
        begin = _now()
        if w.sync_fn(w.fd) != 0:
            return errno
        w.took_ns = _now() - begin
    return 0


cdef void writer_loop(Writer* w) noexcept nogil:
    cdef uint64_t one = 1
    cdef int error
    while True:
        pthread_mutex_lock(w.lock)
        while w.state != WORK and not w.stop:
            pthread_cond_wait(w.signal, w.lock)
        if w.state != WORK:
            pthread_mutex_unlock(w.lock)
            return
        pthread_mutex_unlock(w.lock)
        error = _carry_out(w)
        pthread_mutex_lock(w.lock)
        w.error = error
        w.state = DONE
        pthread_mutex_unlock(w.lock)
        write(w.event_fd, &one, 8)


cdef Writer* writer_new(int event_fd) noexcept nogil:
    cdef Writer* w = <Writer*>must(calloc(1, sizeof(Writer)))
    w.lock = must(calloc(1, sizeof(pthread_mutex_t)))
    w.signal = must(calloc(1, sizeof(pthread_cond_t)))
    pthread_mutex_init(w.lock, NULL)
    pthread_cond_init(w.signal, NULL)
    w.event_fd = event_fd
    w.fd = w.next_fd = w.old_fd = -1
    w.pwrite_fn = pwrite
    w.sync_fn = fdatasync
    return w


cdef void writer_stop(Writer* w) noexcept nogil:
    pthread_mutex_lock(w.lock)
    w.stop = 1
    pthread_cond_signal(w.signal)
    pthread_mutex_unlock(w.lock)


cdef void writer_free(Writer* w) noexcept nogil:
    pthread_mutex_destroy(w.lock)
    pthread_cond_destroy(w.signal)
    free(w.lock)
    free(w.signal)
    free(w.spare.data)
    free(w)
