"""Subscriptions of connections, and telling leaf links about them.

A link is told ``LS+`` when the first subscription appears that it should know of and ``LS-`` when the last one
goes; of a queue group it is told every change of weight. What a link has been told is a function of the sublist
and the link alone, so it is worked out from there and kept nowhere.

Which interest a link is told of (wire 2.5): all local interest; that of other leaf links, except of the same
origin cluster, towards an isolated link, or, where the peer is the hub, what was learned from another hub. Loop
detection subjects (``$LDS.``) of no queue pass every filter but the origin. Interest goes out before any message
that could be answered on it, because both are written to the link in the order in which they happen.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .output cimport out
from .permits cimport may_advertise
from .plan cimport plans_stale
from .sublist cimport (
    grow, must, node_group, node_subject, sublist_insert, sublist_node, sublist_prune, sublist_remove,
)
from .text cimport equals, hash_bytes, put_number, starts_with
from .types cimport *

cdef enum:
    SUBJECT_MAX = 65536  # a leaf's control line
    FEW_SIDS = 8  # as many in one chain before a table is made


cdef inline bint _is_lds(const char* subject, size_t n) noexcept nogil:
    return starts_with(subject, n, b"$LDS.", 5)


cdef bint _tells(Conn* link, Conn* owner, bint lds) noexcept nogil:
    """Whether ``link`` should know of interest that ``owner`` has."""
    if owner is link:
        return False
    if owner.kind != LEAF:
        return True
    if owner.origin and owner.origin == link.origin:
        return False
    if link.flags & ISOLATED:
        return False
    return lds or not (link.flags & SPOKE and owner.flags & SPOKE)


cdef bint _other_plain(Conn* link, Node* node, Sub* but, bint lds) noexcept nogil:
    """Whether a plain subscription besides ``but`` gives ``link`` a reason to know this subject."""
    cdef uint32_t i
    cdef uint32_t ours = 1 if but != NULL and but.conn.kind != LEAF else 0
    if node.nlocal > ours:
        return True
    if link.flags & ISOLATED:
        return False
    for i in range(node.nsubs):
        if node.subs[i] is not but and _tells(link, node.subs[i].conn, lds):
            return True
    return False


cdef uint64_t _weight(Conn* link, Group* g, Sub* but) noexcept nogil:
    """Members of ``g`` that ``link`` should know of, those behind other links by their weight."""
    cdef uint64_t total = 0
    cdef uint32_t i
    if g == NULL:
        return 0
    if g.nlocal == g.count:  # a local member counts 1 and every link knows of it
        return g.count - (but != NULL)
    for i in range(g.count):
        if g.members[i] is not but and _tells(link, g.members[i].conn, False):
            total += g.members[i].weight
    return total


cdef void _say(Core* k, Conn* link, bint on, const char* subject, size_t n, Group* g, uint64_t weight) noexcept nogil:
    cdef char number[24]
    cdef size_t digits
    if on:
        out(k, link, b"LS+ ", 4, subject, n)
    else:
        out(k, link, b"LS- ", 4, subject, n)
    if g != NULL:
        out(k, link, b" ", 1, &g.name[0], g.name_len)
        if on:
            number[0] = c' '
            digits = put_number(number + 1, weight)
            out(k, link, number, digits + 1, b"", 0)
    out(k, link, b"\r\n", 2, b"", 0)


cdef void _changed(Core* k, AccountState* a, Sub* sub, const char* subject, size_t n, uint32_t old,
                   uint32_t new) noexcept nogil:
    """Tells the links of a subscription that was just added (``old`` 0), is about to be removed (``new`` 0) or has
    another weight. A weight of 0 is told to nobody."""
    cdef uint32_t i
    cdef uint64_t others
    cdef Conn* link
    cdef bint lds = sub.group == NULL and _is_lds(subject, n)
    for i in range(a.nlinks):
        link = a.links[i]
        if link.flags & CLOSING or not _tells(link, sub.conn, lds):
            continue
        if not lds and not may_advertise(k, link.permits, subject, n):
            continue
        if sub.group == NULL:
            if not _other_plain(link, sub.node, sub, lds):
                _say(k, link, new > 0, subject, n, NULL, 0)
        elif old != new:
            others = _weight(link, sub.group, sub)
            _say(k, link, others + new > 0, subject, n, sub.group, others + new)


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
        _changed(k, a, s, subject, n, 0, weight)
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
    while at[0] != s:
        at = &at[0].next_sid
    at[0] = s.next_sid
    c.sub_count -= 1
    k.subs -= 1
    a.removes += 1
    plans_stale(a, subject, n)
    if a.nlinks:
        _changed(k, a, s, subject, n, s.weight, 0)
    sublist_remove(&a.subs, s, c.kind != LEAF)
    sublist_prune(&a.subs, node)
    free(s)
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
    _changed(k, s.conn.account, s, subject, n, old, weight)
    free(subject)


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


cdef void _tell_node(Core* k, Conn* link, Node* node, char* subject) noexcept nogil:
    cdef size_t n = node_subject(node, subject, SUBJECT_MAX)
    cdef bint lds = _is_lds(subject, n)
    cdef Group* g = node.groups
    cdef uint64_t weight
    cdef bint allowed = may_advertise(k, link.permits, subject, n)
    if (lds or allowed) and _other_plain(link, node, NULL, lds):
        _say(k, link, True, subject, n, NULL, 0)
    while g != NULL and allowed:
        weight = _weight(link, g, NULL)
        if weight:
            _say(k, link, True, subject, n, g, weight)
        g = g.next


cdef void _tell_all(Core* k, Conn* link, Node* node, char* subject) noexcept nogil:
    cdef uint32_t i
    if node.nsubs or node.groups != NULL:
        _tell_node(k, link, node, subject)
    for i in range(node.child_cap):
        if node.children[i] != NULL:
            _tell_all(k, link, node.children[i], subject)
    if node.pwc != NULL:
        _tell_all(k, link, node.pwc, subject)
    if node.fwc != NULL:
        _tell_all(k, link, node.fwc, subject)


cdef void link_up(Core* k, Conn* c) noexcept nogil:
    """The handshake is over: the link joins its account and is told all it should know."""
    cdef AccountState* a = c.account
    cdef char* subject
    if c.flags & (LINKED | CLOSING):
        return
    c.flags |= LINKED
    a.links = <Conn**>grow(a.links, &a.link_cap, a.nlinks + 1, sizeof(Conn*))
    a.links[a.nlinks] = c
    a.nlinks += 1
    subject = <char*>must(malloc(SUBJECT_MAX))
    _tell_all(k, c, &a.subs.root, subject)
    free(subject)


cdef void link_down(Core* k, Conn* c) noexcept nogil:
    cdef AccountState* a = c.account
    cdef uint32_t i
    if not c.flags & LINKED:
        return
    c.flags &= ~<uint32_t>LINKED
    for i in range(a.nlinks):
        if a.links[i] is c:
            a.nlinks -= 1
            a.links[i] = a.links[a.nlinks]
            return
