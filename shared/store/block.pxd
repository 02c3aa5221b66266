"""Blocks of messages (block.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .types cimport *
from .vault cimport Opener, Sealed, Vault

cdef enum:
    BLOCK_HEAD = 48
    BLOCK_FULL = 65520  # sixteen pages of LMDB without the head of the first
    BLOCK_SHUT = 64460  # as many when they are encrypted
    BLOCK_ZSTD = 1
    HEAD_SEED = 0x626C6B31

cdef struct Block:  # one that is being read; points into the map of LMDB or into a buffer of the reader
    const char* data
    size_t size
    const char* offsets  # uint16 for each message
    const char* deltas  # uint32 for each message: its sequence above ``first``; NULL: there are no holes
    uint64_t first
    uint64_t last
    int64_t base_ts
    int64_t max_ts
    uint32_t count
    uint32_t flags
    uint32_t owner  # of which log (``block_owner``); 0: an earlier version did not say
    bint disordered  # the list of sequences is damaged; what is good is found all the same
    Sealed* sealed  # it is encrypted, and ``data`` is what of it is opened; NULL: it is not

cdef struct BlockWriter:
    size_t full  # bytes of a block; 0: BLOCK_FULL
    Buffer data  # head and records
    uint16_t* offsets
    uint32_t* deltas
    uint32_t cap
    uint32_t count
    uint64_t first
    uint64_t last
    int64_t base_ts
    int64_t max_ts
    uint32_t* seen  # offsets of subjects by hash, for this block
    Buffer whole  # the finished value

cdef bint block_open(Block* b, const char* data, size_t size) noexcept nogil
cdef bint block_open_sealed(Block* b, Sealed* sealed, Opener* o, const char* key, const char* data,
                            size_t size) noexcept nogil
cdef size_t block_shut_size(const char* block, size_t size) noexcept nogil
cdef void block_shut(Vault* v, const char* key, const char* block, size_t size, char* to) noexcept nogil
cdef uint32_t block_owner(uint32_t ident) noexcept nogil
cdef bint block_belongs(Block* b, const char* key) noexcept nogil
cdef bint block_whole(Block* b) noexcept nogil
cdef uint64_t block_seq(Block* b, uint32_t index) noexcept nogil
cdef uint32_t block_find(Block* b, uint64_t seq) noexcept nogil
cdef uint32_t block_after(Block* b, uint32_t index) noexcept nogil
cdef int block_read(Block* b, uint32_t index, Record* r, uint64_t* previous) noexcept nogil
cdef int block_verified(Block* b, uint32_t index, Record* r) noexcept nogil

cdef bint block_add(BlockWriter* w, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                    uint32_t header_len, uint32_t size, uint32_t check, uint64_t previous) noexcept nogil
cdef void block_finish(BlockWriter* w, uint32_t ident) noexcept nogil
cdef void block_restart(BlockWriter* w) noexcept nogil
cdef bint block_resume(BlockWriter* w, Block* b) noexcept nogil
cdef void block_free(BlockWriter* w) noexcept nogil
