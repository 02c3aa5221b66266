"""Service imports: a request crosses into the account that exports the service, its answers come back.

The importing account has a subscription of the server itself to the local subject. ``deliver`` gathers what it meets of
these and calls ``cross`` when the plan is done with, so that a plan is never in use while another one is carried out.
``cross`` writes the message that the exporter gets: its own subject, a reply subject of the exporter's account
(``replies``) and a header that says who asks. It is delivered by the exporter's plan, which may lead further.

An answer to such a reply subject meets the one subscription to all of the account's, and crosses back unchanged but for
the subject. A chain that comes to the same import or export again ends there, and so does one of too many links.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from .crossing cimport crossing_conn, crossing_sub
from .deliver cimport deliver
from .interest cimport sub_remove
from .mapping cimport map_subject
from .plan cimport plan_for
from .replies cimport reply_end, reply_find, reply_keep, reply_new, reply_renew, tell_served
from .sampling cimport is_sampled
from .sublist cimport must
from .text cimport equals, put_number, starts_with
from .transform cimport SUBJECT_MAX, transform, transform_free
from .types cimport *

cdef enum:
    CHAIN_MAX = 16  # accounts that one message may pass through
    NUMBERS = 64  # room for two sizes, a round trip and what is between them


cdef struct Text:
    const char* p
    uint32_t n


# --- who asks --------------------------------------------------------------------------------------


cdef inline char* _put(char* to, const char* p, size_t n) noexcept nogil:
    memcpy(to, p, n)
    return to + n


cdef bint _is_chained(Msg* m) noexcept nogil:
    return m.crossing != NULL and m.crossing.service != NULL


cdef uint32_t _info_room(Core* k, Conn* src, Service* s) noexcept nogil:
    cdef Identity* d = src.identity
    cdef uint32_t n = NUMBERS + src.account.json_len + s.account.json_len + k.system_tail_len
    if d != NULL:
        n += d.head_len + d.middle_len + d.server_len + d.tail_len
    return n


cdef char* _info(Core* k, Conn* src, Service* s, Msg* m, Crossing* x, char* to) noexcept nogil:
    """The value of Nats-Request-Info: who asks, as much as the import shares."""
    cdef Identity* d = src.identity
    cdef uint64_t rtt_ns = src.rtt_ns if src.rtt_ns else src.estimate_ns
    cdef const char* at = NULL
    if d != NULL:
        at = &d.text[0]
    if d != NULL and x.detailed:
        to = _put(to, at, d.head_len)
    else:
        to = _put(to, b'{"acc":', 7)
        to = _put(to, src.account.json, src.account.json_len)
    if _is_chained(m):
        to = _put(to, b',"svc":', 7)
        to = _put(to, s.account.json, s.account.json_len)
    if d != NULL and x.detailed:
        to = _put(to, at + d.head_len, d.middle_len)
    if rtt_ns:
        to = _put(to, b',"rtt":', 7)
        to += put_number(to, rtt_ns)
    if x.with_server or x.detailed:
        if d != NULL:
            to = _put(to, at + d.head_len + d.middle_len, d.server_len)
        else:
            to = _put(to, k.system_tail, k.system_tail_len)
    if d != NULL and x.detailed:
        to = _put(to, at + d.head_len + d.middle_len + d.server_len, d.tail_len)
    to[0] = c'}'
    return to + 1


cdef char* _headers_without(Msg* m, char* to) noexcept nogil:
    """The publisher's headers but for Nats-Request-Info, which the server alone writes."""
    cdef const char* p = m.body
    cdef const char* e = m.body + m.header_len
    cdef const char* line
    if m.header_len <= 2:
        return _put(to, b"NATS/1.0\r\n", 10)
    e -= 2  # the line that ends them follows later
    while p < e:
        line = p
        while p < e and p[0] != c'\n':
            p += 1
        if p < e:
            p += 1
        if p - line > 17 and memcmp(line, b"Nats-Request-Info:", 18) == 0 and line != m.body:
            continue
        to = _put(to, line, p - line)
    return to


