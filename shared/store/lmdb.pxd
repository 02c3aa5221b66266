"""LMDB for compiled code (lmdb.pyx): the functions of the library inside py-lmdb, without a Python object."""

from libc.stdint cimport uint32_t

cdef struct MDB_val:
    size_t mv_size
    void* mv_data

cdef struct MDB_stat:
    unsigned int ms_psize
    unsigned int ms_depth
    size_t ms_branch_pages
    size_t ms_leaf_pages
    size_t ms_overflow_pages
    size_t ms_entries

cdef struct MDB_envinfo:
    void* me_mapaddr
    size_t me_mapsize
    size_t me_last_pgno
    size_t me_last_txnid
    unsigned int me_maxreaders
    unsigned int me_numreaders

cdef enum:
    MDB_NOSUBDIR = 0x4000
    MDB_RDONLY = 0x20000
    MDB_NOTLS = 0x200000
    MDB_NORDAHEAD = 0x800000
    MDB_NOMEMINIT = 0x1000000
    MDB_CREATE = 0x40000
    MDB_APPEND = 0x20000
    MDB_RESERVE = 0x10000
    MDB_FIRST = 0
    MDB_GET_CURRENT = 4
    MDB_LAST = 6
    MDB_NEXT = 8
    MDB_PREV = 12
    MDB_SET_KEY = 16
    MDB_SET_RANGE = 17
    MDB_NOTFOUND = -30798
    MDB_MAP_FULL = -30792
    MDB_CORRUPTED = -30796

# How a file is laid out: page numbers, transactions and sizes in it are as wide as the machine's ``size_t``
cdef extern from *:
    """
    #include <stddef.h>
    enum {
        PHLOEM_WORD = sizeof(size_t),
        PHLOEM_PAGE_HEAD = 8 + PHLOEM_WORD,
        PHLOEM_NODE_HEAD = 8,
        PHLOEM_TREE = 8 + 5 * PHLOEM_WORD,
        PHLOEM_META_TREES = 8 + 2 * PHLOEM_WORD,
        PHLOEM_META = PHLOEM_META_TREES + 2 * PHLOEM_TREE + 2 * PHLOEM_WORD
    };
    """
    enum:
        WORD "PHLOEM_WORD"
        PAGE_HEAD "PHLOEM_PAGE_HEAD"  # number, padding, flags, and of a large value how many pages it has
        NODE_HEAD "PHLOEM_NODE_HEAD"  # of an entry: size of the value, flags, size of the key, which follows
        TREE "PHLOEM_TREE"  # of a database: padding, flags, depth; branches, leaves, large pages, entries, root
        META_TREES "PHLOEM_META_TREES"  # behind magic, version, address, size of the map
        META_BYTES "PHLOEM_META"  # the trees, the last page, the transaction

cdef struct Api:  # py-lmdb's table of function pointers, in its order
    int major
    int minor
    int patch
    unsigned int data_version
    int (*env_create)(void** env) noexcept nogil
    int (*env_open)(void* env, const char* path, unsigned int flags, unsigned int mode) noexcept nogil
    void (*env_close)(void* env) noexcept nogil
    void* env_copy2
    void* env_copyfd2
    void* env_copy3
    void* env_copyfd3
    int (*env_sync)(void* env, int force) noexcept nogil
    void* env_stat
    int (*env_info)(void* env, MDB_envinfo* info) noexcept nogil
    void* env_get_flags
    void* env_set_flags
    int (*env_get_maxkeysize)(void* env) noexcept nogil
    void* env_get_maxreaders
    int (*env_get_path)(void* env, const char** path) noexcept nogil
    int (*env_set_mapsize)(void* env, size_t size) noexcept nogil
    int (*env_set_maxdbs)(void* env, unsigned int dbs) noexcept nogil
    void* env_set_maxreaders
    void* reader_check
    void* reader_list
    int (*txn_begin)(void* env, void* parent, unsigned int flags, void** txn) noexcept nogil
    int (*txn_commit)(void* txn) noexcept nogil
    void (*txn_abort)(void* txn) noexcept nogil
    void (*txn_reset)(void* txn) noexcept nogil
    int (*txn_renew)(void* txn) noexcept nogil
    void* txn_id
    int (*dbi_open)(void* txn, const char* name, unsigned int flags, unsigned int* dbi) noexcept nogil
    void* dbi_flags
    void* dbi_close
    void* drop
    int (*get)(void* txn, unsigned int dbi, MDB_val* key, MDB_val* data) noexcept nogil
    int (*put)(void* txn, unsigned int dbi, MDB_val* key, MDB_val* data, unsigned int flags) noexcept nogil
    int (*del_)(void* txn, unsigned int dbi, MDB_val* key, MDB_val* data) noexcept nogil
    int (*stat)(void* txn, unsigned int dbi, MDB_stat* stat) noexcept nogil
    int (*cursor_open)(void* txn, unsigned int dbi, void** cursor) noexcept nogil
    void (*cursor_close)(void* cursor) noexcept nogil
    int (*cursor_get)(void* cursor, MDB_val* key, MDB_val* data, unsigned int op) noexcept nogil
    int (*cursor_put)(void* cursor, MDB_val* key, MDB_val* data, unsigned int flags) noexcept nogil
    int (*cursor_del)(void* cursor, unsigned int flags) noexcept nogil
    void* cursor_count
    char* (*strerror_fn)(int error) noexcept nogil
    void* version_fn

cdef Api* lmdb
