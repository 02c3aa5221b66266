"""Streams: what is published to a stream's subjects is stored, limits hold, and the acknowledgement waits for the disk.

Most messages take the short way here. A message goes to Python instead, in its turn, when the stream does more than
keep it (``SLOW_ALWAYS``), when it carries a header of the server's own (``Nats-...``) other than a message id or a
sequence that is as expected, or when it cannot be stored and somebody has to be told why. While one is on its way
there, everything later for the same stream follows it.

The retention rules of section 2.5 of the reference hold after every message; removing is never put off.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from phloem.shared.kernel.sublist cimport grow
from phloem.shared.kernel.types cimport SYSTEM, AccountState, Conn, Core, Msg
from phloem.shared.store.log cimport log_append, log_next, log_read, log_remove, log_skip, log_subject, record_bytes
from phloem.shared.store.types cimport FOUND, MISSING, Log, Record, SubjectState

from .answers cimport answer_ack, answer_duplicate
from .consumer cimport consumer_removed, consumer_wants, consumers_news
from .message_ids cimport IdHash, ids_first, ids_put, ids_removing
from .types cimport *

cdef enum:
    HEADER_MAX = 65535  # of one message, as nats-server bounds it
    FILE_RECORD_MAX = 32 << 20  # of a message on disk, as nats-server bounds it
    EXPECTED_LEN = 37

cdef const char* EXPECTED = b"\nNats-Expected-Last-Subject-Sequence:"


cdef enum Asks:
    NOTHING = 0
    ONLY_ID = 1  # nothing but that it is no duplicate
    MORE = 2


cdef Asks _asks(Msg* m, const char** text, uint32_t* n) noexcept nogil:
    """What the headers of the server's own ask for; with ONLY_ID the id, which is not empty."""
    cdef const char* end = m.body + m.header_len
    cdef const char* at
    cdef const char* line
    if m.header_len == 0:
        return NOTHING
    at = <const char*>memchr(m.body, c"\n", m.header_len)
    n[0] = 0
    while at != NULL:
        line = at + 1
        at = <const char*>memchr(line, c"\n", end - line)
        if end - line < 5 or memcmp(line, b"Nats-", 5) != 0:
            continue
        # what is not quite a line, a second id and an empty one are for Python to understand
        if n[0] or at == NULL or at - line < 13 or memcmp(line, b"Nats-Msg-Id:", 12) != 0 or (at - 1)[0] != c"\r" \
                or line - m.body < 2 or (line - 2)[0] != c"\r":
            return MORE
        line += 12
        while line[0] == c" ":
            line += 1
        if line == at - 1:
            return MORE
        text[0] = line
        n[0] = <uint32_t>(at - 1 - line)
    return ONLY_ID if n[0] else NOTHING


cdef bint _as_expected(Stream* s, Msg* m) noexcept nogil:
    """Whether the only header of the server's is an expected last sequence of the subject, and it is right: creating and
    updating a key. A wrong one is for Python to tell."""
    cdef const char* end = m.body + m.header_len
    cdef const char* at = <const char*>memmem(m.body, m.header_len, EXPECTED, EXPECTED_LEN)
    cdef SubjectState t
    cdef uint64_t value = 0
    cdef int digits = 0
    if at == NULL or <const char*>memmem(m.body, m.header_len, b"\nNats-", 6) != at:
        return False
    at += EXPECTED_LEN
    if memmem(at, end - at, b"\nNats-", 6) != NULL:
        return False
    while at < end and at[0] == c" ":
        at += 1
    while at < end and c"0" <= at[0] <= c"9" and digits < 19:
        value = value * 10 + <uint64_t>(at[0] - c"0")
        digits += 1
        at += 1
    if digits == 0 or at == end or at[0] != c"\r":
        return False
    log_subject(s.log, m.subject, m.subject_len, &t)
    return t.last == value


cdef inline bint _fast_batch(Msg* m) noexcept nogil:
    """Whether the reply subject says that this is one of a fast batch."""
    return m.client_reply_len > 4 and memcmp(m.reply + m.client_reply_len - 4, b".$FI", 4) == 0


cdef inline void _settle_quota(Stream* s) noexcept nogil:
    if s.quota != NULL:
        s.quota.used += <int64_t>s.log.bytes - <int64_t>s.counted_bytes
        s.counted_bytes = s.log.bytes


cdef bint _full(Stream* s, uint64_t bytes) noexcept nogil:
    """Whether one more message of this size is too much for the stream."""
    if s.max_msgs >= 0 and s.log.messages >= <uint64_t>s.max_msgs:
        return True
    return s.max_bytes >= 0 and s.log.bytes + bytes > <uint64_t>s.max_bytes


cdef inline bint _allowed(Stream* s, Msg* m) noexcept nogil:
    """Whether such a message may be stored if there is room; this comes before everything else."""
    return not s.sealed and m.header_len <= HEADER_MAX and (s.max_msg_size < 0 or m.size <= s.max_msg_size)


cdef bint stream_fits(Stream* s, Msg* m) noexcept nogil:
    """Whether the message may be stored; the reasons why not are for Python to tell."""
    cdef Log* l = s.log
    cdef SubjectState t
    cdef uint64_t bytes = record_bytes(l, m.subject_len, m.header_len, m.size)
    if (l.journal != NULL and bytes > FILE_RECORD_MAX) or not _allowed(s, m):
        return False
    _settle_quota(s)
    if s.quota != NULL and s.quota.used + <int64_t>bytes > s.quota.limit:
        return False
    if l.journal != NULL and (l.journal.full or l.journal.failed or l.suspect):
        return False
    if not s.discard_new:
        return True
    if s.discard_new_per_subject:
        log_subject(l, m.subject, m.subject_len, &t)
        return t.count < <uint64_t>s.max_per_subject and not _full(s, bytes)
    if not _full(s, bytes):
        return True
    # a subject that has all it may have replaces its own oldest message (key-value buckets rely on it)
    return s.max_per_subject > 0 and log_subject(l, m.subject, m.subject_len, &t) and t.count >= <uint64_t>s.max_per_subject


