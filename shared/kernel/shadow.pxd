"""Stand-ins of subscriptions in the accounts whose streams they import."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Core, StreamImport, Sub

cdef void shadows_add(Core* k, AccountState* a, Sub* main, const char* subject, uint32_t n) noexcept nogil
cdef void shadows_drop(Core* k, Sub* main) noexcept nogil
cdef void shadows_weigh(Core* k, Sub* main, uint32_t old) noexcept nogil
cdef void streams_replace(Core* k, AccountState* a, StreamImport* wanted) noexcept nogil
cdef void streams_free(AccountState* a) noexcept nogil
cdef void streams_stale(AccountState* a) noexcept nogil
cdef void stream_import_free(StreamImport* im) noexcept nogil
