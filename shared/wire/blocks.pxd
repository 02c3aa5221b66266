"""Blocks of Snappy and S2 and their checksum, for whoever frames them; blocks.pyx has the thought."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    BLOCK_MAX = 4 << 20        # plain bytes of one S2 block: what Go's reader allows
    SNAPPY_BLOCK_MAX = 1 << 16 # the same in a stream that says it is Snappy
    CHUNK_MAX = BLOCK_MAX + 64 # a block that does not compress, with its length and checksum
    BLOCK = 1 << 16            # plain bytes of a block that encode_fast writes: positions are 16 bits wide
    DENSE = 1 << 17            # likewise encode_dense
    HASH_BITS = 14
    HEAD_BITS = 15
    MAGIC_SIZE = 10
    COMPRESSED = 0x00
    PLAIN = 0x01
    SKIPPABLE = 0x80
    IDENTIFIER = 0xFF

cdef struct Chains:  # what encode_dense remembers: the last place of a hash, and for each place the one before
    uint32_t head[1 << HEAD_BITS]
    uint32_t before[DENSE]


cdef inline size_t room_for(size_t n) noexcept nogil:
    """The worst that compressing can make of a block."""
    return n + n // 6 + 64


cdef inline uint32_t little(const uint8_t* p, size_t n) noexcept nogil:
    """A number of ``n`` bytes, at most four."""
    cdef uint32_t value = 0
    cdef size_t i
    for i in range(n):
        value |= <uint32_t>p[i] << (8 * i)
    return value


cdef uint32_t checksum(const uint8_t* p, size_t n) noexcept nogil
cdef bint plain_size(const uint8_t* s, size_t n, size_t* at, size_t* size) noexcept nogil
cdef bint decode_block(const uint8_t* s, size_t n, uint8_t* to, size_t room) noexcept nogil
cdef size_t encode_fast(const uint8_t* src, size_t n, uint8_t* to, uint16_t* table, bint repeats) noexcept nogil
cdef size_t encode_dense(const uint8_t* src, size_t n, uint8_t* to, Chains* chains, int depth) noexcept nogil
