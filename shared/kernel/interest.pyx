"""Subscriptions of connections: into the sublist, the connection's own table, and out of both.

With a subscription come its stand-ins in the accounts whose streams it imports, and with its end goes what waited for
an answer on its subject.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .plan cimport plans_stale
from .replies cimport replies_unheard
from .shadow cimport shadows_add, shadows_drop, shadows_weigh
from .sublist cimport must, node_group, node_subject, sublist_insert, sublist_node, sublist_prune, sublist_remove
from .telling cimport is_lds, tell_change
from .text cimport equals, hash_bytes
from .types cimport *

cdef enum:
    SUBJECT_MAX = 65536  # a leaf's control line
    FEW_SIDS = 8  # as many in one chain before a table is made


cdef inline uint32_t _hash(Core* k, const char* sid, size_t n) noexcept nogil:
    """Not the sublist's hash: a sid often equals a token of its subject, and a connection's subscriptions would then
    leave a Node's table in the order of its slots, which piles up what remains when the table shrinks."""
    return hash_bytes(sid, n, ~k.seed)


cdef inline uint32_t _bucket(Conn* c, uint32_t h) noexcept nogil:
    return h & (c.sid_cap - 1)


cdef Sub* sub_find(Core* k, Conn* c, const char* sid, size_t n) noexcept nogil:
    cdef uint32_t h
    cdef Sub* s
    if c.sid_cap == 0:
        return NULL
    h = _hash(k, sid, n)
    s = c.sids[_bucket(c, h)]
    while s != NULL:
        if s.sid_hash == h and equals(&s.sid[0], s.sid_len, sid, n):
            return s
        s = s.next_sid
    return NULL


cdef void _sid_table(Conn* c, uint32_t cap) noexcept nogil:
    cdef Sub** old = c.sids
    cdef uint32_t old_cap = c.sid_cap
    cdef uint32_t i
    cdef Sub* s
    c.sids = <Sub**>must(calloc(cap, sizeof(Sub*)))
    c.sid_cap = cap
    for i in range(old_cap):
        while old[i] != NULL:
            s = old[i]
            old[i] = s.next_sid
            s.next_sid = c.sids[_bucket(c, s.sid_hash)]
            c.sids[_bucket(c, s.sid_hash)] = s
    free(old)


cdef Sub* sub_add(Core* k, Conn* c, const char* subject, size_t n, const char* queue, size_t qn,
                  const char* sid, size_t sn, uint32_t weight) noexcept nogil:
    """Adds a subscription that has been checked; ``sid`` is new to the connection."""
    cdef AccountState* a = c.account
    cdef Sub* s = <Sub*>must(calloc(1, sizeof(Sub) + sn))
    cdef Node* node = sublist_node(&a.subs, subject, n, True)
    cdef Group* group = node_group(&a.subs, node, queue, qn, True) if qn else NULL
    s.conn = c
    s.weight = weight
    s.sid_len = <unsigned short>sn
    s.sid_hash = _hash(k, sid, sn)
    memcpy(&s.sid[0], sid, sn)
    if c.sub_count >= c.sid_cap * FEW_SIDS or c.sid_cap == 0:
        _sid_table(c, c.sid_cap * 8 if c.sid_cap else 1)
    s.next_sid = c.sids[_bucket(c, s.sid_hash)]
    c.sids[_bucket(c, s.sid_hash)] = s
    c.sub_count += 1
    k.subs += 1
    a.inserts += 1
    sublist_insert(&a.subs, s, node, group, c.kind != LEAF)
    plans_stale(a, subject, n)
    if a.nlinks:
        tell_change(k, a, s, subject, n, 0, weight)
    if a.streams != NULL and c is not a.crossing and not is_lds(subject, n):
        shadows_add(k, a, s, subject, <uint32_t>n)
    return s


cdef void sub_remove(Core* k, Sub* s) noexcept nogil:
    """Takes the subscription out of everything and frees it."""
    cdef Conn* c = s.conn
    cdef AccountState* a = c.account
    cdef char few[512]
    cdef char* subject = few
    cdef size_t n = node_subject(s.node, few, sizeof(few))
    cdef Sub** at = &c.sids[_bucket(c, s.sid_hash)]
    cdef Node* node = s.node
    if n == 0:
        subject = <char*>must(malloc(SUBJECT_MAX))
        n = node_subject(s.node, subject, SUBJECT_MAX)
    if s.shadows != NULL:
        shadows_drop(k, s)
    while at[0] != s:
        at = &at[0].next_sid
    at[0] = s.next_sid
    c.sub_count -= 1
    k.subs -= 1
    a.removes += 1
    plans_stale(a, subject, n)
    if a.nlinks:
        tell_change(k, a, s, subject, n, s.weight, 0)
    sublist_remove(&a.subs, s, c.kind != LEAF)
    sublist_prune(&a.subs, node)
    free(s)
    if a.waiting_count:
        replies_unheard(k, a, subject, <uint32_t>n)
    if subject != few:
        free(subject)


cdef void sub_weight(Core* k, Sub* s, uint32_t weight) noexcept nogil:
    """A link has told a new weight for a queue group it already named."""
    cdef char* subject
    cdef size_t n
    cdef uint32_t old = s.weight
    if old == weight:
        return
    subject = <char*>must(malloc(SUBJECT_MAX))
    n = node_subject(s.node, subject, SUBJECT_MAX)
    s.weight = weight
    plans_stale(s.conn.account, subject, n)
    tell_change(k, s.conn.account, s, subject, n, old, weight)
    free(subject)
    shadows_weigh(k, s, old)


cdef void subs_clear(Core* k, Conn* c) noexcept nogil:
    cdef uint32_t i
    for i in range(c.sid_cap):
        while c.sids[i] != NULL:
            sub_remove(k, c.sids[i])
    free(c.sids)
    c.sids = NULL
    c.sid_cap = 0


cdef void subs_expire(Core* k) noexcept nogil:
    """Removes what has had its last message. Called between messages, never during a delivery."""
    cdef uint32_t i
    for i in range(k.nexpired):
        sub_remove(k, k.expired[i])
    k.nexpired = 0
