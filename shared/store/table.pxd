"""Tables and dead sets (table.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *

cdef Table* table_new(uint64_t seed) noexcept nogil
cdef void table_free(Table* t) noexcept nogil
cdef Page* table_page(Table* t, uint64_t seq) noexcept nogil
cdef Entry* table_find(Table* t, uint64_t seq) noexcept nogil
cdef Entry* table_next(Table* t, uint64_t seq) noexcept nogil
cdef void table_put(Table* t, Entry* e) noexcept nogil
cdef void table_take(Table* t, Entry* e) noexcept nogil
cdef Topic* topic_find(Table* t, const char* subject, uint32_t n) noexcept nogil
cdef Topic* topic_make(Table* t, const char* subject, uint32_t n) noexcept nogil
cdef void topic_drop(Table* t, Topic* p) noexcept nogil

cdef bint dead_has(DeadSet* d, uint64_t seq) noexcept nogil
cdef bint dead_add(DeadSet* d, uint64_t seq) noexcept nogil
cdef void dead_clear(DeadSet* d) noexcept nogil
