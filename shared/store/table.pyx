"""Tables: messages in memory by sequence and by subject; dead sets: bits for messages that are removed elsewhere.

Sequences are found through pages of 512 slots, of which those without a message do not exist: holes cost nothing, however
large they are (a mirror, or a snapshot, may begin with sequence 1 and go on with ten billion). Subjects are found through a
hash with a seed that peers do not know.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from phloem.shared.kernel.sublist cimport grow, must
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


cdef inline uint32_t _index(Table* t, uint64_t number) noexcept nogil:
    """Where the page of this number is, or the first behind it; ``npages``: there is none."""
    cdef uint32_t low = 0
    cdef uint32_t high, middle
    cdef uint64_t guess
    if t.npages == 0 or number <= t.pages[0].number:
        return 0
    guess = number - t.pages[0].number  # where it is if no page is missing; it cannot be behind that
    if guess < t.npages:
        if t.pages[guess].number == number:
            return <uint32_t>guess
        high = <uint32_t>guess
    else:
        high = t.npages
    while low < high:
        middle = low + (high - low) // 2
        if t.pages[middle].number < number:
            low = middle + 1
        else:
            high = middle
    return low


cdef Page* table_page(Table* t, uint64_t seq) noexcept nogil:
    """The page that has this sequence, NULL: no message is near it."""
    cdef uint32_t i = _index(t, seq // PAGE_SLOTS)
    return t.pages[i] if i < t.npages and t.pages[i].number == seq // PAGE_SLOTS else NULL


cdef Entry* table_find(Table* t, uint64_t seq) noexcept nogil:
    cdef Page* p = table_page(t, seq)
    return p.slots[seq % PAGE_SLOTS] if p != NULL else NULL


cdef Entry* table_next(Table* t, uint64_t seq) noexcept nogil:
    """The first message with this sequence or a higher one; NULL: there is none."""
    cdef uint32_t i, slot
    cdef Page* p
    if t.count == 0 or seq > t.last:
        return NULL
    if seq < t.first:
        seq = t.first
    for i in range(_index(t, seq // PAGE_SLOTS), t.npages):
        p = t.pages[i]
        slot = <uint32_t>(seq % PAGE_SLOTS) if p.number == seq // PAGE_SLOTS else 0
        while slot < PAGE_SLOTS:
            if p.slots[slot] != NULL:
                return p.slots[slot]
            slot += 1
    return NULL


cdef Page* _page_for(Table* t, uint64_t number) noexcept nogil:
    """The page of this number, made if need be."""
    cdef uint32_t i = _index(t, number)
    cdef Page* p
    if i < t.npages and t.pages[i].number == number:
        return t.pages[i]
    p = <Page*>must(calloc(1, sizeof(Page)))
    p.number = number
    t.bytes += sizeof(Page)
    t.pages = <Page**>grow(t.pages, &t.page_cap, t.npages + 1, sizeof(Page*))
    memmove(t.pages + i + 1, t.pages + i, (t.npages - i) * sizeof(Page*))
    t.pages[i] = p
    t.npages += 1
    return p


cdef void table_put(Table* t, Entry* e) noexcept nogil:
    """Adds a message whose Topic is set; the table owns it from now on."""
    cdef Page* p = _page_for(t, e.seq // PAGE_SLOTS)
    p.slots[e.seq % PAGE_SLOTS] = e
    p.used += 1
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


cdef void table_take(Table* t, Entry* e) noexcept nogil:
    """Removes a message and frees it."""
    cdef uint32_t i = _index(t, e.seq // PAGE_SLOTS)
    cdef Page* p = t.pages[i]
    cdef uint64_t seq = e.seq
    cdef Entry* following
    if e.older != NULL:
        e.older.newer = e.newer
    else:
        e.topic.oldest = e.newer
    if e.newer != NULL:
        e.newer.older = e.older
        e.newer.previous = e.previous  # this one will be in no block, and would lead nowhere
    else:
        e.topic.newest = e.older
    p.slots[seq % PAGE_SLOTS] = NULL
    p.used -= 1
    t.count -= 1
    t.bytes -= sizeof(Entry) + e.size + ENTRY_OVERHEAD
    free(e)
    if p.used == 0:
        free(p)
        t.npages -= 1
        memmove(t.pages + i, t.pages + i + 1, (t.npages - i) * sizeof(Page*))
        t.bytes -= sizeof(Page)
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
