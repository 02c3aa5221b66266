"""What a user may publish, subscribe to and receive. The lists come from Python, the decisions are made here.

``pub_*`` is about messages from the peer, ``sub_*`` about messages to it; a leaf link uses the same two pairs
(security_ops 2.3, wire 2.6). A deny entry wins over an allow entry. An entry of a subscribe list may name a queue
(a pattern itself): without one it speaks of every queue. A wildcard subscription inside the allow list that only
overlaps a deny entry is accepted and *filtered*: each subject is looked at when a plan is built.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .sublist cimport must, node_group, sublist_clear, sublist_match, sublist_node
from .text cimport equals, has_wildcard, hash_bytes, overlaps, pattern_matches
from .types cimport *

cdef enum:
    RESPONSE_BUCKETS = 256
    RESPONSES_MAX = 65536  # replies one responder may owe; beyond that the oldest of a bucket is forgotten


cdef bint _listed(Core* k, Sublist* s, const char* subject, size_t n, const char* queue, size_t qn,
                  bint subset) noexcept nogil:
    """Whether an entry covers ``subject`` (and the queue, where the entry names one).

    ``subset``: the subject is a pattern and all of it has to be covered. What is published is literal, ``>`` is then
    text like any other."""
    cdef uint32_t i
    cdef Group* g
    for i in range(sublist_match(k, s, subject, n, subset)):
        if k.matched[i].nlocal:
            return True
        if qn:
            g = k.matched[i].groups
            while g != NULL:
                if pattern_matches(&g.name[0], g.name_len, queue, qn):
                    return True
                g = g.next
    return False


cdef bint _allowed(Core* k, Sublist* s, const char* subject, size_t n, const char* queue, size_t qn) noexcept nogil:
    """Whether the allow list of subscriptions covers the pattern.

    Where entries that cover it name queues, those are the only ones: ``foo`` beside ``foo v1`` lets one subscribe, and
    join v1, not another group.
    """
    cdef uint32_t i
    cdef bint plain = False, named = False
    cdef Group* g
    for i in range(sublist_match(k, s, subject, n, True)):
        if k.matched[i].nlocal:
            plain = True
        g = k.matched[i].groups if qn else NULL
        while g != NULL:
            if pattern_matches(&g.name[0], g.name_len, queue, qn):
                return True
            named = True
            g = g.next
    return plain and not named


cdef bint _pub_listed(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil:
    if p.has_pub_allow and not _listed(k, &p.pub_allow, subject, n, b"", 0, False):
        return False
    return not (p.has_pub_deny and _listed(k, &p.pub_deny, subject, n, b"", 0, False))


cdef bint may_publish(Core* k, Conn* c, const char* subject, size_t n, Plan* plan) noexcept nogil:
    """The plan of the subject remembers what up to two permission sets said; tracked replies come on top."""
    cdef Permits* p = c.permits
    cdef bint ok
    if p == NULL:
        return True
    if plan != NULL and plan.permit_id[0] == p.id:
        ok = plan.permit_ok[0]
    elif plan != NULL and plan.permit_id[1] == p.id:
        ok = plan.permit_ok[1]
    else:
        ok = _pub_listed(k, p, subject, n)
        if plan != NULL:
            plan.permit_id[plan.permit_next] = p.id
            plan.permit_ok[plan.permit_next] = ok
            plan.permit_next ^= 1
    if ok or c.responses == NULL:
        return ok
    return _use_reply(k, c, subject, n)


cdef bint may_subscribe(Core* k, Permits* p, const char* subject, size_t n, const char* queue, size_t qn,
                        bint leaf, uint8_t* filtered) noexcept nogil:
    """A leaf may name wildcards wider than its list: what it gets is filtered subject by subject."""
    cdef Pattern* d
    filtered[0] = 0
    if p == NULL:
        return True
    if leaf and has_wildcard(subject, n):
        return True
    if p.has_sub_allow and not _allowed(k, &p.sub_allow, subject, n, queue, qn):
        return False
    if p.has_sub_deny:
        if _listed(k, &p.sub_deny, subject, n, queue, qn, True):
            return False
        if has_wildcard(subject, n):
            d = p.sub_deny_patterns
            while d != NULL:
                if overlaps(&d.text[0], d.length, subject, n):
                    filtered[0] = 1
                    break
                d = d.next
    return True


cdef bint is_denied(Core* k, Permits* p, const char* subject, size_t n, Group* group) noexcept nogil:
    """Whether a deny entry keeps this literal subject from a subscription that was itself allowed; ``group``: or NULL."""
    if p == NULL or not p.has_sub_deny:
        return False
    if group == NULL:
        return _listed(k, &p.sub_deny, subject, n, b"", 0, False)
    return _listed(k, &p.sub_deny, subject, n, &group.name[0], group.name_len, False)


cdef bint may_receive(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil:
    """Whether a message on this literal subject may go to the peer."""
    if p == NULL:
        return True
    if p.has_sub_allow and not _listed(k, &p.sub_allow, subject, n, b"", 0, False):
        return False
    return not (p.has_sub_deny and _listed(k, &p.sub_deny, subject, n, b"", 0, False))


cdef bint may_advertise(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil:
    """Whether interest in ``subject`` is worth telling a leaf peer: it may send some of it."""
    cdef Pattern* a
    if p == NULL:
        return True
    if p.has_pub_deny and _listed(k, &p.pub_deny, subject, n, b"", 0, True):
        return False
    if not p.has_pub_allow or _listed(k, &p.pub_allow, subject, n, b"", 0, True):
        return True
    if has_wildcard(subject, n):
        a = p.pub_allow_patterns
        while a != NULL:
            if overlaps(&a.text[0], a.length, subject, n):
                return True
            a = a.next
    return False


cdef void track_reply(Core* k, Conn* c, const char* reply, size_t n) noexcept nogil:
    """``c`` was sent a request: it may answer ``response_max`` times within ``response_ttl_ns``."""
    cdef Permits* p = c.permits
    cdef uint32_t h = hash_bytes(reply, n, k.seed)
    cdef Response* r
    cdef Response** at
    if c.responses == NULL:
        c.responses = <Response**>must(calloc(RESPONSE_BUCKETS, sizeof(Response*)))
    at = &c.responses[h % RESPONSE_BUCKETS]
    while at[0] != NULL:  # lazily drop what has expired, and the last one of a full table
        r = at[0]
        if (r.expires_ns and r.expires_ns <= k.now_ns) or (r.hash == h and equals(&r.subject[0], r.length, reply, n)) \
                or (c.response_count >= RESPONSES_MAX and r.next == NULL):
            at[0] = r.next
            free(r)
            c.response_count -= 1
        else:
            at = &r.next
    r = <Response*>must(malloc(sizeof(Response) + n))
    r.expires_ns = k.now_ns + <uint64_t>p.response_ttl_ns if p.response_ttl_ns >= 0 else 0
    r.left = p.response_max
    r.hash = h
    r.length = <unsigned short>n
    memcpy(&r.subject[0], reply, n)
    r.next = c.responses[h % RESPONSE_BUCKETS]
    c.responses[h % RESPONSE_BUCKETS] = r
    c.response_count += 1


cdef bint _use_reply(Core* k, Conn* c, const char* subject, size_t n) noexcept nogil:
    cdef uint32_t h = hash_bytes(subject, n, k.seed)
    cdef Response** at = &c.responses[h % RESPONSE_BUCKETS]
    cdef Response* r
    cdef bint ok
    while at[0] != NULL:
        r = at[0]
        if r.hash == h and equals(&r.subject[0], r.length, subject, n):
            ok = r.expires_ns == 0 or r.expires_ns > k.now_ns
            if r.left > 0:
                r.left -= 1
            if not ok or r.left == 0:
                at[0] = r.next
                free(r)
                c.response_count -= 1
            return ok
        at = &r.next
    return False


cdef void forget_replies(Conn* c) noexcept nogil:
    cdef uint32_t i
    cdef Response* r
    if c.responses == NULL:
        return
    for i in range(RESPONSE_BUCKETS):
        while c.responses[i] != NULL:
            r = c.responses[i]
            c.responses[i] = r.next
            free(r)
    free(c.responses)
    c.responses = NULL
    c.response_count = 0


cdef void _remember(Pattern** head, const char* subject, size_t n) noexcept nogil:
    cdef Pattern* d = <Pattern*>must(malloc(sizeof(Pattern) + n))
    d.length = <unsigned short>n
    memcpy(&d.text[0], subject, n)
    d.next = head[0]
    head[0] = d


cdef void permits_add(Permits* p, int which, const char* subject, size_t n, const char* queue, size_t qn) noexcept nogil:
    """``which``: 0 pub allow, 1 pub deny, 2 sub allow, 3 sub deny. The subject is valid."""
    cdef Sublist* s
    cdef Node* node
    if which == 0:
        s = &p.pub_allow
        _remember(&p.pub_allow_patterns, subject, n)
    elif which == 1:
        s = &p.pub_deny
    elif which == 2:
        s = &p.sub_allow
    else:
        s = &p.sub_deny
        _remember(&p.sub_deny_patterns, subject, n)
    node = sublist_node(s, subject, n, True)
    if qn:
        node_group(s, node, queue, qn, True)
    else:
        node.nsubs = node.nlocal = 1  # a mark only: no Sub hangs here


cdef void _forget(Pattern** head) noexcept nogil:
    cdef Pattern* d
    while head[0] != NULL:
        d = head[0]
        head[0] = d.next
        free(d)


cdef void permits_clear(Permits* p) noexcept nogil:
    sublist_clear(&p.pub_allow)
    sublist_clear(&p.pub_deny)
    sublist_clear(&p.sub_allow)
    sublist_clear(&p.sub_deny)
    _forget(&p.pub_allow_patterns)
    _forget(&p.sub_deny_patterns)
