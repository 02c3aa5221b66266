"""LMDB's file: opened, looked at anew after a commit, closed; where its pages are in memory.

The reader of the loop's thread is one transaction, renewed when a flush has been committed (``disk_refresh``).

A large value has pages of its own, and the first of them begins with a head of LMDB's. Those heads are not looked at
when the file is opened, because every block has one: a slow card would take seconds. And LMDB must not meet a damaged
one: it refuses the whole transaction from then on, or frees as many pages as the head says. So values are found in the
leaves here (``disk_value``), and LMDB is asked for none that may be large, nor to replace or delete one, before its
head has been seen to be right.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from .disk cimport Disk
from .keys cimport unseal
from .lmdb cimport (
    MDB_CREATE, MDB_GET_CURRENT, MDB_LAST, MDB_NEXT, MDB_NOMEMINIT, MDB_NORDAHEAD, MDB_NOSUBDIR, MDB_NOTFOUND, MDB_NOTLS,
    MDB_PREV, MDB_RDONLY, MDB_SET_KEY, MDB_SET_RANGE, NODE_HEAD, PAGE_HEAD, WORD, MDB_envinfo, MDB_stat, MDB_val, lmdb,
)
from .vault cimport Vault, opener_free

cdef enum:
    DATABASES = 8
    OVERFLOW_PAGE = 4
    BIG = 1  # its value is on pages of its own
    FREE_PAGES = 0  # LMDB's own database: lists of pages, each with its length in front

cdef extern from "<unistd.h>" nogil:
    long sysconf(int name)
    int _SC_PAGESIZE
    ssize_t pwrite(int fd, const void* data, size_t n, int64_t offset)
    int fdatasync(int fd)
    int close(int fd)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* address, size_t n, int advice)
    int MADV_DONTNEED

cdef extern from "<fcntl.h>" nogil:
    int open(const char* path, int flags, ...)
    int O_WRONLY, O_CLOEXEC

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
    """From a page that says which one it is, where pages are not larger than the system's; a new file has none yet."""
    cdef MDB_val k, v
    cdef MDB_stat stat
    cdef size_t number
    cdef const char* page
    k.mv_data, k.mv_size = <char*>b"generation", 10
    if lmdb.stat(d.reader, d.meta, &stat) != 0 or stat.ms_psize > <size_t>sysconf(_SC_PAGESIZE) \
            or lmdb.get(d.reader, d.meta, &k, &v) != 0:
        return
    d.page_size = stat.ms_psize
    page = <const char*>(<size_t>v.mv_data & ~<size_t>(d.page_size - 1))
    memcpy(&number, page, WORD)
    d.map = page - number * d.page_size
    d.pages = disk_pages(d)


cdef uint64_t disk_pages(Disk* d) noexcept nogil:
    """How many pages the file has as of the last commit."""
    cdef MDB_envinfo info
    return info.me_last_pgno + 1 if lmdb.env_info(d.env, &info) == 0 else 0


cdef uint64_t disk_free_pages(Disk* d) noexcept nogil:
    """How many pages of the file nothing is on, as of the last commit: what is written next uses them first."""
    cdef MDB_val k, v
    cdef void* cursor = NULL
    cdef size_t count
    cdef uint64_t pages = 0
    if lmdb.cursor_open(d.reader, FREE_PAGES, &cursor) != 0:
        return 0
    while lmdb.cursor_get(cursor, &k, &v, MDB_NEXT) == 0:
        memcpy(&count, v.mv_data, sizeof(size_t))
        pages += count
    lmdb.cursor_close(cursor)
    return pages


cdef size_t disk_page_size(Disk* d) noexcept nogil:
    cdef MDB_stat stat
    return stat.ms_psize if lmdb.stat(d.reader, d.meta, &stat) == 0 else 0


