"""No journal yet."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *


cdef void journal_message(Journal* j, Log* l, uint64_t seq, int64_t ts, const char* subject, uint32_t n,
                          const char* body, uint32_t header_len, uint32_t size, uint32_t check) noexcept nogil:
    pass


cdef void journal_removed(Journal* j, Log* l, uint64_t seq) noexcept nogil:
    pass


cdef void journal_purged(Journal* j, Log* l, uint64_t below) noexcept nogil:
    pass


cdef void journal_skipped(Journal* j, Log* l, uint64_t last_seq) noexcept nogil:
    pass


cdef void journal_note(Journal* j, uint32_t owner, const char* data, uint32_t n) noexcept nogil:
    pass


cdef void journal_pair(Journal* j, const char* key, uint32_t kn, const char* value, int64_t vn) noexcept nogil:
    pass


cdef bint journal_submit(Journal* j) noexcept nogil:
    return False


cdef bint journal_reap(Journal* j) noexcept nogil:
    return False
