"""Consumers, as streams and the engine see them (consumer.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from .types cimport *

cdef bint consumer_wants(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void consumer_removed(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void consumers_news(Stream* s, uint64_t start, uint64_t end) noexcept nogil
cdef void consumers_work(Engine* g) noexcept nogil
cdef void consumers_write_notes(Engine* g) noexcept nogil
