"""No disk yet."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *


cdef int disk_read(Log* l, uint64_t seq, Record* r) noexcept nogil:
    return MISSING


cdef int disk_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil:
    return MISSING


cdef bint disk_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    return False


cdef uint64_t disk_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil:
    return 0


cdef uint64_t disk_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil:
    return 0


cdef void disk_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil:
    pass


cdef uint64_t disk_seq_from_time(Log* l, int64_t ts) noexcept nogil:
    return 0
