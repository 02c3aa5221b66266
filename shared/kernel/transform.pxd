"""New subjects from old ones."""

from libc.stdint cimport uint8_t, uint32_t

from .types cimport Core, StreamImport, Transform

cdef enum What:  # a Step's; names shared with account.pxi
    LITERAL = 0
    TOKEN = 1
    PARTITION = 2
    RANDOM = 3
    SPLIT = 4
    SPLIT_FROM_LEFT = 5
    SPLIT_FROM_RIGHT = 6
    SLICE_FROM_LEFT = 7
    SLICE_FROM_RIGHT = 8
    LEFT = 9
    RIGHT = 10
    REST = 11

cdef enum:
    SUBJECT_MAX = 65000  # bytes of a subject that is made; lengths in the sublist are 16 bits wide

cdef Transform* transform_new(uint32_t nsteps) noexcept nogil
cdef void transform_free(Transform* t) noexcept nogil
cdef uint32_t transform(Core* k, Transform* t, const char* subject, uint32_t n, char* to) noexcept nogil
cdef uint32_t local_subject(Core* k, StreamImport* im, const char* subject, uint32_t n, const char** to) noexcept nogil
