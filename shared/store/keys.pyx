"""How entries of LMDB are named and sealed.

``blocks`` and ``dead`` have keys of a log's number and a sequence, big-endian, so that LMDB's order is theirs.
``subjects`` has the log's number and the subject. ``meta`` has the journal's place (``generation``), and for each log its
counters (``log:`` and its number) and, if some of it was lost, a mark that says what (``bad:`` and its number). A value
that has no checksum of its own has a seal behind it, which covers its key as well.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from phloem.shared.kernel.text cimport hash_bytes

from .lmdb cimport MDB_val
from .types cimport *
from .varint cimport get_varint


cdef void put_key(char* to, uint32_t ident, uint64_t seq) noexcept nogil:
    cdef int i
    for i in range(4):
        to[i] = <char>(ident >> (24 - 8 * i))
    for i in range(8):
        to[4 + i] = <char>(seq >> (56 - 8 * i))


cdef uint64_t key_seq(const void* key) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>key + 4
    cdef uint64_t seq = 0
    cdef int i
    for i in range(8):
        seq = (seq << 8) | p[i]
    return seq


cdef size_t subject_key(char* to, uint32_t ident, const char* subject, uint32_t n) noexcept nogil:
    """A subject that is too long for a key ends in a hash there; the value has the whole of it."""
    cdef uint32_t h
    cdef int i
    put_key(to, ident, 0)
    if n <= SUBJECT_KEY:
        memcpy(to + 4, subject, n)
        return 4 + n
    memcpy(to + 4, subject, SUBJECT_KEY)
    for i in range(4):
        h = hash_bytes(subject, n, i)
        memcpy(to + 4 + SUBJECT_KEY + 4 * i, &h, 4)
    return 4 + SUBJECT_KEY + 16


cdef bint subject_value(const char* data, size_t size, SubjectState* s, const char** text, uint32_t* n) noexcept nogil:
    """count, last, last - first as varints, and the subject itself if the key does not have it."""
    cdef const char* end = data + size
    cdef uint64_t span = 0
    cdef const char* p = get_varint(data, end, &s.count)
    p = get_varint(p, end, &s.last)
    p = get_varint(p, end, &span)
    if p == NULL or span > s.last:
        return False
    s.first = s.last - span
    text[0], n[0] = p, <uint32_t>(end - p)
    return True


cdef uint32_t seal_of(int which, MDB_val* key, const void* value, size_t n) noexcept nogil:
    """The checksum of a value under its key."""
    return hash_bytes(<const char*>value, n, hash_bytes(<const char*>key.mv_data, key.mv_size, which))


cdef bint unseal(int which, MDB_val* key, MDB_val* value) noexcept nogil:
    """Takes the seal off a value; False: it is not what was put there."""
    cdef uint32_t seal
    if value.mv_size < SEAL:
        return False
    value.mv_size -= SEAL
    memcpy(&seal, <const char*>value.mv_data + value.mv_size, SEAL)
    return seal == seal_of(which, key, value.mv_data, value.mv_size)


cdef void meta_key(char* to, const char* kind, uint32_t ident) noexcept nogil:
    memcpy(to, kind, 4)
    memcpy(to + 4, &ident, 4)
