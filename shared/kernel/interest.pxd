"""Subscriptions of connections."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Group, Node, Sub

cdef Sub* sub_find(Core* k, Conn* c, const char* sid, size_t n) noexcept nogil
cdef Sub* sub_add(Core* k, Conn* c, const char* subject, size_t n, const char* queue, size_t qn,
                  const char* sid, size_t sn, uint32_t weight) noexcept nogil
cdef void sub_remove(Core* k, Sub* sub) noexcept nogil
cdef void sub_weight(Core* k, Sub* sub, uint32_t weight) noexcept nogil
cdef void subs_clear(Core* k, Conn* c) noexcept nogil
cdef void subs_expire(Core* k) noexcept nogil
