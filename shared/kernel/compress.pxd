"""Compression of leaf links; compress.pyx has the thought."""

from .types cimport Conn, Core

cdef enum:
    CARRY_MAX = 1 << 14  # an unfinished operation up to this size is moved in front of the next read
    READ_MAX = 1 << 18  # bytes of one connection in one round
    HEAD_MAX = 18  # the stream's identifier, a chunk's type and length, its checksum

cdef enum Unpacked:
    WHOLE = 0  # a block
    MORE = 1  # has to come first
    CORRUPT = 2

cdef struct Piece:  # the next piece for the socket
    char head[HEAD_MAX]
    size_t head_len
    const char* body
    size_t body_len
    size_t plain  # bytes of the Chunks that it stands for

cdef void pack_begin(Core* k, Conn* c) except *
cdef void pack_adapt(Conn* c) noexcept nogil
cdef size_t pack_room(Core* k, Conn* c, char** at) noexcept nogil
cdef void pack_filled(Core* k, Conn* c, size_t n) noexcept nogil
cdef void pack_kept(Conn* c) noexcept nogil
cdef Unpacked pack_next(Core* k, Conn* c, char** at, size_t* n) noexcept nogil
cdef void pack_keep(Conn* c) noexcept nogil
cdef void pack_hold(Core* k, Conn* c) noexcept nogil
cdef void pack_slice(Core* k, Conn* c, Piece* s, bint in_one) noexcept nogil
cdef void pack_left(Conn* c, Piece* s, size_t sent) noexcept nogil
cdef size_t pack_sent(Conn* c, size_t n) noexcept nogil
cdef void pack_forget(Conn* c) noexcept nogil
cdef void pack_deaf(Conn* c) noexcept nogil
cdef void pack_free(Core* k, Conn* c) noexcept nogil
