"""Subject mappings: what clients and links publish goes to another subject (security_ops 2.7).

The first mapping in the account's list that covers the subject decides; of several destinations a random number does,
and if it is beyond all of their weights, the message goes nowhere. An outcome that is always the same is remembered in
a table of fixed size. What a publisher's permissions say is asked of the new subject, for a link of the one on the
wire, as nats-server does.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .crossing cimport crossing_conn, crossing_sub
from .interest cimport sub_remove
from .output cimport emit
from .sublist cimport must
from .text cimport covers, equals, hash_bytes, random_below
from .transform cimport SUBJECT_MAX, transform, transform_free
from .types cimport *

cdef enum:
    MAPPED_SLOTS = 4096
    MAPPED_TEXT_MAX = 512  # bytes of both subjects; longer ones are not remembered
    PERCENT = 100


cdef Mapping* _find(AccountState* a, const char* subject, uint32_t n) noexcept nogil:
    cdef Mapping* g = a.mappings
    while g != NULL:
        if equals(&g.source[0], g.length, subject, n) or (g.wild and covers(&g.source[0], g.length, subject, n)):
            return g
        g = g.next
    return NULL


cdef void _remember(AccountState* a, uint32_t h, const char* subject, uint32_t n, bint unchanged, const char* to,
                    uint32_t length) noexcept nogil:
    cdef Mapped* r
    if n + length > MAPPED_TEXT_MAX:
        return
    r = <Mapped*>must(malloc(sizeof(Mapped) + n + length))
    r.hash = h
    r.unchanged = unchanged
    r.length, r.to_len = <unsigned short>n, <unsigned short>length
    memcpy(&r.text[0], subject, n)
    memcpy(&r.text[0] + n, to, length)
    free(a.mapped[h & (MAPPED_SLOTS - 1)])
    a.mapped[h & (MAPPED_SLOTS - 1)] = r


cdef bint _choose(Core* k, Mapping* g, const char* subject, uint32_t n, char* to, uint32_t* length) noexcept nogil:
    """The subject that this message gets, length 0 if it is dropped; whether every message gets the same."""
    cdef uint32_t i
    cdef uint32_t number = 0
    cdef bint only = g.ndestinations == 1 and g.destinations[0].below >= PERCENT
    cdef Destination* d
    if not only:
        number = random_below(&k.random, PERCENT)
    for i in range(g.ndestinations):
        d = &g.destinations[i]
        if number < d.below:
            if d.forth == NULL:
                memcpy(to, subject, n)
                length[0] = n
                return only
            length[0] = transform(k, d.forth, subject, n, to)
            return only and not d.forth.random
    length[0] = 0
    return False


cdef bint map_subject(Core* k, AccountState* a, const char* subject, uint32_t n, char* to, uint32_t* length) noexcept nogil:
    """Whether a mapping of ``a`` covers ``subject``; then what it becomes is in ``to``, which has room for
    SUBJECT_MAX bytes."""
    cdef uint32_t h
    cdef Mapped* r
    cdef Mapping* g
    if a.mappings == NULL or n > SUBJECT_MAX:
        return False
    h = hash_bytes(subject, n, k.seed)
    r = a.mapped[h & (MAPPED_SLOTS - 1)]
    if r != NULL and r.hash == h and equals(&r.text[0], r.length, subject, n):
        memcpy(to, &r.text[0] + r.length, r.to_len)
        length[0] = r.to_len
        return not r.unchanged
    g = _find(a, subject, n)
    if g == NULL:
        _remember(a, h, subject, n, True, b"", 0)
        return False
    if _choose(k, g, subject, n, to, length):
        _remember(a, h, subject, n, False, to, length[0])
    return True


cdef bint map_message(Core* k, Conn* c, Msg* m) noexcept nogil:
    """What was published gets its new subject, if its account has one for it."""
    cdef char line[1024]
    cdef uint32_t n
    if k.mapped_buf == NULL:
        k.mapped_buf = <char*>must(malloc(SUBJECT_MAX))
    if not map_subject(k, c.account, m.subject, m.subject_len, k.mapped_buf, &n):
        return False
    if c.flags & TRACE and n + m.subject_len + 12 < sizeof(line):
        memcpy(line, b"MAPPING ", 8)
        memcpy(line + 8, m.subject, m.subject_len)
        memcpy(line + 8 + m.subject_len, b" -> ", 4)
        memcpy(line + 12 + m.subject_len, k.mapped_buf, n)
        emit(k, c, EV_TRACE_IN, line, 12 + m.subject_len + n)
    m.subject, m.subject_len = k.mapped_buf, n
    return True


cdef void mapping_free(Mapping* g) noexcept nogil:
    cdef uint32_t i
    for i in range(g.ndestinations):
        transform_free(g.destinations[i].forth)
    free(g.destinations)
    free(g)


cdef void _forget(AccountState* a) noexcept nogil:
    cdef uint32_t i
    if a.mapped != NULL:
        for i in range(MAPPED_SLOTS):
            free(a.mapped[i])
        free(a.mapped)
        a.mapped = NULL


cdef void mappings_replace(Core* k, AccountState* a, Mapping* wanted) noexcept nogil:
    """``wanted`` is taken over. Links are told of the sources as of interest, new ones before old ones go."""
    cdef Mapping* old = a.mappings
    cdef Mapping* g = wanted
    while g != NULL:
        g.mark = crossing_sub(k, a, &g.source[0], g.length)
        g.mark.gone = 1  # nobody: no message is delivered to it
        g = g.next
    _forget(a)
    a.mappings = wanted
    if wanted != NULL:
        a.mapped = <Mapped**>must(calloc(MAPPED_SLOTS, sizeof(Mapped*)))
    a.plan_epoch += 1  # what connections remember as a publisher's plan may be mapped now
    while old != NULL:
        g = old
        old = g.next
        sub_remove(k, g.mark)
        mapping_free(g)


cdef void mappings_free(Core* k, AccountState* a) noexcept nogil:
    mappings_replace(k, a, NULL)
