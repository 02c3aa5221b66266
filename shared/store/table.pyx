"""Tables: messages in memory by sequence and by subject; dead sets: bits for messages that are removed elsewhere.

Sequences are found through pages of 512 slots, of which those without a message do not exist, so that a stream with
one old message and millions of younger holes costs eight bytes for each 512 of them. Subjects are found through a
hash with a seed that peers do not know.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from phloem.shared.kernel.sublist cimport must
from phloem.shared.kernel.text cimport equals, hash_bytes

from .types cimport *

cdef enum:
    ENTRY_OVERHEAD = 24  # of malloc, and the slot
    FEW_TOPICS = 64


cdef Table* table_new(uint64_t seed) noexcept nogil:
    cdef Table* t = <Table*>must(calloc(1, sizeof(Table)))
    t.seed = seed
    return t


cdef void table_free(Table* t) noexcept nogil:
    cdef uint32_t i, j
    cdef Topic* p
    if t == NULL:
        return
    for i in range(t.npages):
        if t.pages[i] != NULL:
            for j in range(PAGE_SLOTS):
                free(t.pages[i].slots[j])
            free(t.pages[i])
    free(t.pages)
    for i in range(t.topic_cap):
        while t.topics[i] != NULL:
            p = t.topics[i]
            t.topics[i] = p.chain
            free(p)
    free(t.topics)
    free(t)


# --- by sequence -----------------------------------------------------------------------------------


cdef Entry* table_find(Table* t, uint64_t seq) noexcept nogil:
    cdef uint64_t page = seq // PAGE_SLOTS
    if page < t.base or page - t.base >= t.npages or t.pages[page - t.base] == NULL:
        return NULL
    return t.pages[page - t.base].slots[seq % PAGE_SLOTS]


cdef Entry* table_next(Table* t, uint64_t seq) noexcept nogil:
    """The first message with this sequence or a higher one; NULL: there is none."""
    cdef uint64_t page
    cdef uint32_t i, slot
    cdef Page* p
    if t.count == 0 or seq > t.last:
        return NULL
    if seq < t.first:
        seq = t.first
    page = seq // PAGE_SLOTS
    if page < t.base:
        page, seq = t.base, t.base * PAGE_SLOTS
    slot = <uint32_t>(seq % PAGE_SLOTS)
    for i in range(<uint32_t>(page - t.base), t.npages):
        p = t.pages[i]
        if p != NULL:
            while slot < PAGE_SLOTS:
                if p.slots[slot] != NULL:
                    return p.slots[slot]
                slot += 1
        slot = 0
    return NULL


cdef Page** _slot_page(Table* t, uint64_t page) noexcept nogil:
    """Where the pointer to ``page`` is, the directory grown as far as that takes."""
    cdef uint64_t need
    cdef uint64_t cap
    cdef uint64_t shift
    if t.npages == 0:
        t.base = page
    elif page < t.base:  # only while an older generation is put back in order
        shift = t.base - page
        need = shift + t.npages
        if need > t.page_cap:
            t.pages = <Page**>must(realloc(t.pages, need * sizeof(Page*)))
            t.page_cap = <uint32_t>need
        memmove(t.pages + shift, t.pages, t.npages * sizeof(Page*))
        memset(t.pages, 0, shift * sizeof(Page*))
        t.base = page
        t.npages = <uint32_t>need
    need = page - t.base + 1
    if need > t.page_cap:
        cap = t.page_cap * 2 if t.page_cap else 8
        if cap < need:
            cap = need
        t.pages = <Page**>must(realloc(t.pages, cap * sizeof(Page*)))
        t.page_cap = <uint32_t>cap
    while t.npages < need:
        t.pages[t.npages] = NULL
        t.npages += 1
    return &t.pages[page - t.base]


cdef void table_put(Table* t, Entry* e) noexcept nogil:
    """Adds a message whose Topic is set; the table owns it from now on."""
    cdef Page** at = _slot_page(t, e.seq // PAGE_SLOTS)
    if at[0] == NULL:
        at[0] = <Page*>must(calloc(1, sizeof(Page)))
        t.bytes += sizeof(Page)
    at[0].slots[e.seq % PAGE_SLOTS] = e
    at[0].used += 1
    if t.count == 0 or e.seq < t.first:
        t.first = e.seq
    if e.seq > t.last:
        t.last = e.seq
    t.count += 1
    t.bytes += sizeof(Entry) + e.size + ENTRY_OVERHEAD
    e.newer = NULL
    e.older = e.topic.newest
    if e.topic.newest != NULL:
        e.topic.newest.newer = e
    else:
        e.topic.oldest = e
    e.topic.newest = e


cdef void _trim(Table* t) noexcept nogil:
    """Pages that are gone at the front make the directory shorter now and then."""
    cdef uint32_t n = 0
    while n < t.npages and t.pages[n] == NULL:
        n += 1
    if n == t.npages:
        t.npages = 0
    elif n * 2 >= t.npages:
        memmove(t.pages, t.pages + n, (t.npages - n) * sizeof(Page*))
        t.base += n
        t.npages -= n


cdef void table_take(Table* t, Entry* e) noexcept nogil:
    """Removes a message and frees it."""
    cdef uint32_t i = <uint32_t>(e.seq // PAGE_SLOTS - t.base)
    cdef Page* p = t.pages[i]
    cdef uint64_t seq = e.seq
    cdef Entry* following
    if e.older != NULL:
        e.older.newer = e.newer
    else:
        e.topic.oldest = e.newer
    if e.newer != NULL:
        e.newer.older = e.older
    else:
        e.topic.newest = e.older
    p.slots[seq % PAGE_SLOTS] = NULL
    p.used -= 1
    t.count -= 1
    t.bytes -= sizeof(Entry) + e.size + ENTRY_OVERHEAD
    free(e)
    if p.used == 0:
        free(p)
        t.pages[i] = NULL
        t.bytes -= sizeof(Page)
        if i == 0 or t.count == 0:
            _trim(t)
    if seq == t.first and t.count:
        following = table_next(t, seq + 1)
        t.first = following.seq
    elif t.count == 0:
        t.first = 0


# --- by subject ------------------------------------------------------------------------------------


cdef Topic* topic_find(Table* t, const char* subject, uint32_t n) noexcept nogil:
    cdef uint32_t h
    cdef Topic* p
    if t.topic_cap == 0:
        return NULL
    h = hash_bytes(subject, n, t.seed)
    p = t.topics[h & (t.topic_cap - 1)]
    while p != NULL:
        if p.hash == h and equals(&p.text[0], p.length, subject, n):
            return p
        p = p.chain
    return NULL


cdef void _spread(Table* t, uint32_t cap) noexcept nogil:
    cdef Topic** topics = <Topic**>must(calloc(cap, sizeof(Topic*)))
    cdef Topic* p
    cdef uint32_t i
    for i in range(t.topic_cap):
        while t.topics[i] != NULL:
            p = t.topics[i]
            t.topics[i] = p.chain
            p.chain = topics[p.hash & (cap - 1)]
            topics[p.hash & (cap - 1)] = p
    free(t.topics)
    t.topics = topics
    t.topic_cap = cap


cdef Topic* topic_make(Table* t, const char* subject, uint32_t n) noexcept nogil:
    """A Topic for a subject that has none."""
    cdef Topic* p = <Topic*>must(calloc(1, sizeof(Topic) + n))
    if t.ntopics >= t.topic_cap:
        _spread(t, t.topic_cap * 2 if t.topic_cap else FEW_TOPICS)
    p.hash = hash_bytes(subject, n, t.seed)
    p.length = <uint16_t>n
    memcpy(&p.text[0], subject, n)
    p.chain = t.topics[p.hash & (t.topic_cap - 1)]
    t.topics[p.hash & (t.topic_cap - 1)] = p
    t.ntopics += 1
    t.bytes += sizeof(Topic) + n + ENTRY_OVERHEAD
    return p


cdef void topic_drop(Table* t, Topic* p) noexcept nogil:
    cdef Topic** at = &t.topics[p.hash & (t.topic_cap - 1)]
    while at[0] != p:
        at = &at[0].chain
    at[0] = p.chain
    t.ntopics -= 1
    t.bytes -= sizeof(Topic) + p.length + ENTRY_OVERHEAD
    free(p)


# --- dead sets -------------------------------------------------------------------------------------


cdef inline uint32_t _dead_at(DeadSet* d, uint64_t number) noexcept nogil:
    cdef uint32_t i = <uint32_t>((number * <uint64_t>0x9E3779B97F4A7C15) >> 32) & (d.cap - 1)
    while d.slots[i] != NULL and d.slots[i].number != number:
        i = (i + 1) & (d.cap - 1)
    return i


cdef bint dead_has(DeadSet* d, uint64_t seq) noexcept nogil:
    cdef DeadPage* p
    if d == NULL:
        return False
    if seq < d.below:
        return True
    if d.count == 0:
        return False
    p = d.slots[_dead_at(d, seq // PAGE_SLOTS)]
    return p != NULL and (p.bits[(seq % PAGE_SLOTS) // 64] >> (seq % 64)) & 1


cdef bint dead_add(DeadSet* d, uint64_t seq) noexcept nogil:
    """Whether it was not there yet."""
    cdef DeadPage** old
    cdef uint32_t cap, i
    cdef DeadPage* p
    cdef uint64_t bit = <uint64_t>1 << (seq % 64)
    if dead_has(d, seq):
        return False
    if d.count * 2 >= d.cap:
        old, cap = d.slots, d.cap
        d.cap = cap * 2 if cap else 16
        d.slots = <DeadPage**>must(calloc(d.cap, sizeof(DeadPage*)))
        for i in range(cap):
            if old[i] != NULL:
                d.slots[_dead_at(d, old[i].number)] = old[i]
        free(old)
    i = _dead_at(d, seq // PAGE_SLOTS)
    p = d.slots[i]
    if p == NULL:
        p = d.slots[i] = <DeadPage*>must(calloc(1, sizeof(DeadPage)))
        p.number = seq // PAGE_SLOTS
        d.count += 1
    p.bits[(seq % PAGE_SLOTS) // 64] |= bit
    d.total += 1
    return True


cdef void dead_clear(DeadSet* d) noexcept nogil:
    cdef uint32_t i
    for i in range(d.cap):
        free(d.slots[i])
    free(d.slots)
    memset(d, 0, sizeof(DeadSet))
