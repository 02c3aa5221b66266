"""LMDB's file (environment.pyx)."""

from libc.stdint cimport uint64_t

from .disk cimport Disk
from .lmdb cimport META_BYTES, PAGE_HEAD, MDB_val
from .vault cimport Vault

cdef enum:
    HEADS = PAGE_HEAD + META_BYTES  # bytes that LMDB uses of each of its file's first two pages

cdef int disk_open(Disk* d, const char* path, bint read_only, Vault* vault) noexcept nogil
cdef void disk_close(Disk* d) noexcept nogil
cdef int disk_reopen(Disk* d, const char* path) noexcept nogil
cdef bint disk_heads(Disk* d, char* heads) noexcept nogil
cdef bint disk_mend_heads(Disk* d, const char* heads) noexcept nogil
cdef void disk_let_go(Disk* d) noexcept nogil
cdef int disk_refresh(Disk* d) noexcept nogil
cdef uint64_t disk_pages(Disk* d) noexcept nogil
cdef uint64_t disk_free_pages(Disk* d) noexcept nogil
cdef size_t disk_page_size(Disk* d) noexcept nogil
cdef int disk_value(Disk* d, void* cursor, uint64_t pages, const MDB_val* key, MDB_val* v, uint64_t* bad) noexcept nogil
cdef int disk_find(Disk* d, void* txn, unsigned int db, uint64_t pages, const MDB_val* key, MDB_val* v,
                   uint64_t* bad) noexcept nogil
cdef bint disk_absent(Disk* d, unsigned int db, int which, const MDB_val* key) noexcept nogil
cdef bint disk_begins(Disk* d, unsigned int db, int which, const MDB_val* key) noexcept nogil
cdef bint disk_mend_head(Disk* d, uint64_t number, const MDB_val* v) noexcept nogil
