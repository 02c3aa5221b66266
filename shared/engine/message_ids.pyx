"""Message ids: which of them a stream has seen within its duplicate window, and under which sequence.

An id is kept as 96 bits of its SipHash and its sequence, 16 bytes in all. The key is random and nobody sees it, so
that ids cannot be made to collide. Among 60 million ids in a window (two minutes at 500,000 a second) some two of
different texts agree in 96 bits with a chance of 2 in 10**14, which is below what memory does to bits; nothing is
looked up to make sure, and a message that was deleted keeps its id all the same.

A window is some **slices**, one after the other in time, and what goes is a whole slice: nothing is ever taken out of
one. A slice is an array in the order of hashes with gaps in it: an id lies at the place that its hash names or soon
behind it, and looking for one that is not there ends at the first one that is higher. A small slice grows; a large one
is followed by a larger one, so that no publish waits for megabytes to be copied. Where a log is on disk a large slice
is in a file without a name, which the system writes out and reads back as it needs memory: what the heap holds of a
window does not grow with its ids.

Times are kept by **stamps**: the messages from a sequence on were stored until then. There are about a thousand in a
window; an id leaves it at most 1/1024 of the window late, and never early.

After a start the messages of the window are read again, a part in each round, or the rest of them at once if a question
comes first or a message that has not been read is about to go. Where the window begins is looked for by halving. The
owner is told of each slice that begins, and remembers until when it lasts: a stream whose messages had no ids within
the window is not read.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

from phloem.shared.kernel.output cimport due
from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.store.log cimport Log_, log_next
from phloem.shared.store.types cimport FOUND, MISSING, Log, Record

from .types cimport *

cdef enum:
    SLICES = 4  # in a window, at least
    STAMPS = 1024  # in a window
    FEW = 32  # ids of the smallest slice
    GROWS_TO = 1 << 20  # slots; to copy so many takes a few milliseconds
    MOST = 1 << 26  # slots of one slice, a gigabyte
    SPILL = 512  # slots behind the last place: even a full slice hardly ever has so long a run
    MAPPED_FROM = 1 << 16  # slots; a megabyte
    READ_AT_ONCE = 8192  # messages read back in one round
    STEP = 256  # sequences

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/random.h>
    #include <unistd.h>
    /* Zeros in a file without a name; NULL: there is no room, or no such file. All of its space is taken at once: to
     * write where a disk has none would end the process. */
    static void* map_file(const char* folder, size_t bytes) {
        void* at;
        int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0) return NULL;
        at = fallocate(fd, 0, 0, (off_t)bytes) ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        return at == MAP_FAILED ? NULL : at;
    }
    """
    void* map_file(const char* folder, size_t size) noexcept nogil
    ssize_t getrandom(void* to, size_t n, unsigned int flags) nogil
    int munmap(void* at, size_t n) nogil


# --- SipHash-2-4, 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF") --------------------


