"""Streams: taking messages in (stream.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from phloem.shared.kernel.types cimport Conn, Core, Msg

from .types cimport *

cdef bint stream_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
cdef uint64_t stream_store(Stream* s, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                           uint32_t header_len, uint32_t size) noexcept nogil
cdef void stream_limits(Stream* s) noexcept nogil
cdef void stream_acked(Stream* s, Consumer* c, uint64_t seq) noexcept nogil
cdef bint stream_fits(Stream* s, Msg* m) noexcept nogil
cdef bint stream_wanted(Stream* s, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void stream_removed(void* context, Log* l, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void stream_forget_unwanted(Stream* s) noexcept nogil
cdef void stream_news(Stream* s) noexcept nogil
cdef void stream_visible(Stream* s) noexcept nogil
