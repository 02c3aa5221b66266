"""SUB, UNSUB, LS+ and LS-: what a peer wants to receive, checked and handed to ``interest`` (wire 1.6 and 2.4)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .interest cimport sub_add, sub_find, sub_remove, sub_weight
from .output cimport complain, doom, emit, fail, watch
from .permits cimport may_subscribe
from .scan cimport Slice, next_arg
from .text cimport equals, parse_size, starts_with, valid_subject
from .types cimport *

cdef enum:
    LEAF_KEY_MAX = 65000  # lengths inside the sublist are 16 bits wide
    QUOTED_MAX = 1024  # of a subject inside an -ERR; longer ones are cut


cdef void deny(Core* k, Conn* c, const char* what, size_t n, const char* subject, size_t sn,
                const char* queue, size_t qn, bint close) noexcept nogil:
    """``Permissions Violation for <what> "subject"[ using queue "queue"]``."""
    cdef char text[2560]
    cdef size_t at = 26
    if sn > QUOTED_MAX:
        sn = QUOTED_MAX
    if qn > QUOTED_MAX:
        qn = QUOTED_MAX
    memcpy(text, b"Permissions Violation for ", 26)
    memcpy(text + at, what, n)
    at += n
    text[at] = c'"'
    memcpy(text + at + 1, subject, sn)
    at += sn + 1
    text[at] = c'"'
    at += 1
    if qn:
        memcpy(text + at, b' using queue "', 14)
        memcpy(text + at + 14, queue, qn)
        at += 14 + qn
        text[at] = c'"'
        at += 1
    if close:
        fail(k, c, text, at, PROTOCOL_VIOLATION)
    else:
        complain(k, c, text, at)


cdef void client_sub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    cdef const char* at = p
    cdef Slice subject = next_arg(&at, e)
    cdef Slice queue = next_arg(&at, e)
    cdef Slice sid = next_arg(&at, e)
    cdef uint8_t filtered = 0
    cdef Sub* s
    if sid.n == 0:
        sid = queue
        queue.n = 0
    if sid.n == 0 or next_arg(&at, e).n:
        doom(k, c, PARSE_ERROR)
        return
    if not may_subscribe(k, c.permits, subject.p, subject.n, queue.p, queue.n, False, &filtered) \
            or equals(queue.p, queue.n, b"_sys_", 5):
        deny(k, c, b"Subscription to ", 16, subject.p, subject.n, queue.p, queue.n, False)
        return
    if k.max_sub_tokens and _count_tokens(subject) > k.max_sub_tokens:
        _too_many_tokens(k, c, subject)
        return
    if c.sub_count >= c.max_subs:
        complain(k, c, b"maximum subscriptions exceeded", 30)
        return
    if sub_find(k, c, sid.p, sid.n) == NULL:
        if not valid_subject(subject.p, subject.n, False):
            complain(k, c, b"Invalid Subject", 15)
            return
        s = sub_add(k, c, subject.p, subject.n, queue.p, queue.n, sid.p, sid.n, 1)
        s.filtered = filtered
    ok(k, c)


cdef uint32_t _count_tokens(Slice s) noexcept nogil:
    cdef uint32_t count = 1
    cdef size_t i
    for i in range(s.n):
        count += s.p[i] == c'.'
    return count


cdef void _too_many_tokens(Core* k, Conn* c, Slice s) noexcept nogil:
    cdef char text[2048]
    cdef size_t n = s.n if s.n < QUOTED_MAX else QUOTED_MAX
    memcpy(text, b'Permissions Violation for Subscription to "', 43)
    memcpy(text + 43, s.p, n)
    memcpy(text + 43 + n, b'", too many tokens', 18)
    complain(k, c, text, 61 + n)


cdef void client_unsub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    cdef const char* at = p
    cdef Slice sid = next_arg(&at, e)
    cdef Slice most = next_arg(&at, e)
    cdef Sub* s
    cdef int64_t max
    if sid.n == 0 or next_arg(&at, e).n:
        doom(k, c, PARSE_ERROR)
        return
    max = parse_size(most.p, most.n)
    s = sub_find(k, c, sid.p, sid.n)
    if s != NULL:
        if max > 0 and <uint64_t>max > s.delivered:
            s.max = <uint64_t>max
        else:
            sub_remove(k, s)
    ok(k, c)


cdef void leaf_sub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    cdef const char* at = p
    cdef Slice subject = next_arg(&at, e)
    cdef Slice queue = next_arg(&at, e)
    cdef Slice weight = next_arg(&at, e)
    cdef int64_t w = 1
    cdef uint8_t filtered
    cdef Sub* s
    cdef Slice key
    cdef bint lds = starts_with(subject.p, subject.n, b"$LDS.", 5)
    if queue.n:
        w = parse_size(weight.p, weight.n)
    if subject.n == 0 or w < 0 or next_arg(&at, e).n:
        doom(k, c, PARSE_ERROR)
        return
    if lds and c.account.lds != NULL and equals(subject.p, subject.n, c.account.lds, c.account.lds_len):
        emit(k, c, EV_LOOP, b"", 0)
        c.flags |= WAITING
        watch(k, c)
        return
    key.p = subject.p
    key.n = (queue.p + queue.n if queue.n else subject.p + subject.n) - subject.p
    s = sub_find(k, c, key.p, key.n)
    if s != NULL:
        if queue.n:
            sub_weight(k, s, <uint32_t>w)
        return
    if key.n > LEAF_KEY_MAX or not valid_subject(subject.p, subject.n, False):
        complain(k, c, b"Invalid Subscription", 20)
        return
    if not lds and not c.flags & SPOKE \
            and not may_subscribe(k, c.permits, subject.p, subject.n, queue.p, queue.n, True, &filtered):
        deny(k, c, b"Subscription to ", 16, subject.p, subject.n, b"", 0, True)
        return
    if c.sub_count >= c.max_subs:
        complain(k, c, b"maximum subscriptions exceeded", 30)
        return
    sub_add(k, c, subject.p, subject.n, queue.p, queue.n, key.p, key.n, <uint32_t>w)


cdef void leaf_unsub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    cdef Sub* s
    if e == p:
        doom(k, c, PARSE_ERROR)
        return
    s = sub_find(k, c, p, e - p)
    if s != NULL:
        sub_remove(k, s)
