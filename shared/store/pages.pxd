"""LMDB's file read without trusting it (pages.pyx)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .lmdb cimport MDB_val

cdef enum:
    DEEP = 32  # levels of a tree; as in LMDB
    PROBLEMS_MAX = 10_000  # kept; all are counted

cdef enum Trouble:
    NO_TROUBLE = 0
    T_OUTSIDE = 1  # a page beyond the end of the file
    T_TWICE = 2  # a page that is in use already
    T_PAGE = 3  # not the page that it should be
    T_NODES = 4  # what is in the page does not fit together
    T_ORDER = 5  # keys that are not in order
    T_VALUE = 6  # the pages of a large value
    T_ENTRIES = 7  # a tree with more or fewer entries than it says
    T_FREE = 8  # the list of free pages
    T_HEAD = 9  # of a large value: what follows it may be sound
    T_FLAGS = 10  # a tree that is said to be of another kind than ours are

cdef enum How:  # values are looked at
    WHOLE = 0
    SHALLOW = 1  # not at all, but for the pages of large ones, which nobody else may have
    HEADLESS = 2  # whatever the heads of large ones say

cdef struct Tree:  # of a database
    uint16_t flags
    uint16_t depth
    uint64_t entries
    uint64_t root

cdef struct Problem:
    uint64_t page
    uint64_t tree  # number of the walk
    int what

cdef struct Pages:
    const char* data
    size_t size
    size_t page_size
    uint64_t last_page
    uint64_t transaction
    Tree free
    Tree main
    uint8_t* used  # a bit for each page
    uint64_t walks
    Problem* problems
    uint32_t problem_cap
    uint32_t nproblems
    uint64_t total  # problems, kept or not
    const uint8_t* stop  # somebody else sets what it names: the look is broken off; NULL: nobody does

cdef struct Walk:  # over one tree, in order
    Pages* pages
    Tree tree
    uint64_t number
    int level  # -1: at the end
    uint64_t stack[DEEP]
    uint32_t at[DEEP]
    MDB_val low  # the next key is not lower
    MDB_val key  # the last one that was told
    uint64_t entries
    uint64_t left_by  # of the list of free pages: the transaction that left the last ones
    bint broken  # something was passed over
    bint ordered
    uint8_t how  # How

cdef bint pages_open(Pages* p, const char* data, size_t size) noexcept nogil
cdef void pages_close(Pages* p) noexcept nogil
cdef bint page_used(Pages* p, uint64_t number) noexcept nogil
cdef bint page_is_leaf(Pages* p, uint64_t number) noexcept nogil
cdef uint32_t page_count(Pages* p, uint64_t number) noexcept nogil
cdef bint page_entry(Pages* p, uint64_t number, uint32_t index, MDB_val* key, MDB_val* value) noexcept nogil
cdef uint32_t damaged_leaf(Pages* p, uint64_t number) noexcept nogil
cdef bint damaged_leaf_entry(Pages* p, uint64_t number, uint32_t index, MDB_val* key, MDB_val* value,
                             bint* placed) noexcept nogil
cdef void walk_begin(Walk* w, Pages* p, Tree* tree, int how) noexcept nogil
cdef bint walk_next(Walk* w, MDB_val* key, MDB_val* value) noexcept nogil
cdef bint tree_find(Pages* p, const char* name, size_t n, Tree* tree) noexcept nogil
cdef bint free_check(Pages* p) noexcept nogil

cdef class Stop:
    cdef uint8_t flag