# --- the message in the other account -----------------------------------------------------------


cdef Text _where(Core* k, Service* s, Msg* m) noexcept nogil:
    """The subject in the exporter's account; empty if there is none."""
    cdef Text t
    if k.local_buf == NULL:
        k.local_buf = <char*>must(malloc(SUBJECT_MAX))
    if s.same:
        t.p, t.n = m.subject, m.subject_len
    elif s.forth == NULL:
        t.p, t.n = &s.text[0] + s.from_len, s.to_len
    else:
        t.p, t.n = k.local_buf, transform(k, s.forth, m.subject, m.subject_len, k.local_buf)
    return _mapped(k, s.exporter, t)


cdef Text _mapped(Core* k, AccountState* a, Text t) noexcept nogil:
    cdef uint32_t n
    if a.mappings != NULL and t.n:
        if k.made_buf == NULL:
            k.made_buf = <char*>must(malloc(SUBJECT_MAX))
        if map_subject(k, a, t.p, t.n, k.made_buf, &n):
            t.p, t.n = k.made_buf, n
    return t


cdef char* _write(Core* k, Conn* src, Service* s, Msg* m, Crossing* x, Text to, Text reply, Msg* n) noexcept nogil:
    """The request as the exporter gets it, with everything in one block, which the caller frees."""
    cdef uint32_t front = to.n + reply.n + NUMBERS
    cdef char* block = <char*>must(malloc(<size_t>front + m.size + _info_room(k, src, s) + NUMBERS))
    cdef char* start = block + front
    cdef char* p = _put(block, to.p, to.n)
    n[0] = m[0]
    n.subject, n.subject_len = block, to.n
    p = start
    if src.kind == SYSTEM:  # the server itself has no name
        p = _put(p, m.body, m.header_len)
    else:
        p = _headers_without(m, p)
        p = _put(p, b"Nats-Request-Info: ", 19)
        p = _info(k, src, s, m, x, p)
        p = _put(p, b"\r\n\r\n", 4)
    n.header_len = <uint32_t>(p - start)
    n.has_header = n.header_len > 0
    p = _put(p, m.body + m.header_len, m.size - m.header_len)
    n.body, n.size = start, <uint32_t>(p - start)
    p = _put(p, b"\r\n", 2)
    _controls(n, reply)
    n.tail_len = <uint32_t>(p - n.tail)
    return block


cdef void _controls(Msg* n, Text reply) noexcept nogil:
    """``[reply ]sizes CRLF`` in front of the body: the sizes are known last, so it is written from its end."""
    cdef char sizes[NUMBERS]
    cdef uint32_t length = 0
    cdef char* at = <char*>n.body - 2
    memcpy(at, b"\r\n", 2)
    if n.header_len:
        length = <uint32_t>put_number(sizes, n.header_len)
        sizes[length] = c' '
        length += 1
    length += <uint32_t>put_number(&sizes[0] + length, n.size)
    at -= length
    memcpy(at, sizes, length)
    n.sizes, n.sizes_len = at, length
    n.reply, n.reply_len, n.client_reply_len = NULL, 0, 0
    if reply.n:
        (at - 1)[0] = c' '
        at -= reply.n + 1
        memcpy(at, reply.p, reply.n)
        n.reply, n.reply_len, n.client_reply_len = at, reply.n, reply.n
    n.tail = at


cdef Reply* _expect(Core* k, Conn* src, Msg* m, AccountState* answering, AccountState* asking, bint measured,
                    bint by_header, Text* reply) noexcept nogil:
    """The reply subject for the other account; what is answered to JetStream itself stays as it is."""
    cdef Reply* r
    if starts_with(m.reply, m.reply_len, b"$JS.ACK.", 8):
        reply.p, reply.n = m.reply, m.reply_len
        return NULL
    r = reply_new(k, answering, asking, m.reply, m.reply_len, m.body, m.header_len if by_header else 0, measured)
    r.cid = src.cid
    reply.p, reply.n = &r.text[0], r.length
    _listen(k, answering)
    return r


