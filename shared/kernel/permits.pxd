"""What a user may publish, subscribe to and receive."""

from libc.stdint cimport uint8_t, uint32_t

from .types cimport Conn, Core, Permits, Plan

cdef bint may_publish(Core* k, Conn* c, const char* subject, size_t n, Plan* plan) noexcept nogil
cdef bint may_subscribe(Core* k, Permits* p, const char* subject, size_t n, const char* queue, size_t qn,
                        bint leaf, uint8_t* filtered) noexcept nogil
cdef bint is_denied(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil
cdef bint may_receive(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil
cdef bint may_advertise(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil
cdef void track_reply(Core* k, Conn* c, const char* reply, size_t n) noexcept nogil
cdef void forget_replies(Conn* c) noexcept nogil
cdef void permits_add(Permits* p, int which, const char* subject, size_t n, const char* queue, size_t qn) noexcept nogil
cdef void permits_clear(Permits* p) noexcept nogil
