"""The ids of a stream's duplicate window (message_ids.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from phloem.shared.store.log cimport Log_
from phloem.shared.store.types cimport Log

from .types cimport *

cdef struct IdHash:
    uint64_t high
    uint32_t low

# the hash that the first of them makes is what the second one takes
cdef uint64_t ids_first(Ids* ids, const char* text, uint32_t n, int64_t now, IdHash* h) noexcept nogil
cdef void ids_put(Ids* ids, const char* text, uint32_t n, uint64_t seq, int64_t now, IdHash* h) noexcept nogil
cdef bint id_in(const char* header, uint32_t header_len, const char** text, uint32_t* n) noexcept nogil
cdef void ids_removing(Ids* ids, uint64_t seq, bint all, int64_t now) noexcept nogil
cdef void ids_join(Engine* g, Ids* ids) noexcept nogil
cdef void ids_leave(Engine* g, Ids* ids) noexcept nogil
cdef void ids_work(Engine* g) noexcept nogil


cdef class MessageIds:
    cdef Ids ids
    cdef readonly Log_ log
    cdef bytes folder