cdef bint stream_wanted(Stream* s, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(s.nconsumers):
        if consumer_wants(s.consumers[i], seq, subject, n):
            return True
    return False


cdef inline bint _to_python(Stream* s, Core* k) noexcept nogil:
    """A message that is Python's, and what comes behind it; of a group it is nobody's."""
    if s.group:
        return True
    s.waiting = k.inbox_serial
    return False


cdef bint stream_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil:
    """The sink of the stream's subscriptions; False: Python has to look."""
    cdef Stream* s = <Stream*>context
    cdef int64_t now = <int64_t>k.now_ns + s.engine.wall_offset_ns
    cdef const char* text = NULL
    cdef uint32_t text_len = 0
    cdef uint64_t seq
    cdef IdHash h
    cdef Asks asks
    if s.gone:
        return True
    s.in_msgs += 1
    asks = _asks(m, &text, &text_len)
    if s.waiting == k.inbox_serial or s.slow & SLOW_ALWAYS or _fast_batch(m) or (asks == MORE and not _as_expected(s, m)):
        return _to_python(s, k)
    if asks == ONLY_ID and _allowed(s, m):
        seq = ids_first(s.ids, text, text_len, now, &h)
        if seq:
            if m.reply_len and not s.no_ack:
                answer_duplicate(s.engine, s, seq, m.reply, m.client_reply_len)
            return True
    if not stream_fits(s, m):
        return _to_python(s, k)
    if s.retention == INTEREST and not stream_wanted(s, s.log.last_seq + 1, m.subject, m.subject_len):
        seq = s.log.last_seq + 1
        log_skip(s.log, seq)
    else:
        seq = stream_store(s, 0, now, m.subject, m.subject_len, m.body, m.header_len, m.size)
    if s.group:
        s.group = GROUP_STORED
    if asks == ONLY_ID:
        ids_put(s.ids, text, text_len, seq, now, &h)
    if m.reply_len and not s.no_ack:
        answer_ack(s.engine, s, seq, m.reply, m.client_reply_len)
    if s.engine.gate.pending > k.stall_bytes and src.kind != SYSTEM:
        k.stall_on = &s.engine.gate
    return True


cdef uint64_t stream_store(Stream* s, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                           uint32_t header_len, uint32_t size) noexcept nogil:
    """Stores a message that may be stored, and removes what it pushes out."""
    cdef Log* l = s.log
    cdef SubjectState t
    seq = log_append(l, seq, ts, subject, n, body, header_len, size)
    if s.max_per_subject > 0:
        while log_subject(l, subject, n, &t) and t.count > <uint64_t>s.max_per_subject:
            if not log_remove(l, t.first):
                break
    stream_limits(s)
    _settle_quota(s)
    if l.journal != NULL:
        s.engine.gate.pending = l.journal.pending_bytes
    stream_news(s)
    return seq


cdef void stream_limits(Stream* s) noexcept nogil:
    """max_msgs and max_bytes, the oldest go first."""
    cdef Log* l = s.log
    if s.max_msgs >= 0:
        while l.messages > <uint64_t>s.max_msgs and log_remove(l, l.first_seq):
            pass
    if s.max_bytes >= 0:
        while l.messages and l.bytes > <uint64_t>s.max_bytes and log_remove(l, l.first_seq):
            pass


cdef void stream_acked(Stream* s, Consumer* c, uint64_t seq) noexcept nogil:
    """A consumer is done with a message; nobody may want it any more."""
    cdef Record r
    if s.retention == LIMITS:
        return
    if s.nconsumers > 1:
        if log_read(s.log, seq, &r) != FOUND or stream_wanted(s, seq, r.subject, r.subject_len):
            return
    log_remove(s.log, seq)
    stream_news(s)


cdef void stream_forget_unwanted(Stream* s) noexcept nogil:
    """A consumer is gone: what only it wanted goes, too."""
    cdef Record r
    cdef uint64_t at = s.log.first_seq
    cdef int found = log_next(s.log, NULL, at, s.log.last_seq, &r)
    while found != MISSING:
        at = r.seq
        if found == FOUND and not stream_wanted(s, at, r.subject, r.subject_len):
            log_remove(s.log, at)
        found = log_next(s.log, NULL, at + 1, s.log.last_seq, &r)
    stream_news(s)


cdef void stream_removed(void* context, Log* l, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    """The log tells of every message that goes."""
    cdef Stream* s = <Stream*>context
    cdef uint32_t i
    ids_removing(s.ids, seq, subject == NULL, <int64_t>s.engine.core.now_ns + s.engine.wall_offset_ns)
    for i in range(s.nconsumers):
        consumer_removed(s.consumers[i], seq, subject, n)


cdef void stream_news(Stream* s) noexcept nogil:
    """Something was stored: the engine looks at the stream at the end of the round."""
    cdef Engine* g = s.engine
    if s.news:
        return
    s.news = 1
    g.news = <Stream**>grow(g.news, &g.news_cap, g.nnews + 1, sizeof(Stream*))
    g.news[g.nnews] = s
    g.nnews += 1


cdef void stream_visible(Stream* s) noexcept nogil:
    """Tells the consumers of what has become visible since they were told last."""
    if s.told_seq < s.log.visible_seq:
        consumers_news(s, s.told_seq + 1, s.log.visible_seq)
        s.told_seq = s.log.visible_seq

