"""Published subjects that become others."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Mapping, Msg

cdef bint map_subject(Core* k, AccountState* a, const char* subject, uint32_t n, char* to, uint32_t* length) noexcept nogil
cdef bint map_message(Core* k, Conn* c, Msg* m) noexcept nogil
cdef void mappings_replace(Core* k, AccountState* a, Mapping* wanted) noexcept nogil
cdef void mappings_free(Core* k, AccountState* a) noexcept nogil
cdef void mapping_free(Mapping* g) noexcept nogil