cdef inline uint64_t _turned(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline void _rounds(uint64_t* v, int n) noexcept nogil:
    cdef uint64_t a = v[0]
    cdef uint64_t b = v[1]
    cdef uint64_t c = v[2]
    cdef uint64_t d = v[3]
    while n:
        n -= 1
        a += b
        b = _turned(b, 13) ^ a
        a = _turned(a, 32)
        c += d
        d = _turned(d, 16) ^ c
        a += d
        d = _turned(d, 21) ^ a
        c += b
        b = _turned(b, 17) ^ c
        c = _turned(c, 32)
    v[0], v[1], v[2], v[3] = a, b, c, d


cdef void _siphash(const uint64_t* key, const char* text, size_t n, uint64_t* out) noexcept nogil:
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef uint64_t last = <uint64_t>n << 56
    v[0] = key[0] ^ <uint64_t>0x736F6D6570736575
    v[1] = key[1] ^ <uint64_t>0x646F72616E646F6D ^ 0xEE
    v[2] = key[0] ^ <uint64_t>0x6C7967656E657261
    v[3] = key[1] ^ <uint64_t>0x7465646279746573
    while n >= 8:
        memcpy(&word, text, 8)
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
        text += 8
        n -= 8
    word = 0
    memcpy(&word, text, n)
    last |= word
    v[3] ^= last
    _rounds(v, 2)
    v[0] ^= last
    v[2] ^= 0xEE
    _rounds(v, 4)
    out[0] = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    _rounds(v, 4)
    out[1] = v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline void _hash(Ids* ids, const char* text, uint32_t n, IdHash* h) noexcept nogil:
    cdef uint64_t out[2]
    _siphash(ids.key, text, n, out)
    h.high = out[0]
    h.low = <uint32_t>out[1]


# --- slices ----------------------------------------------------------------------------------------------


cdef inline uint64_t _scaled(uint64_t hash, uint64_t cap) noexcept nogil:
    """From the hash to a place, in the same order; 32 bits of it do for ``MOST``, and need no wider multiplication."""
    return ((hash >> 32) * cap) >> 32


cdef inline uint64_t _all(uint64_t cap) noexcept nogil:
    """Slots for so many places, those behind the last one with them."""
    return cap + (cap if cap < SPILL else SPILL)


cdef inline size_t _slots_bytes(uint64_t cap) noexcept nogil:
    return _all(cap) * sizeof(Slot)


cdef Slot* _slots(Ids* ids, uint64_t cap, uint8_t* mapped) noexcept nogil:
    cdef Slot* made = NULL
    mapped[0] = 0
    if ids.folder != NULL and cap >= MAPPED_FROM:
        made = <Slot*>map_file(ids.folder, _slots_bytes(cap))
        mapped[0] = made != NULL
    if made == NULL:
        made = <Slot*>must(calloc(1, _slots_bytes(cap)))
    return made


cdef void _free_slots(Slot* slots, uint64_t cap, bint mapped) noexcept nogil:
    if mapped:
        munmap(slots, _slots_bytes(cap))
    else:
        free(slots)


cdef void _free_slice(Slice* t) noexcept nogil:
    _free_slots(t.slots, t.cap, t.mapped)
    free(t.stamps)
    free(t)


cdef Slice* _begin(Ids* ids, uint64_t cap, uint64_t seq, int64_t now) noexcept nogil:
    """A slice that begins with this message."""
    cdef Slice* t = <Slice*>must(calloc(1, sizeof(Slice)))
    cdef int64_t until
    t.cap = FEW if cap < FEW else MOST if cap > MOST else cap
    t.slots = _slots(ids, t.cap, &t.mapped)
    t.base, t.first_ts, t.last_ts = seq, now, now
    t.older = ids.newest
    ids.newest = t
    if t.older == NULL or now + ids.window_ns < ids.due_ts:
        ids.due_ts = now + ids.window_ns
    if ids.engine != NULL:
        until = ids.due_ts - ids.engine.wall_offset_ns
        if until > 0 and (ids.engine.ids_due_ns == 0 or <uint64_t>until < ids.engine.ids_due_ns):
            ids.engine.ids_due_ns = <uint64_t>until
    ids.renew = 0
    with gil:
        (<MessageIds>ids.owner)._tell(now + ids.window_ns // SLICES)
    return t


cdef inline uint64_t _place(Slice* t, IdHash* h) noexcept nogil:
    """Where the id is, or where it would have to be."""
    cdef uint64_t i = _scaled(h.high, t.cap)
    while t.slots[i].behind and (t.slots[i].high < h.high or (t.slots[i].high == h.high and t.slots[i].low < h.low)):
        i += 1
    return i


cdef inline bint _holds(Slice* t, uint64_t i, IdHash* h) noexcept nogil:
    return t.slots[i].behind and t.slots[i].high == h.high and t.slots[i].low == h.low


cdef bint _insert(Slice* t, IdHash* h, uint64_t seq) noexcept nogil:
    """False: the slice is full."""
    cdef uint64_t i = _place(t, h)
    cdef uint64_t end
    if _holds(t, i, h):
        t.slots[i].behind = <uint32_t>(seq - t.base) + 1
        return True
    if t.count * 8 >= t.cap * 7:
        return False
    end = i
    while t.slots[end].behind:
        end += 1
    if end + 1 >= _all(t.cap):  # the last slot stays empty: every search ends there
        return False
    memmove(&t.slots[i + 1], &t.slots[i], (end - i) * sizeof(Slot))
    t.slots[i].high, t.slots[i].low, t.slots[i].behind = h.high, h.low, <uint32_t>(seq - t.base) + 1
    t.count += 1
    return True


cdef bint _spread(Slice* t, Slot* to, uint64_t cap) noexcept nogil:
    """Both are in the same order: one pass over the old and over the new."""
    cdef uint64_t i, at
    cdef uint64_t room = 0
    for i in range(_all(t.cap)):
        if t.slots[i].behind:
            at = _scaled(t.slots[i].high, cap)
            if at < room:
                at = room
            if at + 1 >= _all(cap):
                return False
            to[at] = t.slots[i]
            room = at + 1
    return True


cdef void _grow(Ids* ids, Slice* t) noexcept nogil:
    cdef uint64_t cap = t.cap + t.cap // 2
    cdef uint8_t mapped
    cdef Slot* slots = _slots(ids, cap, &mapped)
    while not _spread(t, slots, cap):
        _free_slots(slots, cap, mapped)
        cap += cap // 2
        slots = _slots(ids, cap, &mapped)
    _free_slots(t.slots, t.cap, t.mapped)
    t.slots, t.cap, t.mapped = slots, cap, mapped


cdef void _stamp(Ids* ids, Slice* t, uint64_t seq, int64_t now) noexcept nogil:
    if now > t.last_ts:
        t.last_ts = now
    if t.nstamps == 0 or now - t.stamp_ts >= ids.window_ns // STAMPS:
        t.stamps = <Stamp*>grow(t.stamps, &t.stamp_cap, t.nstamps + 1, sizeof(Stamp))
        t.stamps[t.nstamps].seq, t.stamps[t.nstamps].ts = seq, now
        t.nstamps += 1
        t.stamp_ts = now
    elif now > t.stamps[t.nstamps - 1].ts:
        t.stamps[t.nstamps - 1].ts = now


cdef int64_t _stored_by(Slice* t, uint64_t seq) noexcept nogil:
    """When the message was stored, or a little later."""
    cdef uint32_t low = 0
    cdef uint32_t high = t.nstamps
    cdef uint32_t middle
    while high - low > 1:
        middle = (low + high) // 2
        if t.stamps[middle].seq <= seq:
            low = middle
        else:
            high = middle
    return t.stamps[low].ts


cdef void _expire(Ids* ids, int64_t now) noexcept nogil:
    """Slices that are over go."""
    cdef Slice** at = &ids.newest
    cdef Slice* t
    if ids.newest == NULL or now < ids.due_ts:
        return
    ids.due_ts = 0
    while at[0] != NULL:
        t = at[0]
        if now - t.last_ts >= ids.window_ns:
            at[0] = t.older
            _free_slice(t)
            continue
        if ids.due_ts == 0 or t.last_ts + ids.window_ns < ids.due_ts:
            ids.due_ts = t.last_ts + ids.window_ns
        at = &t.older


cdef void _put(Ids* ids, const char* text, uint32_t n, uint64_t seq, int64_t now, IdHash* h) noexcept nogil:
    cdef Slice* t
    ids.last_seq, ids.last_len = seq, n
    ids.last = <char*>grow(ids.last, &ids.last_cap, n, 1)
    memcpy(ids.last, text, n)
    if ids.window_ns <= 0:
        return
    _expire(ids, now)
    t = ids.newest
    if t == NULL:
        t = _begin(ids, FEW, seq, now)
    elif now - t.first_ts >= ids.window_ns // SLICES or ids.renew or seq < t.base \
            or seq - t.base >= <uint64_t>0xFFFFFFFF:
        t = _begin(ids, t.count + t.count // 4, seq, now)  # as much is to be expected of the next
    while not _insert(t, h, seq):
        if t.cap < GROWS_TO:
            _grow(ids, t)
        else:
            t = _begin(ids, t.cap * 2, seq, now)
    _stamp(ids, t, seq, now)


# --- reading back ----------------------------------------------------------------------------------------


cdef bint id_in(const char* header, uint32_t header_len, const char** text, uint32_t* n) noexcept nogil:
    """The first ``Nats-Msg-Id`` of a header block; False: it has none, or an empty one."""
    cdef const char* end
    cdef const char* at = <const char*>memmem(header, header_len, b"\r\nNats-Msg-Id:", 14)
    if at == NULL:
        return False
    at += 14
    end = <const char*>memmem(at, header + header_len - at, b"\r\n", 2)
    if end == NULL:
        return False
    while at < end and at[0] == c" ":
        at += 1
    text[0] = at
    n[0] = <uint32_t>(end - at)
    return n[0] > 0


cdef uint64_t _first_since(Log* l, int64_t ts) noexcept nogil:
    """The first message that was stored at ``ts`` or later, if the clock has gone forward only; found without reading
    more than a few of them."""
    cdef Record r
    cdef uint64_t high = l.last_seq + 1  # what is here or later is young enough
    cdef uint64_t low = l.first_seq  # what is before here is not
    cdef uint64_t step = STEP
    cdef uint64_t at
    cdef int found
    while high > low:
        at = high - step if high - low > step else low
        found = log_next(l, NULL, at, high - 1, &r)
        if found == FOUND and r.ts < ts:
            low = r.seq + 1
            break
        high = at
        step *= 2
    while low < high:
        at = low + (high - low) // 2
        found = log_next(l, NULL, at, high - 1, &r)
        if found == FOUND and r.ts < ts:
            low = r.seq + 1
        else:
            high = at
    return low


cdef void _locate(Ids* ids, int64_t now) noexcept nogil:
    if ids.unread == UNREAD:
        ids.read_at = _first_since(ids.log, now - ids.window_ns)
        ids.read_to = ids.log.last_seq
        ids.unread = READING


cdef void _read(Ids* ids, int64_t now, uint64_t count) noexcept nogil:
    """Reads at most so many messages back."""
    cdef Record r
    cdef IdHash h
    cdef const char* text
    cdef uint32_t n
    cdef int found
    if ids.unread == UNREAD:
        _locate(ids, now)
    while count and ids.unread:
        count -= 1
        found = log_next(ids.log, NULL, ids.read_at, ids.read_to, &r)
        if found == MISSING:
            ids.unread = 0
            return
        ids.read_at = r.seq + 1
        if found == FOUND and r.header_len and id_in(r.body, r.header_len, &text, &n):
            _hash(ids, text, n, &h)
            _put(ids, text, n, r.seq, r.ts, &h)


# --- what the stream asks --------------------------------------------------------------------------------


cdef uint64_t ids_first(Ids* ids, const char* text, uint32_t n, int64_t now, IdHash* h) noexcept nogil:
    """The sequence of the message that has this id, 0: none of the window has."""
    cdef Slice* t
    cdef uint64_t i, seq
    cdef int64_t stored
    if ids.window_ns <= 0 or n == 0:
        return 0
    if ids.unread:
        _read(ids, now, <uint64_t>-1)
    _hash(ids, text, n, h)
    t = ids.newest
    while t != NULL:
        i = _place(t, h)
        if _holds(t, i, h):
            seq = t.base + t.slots[i].behind - 1
            stored = _stored_by(t, seq)
            return seq if now - stored < ids.window_ns and stored > ids.over_ts else 0
        t = t.older
    return 0


cdef void ids_put(Ids* ids, const char* text, uint32_t n, uint64_t seq, int64_t now, IdHash* h) noexcept nogil:
    """A message with this id was stored, the last one now."""
    if ids.unread:  # slices are in the order of sequences
        _read(ids, now, <uint64_t>-1)
    if n:
        _put(ids, text, n, seq, now, h)


cdef void ids_removing(Ids* ids, uint64_t seq, bint all, int64_t now) noexcept nogil:
    """A message is about to go, or all are: those that have not been read are now."""
    if not ids.unread:
        return
    _locate(ids, now)
    if all or ids.read_at <= seq <= ids.read_to:
        _read(ids, now, <uint64_t>-1)


cdef void ids_join(Engine* g, Ids* ids) noexcept nogil:
    ids.engine = g
    ids.next = g.ids
    g.ids = ids


cdef void ids_leave(Engine* g, Ids* ids) noexcept nogil:
    cdef Ids** at = &g.ids
    while at[0] != NULL and at[0] != ids:
        at = &at[0].next
    if at[0] != NULL:
        at[0] = ids.next
    ids.engine = NULL


cdef void ids_work(Engine* g) noexcept nogil:
    """In each round: some of what is to be read back; and what is over goes, though nobody publishes."""
    cdef int64_t now = <int64_t>g.core.now_ns + g.wall_offset_ns
    cdef bint over = g.ids_due_ns != 0 and g.core.now_ns >= g.ids_due_ns
    cdef Ids* ids = g.ids
    if over:
        g.ids_due_ns = 0
    if over or g.ids_unread:
        g.ids_unread = 0
        while ids != NULL:
            if ids.unread:
                _read(ids, now, READ_AT_ONCE)
                if ids.unread:
                    g.ids_unread = g.more = 1
            if over:
                _expire(ids, now)
                if ids.newest != NULL and ids.due_ts > g.wall_offset_ns and \
                        (g.ids_due_ns == 0 or <uint64_t>(ids.due_ts - g.wall_offset_ns) < g.ids_due_ns):
                    g.ids_due_ns = <uint64_t>(ids.due_ts - g.wall_offset_ns)
            ids = ids.next
    if g.ids_due_ns:
        due(g.core, g.ids_due_ns)


# --- the Python face (message_ids.pyi) -------------------------------------------------------------------


def keyed_hash(bytes key not None, bytes text not None):
    cdef uint64_t words[2]
    cdef uint64_t out[2]
    if len(key) != 16:
        raise ValueError("the key has 16 bytes")
    memcpy(words, <const char*>key, 16)
    _siphash(words, text, len(text), out)
    return PyBytes_FromStringAndSize(<const char*>out, 16)


cdef class MessageIds:
    def __init__(self, Log_ log not None, bytes folder not None=b""):
        memset(&self.ids, 0, sizeof(Ids))
        self.log, self.folder = log, folder
        self.ids.log = log.l
        self.ids.owner = <void*>self
        if folder:
            self.ids.folder = folder
        if getrandom(self.ids.key, 16, 0) != 16:
            raise OSError("the system has no random numbers")

    def __dealloc__(self):
        self.clear()
        free(self.ids.last)

    cdef void _tell(self, int64_t until) noexcept:
        if self.on_slice is not None:
            self.on_slice(until)

    def configure(self, int64_t window_ns, int64_t now, *, bint unread=True):
        if window_ns > 0 and not self.ids.configured:
            self.ids.configured = 1
            if unread and self.log.l.messages:
                self.ids.unread = UNREAD
                if self.ids.engine != NULL:
                    self.ids.engine.ids_unread = 1
        elif self.ids.configured and now - self.ids.window_ns > self.ids.over_ts:
            self.ids.over_ts = now - self.ids.window_ns  # a longer window does not bring back what was over
        self.ids.renew = window_ns != self.ids.window_ns
        self.ids.window_ns = window_ns
        self.ids.due_ts = 0
        _expire(&self.ids, now)

    def first(self, bytes ident not None, int64_t now):
        cdef IdHash h
        return ids_first(&self.ids, ident, <uint32_t>len(ident), now, &h)

    def put(self, bytes ident not None, uint64_t seq, int64_t now):
        cdef IdHash h
        _hash(&self.ids, ident, <uint32_t>len(ident), &h)
        ids_put(&self.ids, ident, <uint32_t>len(ident), seq, now, &h)

    def last(self, int64_t now):
        if self.ids.unread:
            _read(&self.ids, now, <uint64_t>-1)
        if self.ids.last_seq == 0:
            return 0, b""
        return self.ids.last_seq, PyBytes_FromStringAndSize(self.ids.last, self.ids.last_len)

    def read(self, uint64_t count, int64_t now):
        _read(&self.ids, now, count)
        return bool(self.ids.unread)

    def expire(self, int64_t now):
        _expire(&self.ids, now)

    def clear(self):
        cdef Slice* t = self.ids.newest
        cdef Slice* older
        self.ids.newest = NULL
        self.ids.unread = 0
        while t != NULL:
            older = t.older
            _free_slice(t)
            t = older

    @property
    def figures(self):
        cdef Slice* t = self.ids.newest
        found = {"ids": 0, "slices": 0, "heap_bytes": 0, "mapped_bytes": 0}
        while t != NULL:
            found["ids"] += t.count
            found["slices"] += 1
            found["mapped_bytes" if t.mapped else "heap_bytes"] += _slots_bytes(t.cap)
            found["heap_bytes"] += sizeof(Slice) + t.stamp_cap * sizeof(Stamp)
            t = t.older
        return found
