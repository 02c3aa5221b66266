"""LMDB's file: opened, looked at anew after a commit, closed; where its pages are in memory.

The reader of the loop's thread is one transaction, renewed when a flush has been committed (``disk_refresh``).
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from .disk cimport Disk
from .lmdb cimport (
    MDB_CREATE, MDB_NOMEMINIT, MDB_NORDAHEAD, MDB_NOSUBDIR, MDB_NOTLS, MDB_RDONLY, MDB_val, lmdb,
)
from .vault cimport Vault, opener_free

cdef enum:
    DATABASES = 8
    PAGE = 4096
    PAGE_HEAD = 16  # of LMDB: number, padding, flags, and of a large value how many pages it has
    OVERFLOW_PAGE = 4

cdef extern from "<unistd.h>" nogil:
    long sysconf(int name)
    int _SC_PAGESIZE

cdef extern from *:
    """
    #include <stdint.h>
    static const size_t phloem_map_most = sizeof(void*) > 4 ? (size_t)1 << 40 : (size_t)1 << 30;
    """
    const size_t phloem_map_most "phloem_map_most"


cdef int _databases(Disk* d, bint read_only) noexcept nogil:
    cdef void* txn = NULL
    cdef unsigned int flags = 0 if read_only else MDB_CREATE
    cdef int error = lmdb.txn_begin(d.env, NULL, MDB_RDONLY if read_only else 0, &txn)
    if error:
        return error
    error = lmdb.dbi_open(txn, b"meta", flags, &d.meta)
    if not error:
        error = lmdb.dbi_open(txn, b"blocks", flags, &d.blocks)
    if not error:
        error = lmdb.dbi_open(txn, b"subjects", flags, &d.subjects)
    if not error:
        error = lmdb.dbi_open(txn, b"dead", flags, &d.dead)
    if not error:
        error = lmdb.dbi_open(txn, b"pairs", flags, &d.pairs)
    if error:
        lmdb.txn_abort(txn)
        return error
    return lmdb.txn_commit(txn)


cdef int disk_open(Disk* d, const char* path, bint read_only, Vault* vault) noexcept nogil:
    """Opens the file, made if it is not there. The map is address space, not memory: as much as can be had."""
    cdef size_t size = phloem_map_most
    cdef unsigned int flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD
    cdef int error
    memset(d, 0, sizeof(Disk))
    d.vault = d.opener.vault = vault
    if vault == NULL:
        flags |= MDB_NOMEMINIT  # else what was in memory before would be in pages' gaps, and on the disk
    while True:
        error = lmdb.env_create(&d.env)
        if error:
            return error
        lmdb.env_set_maxdbs(d.env, DATABASES)
        lmdb.env_set_mapsize(d.env, size)
        error = lmdb.env_open(d.env, path, flags | (MDB_RDONLY if read_only else 0), 0o600)
        if error == 0 or size <= (<size_t>1 << 28) or error != 12:  # ENOMEM: less address space than that
            break
        lmdb.env_close(d.env)
        size //= 4
    if error == 0:
        error = _databases(d, read_only)
    if error == 0:
        error = lmdb.txn_begin(d.env, NULL, MDB_RDONLY, &d.reader)
    if error == 0:
        error = lmdb.cursor_open(d.reader, d.blocks, &d.cursor)
    d.serial = 1
    if error == 0:
        _find_map(d)
    if error:
        lmdb.env_close(d.env)
        d.env = NULL
    return error


cdef void _find_map(Disk* d) noexcept nogil:
    """From a page that says which one it is, where pages are those of the system; a new file has none yet."""
    cdef MDB_val k, v
    cdef uint64_t number
    cdef const char* page
    k.mv_data, k.mv_size = <char*>b"generation", 10
    if sysconf(_SC_PAGESIZE) != PAGE or lmdb.get(d.reader, d.meta, &k, &v) != 0:
        return
    page = <const char*>(<size_t>v.mv_data & ~<size_t>(PAGE - 1))
    memcpy(&number, page, 8)
    d.map = page - number * PAGE


cdef bint disk_value_sound(Disk* d, const MDB_val* v) noexcept nogil:
    """Whether the first page of a large value says how many there are. LMDB believes it when they are left: a wrong
    number there would give pages away that others use. Not looked at when the file is opened: every block has one."""
    cdef const char* page = <const char*>v.mv_data - PAGE_HEAD
    cdef uint64_t number
    cdef uint32_t count
    cdef uint16_t flags
    if d.map == NULL or page < d.map or page >= d.map + phloem_map_most or <size_t>page & (PAGE - 1):
        return True  # a small value, or one that this transaction has written
    memcpy(&number, page, 8)
    memcpy(&flags, page + 10, 2)
    memcpy(&count, page + 12, 4)
    return number == <uint64_t>(page - d.map) // PAGE and flags == OVERFLOW_PAGE \
        and count == (PAGE_HEAD - 1 + v.mv_size) // PAGE + 1


cdef void disk_close(Disk* d) noexcept nogil:
    opener_free(&d.opener)
    if d.env == NULL:
        return
    if d.cursor != NULL:
        lmdb.cursor_close(d.cursor)
    if d.reader != NULL:
        lmdb.txn_abort(d.reader)
    lmdb.env_close(d.env)
    memset(d, 0, sizeof(Disk))


cdef int disk_refresh(Disk* d) noexcept nogil:
    """Sees what has been committed since; nothing that points into the map holds any more."""
    cdef int error
    if d.cursor != NULL:
        lmdb.cursor_close(d.cursor)
    d.cursor = NULL  # until there is another: LMDB answers with an error then
    lmdb.txn_reset(d.reader)
    error = lmdb.txn_renew(d.reader)
    d.serial += 1
    if error == 0:
        error = lmdb.cursor_open(d.reader, d.blocks, &d.cursor)
    return error