cdef void _listen(Core* k, AccountState* a) noexcept nogil:
    """The subscription to all reply subjects of ``a``."""
    cdef char subject[16]
    if a.answers != NULL:
        return
    a.answers = <Service*>must(malloc(sizeof(Service)))
    memset(a.answers, 0, sizeof(Service))
    a.answers.account = a
    a.answers.sampling = -1
    memcpy(subject, a.reply_prefix, 11)
    subject[11] = c'>'
    a.answers.sub = crossing_sub(k, a, subject, 12)
    a.answers.sub.service = a.answers


cdef bint _been_here(Msg* m, Service* s) noexcept nogil:
    cdef Crossing* x = m.crossing
    while x != NULL:
        if x.service is s or (x.export_id and x.export_id == s.export_id):
            return True
        x = x.outer
    return False


cdef uint32_t _request(Core* k, Conn* src, Msg* m, Service* s) noexcept nogil:
    cdef Crossing x
    cdef Msg n
    cdef Text reply
    cdef Text to
    cdef Reply* r = NULL
    cdef bint by_header
    cdef bint measured = is_sampled(k, s.sampling, m, &by_header)
    cdef char* block
    cdef uint32_t done = 0
    cdef Conn* there = crossing_conn(k, s.exporter)
    if _been_here(m, s):
        return 0
    reply.p, reply.n = NULL, 0
    if m.reply_len:
        r = _expect(k, src, m, s.exporter, s.account, measured, by_header, &reply)
    elif measured:
        tell_served(k, BAD_REQUEST, s.export_id, s.share, src.cid, 0, k.now_ns, m.body, m.header_len if by_header else 0)
    if r != NULL:
        r.export_id, r.reply_kind, r.share = s.export_id, s.reply_kind, s.share
        r.measured = measured and s.reply_kind == SINGLETON
        r.in_use = 1
        reply_keep(k, r, s.threshold_ns)
    _step(m, s, &x)
    to = _where(k, s, m)
    if to.n:
        block = _write(k, src, s, m, &x, to, reply, &n)
        n.crossing = &x
        n.any_queue = not n.has_queues
        n.deliver_subject = NULL
        n.deliver_subject_len = 0
        done = deliver(k, src, &n, plan_for(k, s.exporter, there, n.subject, n.subject_len))
        free(block)
    if r != NULL:
        r.in_use = 0
        if done == 0:
            reply_end(k, r, UNAVAILABLE)
    return done


cdef void _step(Msg* m, Service* s, Crossing* x) noexcept nogil:
    """One account further; what is given away of who asks is decided by the first import."""
    cdef Crossing* outer = m.crossing
    x.outer, x.service, x.export_id, x.share = outer, s, s.export_id, s.share
    x.depth = outer.depth + 1 if outer != NULL else 1
    if outer == NULL:
        x.detailed, x.with_server = s.share, s.to_system
    elif outer.service == NULL:
        x.detailed, x.with_server = outer.share, s.to_system
    else:
        x.detailed = outer.detailed
        x.with_server = outer.with_server or (not outer.share and (s.share or s.to_system))


