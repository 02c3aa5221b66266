"""Entries of LMDB within the transaction that moves a generation (flush.pyx): put, replaced, deleted.

A large value whose head is damaged (environment.pyx) is never replaced or deleted before its head is right again: its
pages are given up. The rest of the generation is moved.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport must

from .block cimport Block, block_belongs, block_open, block_open_sealed, block_shut, block_shut_size
from .environment cimport disk_find, disk_mend_head, disk_value
from .keys cimport (
    ANY_KEY, KEY, META_KEY, SEAL_DEAD, SEAL_META, SEAL_PAIRS, SEAL_SUBJECTS, key_fold, meta_key, pair_key, put_key, seal,
    seal_size, unseal, unseal_pair,
)
from .lmdb cimport MDB_NEXT, MDB_NOTFOUND, MDB_RESERVE, MDB_SET_RANGE, MDB_val, lmdb
from .vault cimport Sealed, sealed_free

cdef enum:
    SMALL_VALUE = 1024  # one that is not longer is no large one, nor was it before


cdef bint block_at(Flush* f, Sealed* s, const char* key, const MDB_val* v, Block* b) noexcept nogil:
    """A block of which nobody knows more than its key; ``s`` has what is opened of an encrypted one."""
    if f.disk.vault == NULL:
        return block_open(b, <const char*>v.mv_data, v.mv_size)
    return block_open_sealed(b, s, &f.opener, key, <const char*>v.mv_data, v.mv_size)


cdef int put_block(Flush* f, const char* key, const void* value, size_t vn) noexcept nogil:
    cdef MDB_val k, v
    cdef int error
    k.mv_data, k.mv_size = <void*>key, KEY
    v.mv_data, v.mv_size = <void*>value, vn if f.disk.vault == NULL else block_shut_size(<const char*>value, vn)
    f.bytes += v.mv_size
    memcpy(f.put_key, key, KEY)
    error = lmdb.put(f.txn, f.disk.blocks, &k, &v, 0 if f.disk.vault == NULL else MDB_RESERVE)
    if error == 0 and f.disk.vault != NULL:
        block_shut(f.disk.vault, key, <const char*>value, vn, <char*>v.mv_data)
    return error


cdef int put_sealed(Flush* f, unsigned int db, int which, const void* key, size_t kn, const void* value,
                     size_t vn) noexcept nogil:
    cdef MDB_val k, v
    cdef int error
    k.mv_data, k.mv_size = <void*>key, kn
    v.mv_data, v.mv_size = NULL, vn + seal_size(f.disk.vault)
    if (which == SEAL_PAIRS or vn > SMALL_VALUE) and not may_go(f, db, which, &k):
        return 0
    f.bytes += v.mv_size
    error = lmdb.put(f.txn, db, &k, &v, MDB_RESERVE)
    if error == 0:
        seal(f.disk.vault, which, &k, value, vn, <char*>v.mv_data)
    return error


cdef bint may_go(Flush* f, unsigned int db, int which, const MDB_val* key) noexcept nogil:
    """Whether LMDB may replace or delete what is under this key. A large value that proves itself gets its head again;
    one that does not stays as it is, and whoever reads it is told."""
    cdef MDB_val k = key[0]
    cdef MDB_val v, whole, its
    cdef uint64_t bad
    cdef int error = disk_find(f.disk, f.txn, db, f.pages, key, &v, &bad)
    if error or bad == 0:
        return True  # an error comes again
    f.bad_page = bad
    whole = v
    if v.mv_size == 0 or not (unseal_pair(&f.opener, &k, &v, &its) if which == SEAL_PAIRS else unseal(&f.opener, which, &k, &v)):
        return False
    return disk_mend_head(f.disk, bad, &whole)


cdef int dead_bits(Flush* f, const char* key, size_t size, MDB_val* v) noexcept nogil:
    """The bits of a block under this key; DAMAGED_BLOCK: they are not what was written."""
    cdef MDB_val k
    cdef int error
    k.mv_data, k.mv_size = <void*>key, KEY
    error = lmdb.get(f.txn, f.disk.dead, &k, v)
    if error == 0 and (not unseal(&f.opener, SEAL_DEAD, &k, v) or v.mv_size != size):
        return DAMAGED_BLOCK
    return error


cdef int delete_entry(Flush* f, unsigned int db, const void* key, size_t kn) noexcept nogil:
    cdef MDB_val k
    cdef int error
    k.mv_data, k.mv_size = <void*>key, kn
    error = lmdb.del_(f.txn, db, &k, NULL)
    return 0 if error == MDB_NOTFOUND else error


cdef int delete_block(Flush* f, const char* key) noexcept nogil:
    """DAMAGED_BLOCK: its pages are not what they should be, it stays."""
    cdef MDB_val k, v
    cdef uint64_t bad
    cdef int error
    k.mv_data, k.mv_size = <void*>key, KEY
    error = disk_find(f.disk, f.txn, f.disk.blocks, f.pages, &k, &v, &bad)
    if error == MDB_NOTFOUND:
        return 0
    if error == 0 and bad:
        f.bad_page = bad
        return DAMAGED_BLOCK
    error = error or lmdb.del_(f.txn, f.disk.blocks, &k, NULL)
    if error == 0:
        f.fold ^= key_fold(key)
    return error


cdef int flush_meta(Flush* f, const char* key, size_t kn, const char* value, size_t vn) noexcept nogil:
    return put_sealed(f, f.disk.meta, SEAL_META, key, kn, value, vn)


cdef int flush_pair(Flush* f, const char* key, size_t kn, const char* value, size_t vn, bint deleted) noexcept nogil:
    cdef char stored[ANY_KEY]
    cdef uint16_t length = <uint16_t>kn
    cdef size_t n = pair_key(f.disk.vault, stored, key, kn)
    cdef MDB_val k
    cdef char* whole
    cdef int error
    if deleted:
        k.mv_data, k.mv_size = stored, n
        return delete_entry(f, f.disk.pairs, stored, n) if may_go(f, f.disk.pairs, SEAL_PAIRS, &k) else 0
    if f.disk.vault == NULL:
        return put_sealed(f, f.disk.pairs, SEAL_PAIRS, stored, n, value, vn)
    whole = <char*>must(malloc(2 + kn + vn))
    memcpy(whole, &length, 2)
    memcpy(whole + 2, key, kn)
    memcpy(whole + 2 + kn, value, vn)
    error = put_sealed(f, f.disk.pairs, SEAL_PAIRS, stored, n, whole, 2 + kn + vn)
    free(whole)
    return error


cdef int _drop_all(Flush* f, unsigned int db, uint32_t ident) noexcept nogil:
    """Everything of a log in one database. What cannot be deleted without endangering others stays; of a block nothing is
    live then."""
    cdef char key[KEY]
    cdef void* cursor = NULL
    cdef MDB_val at, v
    cdef uint64_t bad
    cdef int error = lmdb.cursor_open(f.txn, db, &cursor)
    if error:
        return error
    put_key(key, ident, 0)
    at.mv_data, at.mv_size = key, 4
    error = lmdb.cursor_get(cursor, &at, NULL, MDB_SET_RANGE)
    while error == 0 and at.mv_size >= 4 and memcmp(at.mv_data, key, 4) == 0:
        error = disk_value(f.disk, cursor, f.pages, &at, &v, &bad)
        if error == 0 and (bad == 0 or (db == f.disk.subjects and may_go(f, db, SEAL_SUBJECTS, &at))):
            f.fold ^= key_fold(at.mv_data) if db == f.disk.blocks and at.mv_size == KEY else 0
            error = lmdb.cursor_del(cursor, 0)
        elif error == 0:
            f.bad_page = bad
            error = _none_live(f, &at, &v) if db == f.disk.blocks else 0
        if error == 0:
            error = lmdb.cursor_get(cursor, &at, NULL, MDB_NEXT)  # what followed it
    lmdb.cursor_close(cursor)
    return 0 if error == MDB_NOTFOUND else error


cdef int _none_live(Flush* f, const MDB_val* at, MDB_val* v) noexcept nogil:
    """Says of a block that stays that all of it was removed, so that no repair brings it back."""
    cdef char key[KEY]
    cdef Sealed s
    cdef Block b
    cdef uint8_t* bits
    cdef size_t size
    cdef int error = 0
    if at.mv_size != KEY:
        return 0
    memcpy(key, at.mv_data, KEY)
    memset(&s, 0, sizeof(Sealed))
    if block_at(f, &s, key, v, &b) and block_belongs(&b, key):
        size = 4 + (<size_t>b.count + 7) // 8
        bits = <uint8_t*>must(malloc(size))
        memset(bits, 0, 4)
        memset(bits + 4, 0xFF, size - 4)
        error = put_sealed(f, f.disk.dead, SEAL_DEAD, key, KEY, bits, size)
        free(bits)
    sealed_free(&s)
    return error


cdef int _delete_meta(Flush* f, const char* kind, uint32_t ident) noexcept nogil:
    cdef char key[META_KEY]
    meta_key(key, kind, ident)
    return delete_entry(f, f.disk.meta, key, META_KEY)


cdef int drop_messages(Flush* f, uint32_t ident) noexcept nogil:
    """All messages of a log, and the mark that some were lost."""
    cdef int error = _drop_all(f, f.disk.dead, ident)
    if error == 0:
        error = _drop_all(f, f.disk.blocks, ident)
    if error == 0:
        error = _drop_all(f, f.disk.subjects, ident)
    return error or _delete_meta(f, b"bad:", ident)


cdef int flush_drop(Flush* f, uint32_t ident) noexcept nogil:
    """A deleted log."""
    return drop_messages(f, ident) or _delete_meta(f, b"log:", ident)
