"""Requests that wait for messages, and what they are told (pull.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *

cdef void say_status(Consumer* c, const char* to, uint32_t n, const char* status, Pull* left) noexcept nogil
cdef void say_heartbeat(Consumer* c, const char* to, uint32_t n, const char* stalled, uint32_t sn) noexcept nogil
cdef bint somebody_listens(Consumer* c, const char* subject, uint32_t n) noexcept nogil
cdef Pull* pull_new(Consumer* c, const char* reply, uint32_t n) noexcept nogil
cdef void pull_join(Consumer* c, Pull* p) noexcept nogil
cdef void pull_leave(Consumer* c, Pull* p) noexcept nogil
cdef void pull_turn(Consumer* c, Pull* p) noexcept nogil
cdef Pull* pull_choose(Consumer* c) noexcept nogil
cdef void pulls_sweep(Consumer* c, uint64_t now) noexcept nogil
cdef void pulls_end(Consumer* c, const char* status) noexcept nogil
cdef void pulls_in_vain(Consumer* c) noexcept nogil
cdef void soon(uint64_t* due_ns, uint64_t ns) noexcept nogil
cdef void tell(Consumer* c, int what, uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
               uint64_t ns) noexcept nogil
cdef void unpin(Consumer* c, bint admin) noexcept nogil
