"""Telling leaf links of interest.

A link is told ``LS+`` when the first subscription appears that it should know of and ``LS-`` when the last one
goes; of a queue group it is told every change of weight. What a link has been told is a function of the sublist
and the link alone, so it is worked out from there and kept nowhere.

Which interest a link is told of (wire 2.5): all local interest; that of other leaf links, except of the same
origin cluster, towards an isolated link, or, where the peer is the hub, what was learned from another hub. Loop
detection subjects (``$LDS.``) of no queue pass every filter but the origin. What a device listens to for its hub's
words (``$PHL.DOWN.``, forwarding) is told upwards only: a thousand devices would each hear of all others, on links
that are paid by the byte. Interest goes out before any message
that could be answered on it, because both are written to the link in the order in which they happen.

A subscription of another account that stands in this one's sublist, because a stream is imported, is told like any
other: its connection says who has the interest.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from .output cimport out
from .permits cimport may_advertise
from .sublist cimport grow, must, node_subject
from .text cimport put_number, starts_with
from .types cimport *

cdef enum:
    SUBJECT_MAX = 65536  # a leaf's control line

cdef enum Reach:  # of a subject
    ORDINARY = 0
    LOOP = 1
    UPWARD = 2


cdef bint is_lds(const char* subject, size_t n) noexcept nogil:
    return starts_with(subject, n, b"$LDS.", 5)


cdef Reach _reach(const char* subject, size_t n) noexcept nogil:
    if n == 0 or subject[0] != c'$':
        return ORDINARY
    return LOOP if is_lds(subject, n) else UPWARD if starts_with(subject, n, b"$PHL.DOWN.", 10) else ORDINARY


cdef bint _tells(Conn* link, Conn* owner, Reach reach) noexcept nogil:
    """Whether ``link`` should know of interest that ``owner`` has."""
    if owner is link:
        return False
    if owner.kind != LEAF:
        return True
    if owner.origin and owner.origin == link.origin:
        return False
    if link.flags & ISOLATED:
        return False
    if reach == UPWARD and not (link.flags | owner.flags) & SPOKE:
        return False
    return reach == LOOP or not (link.flags & SPOKE and owner.flags & SPOKE)


cdef bint _other_plain(Conn* link, Node* node, Sub* but, Reach reach) noexcept nogil:
    """Whether a plain subscription besides ``but`` gives ``link`` a reason to know this subject."""
    cdef uint32_t i
    cdef uint32_t ours = 1 if but != NULL and but.conn.kind != LEAF else 0
    if node.nlocal > ours:
        return True
    if link.flags & ISOLATED:
        return False
    for i in range(node.nsubs):
        if node.subs[i] is not but and _tells(link, node.subs[i].conn, reach):
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
        if g.members[i] is not but and _tells(link, g.members[i].conn, ORDINARY):
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


cdef void tell_change(Core* k, AccountState* a, Sub* sub, const char* subject, size_t n, uint32_t old,
                      uint32_t new) noexcept nogil:
    """Tells the links of a subscription that was just added (``old`` 0), is about to be removed (``new`` 0) or has
    another weight. A weight of 0 is told to nobody."""
    cdef uint32_t i
    cdef uint64_t others
    cdef Conn* link
    cdef Reach reach = _reach(subject, n) if sub.group == NULL else ORDINARY
    for i in range(a.nlinks):
        link = a.links[i]
        if link.flags & CLOSING or not _tells(link, sub.conn, reach):
            continue
        if reach != LOOP and not may_advertise(k, link.permits, subject, n):
            continue
        if sub.group == NULL:
            if not _other_plain(link, sub.node, sub, reach):
                _say(k, link, new > 0, subject, n, NULL, 0)
        elif old != new:
            others = _weight(link, sub.group, sub)
            _say(k, link, others + new > 0, subject, n, sub.group, others + new)


cdef void _tell_node(Core* k, Conn* link, Node* node, char* subject) noexcept nogil:
    cdef size_t n = node_subject(node, subject, SUBJECT_MAX)
    cdef Reach reach = _reach(subject, n)
    cdef Group* g = node.groups
    cdef uint64_t weight
    cdef bint allowed = may_advertise(k, link.permits, subject, n)
    if (reach == LOOP or allowed) and _other_plain(link, node, NULL, reach):
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
