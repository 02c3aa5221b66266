"""What a consumer has handed out and what it has to hand out again (pending.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from .types cimport *

cdef Pending* pending_find(Consumer* c, uint64_t seq) noexcept nogil
cdef Pending* pending_add(Consumer* c, uint64_t stream_seq, uint64_t consumer_seq) noexcept nogil
cdef void pending_drop(Consumer* c, Pending* p) noexcept nogil
cdef void pending_clear(Consumer* c) noexcept nogil
cdef void again_push(Consumer* c, uint64_t seq) noexcept nogil
cdef uint64_t again_pop(Consumer* c) noexcept nogil
cdef void requeue(Consumer* c, Pending* p) noexcept nogil
cdef void wait_until(Consumer* c, Pending* p, uint64_t due_ns) noexcept nogil
cdef bint given_up_has(Consumer* c, uint64_t seq) noexcept nogil
cdef void given_up_add(Consumer* c, uint64_t seq) noexcept nogil
cdef uint64_t given_up_below(Consumer* c, uint64_t seq) noexcept nogil
cdef bint given_up_drop(Consumer* c, uint64_t seq) noexcept nogil
cdef void floor_after(Consumer* c, uint64_t consumer_seq) noexcept nogil
