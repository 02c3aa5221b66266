"""Telling leaf links of interest."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Sub

cdef bint is_lds(const char* subject, size_t n) noexcept nogil
cdef void tell_change(Core* k, AccountState* a, Sub* sub, const char* subject, size_t n, uint32_t old,
                      uint32_t new) noexcept nogil
cdef void link_up(Core* k, Conn* c) noexcept nogil
cdef void link_down(Core* k, Conn* c) noexcept nogil
