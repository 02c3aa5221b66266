"""Blocks that are compressed with zstandard: the block's head with its own size and a mark, the compressed rest, and the
sequences once more if some are missing, so that removing a message needs no look inside.

What compresses and expands are Python callables, because zstandard is Python's; each belongs to one thread.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from phloem.shared.kernel.text cimport hash_bytes

from .block cimport BLOCK_HEAD, BLOCK_ZSTD, HEAD_SEED, Block, BlockWriter, block_whole

cdef enum:
    EXPANDED_MAX = 128 << 20  # a block that claims to be larger is damaged


cdef uint32_t packed_size(Block* b) noexcept nogil:
    """Bytes of the block as it was before; 0: it says something that cannot be."""
    cdef uint32_t size
    memcpy(&size, b.data + BLOCK_HEAD - 8, 4)
    return size if BLOCK_HEAD <= size <= EXPANDED_MAX else 0


cdef bint unpack(void* expand, Block* b, char* to, uint32_t size) noexcept nogil:
    """The block as it was before, ``packed_size`` bytes of it; False: it is not what was written."""
    cdef uint32_t check
    if not block_whole(b):
        return False
    with gil:
        if not _expanded(<object>expand, b, to, size):
            return False
    memcpy(to, b.data, BLOCK_HEAD)
    to[1] = 0
    memset(to + BLOCK_HEAD - 8, 0, 4)
    check = hash_bytes(to, BLOCK_HEAD - 4, HEAD_SEED)
    memcpy(to + BLOCK_HEAD - 4, &check, 4)
    return True


cdef bint _expanded(object expand, Block* b, char* to, uint32_t size) noexcept:
    cdef bytes data
    try:
        data = expand(PyBytes_FromStringAndSize(b.data + BLOCK_HEAD, b.size - BLOCK_HEAD), size - BLOCK_HEAD)
    except Exception:  # whatever zstandard says
        return False
    if PyBytes_GET_SIZE(data) != size - BLOCK_HEAD:
        return False
    memcpy(to + BLOCK_HEAD, PyBytes_AS_STRING(data), size - BLOCK_HEAD)
    return True


cdef bytes packed(void* squeeze, BlockWriter* w):
    """A finished block compressed, or as it is if that is no smaller."""
    cdef bytes rest = (<object>squeeze)(
        PyBytes_FromStringAndSize(w.whole.data + BLOCK_HEAD, w.whole.length - BLOCK_HEAD))
    cdef bytes tail = b""
    cdef char head[BLOCK_HEAD]
    cdef uint32_t size = <uint32_t>w.whole.length
    cdef uint32_t check
    if w.last - w.first + 1 != w.count:
        tail = PyBytes_FromStringAndSize(<char*>w.deltas, <size_t>w.count * 4)
    if PyBytes_GET_SIZE(rest) + PyBytes_GET_SIZE(tail) + BLOCK_HEAD >= w.whole.length:
        return PyBytes_FromStringAndSize(w.whole.data, w.whole.length)
    memcpy(head, w.whole.data, BLOCK_HEAD)
    head[1] = BLOCK_ZSTD
    memcpy(&head[0] + BLOCK_HEAD - 8, &size, 4)
    check = hash_bytes(head, BLOCK_HEAD - 4, HEAD_SEED)
    memcpy(&head[0] + BLOCK_HEAD - 4, &check, 4)
    return PyBytes_FromStringAndSize(head, BLOCK_HEAD) + rest + tail
