"""Executing a plan: one message to its receivers.

The usual receiver costs two copies: the head that the plan holds (``MSG subject sid ``) and the rest of the
publisher's own operation (``[reply ]size CRLF payload CRLF``), which is passed on as it came in. What cannot be
passed on so (unusual spacing, headers for a receiver without them, a JetStream delivery that names another
subject) is composed piece by piece.

Queue groups: a local member if there is one that takes it, starting at a random one; otherwise a member behind a
leaf link, chosen by weight for a local publisher and evenly for a message that itself came over a link. A message
from a link reaches only the groups it names (wire 4.2).

What the plan has of other accounts: their subscriptions to an imported stream, delivered like any other; and imports of
services, which are gathered and followed when the plan is done with.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from .output cimport cut_off, emit, flush, out, pending_max
from .permits cimport track_reply
from .sublist cimport grow, must, sublist_match
from .text cimport equals, next_random, put_number, random_below
from .transform cimport local_subject
from .types cimport *

cdef enum:
    EARLY_FLUSH = 1 << 18  # hand over what has gathered while it is still in the cache
    INBOX_BYTES_MAX = 64 << 20  # messages for the server itself that wait for Python


cdef inline void _count_in(Core* k, Conn* c, Msg* m) noexcept nogil:
    c.out_msgs += 1
    c.out_bytes += m.size
    k.out_msgs += 1
    k.out_bytes += m.size


cdef void _pressure(Core* k, Conn* src, Conn* c) noexcept nogil:
    """A lot waits for ``c``: hand it over; if that does not help, hold the publisher or cut the receiver."""
    if not c.flags & ARMED:
        flush(k, c)
    if c.flags & CLOSING or c.pending < EARLY_FLUSH:
        return
    if c.pending > pending_max(k, c):
        cut_off(k, c)
    elif c.pending > k.stall_bytes and src.kind != SYSTEM and src is not c:
        k.stall_on = c


cdef inline uint32_t _controls(Msg* m, char* to, bint headers) noexcept nogil:
    """``[reply ]sizes CRLF`` for a client with or without headers; its length."""
    cdef uint32_t n = 0
    if m.client_reply_len:
        memcpy(to, m.reply, m.client_reply_len)
        n = m.client_reply_len
        to[n] = c' '
        n += 1
    if headers or (m.sizes != NULL and not m.header_len):  # as the publisher wrote them
        memcpy(to + n, m.sizes, m.sizes_len)
        n += m.sizes_len
    else:
        n += put_number(to + n, m.size - m.header_len)
    to[n] = c'\r'
    to[n + 1] = c'\n'
    return n + 2


cdef void _compose(Core* k, Plan* p, Target* t, Msg* m) noexcept nogil:
    """The slow form of a delivery to a client."""
    cdef Conn* c = t.conn
    cdef Sub* sub = t.sub
    cdef bint headers = c.flags & HEADERS and m.header_len
    cdef const char* subject = m.deliver_subject
    cdef uint32_t n = m.deliver_subject_len
    cdef uint32_t skip = 0 if headers else m.header_len
    if subject == NULL:
        subject, n = &p.subject[0], p.subject_len
        if t.shadow != NULL:
            n = local_subject(k, t.shadow.via, subject, n, &subject)
    if headers:
        out(k, c, b"HMSG ", 5, subject, n)
    else:
        out(k, c, b"MSG ", 4, subject, n)
    out(k, c, b" ", 1, &sub.sid[0], sub.sid_len)
    n = _controls(m, k.scratch, headers)
    out(k, c, b" ", 1, k.scratch, n)
    out(k, c, m.body + skip, m.size - skip, b"\r\n", 2)


cdef void _to_inbox(Core* k, Conn* src, Sub* sub, Msg* m) noexcept nogil:
    """A message for the server itself, copied until Python takes it at the end of the tick."""
    cdef size_t size = m.subject_len + m.reply_len + m.size
    cdef Inbox* i
    # one is always taken, however large max_payload lets it be
    if k.ninbox and k.inbox_bytes + size > INBOX_BYTES_MAX:
        k.inbox_dropped += 1
        return
    k.inbox = <Inbox*>grow(k.inbox, &k.inbox_cap, k.ninbox + 1, sizeof(Inbox))
    i = &k.inbox[k.ninbox]
    k.ninbox += 1
    k.inbox_bytes += size
    i.callback = sub.callback
    i.cid = src.cid
    i.subject_len, i.reply_len, i.header_len, i.size = m.subject_len, m.reply_len, m.header_len, m.size
    i.data = <char*>must(malloc(size + 1))
    memcpy(i.data, m.subject, m.subject_len)
    if m.reply_len:
        memcpy(i.data + m.subject_len, m.reply, m.reply_len)
    memcpy(i.data + m.subject_len + m.reply_len, m.body, m.size)


cdef bint _to_server(Core* k, Conn* src, Plan* p, Target* t, Msg* m) noexcept nogil:
    """A message for the server itself: whether that counts as delivered."""
    cdef Sub* sub = t.sub
    cdef Msg local
    if sub.service != NULL:
        k.crossings = <Service**>grow(k.crossings, &k.crossing_cap, k.ncrossings + 1, sizeof(Service*))
        k.crossings[k.ncrossings] = sub.service
        k.ncrossings += 1
        return False  # not yet: that is known when it has crossed
    if t.shadow != NULL:  # from another account, under the subject that it has in this one
        local = m[0]
        local.subject_len = local_subject(k, t.shadow.via, &p.subject[0], p.subject_len, &local.subject)
        local.tail = NULL
        m = &local
    if sub.sink == NULL or not sub.sink(sub.sink_context, k, src, m):
        _to_inbox(k, src, sub, m)
    if k.unheard:
        k.unheard = 0
        return False
    return True


cdef void _watched(Core* k, Conn* c, Plan* p, Target* t, Msg* m) noexcept nogil:
    """The rare wishes: replies that the receiver may send, and the trace log."""
    cdef char line[512]
    cdef uint32_t n
    cdef const char* subject = &p.subject[0]
    cdef uint32_t length = p.subject_len
    if m.client_reply_len and c.flags & TRACK_REPLIES:
        track_reply(k, c, m.reply, m.client_reply_len)
    if c.flags & TRACE and t.shadow != NULL:
        length = local_subject(k, t.shadow.via, subject, length, &subject)
    if c.flags & TRACE and length + t.sub.sid_len + m.client_reply_len < sizeof(line) - 64:
        memcpy(line, b"MSG ", 4)
        memcpy(line + 4, subject, length)
        n = 4 + length
        line[n] = c' '
        memcpy(line + n + 1, &t.sub.sid[0], t.sub.sid_len)
        n += 1 + t.sub.sid_len
        line[n] = c' '
        n += 1 + _controls(m, line + n + 1, c.flags & HEADERS)
        emit(k, c, EV_TRACE_OUT, line, n - 2)


cdef bint _hand_over(Core* k, Conn* src, Plan* p, Target* t, Msg* m) noexcept nogil:
    """One message to one local subscription; whether it was taken."""
    cdef Conn* c = t.conn
    cdef Sub* sub = t.sub
    cdef uint32_t drop
    if c.flags & CLOSING or (c is src and not c.flags & ECHO):
        return False
    if sub.max:
        if sub.gone:
            return False
        if sub.delivered + 1 >= sub.max:
            sub.gone = 1
            k.expired = <Sub**>grow(k.expired, &k.expired_cap, k.nexpired + 1, sizeof(Sub*))
            k.expired[k.nexpired] = sub
            k.nexpired += 1
    sub.delivered += 1
    if c.kind == SYSTEM:
        return _to_server(k, src, p, t, m)
    if m.tail != NULL and t.head_len and m.deliver_subject == NULL and (not m.header_len or c.flags & HEADERS):
        drop = 0 if m.has_header else 1
        out(k, c, p.text + t.head + drop, t.head_len - drop, m.tail, m.tail_len)
    else:
        _compose(k, p, t, m)
    _count_in(k, c, m)
    if c.flags & (TRACK_REPLIES | TRACE):
        _watched(k, c, p, t, m)
    if c.pending >= EARLY_FLUSH:
        _pressure(k, src, c)
    return True


cdef inline bint _may_cross(Conn* src, Conn* link) noexcept nogil:
    """No echo: not back over the link it came from, nor to another link of the same cluster."""
    return not (link.flags & CLOSING or link is src or (src.kind == LEAF and src.origin and src.origin == link.origin))


cdef void _to_link(Core* k, Conn* src, Plan* p, LinkTarget* l, Msg* m) noexcept nogil:
    """One LMSG or HMSG, naming the queue groups picked for this link."""
    cdef Conn* c = l.conn
    cdef Group* g
    cdef int32_t pick = l.first_pick
    cdef uint32_t n
    cdef char* head = p.text + l.head
    cdef bint headers = c.flags & HEADERS and m.header_len
    cdef uint32_t skip = 0 if headers else m.header_len
    if c.peer_max_payload and m.size > c.peer_max_payload:
        if not c.oversize_noted:
            c.oversize_noted = 1
            emit(k, c, EV_ERRORED, b"message larger than the peer's max_payload, not sent", 52)
        return
    head[0] = c'H' if headers else c'L'
    if pick < 0 and m.tail != NULL and not skip:
        out(k, c, head, l.head_len, m.tail, m.tail_len)
    else:
        out(k, c, head, l.head_len, b"", 0)
        if pick >= 0:
            if m.reply_len:
                out(k, c, b"+ ", 2, m.reply, m.reply_len)
                out(k, c, b" ", 1, b"", 0)
            else:
                out(k, c, b"| ", 2, b"", 0)
        elif m.reply_len:
            out(k, c, m.reply, m.reply_len, b" ", 1)
        while pick >= 0:
            g = p.groups[pick].name_from
            out(k, c, &g.name[0], g.name_len, b" ", 1)
            pick = k.picks[pick]
        if skip:
            n = <uint32_t>put_number(k.scratch, m.size - skip)
            out(k, c, k.scratch, n, b"\r\n", 2)
        else:
            out(k, c, m.sizes, m.sizes_len, b"\r\n", 2)
        out(k, c, m.body + skip, m.size - skip, b"\r\n", 2)
    _count_in(k, c, m)
    if m.client_reply_len and c.flags & TRACK_REPLIES:
        track_reply(k, c, m.reply, m.client_reply_len)
    if c.pending >= EARLY_FLUSH:
        _pressure(k, src, c)


cdef bint _pick_local(Core* k, Conn* src, Plan* p, PlanGroup* g, Msg* m) noexcept nogil:
    cdef uint32_t start, i, at
    if g.local_count == 0:
        return False
    start = random_below(&k.random, g.local_count) if g.local_count > 1 else 0
    for i in range(g.local_count):
        at = start + i
        if at >= g.local_count:
            at -= g.local_count
        if m.crossing != NULL and p.targets[g.local_start + at].shadow != NULL:
            continue
        if _hand_over(k, src, p, &p.targets[g.local_start + at], m):
            return True
    return False


cdef bint _pick_remote(Core* k, Conn* src, Plan* p, PlanGroup* g, int32_t index) noexcept nogil:
    """Notes group ``index`` on one of the links that have members."""
    cdef uint64_t total = 0
    cdef uint64_t want
    cdef uint32_t i
    cdef Member* m
    cdef LinkTarget* l
    cdef bint even = src.kind == LEAF
    for i in range(g.remote_count):
        m = &p.members[g.remote_start + i]
        if _may_cross(src, p.links[m.link].conn):
            total += 1
            if not even:
                total += m.weight - 1
    if total == 0:
        return False
    want = next_random(&k.random) % total
    for i in range(g.remote_count):
        m = &p.members[g.remote_start + i]
        l = &p.links[m.link]
        if not _may_cross(src, l.conn):
            continue
        if want < m.weight and (not even or want == 0):
            k.picks[index] = l.first_pick
            l.first_pick = index
            return True
        want -= 1
        if not even:
            want -= m.weight - 1
    return False


cdef bint _named(Msg* m, Group* g) noexcept nogil:
    """Whether a message from a link names this group."""
    cdef const char* at = m.queues
    cdef const char* end = m.queues + m.queues_len
    cdef const char* start
    while at < end:
        while at < end and (at[0] == c' ' or at[0] == c'\t'):
            at += 1
        start = at
        while at < end and at[0] != c' ' and at[0] != c'\t':
            at += 1
        if equals(start, at - start, &g.name[0], g.name_len):
            return True
    return False


cdef uint32_t _carry_over(Core* k, Conn* src, Msg* m, uint32_t first) noexcept nogil:
    """Where ``m`` has to go in other accounts, now that its plan is not needed any more: that is done with others."""
    cdef uint32_t done = 0
    cdef uint32_t i
    cdef uint32_t end = k.ncrossings
    for i in range(first, end):
        done += k.cross(k, src, m, k.crossings[i])
    k.ncrossings = first
    return done


cdef uint32_t deliver(Core* k, Conn* src, Msg* m, Plan* p) noexcept nogil:
    """Carries out ``p`` for ``m``; the number of receivers (a link counts as one). ``p`` may be gone afterwards."""
    cdef uint32_t done = 0
    cdef uint32_t first = k.ncrossings
    cdef uint32_t i
    cdef PlanGroup* g
    cdef LinkTarget* l
    for i in range(p.ntargets):
        done += _hand_over(k, src, p, &p.targets[i], m)
    if p.nforeign and m.crossing == NULL:  # what came by a service import is no stream that others import
        for i in range(p.ntargets, p.ntargets + p.nforeign):
            done += _hand_over(k, src, p, &p.targets[i], m)
    if p.nlinks:
        for i in range(p.nlinks):
            p.links[i].first_pick = -1
    if p.ngroups:
        k.picks = <int32_t*>grow(k.picks, &k.pick_cap, p.ngroups, sizeof(int32_t))
        for i in range(p.ngroups):
            g = &p.groups[i]
            if src.kind == LEAF and not m.any_queue and not (m.has_queues and _named(m, g.name_from)):
                continue
            if _pick_local(k, src, p, g, m):
                done += 1
            elif g.remote_count:
                _pick_remote(k, src, p, g, <int32_t>i)
    for i in range(p.nlinks):
        l = &p.links[i]
        if (l.plain or l.first_pick >= 0) and _may_cross(src, l.conn) and (l.via == NULL or m.crossing == NULL):
            _to_link(k, src, p, l, m)
            done += 1
    return done + _carry_over(k, src, m, first) if k.ncrossings != first else done


cdef Sub* _own_subscription(Core* k, Conn* c, const char* subject, uint32_t n) noexcept nogil:
    """A plain subscription of ``c`` that matches; what ``c`` may receive otherwise does not matter here."""
    cdef uint32_t i, j
    cdef Node* node
    for i in range(sublist_match(k, &c.account.subs, subject, n, False)):
        node = k.matched[i]
        for j in range(node.nsubs):
            if node.subs[j].conn is c:
                return node.subs[j]
    return NULL


cdef void no_responders(Core* k, Conn* src, Msg* m) noexcept nogil:
    """503 on the requester's own subscription to the reply subject, if it has one; past echo and max, because it is
    an answer of the server and no message (wire 1.7)."""
    cdef Target t
    cdef Msg answer
    cdef char* block = k.scratch + 2048  # composing the delivery uses the front, the sizes come next
    cdef uint32_t n = 28 + m.subject_len
    cdef uint32_t at
    t.conn = src
    t.shadow = NULL
    t.sub = _own_subscription(k, src, m.reply, m.reply_len)
    if t.sub == NULL:
        return
    memcpy(block, b"NATS/1.0 503\r\nNats-Subject: ", 28)
    memcpy(block + 28, m.subject, m.subject_len)
    memcpy(block + n, b"\r\n\r\n", 4)
    n += 4
    at = <uint32_t>put_number(k.scratch + 1024, n)
    k.scratch[1024 + at] = c' '
    at += 1 + <uint32_t>put_number(k.scratch + 1025 + at, n)
    memset(&answer, 0, sizeof(Msg))
    answer.deliver_subject, answer.deliver_subject_len = m.reply, m.reply_len
    answer.sizes, answer.sizes_len = k.scratch + 1024, at
    answer.body = block
    answer.header_len = answer.size = n
    answer.has_header = 1
    _compose(k, NULL, &t, &answer)
    _count_in(k, src, &answer)
