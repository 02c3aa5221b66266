"""The LMDB side of the store (disk.pyx, flush.pyx). See types.pxd.

Reading is for the loop's thread: one read transaction, renewed when a flush has been committed (``disk_refresh``).
A reader skips what ``dead`` and ``frozen_dead`` of the log say. ``disk_flush`` is for the mover's thread.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from .block cimport Block
from .keys cimport LogState, Place
from .types cimport *
from .vault cimport Opener, Sealed, Vault

cdef struct Disk:
    void* env
    unsigned int meta
    unsigned int blocks
    unsigned int subjects
    unsigned int dead
    unsigned int pairs
    void* reader  # transaction of the loop's thread
    void* cursor  # over blocks, in it
    const char* map  # the file in memory; NULL: its place is not known
    uint64_t pages  # that the reader's file has
    size_t page_size
    uint64_t serial  # of the reader: what points into the map holds as long as this stays
    void* squeeze  # Python callables of zstandard, borrowed; this one is the mover's
    void* unsqueeze  # the mover's as well
    void* expand  # the reader's
    uint64_t damaged  # messages, blocks and entries found damaged while reading
    uint32_t damaged_ident  # of the last one; 0: none
    uint64_t damaged_seq  # 0: something other than a message
    uint64_t bad_page  # where a large value begins whose head is damaged, the last one while reading; 0: none
    int error  # of LMDB, the last one while reading
    Vault* vault  # NULL: nothing is encrypted
    Opener opener  # of the loop's thread
    uint8_t sparing  # pages of the file that were looked at do not stay in the process
    size_t looked  # bytes of blocks since they were last let go

cdef struct DiskLog:  # one log on disk, and the block that its reader is in
    Disk* disk
    uint64_t serial
    Block block
    const char* bits  # messages of the block that are dead; NULL: none
    char* expanded
    size_t expanded_cap
    Opener opener  # of this log's blocks and their bits
    Sealed sealed
    uint32_t lost  # live messages of the block that cannot be read; 1 where nobody knows

cdef DiskLog* disk_log(Disk* d) noexcept nogil
cdef void disk_log_free(void* disk) noexcept nogil
cdef void disk_log_anew(void* disk) noexcept nogil
cdef int disk_state(Disk* d, uint32_t ident, LogState* s) noexcept nogil
cdef int disk_place(Disk* d, Place* place) noexcept nogil

cdef uint64_t disk_lost(Log* l, uint64_t seq) noexcept nogil
cdef int disk_read(Log* l, uint64_t seq, Record* r) noexcept nogil
cdef int disk_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil
cdef bint disk_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil
cdef uint64_t disk_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil
cdef uint64_t disk_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil
cdef void disk_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil
cdef uint64_t disk_seq_from_time(Log* l, int64_t ts) noexcept nogil
