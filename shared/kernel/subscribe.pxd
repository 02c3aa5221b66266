"""SUB, UNSUB, LS+ and LS-, and the refusals they share with messages."""

from .output cimport out
from .types cimport VERBOSE, Conn, Core

cdef void deny(Core* k, Conn* c, const char* what, size_t n, const char* subject, size_t sn,
               const char* queue, size_t qn, bint close) noexcept nogil
cdef void client_sub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil
cdef void client_unsub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil
cdef void leaf_sub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil
cdef void leaf_unsub(Core* k, Conn* c, const char* p, const char* e) noexcept nogil


cdef inline void ok(Core* k, Conn* c) noexcept nogil:
    if c.flags & VERBOSE:
        out(k, c, b"+OK\r\n", 5, b"", 0)
