"""Buffers that grow while something is written, and are kept for the next time unless they have become large."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from phloem.shared.kernel.sublist cimport must
from phloem.shared.store.types cimport Buffer
from phloem.shared.store.varint cimport put_varint

cdef enum:
    NUMBER = 10  # bytes of a varint
    KEPT = 1 << 20


cdef inline char* room(Buffer* b, size_t n) noexcept nogil:
    """Space for ``n`` more bytes; the caller says how many it used."""
    if b.length + n > b.cap:
        b.cap = (b.length + n) * 2
        b.data = <char*>must(realloc(b.data, b.cap))
    return b.data + b.length


cdef inline void add_number(Buffer* b, uint64_t value) noexcept nogil:
    b.length = put_varint(room(b, NUMBER), value) - b.data


cdef inline void add_byte(Buffer* b, uint8_t value) noexcept nogil:
    room(b, 1)[0] = <char>value
    b.length += 1


cdef inline void add_text(Buffer* b, const char* text, size_t n) noexcept nogil:
    memcpy(room(b, n), text, n)
    b.length += n


cdef inline void relax(Buffer* b) noexcept nogil:
    """Empty it, and give back what something unusual took."""
    b.length = 0
    if b.cap > KEPT:
        free(b.data)
        b.data, b.cap = NULL, 0
