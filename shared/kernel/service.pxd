"""Service imports: requests into another account, and their answers back."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Msg, Service

cdef uint32_t cross(Core* k, Conn* src, Msg* m, Service* s) noexcept nogil
cdef void services_replace(Core* k, AccountState* a, Service* wanted) noexcept nogil
cdef void services_free(Core* k, AccountState* a) noexcept nogil
cdef void service_free(Service* s) noexcept nogil
