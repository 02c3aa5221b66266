"""Entries of LMDB while a generation is moved (entries.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from .block cimport Block
from .disk cimport Disk
from .lmdb cimport MDB_val
from .vault cimport Opener, Sealed

cdef enum:
    DAMAGED_BLOCK = -1

cdef struct Flush:  # one under way; belongs to the mover's thread
    Disk* disk
    void* txn
    void* blocks  # cursor
    Opener opener
    uint64_t messages
    uint64_t bytes
    uint64_t pages  # that the file had when it began
    char put_key[12]  # of the last block that it wrote
    uint64_t bad_page  # where a large value begins whose head is damaged, the last one that was met; 0: none
    uint64_t fold  # of the keys of the log's blocks, as they are now
    uint64_t thinned  # bytes of blocks that were read to be made smaller

cdef bint block_at(Flush* f, Sealed* s, const char* key, const MDB_val* v, Block* b) noexcept nogil
cdef bint may_go(Flush* f, unsigned int db, int which, const MDB_val* key) noexcept nogil
cdef int put_block(Flush* f, const char* key, const void* value, size_t vn) noexcept nogil
cdef int put_sealed(Flush* f, unsigned int db, int which, const void* key, size_t kn, const void* value,
                    size_t vn) noexcept nogil
cdef int dead_bits(Flush* f, const char* key, size_t size, MDB_val* v) noexcept nogil
cdef int delete_entry(Flush* f, unsigned int db, const void* key, size_t kn) noexcept nogil
cdef int delete_block(Flush* f, const char* key) noexcept nogil
cdef int drop_messages(Flush* f, uint32_t ident) noexcept nogil
cdef int flush_drop(Flush* f, uint32_t ident) noexcept nogil
cdef int flush_meta(Flush* f, const char* key, size_t kn, const char* value, size_t vn) noexcept nogil
cdef int flush_pair(Flush* f, const char* key, size_t kn, const char* value, size_t vn, bint deleted) noexcept nogil
