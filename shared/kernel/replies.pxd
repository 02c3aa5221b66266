"""Where the answers to requests go that crossed into another account."""

from libc.stdint cimport uint32_t, uint64_t

from .types cimport AccountState, Core, Reply, Served

cdef struct ServedEvent:  # what Python is told of a measured request; headers follow (objects.pxi reads it)
    uint64_t requester
    uint64_t responder
    uint64_t start_ns
    uint64_t end_ns
    uint32_t export_id
    uint32_t status
    uint32_t share

cdef Reply* reply_new(Core* k, AccountState* a, AccountState* requester, const char* to, uint32_t to_len,
                      const char* header, uint32_t header_len, bint measured) noexcept nogil
cdef void reply_keep(Core* k, Reply* r, uint64_t threshold_ns) noexcept nogil
cdef void reply_renew(Core* k, Reply* r) noexcept nogil
cdef Reply* reply_find(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil
cdef void reply_end(Core* k, Reply* r, int served) noexcept nogil
cdef void replies_unheard(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil
cdef void replies_sweep(Core* k) noexcept nogil
cdef void replies_free(Core* k, AccountState* a) noexcept nogil
cdef void tell_served(Core* k, int status, uint32_t export_id, bint share, uint64_t requester, uint64_t responder,
                      uint64_t start_ns, const char* header, uint32_t header_len) noexcept nogil
