"""What a consumer has handed out and is waiting to hear of: by stream sequence, and in that order.

Messages are handed out for the first time in the order of the stream, so the list is kept by adding at its end; the
acknowledgement floor follows from its head.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memmove

from phloem.shared.kernel.sublist cimport grow, must

from .types cimport *

cdef enum:
    FEW = 64


cdef inline uint32_t _slot(Consumer* c, uint64_t seq) noexcept nogil:
    return <uint32_t>((seq * <uint64_t>0x9E3779B97F4A7C15) >> 40) & (c.table_cap - 1)


cdef Pending* pending_find(Consumer* c, uint64_t seq) noexcept nogil:
    cdef uint32_t i
    if c.npending == 0:
        return NULL
    i = _slot(c, seq)
    while c.table[i] != NULL:
        if c.table[i].stream_seq == seq:
            return c.table[i]
        i = (i + 1) & (c.table_cap - 1)
    return NULL


cdef void _enter(Consumer* c, Pending* p) noexcept nogil:
    cdef uint32_t i = _slot(c, p.stream_seq)
    while c.table[i] != NULL:
        i = (i + 1) & (c.table_cap - 1)
    c.table[i] = p


cdef void _resize(Consumer* c, uint32_t cap) noexcept nogil:
    cdef Pending* p = c.oldest
    free(c.table)
    c.table = <Pending**>must(calloc(cap, sizeof(Pending*)))
    c.table_cap = cap
    while p != NULL:
        _enter(c, p)
        p = p.after


cdef Pending* pending_add(Consumer* c, uint64_t stream_seq, uint64_t consumer_seq) noexcept nogil:
    """A message that is not pending yet; nearly always behind all others."""
    cdef Pending* p = <Pending*>must(calloc(1, sizeof(Pending)))
    cdef Pending* at = c.newest
    if (c.npending + 1) * 2 > c.table_cap:
        _resize(c, c.table_cap * 2 if c.table_cap else FEW)
    p.stream_seq, p.consumer_seq, p.last_seq, p.deliveries = stream_seq, consumer_seq, consumer_seq, 1
    p.due_ns = NEVER_NS  # whoever adds one says next when it is due
    while at != NULL and at.stream_seq > stream_seq:
        at = at.before
    p.before = at
    p.after = at.after if at != NULL else c.oldest
    if at != NULL:
        at.after = p
    else:
        c.oldest = p
    if p.after != NULL:
        p.after.before = p
    else:
        c.newest = p
    _enter(c, p)
    c.npending += 1
    return p


cdef void pending_drop(Consumer* c, Pending* p) noexcept nogil:
    cdef uint32_t i = _slot(c, p.stream_seq)
    cdef uint32_t j, home
    cdef uint32_t mask = c.table_cap - 1
    while c.table[i] is not p:
        i = (i + 1) & mask
    j = i
    while True:  # whoever was pushed aside moves back
        j = (j + 1) & mask
        if c.table[j] == NULL:
            break
        home = _slot(c, c.table[j].stream_seq)
        if ((j - home) & mask) >= ((j - i) & mask):
            c.table[i] = c.table[j]
            i = j
    c.table[i] = NULL
    if p.before != NULL:
        p.before.after = p.after
    else:
        c.oldest = p.after
    if p.after != NULL:
        p.after.before = p.before
    else:
        c.newest = p.before
    if p.deliveries > 1 and c.redelivered:
        c.redelivered -= 1
    if p.due_ns == 0:
        c.queued -= 1
    c.npending -= 1
    free(p)


cdef void pending_clear(Consumer* c) noexcept nogil:
    while c.oldest != NULL:
        pending_drop(c, c.oldest)
    c.again_first = c.again_count = 0
    c.redelivered = 0


cdef void again_push(Consumer* c, uint64_t seq) noexcept nogil:
    if c.again_first and c.again_first == c.again_count:
        c.again_first = c.again_count = 0
    elif c.again_first > FEW and c.again_first * 2 > c.again_count:
        memmove(c.again, c.again + c.again_first, (c.again_count - c.again_first) * sizeof(uint64_t))
        c.again_count -= c.again_first
        c.again_first = 0
    c.again = <uint64_t*>grow(c.again, &c.again_cap, c.again_count + 1, sizeof(uint64_t))
    c.again[c.again_count] = seq
    c.again_count += 1


cdef void requeue(Consumer* c, Pending* p) noexcept nogil:
    """It is handed out again as soon as that is possible."""
    if p.due_ns:
        p.due_ns = 0
        c.queued += 1
        again_push(c, p.stream_seq)


cdef void wait_until(Consumer* c, Pending* p, uint64_t due_ns) noexcept nogil:
    """Not before this; what the queue says of it does not count any more."""
    if p.due_ns == 0:
        c.queued -= 1
    p.due_ns = due_ns


cdef uint64_t again_pop(Consumer* c) noexcept nogil:
    """The next to hand out again; 0: there is none."""
    if c.again_first == c.again_count:
        return 0
    c.again_first += 1
    return c.again[c.again_first - 1]


cdef void floor_after(Consumer* c, uint64_t consumer_seq) noexcept nogil:
    """A message whose first delivery had this number is no longer pending."""
    if c.npending == 0:
        c.floor_consumer, c.floor_stream = c.delivered_consumer, c.delivered_stream
    elif consumer_seq == c.floor_consumer + 1:
        c.floor_consumer, c.floor_stream = c.oldest.consumer_seq - 1, c.oldest.stream_seq - 1


# --- what was handed out as often as allowed -------------------------------------------------------


cdef uint32_t _place(Consumer* c, uint64_t seq) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = c.ngiven
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if c.given_up[middle] < seq:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint given_up_has(Consumer* c, uint64_t seq) noexcept nogil:
    cdef uint32_t i = _place(c, seq)
    return i < c.ngiven and c.given_up[i] == seq


cdef uint64_t given_up_below(Consumer* c, uint64_t seq) noexcept nogil:
    """The highest up to ``seq``, 0: none. Who drops many begins there, so that few have to move up."""
    cdef uint32_t i = _place(c, seq + 1)
    return c.given_up[i - 1] if i else 0


cdef void given_up_add(Consumer* c, uint64_t seq) noexcept nogil:
    cdef uint32_t i = _place(c, seq)
    if i < c.ngiven and c.given_up[i] == seq:
        return
    c.given_up = <uint64_t*>grow(c.given_up, &c.given_cap, c.ngiven + 1, sizeof(uint64_t))
    memmove(c.given_up + i + 1, c.given_up + i, (c.ngiven - i) * sizeof(uint64_t))
    c.given_up[i] = seq
    c.ngiven += 1


cdef bint given_up_drop(Consumer* c, uint64_t seq) noexcept nogil:
    """False: it was not there."""
    cdef uint32_t i = _place(c, seq)
    if i >= c.ngiven or c.given_up[i] != seq:
        return False
    c.ngiven -= 1
    memmove(c.given_up + i, c.given_up + i + 1, (c.ngiven - i) * sizeof(uint64_t))
    return True