cdef uint32_t _answer(Core* k, Conn* src, Msg* m, Reply* r) noexcept nogil:
    cdef Crossing x
    cdef Msg n = m[0]
    cdef Text reply
    cdef Text to
    cdef Reply* further = NULL
    cdef char* block
    cdef uint32_t done = 0
    cdef Conn* there = crossing_conn(k, r.requester)
    r.in_use = 1
    if m.reply_len:
        further = _expect(k, src, m, r.requester, r.account, False, False, &reply)
        if further != NULL:
            further.export_id, further.reply_kind, further.share = r.export_id, r.reply_kind, r.share
            further.in_use = 1
            reply_keep(k, further, r.threshold_ns)
            n.reply, n.reply_len, n.client_reply_len = reply.p, reply.n, reply.n
            n.tail = NULL
    if r.measured:
        r.measured = 0
        tell_served(k, SERVED, r.export_id, r.share, r.cid, src.cid, r.start_ns, &r.text[0] + r.length + r.to_len,
                    r.header_len)
    to.p, to.n = &r.text[0] + r.length, r.to_len
    to = _mapped(k, r.requester, to)
    if to.n:
        block = <char*>must(malloc(to.n))
        memcpy(block, to.p, to.n)
        n.subject, n.subject_len = block, to.n
        x.outer, x.service, x.export_id, x.share = m.crossing, NULL, r.export_id, r.share
        x.depth = m.crossing.depth + 1 if m.crossing != NULL else 1
        x.detailed = x.with_server = 0
        n.crossing = &x
        n.any_queue = not n.has_queues
        done = deliver(k, src, &n, plan_for(k, r.requester, there, n.subject, n.subject_len))
        free(block)
    if further != NULL:
        further.in_use = 0
        if done == 0:
            reply_end(k, further, 0)
    r.in_use = 0
    if done == 0 or r.reply_kind == SINGLETON or m.size == 0:
        reply_end(k, r, 0)
    else:
        reply_renew(k, r)
    return done


cdef uint32_t cross(Core* k, Conn* src, Msg* m, Service* s) noexcept nogil:
    """Carries ``m`` over; the number of receivers in the other account."""
    cdef Reply* r
    cdef uint32_t done = 0
    if m.crossing != NULL and m.crossing.depth >= CHAIN_MAX:
        return 0
    if s.exporter != NULL:
        return _request(k, src, m, s)
    r = reply_find(k, s.account, m.subject, m.subject_len)
    if r != NULL and not r.in_use:
        done = _answer(k, src, m, r)
    # who answers is not told whether somebody still waits, as in nats-server; a consumer of this server has to know
    return done if src.kind == SYSTEM else 1


# --- a list that replaces another ----------------------------------------------------------------


cdef void service_free(Service* s) noexcept nogil:
    transform_free(s.forth)
    free(s)


cdef inline size_t _length(Service* s) noexcept nogil:
    return <size_t>s.from_len + s.to_len + s.spelling_len


cdef bint _same_import(Service* a, Service* b) noexcept nogil:
    return a.exporter is b.exporter and a.same == b.same and a.from_len == b.from_len and a.to_len == b.to_len \
        and equals(&a.text[0], _length(a), &b.text[0], _length(b))


cdef void services_replace(Core* k, AccountState* a, Service* wanted) noexcept nogil:
    """``wanted`` is taken over. What was imported before keeps its subscription and gets its terms of now."""
    cdef Service* old = a.services
    cdef Service* kept = NULL
    cdef Service* s
    cdef Service** at
    while wanted != NULL:
        s = wanted
        wanted = s.next
        at = &old
        while at[0] != NULL and not _same_import(at[0], s):
            at = &at[0].next
        if at[0] == NULL:
            s.account = a
            s.sub = crossing_sub(k, a, &s.text[0], s.from_len)
            s.sub.service = s
        else:
            _renew(at[0], s)
            service_free(s)
            s = at[0]
            at[0] = s.next
        s.next = kept
        kept = s
    a.services = kept
    while old != NULL:
        s = old
        old = s.next
        sub_remove(k, s.sub)
        service_free(s)


cdef void _renew(Service* s, Service* by) noexcept nogil:
    s.threshold_ns, s.export_id, s.sampling = by.threshold_ns, by.export_id, by.sampling
    s.share, s.reply_kind, s.to_system = by.share, by.reply_kind, by.to_system


cdef void services_free(Core* k, AccountState* a) noexcept nogil:
    services_replace(k, a, NULL)
    if a.answers != NULL:
        sub_remove(k, a.answers.sub)
        free(a.answers)
        a.answers = NULL
