"""No consumers yet."""

from libc.stdint cimport uint32_t, uint64_t

from .types cimport *


cdef bint consumer_wants(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    return False


cdef void consumer_removed(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    pass


cdef void consumers_news(Stream* s, uint64_t start, uint64_t end) noexcept nogil:
    pass


cdef void consumers_work(Engine* g) noexcept nogil:
    pass


cdef void consumers_write_notes(Engine* g) noexcept nogil:
    pass
