"""Answers that wait for the disk: acknowledgements of publishes, answers to requests, whatever may only be said once it
is true for good.

There are three queues, each in the order in which its answers may go out: at the end of this round (memory streams,
errors), when the batch has been written (sync mode "interval"), and when it is on the disk. The text of an answer is
the reply subject and, unless it is a stream's usual acknowledgement, header and body.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from phloem.shared.kernel.deliver cimport deliver
from phloem.shared.kernel.interest cimport subs_expire
from phloem.shared.kernel.plan cimport plan_for
from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport put_number
from phloem.shared.kernel.types cimport AccountState, Conn, Core, Msg
from phloem.shared.store.journal cimport journal_batch

from .types cimport *

cdef enum:
    ACK_MAX = 640  # the longest usual acknowledgement: stream and domain have at most 255 bytes
    COMPACT_FROM = 4096


cdef Answer* _join(Answers* q, const char* subject, uint32_t n, const char* header, uint32_t hn, const char* payload,
                   uint32_t pn) noexcept nogil:
    cdef Answer* a
    cdef size_t need = q.text_len + n + hn + pn
    if q.first == q.count:
        q.first = q.count = 0
        q.text_len = 0
        need = <size_t>n + hn + pn
    if need > q.text_cap:
        q.text_cap = need * 2
        q.text = <char*>must(realloc(q.text, q.text_cap))
    q.list = <Answer*>grow(q.list, &q.cap, q.count + 1, sizeof(Answer))
    a = &q.list[q.count]
    q.count += 1
    memset(a, 0, sizeof(Answer))
    a.at = q.text_len
    a.subject_len, a.header_len, a.size = n, hn, hn + pn
    memcpy(q.text + q.text_len, subject, n)
    q.text_len += n
    if hn:
        memcpy(q.text + q.text_len, header, hn)
        q.text_len += hn
    if pn:
        memcpy(q.text + q.text_len, payload, pn)
        q.text_len += pn
    return a


cdef inline Answers* _queue(Engine* g, Log* l) noexcept nogil:
    """Where an answer waits that speaks of this log as it is now."""
    if l == NULL or l.journal == NULL:
        return &g.at_once
    return &g.written if l.relaxed else &g.durable


cdef void answer_ack(Engine* g, Stream* s, uint64_t seq, const char* reply, uint32_t n) noexcept nogil:
    """The usual acknowledgement: {"stream":"S","seq":1}."""
    cdef Answer* a = _join(_queue(g, s.log), reply, n, NULL, 0, NULL, 0)
    a.stream, a.account, a.seq = s, s.account, seq
    if s.log.journal != NULL:
        a.batch = journal_batch(s.log.journal)


cdef void answer_duplicate(Engine* g, Stream* s, uint64_t seq, const char* reply, uint32_t n) noexcept nogil:
    """The acknowledgement of a message that was there already: {"stream":"S","seq":1,"duplicate": true}. It waits for
    what it speaks of, and for the answers before it, but not for what came later."""
    cdef Answer* a = _join(_queue(g, s.log), reply, n, NULL, 0, NULL, 0)
    a.stream, a.account, a.seq, a.duplicate = s, s.account, seq, 1
    if s.log.journal != NULL and seq > s.log.visible_seq:
        a.batch = journal_batch(s.log.journal)


cdef void answer_message(Engine* g, Log* l, AccountState* account, const char* subject, uint32_t n, const char* header,
                         uint32_t hn, const char* payload, uint32_t pn) noexcept nogil:
    """Any message, sent when all that ``l`` holds now is safe (NULL: at the end of the round)."""
    cdef Answer* a = _join(_queue(g, l), subject, n, header, hn, payload, pn)
    a.account = account
    if l != NULL and l.journal != NULL:
        a.batch = journal_batch(l.journal)


cdef uint32_t send_message(Engine* g, Conn* source, AccountState* a, const char* subject, uint32_t n,
                           const char* reply, uint32_t rn, const char* whole, uint32_t header_len,
                           uint32_t size) noexcept nogil:
    """Publishes now; the number of receivers."""
    cdef Msg m
    cdef char sizes[32]
    cdef uint32_t digits = 0
    memset(&m, 0, sizeof(Msg))
    if header_len:
        digits = <uint32_t>put_number(sizes, header_len)
        sizes[digits] = c' '
        digits += 1
    digits += <uint32_t>put_number(&sizes[0] + digits, size)
    m.subject, m.subject_len = subject, n
    m.reply, m.reply_len, m.client_reply_len = reply, rn, rn
    m.body, m.header_len, m.size = whole, header_len, size
    m.sizes, m.sizes_len = sizes, digits
    m.has_header = header_len > 0
    if source.account is not a:  # a plan belongs to its account
        source.account = a
        source.last_plan = NULL
    return deliver(g.core, source, &m, plan_for(g.core, a, source, subject, n))


cdef void _send_ack(Engine* g, const char* subject, Answer* a) noexcept nogil:
    """The text behind the sizes is laid out as on the wire, so that one copy passes it on."""
    cdef Msg m
    cdef char text[ACK_MAX + 32]
    cdef char body[ACK_MAX]
    cdef uint32_t n = a.stream.ack_head_len
    cdef uint32_t at
    memcpy(body, a.stream.ack_head, n)
    n += <uint32_t>put_number(&body[0] + n, a.seq)
    if a.duplicate:
        memcpy(&body[0] + n, b',"duplicate": true', 18)
        n += 18
    body[n] = c'}'
    n += 1
    at = <uint32_t>put_number(text, n)
    memset(&m, 0, sizeof(Msg))
    m.sizes, m.sizes_len = text, at
    text[at] = c'\r'
    text[at + 1] = c'\n'
    memcpy(&text[0] + at + 2, body, n)
    m.body, m.size = &text[0] + at + 2, n
    text[at + 2 + n] = c'\r'
    text[at + 3 + n] = c'\n'
    m.tail, m.tail_len = text, at + 4 + n
    m.subject, m.subject_len = subject, a.subject_len
    a.stream.source.account = a.account
    deliver(g.core, &a.stream.source, &m, plan_for(g.core, a.account, &a.stream.source, subject, a.subject_len))


cdef void _send(Engine* g, Answers* q, uint64_t batch) noexcept nogil:
    """Everything up to ``batch``. A stream may capture what is sent, and its answer join this very queue, whose text
    then moves: each answer is sent from a copy."""
    cdef Answer a
    cdef uint32_t n
    while q.first < q.count and q.list[q.first].batch <= batch:
        a = q.list[q.first]
        q.first += 1
        if a.account == NULL:
            continue
        n = a.subject_len + a.size
        g.copy = <char*>grow(g.copy, &g.copy_cap, n + 1, 1)
        memcpy(g.copy, q.text + a.at, n)
        if a.stream != NULL:
            _send_ack(g, g.copy, &a)
        else:
            send_message(g, &g.source, a.account, g.copy, a.subject_len, NULL, 0, g.copy + a.subject_len, a.header_len,
                         a.size)
        if g.core.nexpired:
            subs_expire(g.core)
    if q.first == q.count:
        q.first = q.count = 0
        q.text_len = 0
    elif q.first > COMPACT_FROM and q.first * 2 > q.count:  # a queue that is never empty must not grow for ever
        _compact(q)


cdef void _compact(Answers* q) noexcept nogil:
    cdef size_t start = q.list[q.first].at
    cdef uint32_t i
    memmove(q.text, q.text + start, q.text_len - start)
    q.text_len -= start
    memmove(q.list, q.list + q.first, (q.count - q.first) * sizeof(Answer))
    q.count -= q.first
    q.first = 0
    for i in range(q.count):
        q.list[i].at -= start


cdef void answer_durable(Engine* g, AccountState* account, const char* subject, uint32_t n, const char* header,
                         uint32_t hn, const char* payload, uint32_t pn) noexcept nogil:
    """Any message, sent when everything that was recorded so far is on the disk."""
    cdef Answer* a
    if g.journal == NULL:
        answer_message(g, NULL, account, subject, n, header, hn, payload, pn)
        return
    a = _join(&g.durable, subject, n, header, hn, payload, pn)
    a.account, a.batch = account, journal_batch(g.journal)


cdef void answers_send(Engine* g) noexcept nogil:
    """Everything that may be said now."""
    if g.at_once.count:
        _send(g, &g.at_once, 0)
    if g.journal != NULL:
        if g.durable.count:
            _send(g, &g.durable, g.journal.durable)
        if g.written.count:
            _send(g, &g.written, g.journal.written)


cdef void _forget(Answers* q, Stream* s) noexcept nogil:
    cdef uint32_t i
    for i in range(q.first, q.count):
        if q.list[i].stream is s:
            q.list[i].stream = NULL
            q.list[i].account = NULL


cdef void answers_forget(Engine* g, Stream* s) noexcept nogil:
    """The stream is deleted, and its messages with it: nothing is left to acknowledge."""
    _forget(&g.at_once, s)
    _forget(&g.written, s)
    _forget(&g.durable, s)


cdef void answers_free(Engine* g) noexcept nogil:
    free(g.at_once.list)
    free(g.at_once.text)
    free(g.written.list)
    free(g.written.text)
    free(g.durable.list)
    free(g.durable.text)
    free(g.copy)
