"""Who gets a message on a subject: found once, executed many times."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Plan

cdef Plan* plan_for(Core* k, AccountState* a, Conn* c, const char* subject, size_t n) noexcept nogil
cdef void plans_stale(AccountState* a, const char* pattern, size_t n) noexcept nogil
cdef void plans_clear(AccountState* a) noexcept nogil
