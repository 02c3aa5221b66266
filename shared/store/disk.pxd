"""What log.pyx and the store's Python face ask of the LMDB side (disk.pyx, flush.pyx). See types.pxd.

Reading is for the loop's thread: one read transaction, renewed when a flush has been committed (``disk_refresh``).
A reader skips what ``dead`` and ``frozen_dead`` of the log say. ``disk_flush`` is for the mover's thread.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *

cdef int disk_read(Log* l, uint64_t seq, Record* r) noexcept nogil
cdef int disk_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil
cdef bint disk_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil
cdef uint64_t disk_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil
cdef uint64_t disk_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil
cdef void disk_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil
cdef uint64_t disk_seq_from_time(Log* l, int64_t ts) noexcept nogil
