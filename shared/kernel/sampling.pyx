"""Whether a request to a service is measured: by chance, or because its tracing headers ask for it (security_ops 2.6).

The first tracing header of a request decides, in nats-server's order: Uber-Trace-Id, X-B3-Sampled, X-B3-TraceId, B3,
Traceparent.
"""

from libc.stdint cimport int32_t, uint32_t

from .scan cimport Slice
from .text cimport is_verb, random_below
from .types cimport *

cdef enum:
    PERCENT = 100


cdef bint _header(Msg* m, const char* name, size_t n, Slice* value) noexcept nogil:
    """The first value of a header, blanks around it left out; ``name`` in upper case. False: there is none."""
    cdef const char* p = m.body
    cdef const char* e = m.body + m.header_len
    while p < e:
        while p < e and p[0] != c'\n':
            p += 1
        p += 1
        if <size_t>(e - p) <= n or p >= e:
            return False
        if p[n] != c':' or not is_verb(p, e, name, n):
            continue
        p += n + 1
        while p < e and (p[0] == c' ' or p[0] == c'\t'):
            p += 1
        value.p = p
        while p < e and p[0] != c'\r' and p[0] != c'\n':
            p += 1
        while p > value.p and ((p - 1)[0] == c' ' or (p - 1)[0] == c'\t'):
            p -= 1
        value.n = p - value.p
        return True
    return False


cdef uint32_t _pieces(Slice s, char at, uint32_t wanted, Slice* piece) noexcept nogil:
    """How many pieces there are between ``at``; ``piece`` is that of number ``wanted``, if it exists."""
    cdef uint32_t count = 0
    cdef size_t start = 0
    cdef size_t i
    for i in range(s.n + 1):
        if i == s.n or s.p[i] == at:
            if count == wanted:
                piece.p, piece.n = s.p + start, i - start
            count += 1
            start = i + 1
    return count


cdef inline int _digit(char b) noexcept nogil:
    """A hexadecimal digit's value, -1 for anything else."""
    if c'0' <= b <= c'9':
        return b - 48
    if c'a' <= b <= c'f':
        return b - 87
    if c'A' <= b <= c'F':
        return b - 55
    return -1


cdef inline bint _is(Slice s, char b) noexcept nogil:
    return s.n == 1 and s.p[0] == b


cdef bint _uber(Slice value) noexcept nogil:
    cdef Slice flags
    if _pieces(value, c':', 3, &flags) != 4 or flags.n == 0 or flags.n > 2:
        return False
    return _digit(flags.p[0]) >= 0 and _digit(flags.p[flags.n - 1]) > 0 and _digit(flags.p[flags.n - 1]) & 1 == 1


cdef bint _b3(Slice value) noexcept nogil:
    cdef Slice piece
    cdef uint32_t count = _pieces(value, c'-', 2, &piece)
    if count > 2:
        return not _is(piece, c'0')
    return not (count == 1 and _is(value, c'0'))


cdef bint _traceparent(Slice value) noexcept nogil:
    """The flags have to fit a signed byte, as in nats-server."""
    cdef Slice flags
    if _pieces(value, c'-', 3, &flags) != 4 or flags.n != 2:
        return False
    return 0 <= _digit(flags.p[0]) < 8 and _digit(flags.p[1]) > 0 and _digit(flags.p[1]) & 1 == 1


cdef bint is_sampled(Core* k, int32_t sampling, Msg* m, bint* by_header) noexcept nogil:
    """``sampling`` in percent, 0: by headers only, negative: never. ``by_header``: the headers asked for it."""
    cdef Slice value
    by_header[0] = False
    if sampling < 0:
        return False
    if sampling >= PERCENT or (sampling > 0 and random_below(&k.random, PERCENT) <= <uint32_t>sampling):
        return True
    if m.header_len == 0:
        return False
    by_header[0] = True
    if _header(m, b"UBER-TRACE-ID", 13, &value):
        return _uber(value)
    if _header(m, b"X-B3-SAMPLED", 12, &value) and (_is(value, c'0') or _is(value, c'1')):
        return _is(value, c'1')
    if _header(m, b"X-B3-TRACEID", 12, &value):
        return True
    if _header(m, b"B3", 2, &value):
        return _b3(value)
    return _header(m, b"TRACEPARENT", 11, &value) and _traceparent(value)
