"""Direct get in its usual form: ``DIRECT.GET.<stream>.<subject>`` without a body asks for the last message on a literal
subject, which is what reading a key of a bucket is. Every other form is for Python (direct.py of the server).

A message whose batch is not safe yet is not shown before it is: the answer waits like an acknowledgement.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from phloem.shared.kernel.sublist cimport grow
from phloem.shared.kernel.text cimport has_wildcard, put_number, starts_with
from phloem.shared.kernel.types cimport CLIENT, SYSTEM, Conn, Core, Msg
from phloem.shared.store.log cimport log_read, log_subject
from phloem.shared.store.types cimport FOUND, MISSING, Record, SubjectState

from .answers cimport answer_message
from .types cimport *

cdef enum:
    SAY_BYTES = 4096  # about ten answers: less would not be worth a send
    HEADS = 512  # of the four headers, beside names


cdef inline char* _put(char* to, const char* text, size_t n) noexcept nogil:
    memcpy(to, text, n)
    return to + n


cdef inline char* _digits(char* to, uint32_t value, int width) noexcept nogil:
    """``value`` with leading zeros."""
    cdef int i
    for i in range(width):
        to[width - 1 - i] = <char>(48 + value % 10)
        value //= 10
    return to + width


cdef enum:
    DAY_S = 86_400
    DAYS_400_YEARS = 146_097
    DAYS_BEFORE_1970 = 719_468  # since the first of March of the year 0, from where leap days come last in a year


cdef char* put_time(char* to, int64_t ns) noexcept nogil:
    """RFC 3339 in UTC, the fraction without trailing zeros; at most 30 bytes. ``ns`` is not negative. The calendar is
    counted out here, as the C library's ends in 2038 where machines have 32 bits."""
    cdef uint64_t seconds = <uint64_t>ns // 1_000_000_000
    cdef uint32_t rest = <uint32_t>(<uint64_t>ns % 1_000_000_000), second = <uint32_t>(seconds % DAY_S)
    cdef uint32_t days = <uint32_t>(seconds // DAY_S) + DAYS_BEFORE_1970
    cdef uint32_t year = days // DAYS_400_YEARS * 400, years, month
    days %= DAYS_400_YEARS
    # Whole years in what is left: without its leap days, of which a fourth year, not a hundredth, has one
    years = (days - days // 1_460 + days // 36_524 - days // 146_096) // 365
    year += years
    days -= 365 * years + years // 4 - years // 100
    month = (5 * days + 2) // 153  # from March: five months have 153 days, again and again
    days -= (153 * month + 2) // 5
    year += month >= 10
    to = _digits(to, year, 4)
    to = _digits(_put(to, b"-", 1), month + 3 if month < 10 else month - 9, 2)
    to = _digits(_put(to, b"-", 1), days + 1, 2)
    to = _digits(_put(to, b"T", 1), second // 3600, 2)
    to = _digits(_put(to, b":", 1), second // 60 % 60, 2)
    to = _digits(_put(to, b":", 1), second % 60, 2)
    if rest:
        to = _digits(_put(to, b".", 1), rest, 9)
        while (to - 1)[0] == c'0':
            to -= 1
    return _put(to, b"Z", 1)


cdef void _answer(Stream* s, Msg* m, Record* r) noexcept nogil:
    cdef Engine* g = s.engine
    cdef char* at
    cdef uint32_t n
    g.scratch = <char*>grow(g.scratch, &g.scratch_cap, r.header_len + r.subject_len + s.name_len + HEADS, 1)
    if r.header_len > 4:
        at = _put(g.scratch, r.body, r.header_len - 2)
    else:
        at = _put(g.scratch, b"NATS/1.0\r\n", 10)
    at = _put(_put(at, b"Nats-Stream: ", 13), s.name, s.name_len)
    at = _put(_put(at, b"\r\nNats-Subject: ", 16), r.subject, r.subject_len)
    at = _put(at, b"\r\nNats-Sequence: ", 17)
    at += put_number(at, r.seq)
    at = put_time(_put(at, b"\r\nNats-Time-Stamp: ", 19), r.ts)
    at = _put(at, b"\r\n\r\n", 4)
    n = <uint32_t>(at - g.scratch)
    answer_message(g, s.log if r.seq > s.log.visible_seq else NULL, s.account, m.reply, m.client_reply_len, g.scratch, n,
                   r.body + r.header_len, r.size - r.header_len)


cdef inline uint32_t _prefix_len(const char* subject, uint32_t n) noexcept nogil:
    """Of ``$JS.API.`` or ``$JS.<domain>.API.``, one of which ``subject`` begins with."""
    cdef uint32_t at = 4
    if starts_with(subject, n, b"$JS.API.", 8):
        return 8
    while at < n and subject[at] != c'.':
        at += 1
    return at + 5


cdef bint api_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil:
    """The sink of ``$JS.API.>``: a direct get is for the streams that serve it, and if none does, nobody has heard it. Only
    the kernel knows, and only clients are told by it; whoever asks otherwise is answered in Python."""
    cdef uint32_t at = _prefix_len(m.subject, m.subject_len)
    if src.kind != CLIENT or m.crossing != NULL or at >= m.subject_len:
        return False
    if not starts_with(m.subject + at, m.subject_len - at, b"DIRECT.GET.", 11):
        return False
    k.unheard = 1
    return True


cdef bint direct_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil:
    cdef Stream* s = <Stream*>context
    cdef SubjectState t
    cdef Record r
    cdef uint32_t at = _prefix_len(m.subject, m.subject_len) + 12 + s.name_len  # DIRECT.GET.<stream>.
    cdef const char* subject = m.subject + at
    cdef uint32_t n = m.subject_len - at
    cdef int found
    if m.size or not m.reply_len or s.gone or m.subject_len <= at or has_wildcard(subject, n):
        return False
    found = log_read(s.log, t.last, &r) if log_subject(s.log, subject, n, &t) else MISSING
    if found == FOUND:
        _answer(s, m, &r)
        if s.engine.at_once.text_len > SAY_BYTES:
            k.say_soon = 1  # one read may ask for thousands
        if src.pending > k.stall_bytes and src.kind != SYSTEM:
            k.stall_on = src  # it asks for more than it takes
        return True
    if found == MISSING:
        answer_message(s.engine, NULL, s.account, m.reply, m.client_reply_len, b"NATS/1.0 404 Message Not Found\r\n\r\n", 34,
                       NULL, 0)
        return True
    return False
