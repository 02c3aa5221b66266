"""Payloads whose figures stand in columns (figures.pyx)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from phloem.shared.store.types cimport Buffer

cdef struct Shape:
    size_t at  # in Figures.shapes
    uint32_t length
    uint32_t figures  # in one payload
    uint32_t payloads
    uint32_t begin  # of them in ``order``
    size_t marks  # in Figures.marks, where it is read


cdef class Figures:
    cdef Buffer shapes
    cdef Buffer shape_of  # a byte for each payload
    cdef Buffer values  # int64 of all figures, payload by payload
    cdef Buffer scales  # a byte for each
    cdef Buffer starts  # uint64: the first value of each payload
    cdef Buffer scratch
    cdef Buffer order  # uint32: payloads by shape
    cdef Buffer marks  # a byte for each figure of the shapes that are read: what stands for it
    cdef Shape table[256]
    cdef uint32_t nshapes
    cdef uint32_t slots[512]
    cdef uint64_t payloads
    cdef bint useless
    cdef const int64_t* times

    cdef void relax(self) noexcept nogil
    cdef void clear(self, const int64_t* times) noexcept nogil
    cdef bint add(self, const char* p, size_t n) noexcept nogil
    cdef void write(self, Buffer* to) noexcept nogil
    cdef bint read(self, const char* p, const char* end, uint64_t payloads, Buffer* to, Buffer* sizes,
                   size_t most, const int64_t* times) noexcept nogil
    cdef uint32_t _take_apart(self, const char* p, size_t n) noexcept nogil
    cdef void _time(self, const char* p) noexcept nogil
    cdef void _value(self, const char* p, size_t digits, size_t decimals) noexcept nogil
    cdef int _shape(self, uint32_t figures) noexcept nogil
    cdef void _sort(self) noexcept nogil
    cdef uint32_t _at(self, uint64_t k) noexcept nogil
    cdef uint64_t _index(self, uint64_t payload, uint32_t place) noexcept nogil
    cdef void _write_scales(self, Buffer* to, uint32_t shape, uint32_t place) noexcept nogil
    cdef void _write_values(self, Buffer* to, uint32_t shape, uint32_t place) noexcept nogil
    cdef const char* _read_shapes(self, const char* p, const char* end) noexcept nogil
    cdef bint _walk(self, const char* p, const char* end, Shape* shape) noexcept nogil
    cdef bint _choose(self, const char* p, uint64_t payloads, size_t most) noexcept nogil
    cdef const char* _read_columns(self, const char* p, const char* end) noexcept nogil
    cdef const char* _read_scales(self, const char* p, const char* end, uint32_t shape, uint32_t place) noexcept nogil
    cdef const char* _read_values(self, const char* p, const char* end, uint32_t shape, uint32_t place) noexcept nogil
    cdef bint _put_together(self, Buffer* to, Buffer* sizes, size_t most) noexcept nogil
    cdef bint _compose(self, Buffer* to, Shape* shape, uint64_t index, uint64_t payload) noexcept nogil
