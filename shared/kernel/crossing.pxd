"""The owner of an account's subscriptions that lead elsewhere."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Sub

cdef Conn* crossing_conn(Core* k, AccountState* a) noexcept nogil
cdef Sub* crossing_sub(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil
cdef void crossing_free(Core* k, AccountState* a) noexcept nogil