cdef inline uint32_t _page_count(Disk* d, const MDB_val* v) noexcept nogil:
    return <uint32_t>((PAGE_HEAD - 1 + v.mv_size) // d.page_size + 1)


cdef bint _head_sound(Disk* d, const char* page, const MDB_val* v) noexcept nogil:
    cdef size_t number
    cdef uint32_t count
    cdef uint16_t flags
    memcpy(&number, page, WORD)
    memcpy(&flags, page + WORD + 2, 2)
    memcpy(&count, page + WORD + 4, 4)
    return number == <size_t>(page - d.map) // d.page_size and flags == OVERFLOW_PAGE and count == _page_count(d, v)


cdef int disk_value(Disk* d, void* cursor, uint64_t pages, const MDB_val* key, MDB_val* v, uint64_t* bad) noexcept nogil:
    """The value of the entry that a cursor has gone to, by the key that it gave. ``bad``: the first page of a large one if
    its head is damaged, else 0: then LMDB must not be asked for it. It is what it says itself all the same; one that would
    not be within the file is empty. Not for large values that this transaction has written."""
    cdef MDB_val k = key[0]
    cdef const char* node = <const char*>key.mv_data - NODE_HEAD
    cdef const char* page
    cdef size_t number
    cdef uint32_t size
    cdef uint16_t flags
    bad[0] = 0
    if d.map == NULL:
        return lmdb.cursor_get(cursor, &k, v, MDB_GET_CURRENT)
    memcpy(&size, node, 4)
    memcpy(&flags, node + 4, 2)
    v.mv_data, v.mv_size = <void*>(<const char*>key.mv_data + key.mv_size), size
    if not flags & BIG:
        return 0
    memcpy(&number, v.mv_data, WORD)
    if number >= pages or _page_count(d, v) > pages - number:
        bad[0] = number
        v.mv_size = 0
        return 0
    page = d.map + number * d.page_size
    v.mv_data = <void*>(page + PAGE_HEAD)
    if not _head_sound(d, page, v):
        bad[0] = number
    return 0


cdef int disk_find(Disk* d, void* txn, unsigned int db, uint64_t pages, const MDB_val* key, MDB_val* v,
                   uint64_t* bad) noexcept nogil:
    """What is under a key, of values that may be large; as ``disk_value``."""
    cdef void* cursor = NULL
    cdef MDB_val at = key[0]
    cdef int error = lmdb.cursor_open(txn, db, &cursor)
    if error:
        return error
    bad[0] = 0
    error = lmdb.cursor_get(cursor, &at, NULL, MDB_SET_KEY)
    if error == 0:
        error = disk_value(d, cursor, pages, &at, v, bad)
    lmdb.cursor_close(cursor)
    return error


cdef int _order(const MDB_val* a, const MDB_val* b) noexcept nogil:
    """LMDB's order of keys."""
    cdef size_t n = a.mv_size if a.mv_size < b.mv_size else b.mv_size
    cdef int order = memcmp(a.mv_data, b.mv_data, n)
    return order if order else (a.mv_size > b.mv_size) - (a.mv_size < b.mv_size)


cdef bint _proves(Disk* d, void* cursor, int which, const MDB_val* at) noexcept nogil:
    """Whether the entry that a cursor has gone to is what was written under its key."""
    cdef MDB_val k = at[0]
    cdef MDB_val v
    cdef uint64_t bad
    return disk_value(d, cursor, d.pages, at, &v, &bad) == 0 and unseal(&d.opener, which, &k, &v)


cdef bint _beside(Disk* d, unsigned int db, int which, const MDB_val* key, bint after) noexcept nogil:
    cdef void* cursor = NULL
    cdef MDB_val at = key[0]
    cdef int error = lmdb.cursor_open(d.reader, db, &cursor)
    cdef bint sound
    if error:
        return False
    error = lmdb.cursor_get(cursor, &at, NULL, MDB_SET_RANGE)
    sound = error == MDB_NOTFOUND or (error == 0 and (not after or (_order(key, &at) < 0 and _proves(d, cursor, which, &at))))
    if sound:
        error = lmdb.cursor_get(cursor, &at, NULL, MDB_LAST if error else MDB_PREV)
        sound = error == MDB_NOTFOUND or (error == 0 and _order(&at, key) < 0 and _proves(d, cursor, which, &at))
    lmdb.cursor_close(cursor)
    return sound


cdef bint disk_absent(Disk* d, unsigned int db, int which, const MDB_val* key) noexcept nogil:
    """Whether it can be believed that nothing is under a key where values have seals. An entry whose key has become another
    one, or a page that leads elsewhere, is right beside the place where LMDB ends its search: so what is before it and behind
    it has to prove itself."""
    return _beside(d, db, which, key, True)


cdef bint disk_begins(Disk* d, unsigned int db, int which, const MDB_val* key) noexcept nogil:
    """The same for what is before a beginning that keys are looked for by; whoever looks sees to the end."""
    return _beside(d, db, which, key, False)


cdef bint disk_mend_head(Disk* d, uint64_t number, const MDB_val* v) noexcept nogil:
    """Writes the head of a large value again, that has proved all of itself: so its pages are as many as it takes, and its
    alone. The next commit syncs it. False: it could not be written."""
    cdef char head[PAGE_HEAD]
    cdef size_t own = <size_t>number
    cdef uint16_t flags = OVERFLOW_PAGE
    cdef uint32_t count = _page_count(d, v)
    cdef const char* path = NULL
    cdef ssize_t done
    cdef int fd
    memset(head, 0, PAGE_HEAD)
    memcpy(head, &own, WORD)
    memcpy(head + WORD + 2, &flags, 2)
    memcpy(head + WORD + 4, &count, 4)
    if lmdb.env_get_path(d.env, &path) != 0:
        return False
    fd = open(path, O_WRONLY | O_CLOEXEC)
    if fd < 0:
        return False
    done = pwrite(fd, head, PAGE_HEAD, <int64_t>(number * d.page_size))
    close(fd)
    return done == PAGE_HEAD


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


cdef int disk_reopen(Disk* d, const char* path) noexcept nogil:
    """Another file has taken the place of the one that was open. An error: nothing is open, and LMDB answers whoever
    reads with errors."""
    cdef Disk old = d[0]
    cdef int error
    disk_close(d)
    error = disk_open(d, path, False, old.vault)
    if error:
        d.reader = d.cursor = NULL
        d.map = NULL
    d.squeeze, d.unsqueeze, d.expand, d.sparing = old.squeeze, old.unsqueeze, old.expand, old.sparing
    d.damaged = old.damaged
    d.serial = old.serial + 1
    return error


cdef bint disk_heads(Disk* d, char* heads) noexcept nogil:
    """Copies what LMDB has on the file's first two pages, ``2 * HEADS`` bytes; False: where they are is not known."""
    if d.map == NULL:
        return False
    memcpy(heads, d.map, HEADS)
    memcpy(heads + HEADS, d.map + d.page_size, HEADS)
    return True


cdef bint disk_mend_heads(Disk* d, const char* heads) noexcept nogil:
    """Writes them again as they were after the last commit, and syncs them."""
    cdef const char* path = NULL
    cdef bint done
    cdef int fd
    if lmdb.env_get_path(d.env, &path) != 0:
        return False
    fd = open(path, O_WRONLY | O_CLOEXEC)
    if fd < 0:
        return False
    done = pwrite(fd, heads, HEADS, 0) == HEADS and pwrite(fd, heads + HEADS, HEADS, <int64_t>d.page_size) == HEADS
    done = done and fdatasync(fd) == 0
    close(fd)
    return done


cdef void disk_let_go(Disk* d) noexcept nogil:
    """Pages of the file leave the process, not the system's cache: they count as memory of the process, and on a device
    somebody looks at that. What points into the map holds; looking there again is a page fault without reading."""
    d.looked = 0
    if d.sparing and d.map != NULL:
        madvise(<void*>d.map, d.pages * d.page_size, MADV_DONTNEED)


cdef int disk_refresh(Disk* d) noexcept nogil:
    """Sees what has been committed since; nothing that points into the map holds any more."""
    cdef int error
    if d.cursor != NULL:
        lmdb.cursor_close(d.cursor)
    d.cursor = NULL  # until there is another: LMDB answers with an error then
    lmdb.txn_reset(d.reader)
    error = lmdb.txn_renew(d.reader)
    d.serial += 1
    d.pages = disk_pages(d)
    if error == 0:
        error = lmdb.cursor_open(d.reader, d.blocks, &d.cursor)
    return error
