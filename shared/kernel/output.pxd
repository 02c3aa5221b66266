"""Out-buffers, flushing, and how a connection ends."""

from libc.string cimport memcpy

from .types cimport CLIENT, LEAF, Chunk, Conn, Core

cdef enum:
    LEAF_PENDING = 4  # a link gathers for everybody behind it: this many times max_pending

cdef void out_slow(Core* k, Conn* c, const char* p, size_t n) noexcept nogil
cdef void mark_dirty(Core* k, Conn* c) noexcept nogil
cdef void flush(Core* k, Conn* c) noexcept nogil
cdef void flush_dirty(Core* k) noexcept nogil
cdef void cut_off(Core* k, Conn* c) noexcept nogil
cdef void watch(Core* k, Conn* c) noexcept nogil
cdef void doom(Core* k, Conn* c, unsigned int reason) noexcept nogil
cdef void fail(Core* k, Conn* c, const char* text, size_t n, unsigned int reason) noexcept nogil
cdef void complain(Core* k, Conn* c, const char* text, size_t n) noexcept nogil
cdef void emit(Core* k, Conn* c, int type, const char* data, size_t n) noexcept nogil
cdef void finish(Core* k, Conn* c) noexcept nogil
cdef void release_output(Core* k, Conn* c) noexcept nogil
cdef void release_pools(Core* k) noexcept nogil


cdef inline unsigned long long write_deadline(Core* k, Conn* c) noexcept nogil:
    """When a socket that has been full since ``blocked_ns`` has been so for too long."""
    return c.blocked_ns + (k.leaf_write_deadline_ns if c.kind == LEAF else k.write_deadline_ns)


cdef inline size_t pending_max(Core* k, Conn* c) noexcept nogil:
    """How much may wait for ``c`` before it is cut off as slow."""
    return k.max_pending if c.kind == CLIENT else k.max_pending * LEAF_PENDING


cdef inline void due(Core* k, unsigned long long when) noexcept nogil:
    """The next sweep has to happen by ``when`` (0: no wish)."""
    if when and (k.due_ns == 0 or when < k.due_ns):
        k.due_ns = when


cdef inline void out(Core* k, Conn* c, const char* a, size_t an, const char* b, size_t bn) noexcept nogil:
    """Appends two pieces to what waits for ``c``. The caller has seen that it is not CLOSING."""
    cdef Chunk* t = c.out_tail
    cdef char* at
    if t != NULL and t.cap - t.end >= an + bn:
        at = <char*>(t + 1) + t.end
        memcpy(at, a, an)
        memcpy(at + an, b, bn)
        t.end += <unsigned int>(an + bn)
        c.pending += an + bn
        mark_dirty(k, c)
    else:
        out_slow(k, c, a, an)
        out_slow(k, c, b, bn)
