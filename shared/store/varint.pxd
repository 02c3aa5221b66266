"""Numbers in as few bytes as they need: seven bits a byte, the low ones first. Reading knows where the input ends."""

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef inline char* put_varint(char* to, uint64_t value) noexcept nogil:
    """At most 10 bytes; behind the last one."""
    while value >= 0x80:
        to[0] = <char>((value & 0x7F) | 0x80)
        to += 1
        value >>= 7
    to[0] = <char>value
    return to + 1


cdef inline const char* get_varint(const char* p, const char* end, uint64_t* value) noexcept nogil:
    """Behind the number, or NULL: it does not end before ``end``, or is none."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t b
    if p == NULL:
        return NULL
    while p < end and shift < 64:
        b = <uint8_t>p[0]
        p += 1
        result |= <uint64_t>(b & 0x7F) << shift
        if b < 0x80:
            value[0] = result
            return p
        shift += 7
    return NULL


cdef inline uint64_t zigzag(int64_t value) noexcept nogil:
    return (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)


cdef inline int64_t unzigzag(uint64_t value) noexcept nogil:
    return <int64_t>(value >> 1) ^ -<int64_t>(value & 1)
