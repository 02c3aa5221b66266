"""Arguments of a control line, from either end. No copies: a Slice points into the input."""

from .text cimport is_blank

cdef struct Slice:
    const char* p
    size_t n


cdef inline Slice next_arg(const char** at, const char* e) noexcept nogil:
    """The next argument from the front; empty when there is none."""
    cdef Slice s
    cdef const char* p = at[0]
    while p < e and is_blank(p[0]):
        p += 1
    s.p = p
    while p < e and not is_blank(p[0]):
        p += 1
    s.n = p - s.p
    at[0] = p
    return s


cdef inline Slice last_arg(const char* b, const char** end) noexcept nogil:
    """The last argument before ``end``; empty when there is none."""
    cdef Slice s
    cdef const char* e = end[0]
    while e > b and is_blank((e - 1)[0]):
        e -= 1
    s.p = e
    while s.p > b and not is_blank((s.p - 1)[0]):
        s.p -= 1
    s.n = e - s.p
    end[0] = s.p
    return s
