"""What the engine does with a log (see types.pxd). All of it is for the loop's thread and needs no GIL."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *

# writing. Nothing here waits for the disk: a file log's records join the journal's filling batch.
cdef uint64_t log_append(Log* l, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                         uint32_t header_len, uint32_t size) noexcept nogil
cdef bint log_remove(Log* l, uint64_t seq) noexcept nogil
cdef void log_remove_range(Log* l, uint64_t first, uint64_t last) noexcept nogil
cdef uint64_t log_purge(Log* l, Filter* f, uint64_t below, uint64_t keep) noexcept nogil
cdef void log_skip(Log* l, uint64_t last_seq) noexcept nogil

# reading
cdef int log_read(Log* l, uint64_t seq, Record* r) noexcept nogil
cdef int log_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil
cdef int log_oldest(Log* l, Record* r) noexcept nogil
cdef bint log_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil
cdef uint64_t log_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil
cdef uint64_t log_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil
cdef void log_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil
cdef uint64_t log_last_of_subjects(Log* l, Filter* f, uint64_t end, uint64_t** seqs) noexcept nogil
cdef uint64_t log_seq_from_time(Log* l, int64_t ts) noexcept nogil

cdef bint filter_matches(Filter* f, const char* subject, size_t n) noexcept nogil
cdef void filter_clear(Filter* f) noexcept nogil
cdef void filter_add(Filter* f, const char* pattern, size_t n) noexcept nogil

cdef Log* log_new(uint64_t seed, Journal* j, uint32_t ident, bint memory) noexcept nogil
cdef void log_free(Log* l) noexcept nogil
# a flush: the active Table becomes the frozen one (there must be none); later, what was frozen is on disk
cdef void log_freeze(Log* l) noexcept nogil
cdef void log_thaw(Log* l) noexcept nogil
cdef void log_touch(Log* l) noexcept nogil  # its state is that of the filling batch

cdef uint64_t record_bytes(Log* l, uint32_t n, uint32_t header_len, uint32_t size) noexcept nogil
cdef uint32_t record_check(uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                           uint32_t header_len, uint32_t size) noexcept nogil


cdef class Log_:  # the Python face (face.pxi), called Log there
    cdef Log* l
    cdef bint owned  # else its store frees it
    cdef object name  # what problems call it; None: by its number
