"""Compressed blocks (packing.pyx)."""

from libc.stdint cimport uint32_t

from .block cimport Block, BlockWriter

cdef uint32_t packed_size(Block* b) noexcept nogil
cdef bint unpack(void* expand, Block* b, char* to, uint32_t size) noexcept nogil
cdef bytes packed(void* squeeze, BlockWriter* w)
