"""Replies: where the answers to requests go that crossed into another account.

A request that crosses gets a reply subject of the exporter's account, ``_R_.<account's>.<its own>``. The table from
there back to the requester is the exporter's; a second one, by the requester's own reply subject, finds what nobody
waits for any more. Both are bounded: the oldest entry goes when there are too many. An entry ends with the answer (of a
singleton), with an empty one, when nobody waits for it, or when the export's threshold is over, which is looked for at
most once a second.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .output cimport due, emit
from .sublist cimport must, sublist_match
from .text cimport equals, has_wildcard, hash_bytes, next_random
from .types cimport *

cdef enum:
    OWN = 6  # random characters of a reply subject, 35 bits
    REPLY_MAX = 32  # bytes of one
    PAUSE_NS = 1_000_000_000  # between two looks at everything


cdef void tell_served(Core* k, int status, uint32_t export_id, bint share, uint64_t requester, uint64_t responder,
                      uint64_t start_ns, const char* header, uint32_t header_len) noexcept nogil:
    """A measured request is over: Python writes what was measured."""
    cdef ServedEvent e
    cdef char* data = <char*>must(malloc(sizeof(e) + header_len))
    e.requester, e.responder = requester, responder
    e.start_ns, e.end_ns = start_ns, k.now_ns
    e.export_id, e.status, e.share = export_id, status, share
    memcpy(data, &e, sizeof(e))
    memcpy(data + sizeof(e), header, header_len)
    emit(k, &k.internal, EV_SERVED, data, sizeof(e) + header_len)
    free(data)


cdef void _characters(Core* k, char* to) noexcept nogil:
    cdef const char* digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    cdef uint64_t value = next_random(&k.reply_random) >> 8
    cdef int i
    for i in range(OWN):
        to[i] = digits[value % 62]
        value //= 62


cdef void _prefix(Core* k, AccountState* a) noexcept nogil:
    memcpy(a.reply_prefix, b"_R_.", 4)
    _characters(k, &a.reply_prefix[0] + 4)
    a.reply_prefix[10] = c'.'


cdef uint32_t _subject(Core* k, AccountState* a, bint measured, char* to) noexcept nogil:
    """A reply subject that is not in use; its length."""
    cdef uint32_t n
    if a.reply_prefix[0] == 0:
        _prefix(k, a)
    while True:
        memcpy(to, a.reply_prefix, 11)
        _characters(k, to + 11)
        n = 11 + OWN
        if measured:  # nats-server's sign for other servers
            to[n] = c'.'
            memcpy(to + n + 1, k.server_mark, 8)
            memcpy(to + n + 9, b".T", 2)
            n += 11
        if reply_find(k, a, to, n) == NULL:
            return n


cdef Reply* reply_new(Core* k, AccountState* a, AccountState* requester, const char* to, uint32_t to_len,
                      const char* header, uint32_t header_len, bint measured) noexcept nogil:
    """An entry that is in no table yet."""
    cdef char subject[REPLY_MAX]
    cdef uint32_t n = _subject(k, a, measured, subject)
    cdef Reply* r = <Reply*>must(calloc(1, sizeof(Reply) + n + to_len + header_len))
    r.account, r.requester = a, requester
    r.length, r.to_len, r.header_len = <unsigned short>n, <unsigned short>to_len, header_len
    r.measured = measured
    memcpy(&r.text[0], subject, n)
    memcpy(&r.text[0] + n, to, to_len)
    memcpy(&r.text[0] + n + to_len, header, header_len)
    r.hash = hash_bytes(&r.text[0], n, k.seed)
    r.to_hash = hash_bytes(&r.text[0] + n, to_len, k.seed)
    return r


cdef void _grow(Reply*** table, uint32_t* cap, bint by_requester) noexcept nogil:
    cdef uint32_t size = cap[0] * 2 if cap[0] else 64
    cdef Reply** wider = <Reply**>must(calloc(size, sizeof(Reply*)))
    cdef Reply* r
    cdef uint32_t i
    for i in range(cap[0]):
        while table[0][i] != NULL:
            r = table[0][i]
            if by_requester:
                table[0][i] = r.same
                r.same = wider[r.to_hash & (size - 1)]
                wider[r.to_hash & (size - 1)] = r
            else:
                table[0][i] = r.chain
                r.chain = wider[r.hash & (size - 1)]
                wider[r.hash & (size - 1)] = r
    free(table[0])
    table[0] = wider
    cap[0] = size


cdef void _expires(Core* k, Reply* r) noexcept nogil:
    cdef AccountState* a = r.account
    r.expires_ns = k.now_ns + r.threshold_ns
    if a.replies_due_ns == 0 or r.expires_ns < a.replies_due_ns:
        a.replies_due_ns = r.expires_ns
        due(k, a.replies_due_ns)


cdef void reply_keep(Core* k, Reply* r, uint64_t threshold_ns) noexcept nogil:
    """Into the tables; the oldest entry makes room if there are too many."""
    cdef AccountState* a = r.account
    cdef AccountState* q = r.requester
    if a.reply_count >= k.replies_max and a.oldest != NULL and not a.oldest.in_use:
        reply_end(k, a.oldest, TIMED_OUT)
    if a.reply_count >= a.reply_cap:
        _grow(&a.replies, &a.reply_cap, False)
    if q.waiting_count >= q.waiting_cap:
        _grow(&q.waiting, &q.waiting_cap, True)
    r.chain = a.replies[r.hash & (a.reply_cap - 1)]
    a.replies[r.hash & (a.reply_cap - 1)] = r
    a.reply_count += 1
    r.same = q.waiting[r.to_hash & (q.waiting_cap - 1)]
    q.waiting[r.to_hash & (q.waiting_cap - 1)] = r
    q.waiting_count += 1
    r.older = a.newest
    if a.newest != NULL:
        a.newest.newer = r
    else:
        a.oldest = r
    a.newest = r
    r.start_ns = k.now_ns
    r.threshold_ns = threshold_ns
    _expires(k, r)


cdef void reply_renew(Core* k, Reply* r) noexcept nogil:
    """One of several answers has come: the time for the next one begins."""
    _expires(k, r)


cdef Reply* reply_find(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil:
    cdef uint32_t h
    cdef Reply* r
    if a.reply_cap == 0:
        return NULL
    h = hash_bytes(subject, n, k.seed)
    r = a.replies[h & (a.reply_cap - 1)]
    while r != NULL:
        if r.hash == h and equals(&r.text[0], r.length, subject, n):
            return r
        r = r.chain
    return NULL


cdef void reply_end(Core* k, Reply* r, int served) noexcept nogil:
    """Out of the tables and freed. ``served``: how a measured request ended, 0 if that has been told."""
    cdef AccountState* a = r.account
    cdef AccountState* q = r.requester
    cdef Reply** at = &a.replies[r.hash & (a.reply_cap - 1)]
    while at[0] != r:
        at = &at[0].chain
    at[0] = r.chain
    a.reply_count -= 1
    at = &q.waiting[r.to_hash & (q.waiting_cap - 1)]
    while at[0] != r:
        at = &at[0].same
    at[0] = r.same
    q.waiting_count -= 1
    if r.older != NULL:
        r.older.newer = r.newer
    else:
        a.oldest = r.newer
    if r.newer != NULL:
        r.newer.older = r.older
    else:
        a.newest = r.older
    if served and r.measured:
        tell_served(k, served, r.export_id, r.share, r.cid, 0, r.start_ns, &r.text[0] + r.length + r.to_len,
                    r.header_len)
    free(r)


# --- who does not wait any more -------------------------------------------------------------------


cdef void _forget(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil:
    """Ends what waits for an answer on ``subject``, which is not a text of an entry."""
    cdef uint32_t h = hash_bytes(subject, n, k.seed)
    cdef Reply* r = a.waiting[h & (a.waiting_cap - 1)]
    cdef Reply* following
    while r != NULL:
        following = r.same
        if r.to_hash == h and not r.in_use and equals(&r.text[0] + r.length, r.to_len, subject, n):
            reply_end(k, r, INTEREST_LOST)
        r = following


cdef void replies_unheard(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil:
    """A subscription to ``subject`` has ended; perhaps it was the last that waited for an answer."""
    if has_wildcard(subject, n):
        if not a.lost_interest:
            a.lost_interest = 1
            due(k, k.now_ns + PAUSE_NS)
        return
    if sublist_match(k, &a.subs, subject, n, False) == 0:
        _forget(k, a, subject, n)


cdef void _look_through(Core* k, AccountState* a) noexcept nogil:
    """A wildcard subscription has ended: who is still heard?"""
    cdef uint32_t i
    cdef Reply* r
    cdef Reply* following
    a.lost_interest = 0
    for i in range(a.waiting_cap):
        r = a.waiting[i]
        while r != NULL:
            following = r.same
            if not r.in_use and sublist_match(k, &a.subs, &r.text[0] + r.length, r.to_len, False) == 0:
                reply_end(k, r, INTEREST_LOST)
            r = following


cdef void _expire(Core* k, AccountState* a) noexcept nogil:
    cdef Reply* r = a.oldest
    cdef Reply* following
    cdef uint64_t next = 0
    while r != NULL:
        following = r.newer
        if r.expires_ns <= k.now_ns and not r.in_use:
            reply_end(k, r, TIMED_OUT)
        elif next == 0 or r.expires_ns < next:
            next = r.expires_ns
        r = following
    if next and next < k.now_ns + PAUSE_NS:
        next = k.now_ns + PAUSE_NS
    a.replies_due_ns = next


cdef void replies_sweep(Core* k) noexcept nogil:
    """What is due by now."""
    cdef AccountState* a = k.accounts
    while a != NULL:
        if a.lost_interest:
            _look_through(k, a)
        if a.replies_due_ns and a.replies_due_ns <= k.now_ns:
            _expire(k, a)
        due(k, a.replies_due_ns)
        a = a.next


cdef void replies_free(Core* k, AccountState* a) noexcept nogil:
    """At the end of the kernel, for each account, before any of them is freed."""
    while a.oldest != NULL:
        reply_end(k, a.oldest, 0)
    free(a.replies)
    a.replies = NULL
    a.reply_cap = 0
