"""Moving a generation into LMDB (flush.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from .disk cimport Disk
from .keys cimport Place
from .types cimport *
from .vault cimport Opener

cdef struct Flush:  # one under way; belongs to the mover's thread
    Disk* disk
    void* txn
    void* blocks  # cursor
    Opener opener
    uint64_t messages
    uint64_t bytes
    uint64_t thinned  # bytes of blocks that were read to be made smaller

cdef int flush_begin(Flush* f, Disk* d) noexcept nogil
cdef int flush_log(Flush* f, FrozenLog* l) noexcept nogil
cdef int flush_drop(Flush* f, uint32_t ident) noexcept nogil
cdef int flush_pair(Flush* f, const char* key, size_t kn, const char* value, size_t vn, bint deleted) noexcept nogil
cdef int flush_meta(Flush* f, const char* key, size_t kn, const char* value, size_t vn) noexcept nogil
cdef int flush_commit(Flush* f, const Place* place) noexcept nogil
cdef int flush_step(Disk* d, const Place* place) noexcept nogil
cdef void flush_abort(Flush* f) noexcept nogil
