"""LMDB's file read without trusting it: for check, for repair, and before LMDB itself is let at a file.

LMDB believes its pages; one flipped bit can lead it out of the map. Here every number is held against the file: pages
are where they say, nodes fill their page exactly and do not overlap, keys are in order, no page is used twice, and what
is on the list of free pages is used by nobody. What is broken is noted and passed over. And every entry proves that its key
is the one that it was written under: by its seal, or, of a block, by what the log's counters say (``_blocks_stand``).

Format: LMDB 0.9, little-endian (mdb.c: MDB_page, MDB_node, MDB_meta, MDB_db), without sorted duplicates. Page numbers,
transactions and sizes are ``WORD`` bytes, so a file of a machine with 64 bits is none for one with 32.
"""

import mmap
import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport bsearch, calloc, free, qsort
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must

from .keys cimport (
    KEY, META_KEY, SEAL_DEAD, SEAL_META, SEAL_PAIRS, SEAL_SUBJECTS, LogState, key_fold, key_ident, state_read, unseal,
)
from .lmdb cimport META_BYTES, META_TREES, NODE_HEAD, PAGE_HEAD, TREE, WORD, MDB_val
from .vault cimport Opener, Vault_, opener_free

cdef enum:
    # in a page
    KIND = WORD + 2
    LOWER = WORD + 4
    UPPER = WORD + 6
    TRANSACTION = PAGE_HEAD + META_BYTES - WORD
    # and else
    KEY_MOST = 511
    BRANCH = 1
    LEAF = 2
    OVERFLOW = 4
    META = 8
    BIG = 1  # the value is on pages of its own
    SUB = 2  # the value is a tree
    DB_FLAGS = 0xFF  # of a tree's flags those that say of what kind it is; the list's of free pages has LMDB's own beside
    NUMBERED = 8  # keys are numbers: the list of free pages
    VERSION = 1
    PAGE_LEAST = 256
    PAGE_MOST = 32768

cdef enum:
    MAGIC_LOW = 0xC0DE
    MAGIC_HIGH = 0xBEEF


cdef void _note(Pages* p, uint64_t tree, uint64_t page, int what) noexcept nogil:
    p.total += 1
    if p.nproblems >= PROBLEMS_MAX:
        return
    p.problems = <Problem*>grow(p.problems, &p.problem_cap, p.nproblems + 1, sizeof(Problem))
    p.problems[p.nproblems].page, p.problems[p.nproblems].tree = page, tree
    p.problems[p.nproblems].what = what
    p.nproblems += 1


cdef inline uint16_t _u16(const char* at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return value


cdef inline uint64_t _word(const char* at) noexcept nogil:
    cdef size_t value
    memcpy(&value, at, WORD)
    return value


cdef void _tree(Tree* t, const char* at) noexcept nogil:
    t.flags, t.depth = _u16(at + 4), _u16(at + 6)
    t.entries, t.root = _word(at + 8 + 3 * WORD), _word(at + 8 + 4 * WORD)


# --- the file --------------------------------------------------------------------------------------


cdef size_t _meta(const char* at, size_t size) noexcept nogil:
    """The page size that a meta page names, if it is one; else 0."""
    cdef uint32_t page
    cdef uint32_t version
    if size < PAGE_HEAD + META_BYTES or _u16(at + KIND) != META:
        return 0
    memcpy(&version, at + PAGE_HEAD + 4, 4)
    if _u16(at + PAGE_HEAD) != MAGIC_LOW or _u16(at + PAGE_HEAD + 2) != MAGIC_HIGH or version != VERSION:
        return 0
    memcpy(&page, at + PAGE_HEAD + META_TREES, 4)
    return page if PAGE_LEAST <= page <= PAGE_MOST and page & (page - 1) == 0 else 0


cdef bint pages_open(Pages* p, const char* data, size_t size) noexcept nogil:
    """The newest of the two heads that can be read. False: there is none, or one of them is not as it should be and
    nobody knows whether it was the newer one; what the other one says can be read all the same."""
    cdef size_t first = _meta(data, size)
    cdef size_t second = 0
    cdef size_t step = first if first else PAGE_LEAST
    cdef const char* at = NULL
    memset(p, 0, sizeof(Pages))
    p.data, p.size = data, size
    while step <= PAGE_MOST and second == 0:
        if size > step and _meta(data + step, size - step) == step:
            second = step
        step *= 2
        if first:
            break
    if first:
        at = data
    if second and (at == NULL or _word(data + second + TRANSACTION) > _word(at + TRANSACTION)):
        at = data + second
    if at == NULL:
        return False
    p.page_size = first if first else second
    _tree(&p.free, at + PAGE_HEAD + META_TREES)
    _tree(&p.main, at + PAGE_HEAD + META_TREES + TREE)
    p.last_page = _word(at + TRANSACTION - WORD)
    p.transaction = _word(at + TRANSACTION)
    if size < 2 * p.page_size:
        p.page_size = 0
        return False
    if p.last_page >= size // p.page_size:
        _note(p, 0, p.last_page, T_OUTSIDE)
        p.last_page = size // p.page_size - 1
    p.used = <uint8_t*>must(calloc(1, p.last_page // 8 + 1))
    p.used[0] |= 3
    if first == 0 or second == 0:
        _note(p, 0, 0 if first == 0 else 1, T_PAGE)
    elif not _heads_agree(_word(data + TRANSACTION), _word(data + second + TRANSACTION)):
        _note(p, 0, 0, T_ORDER)
    return p.total == 0


cdef bint _heads_agree(uint64_t even, uint64_t odd) noexcept nogil:
    """Transactions take turns, so that neither head can be older than the other by more than one."""
    return even & 1 == 0 and (odd & 1 == 1 or odd == even == 0) and (odd + 1 == even or even + 1 == odd or odd == even)


cdef void pages_close(Pages* p) noexcept nogil:
    free(p.used)
    free(p.problems)
    memset(p, 0, sizeof(Pages))


cdef bint page_used(Pages* p, uint64_t number) noexcept nogil:
    return (p.used[number >> 3] >> (number & 7)) & 1


cdef bint _take(Pages* p, uint64_t number, uint64_t count) noexcept nogil:
    """Marks pages as used; False: one of them was."""
    cdef bint fresh = True
    cdef uint64_t i
    for i in range(number, number + count):
        if page_used(p, i):
            fresh = False
        p.used[i >> 3] |= <uint8_t>(1 << (i & 7))
    return fresh


# --- one page --------------------------------------------------------------------------------------


cdef inline const char* _page(Pages* p, uint64_t number) noexcept nogil:
    return p.data + number * p.page_size


cdef inline uint32_t _count(const char* page) noexcept nogil:
    return (_u16(page + LOWER) - PAGE_HEAD) // 2


cdef inline const char* _node(const char* page, uint32_t index) noexcept nogil:
    return page + _u16(page + PAGE_HEAD + 2 * index)


cdef inline uint32_t _data_size(const char* node) noexcept nogil:
    return _u16(node) | <uint32_t>_u16(node + 2) << 16


cdef inline uint64_t _child(const char* node) noexcept nogil:
    return _u16(node) | <uint64_t>_u16(node + 2) << 16 | <uint64_t>_u16(node + 4) << 32


cdef inline void _key(const char* node, MDB_val* key) noexcept nogil:
    key.mv_data, key.mv_size = <void*>(node + NODE_HEAD), _u16(node + 6)


cdef int _compare(MDB_val* a, MDB_val* b) noexcept nogil:
    """LMDB's order of keys."""
    cdef size_t n = a.mv_size if a.mv_size < b.mv_size else b.mv_size
    cdef int order = memcmp(a.mv_data, b.mv_data, n)
    if order:
        return order
    return (a.mv_size > b.mv_size) - (a.mv_size < b.mv_size)


cdef bint _nodes_fit(Pages* p, const char* page, int kind) noexcept nogil:
    """Nodes fill the upper part of the page exactly, as LMDB leaves them."""
    cdef size_t lower = _u16(page + LOWER)
    cdef size_t upper = _u16(page + UPPER)
    cdef size_t filled = 0
    cdef size_t offset, length
    cdef uint32_t i
    cdef const char* node
    if lower <= PAGE_HEAD or lower & 1 or upper < lower or upper > p.page_size:
        return False
    for i in range(_count(page)):
        offset = _u16(page + PAGE_HEAD + 2 * i)
        if offset < upper or offset & 1 or offset + NODE_HEAD > p.page_size:
            return False
        node = page + offset
        length = NODE_HEAD + _u16(node + 6)
        if kind == LEAF:
            if _u16(node + 4) not in (0, BIG, SUB) or _u16(node + 6) == 0:
                return False
            length += WORD if _u16(node + 4) == BIG else _data_size(node)
        length = (length + 1) & ~<size_t>1
        if _u16(node + 6) > KEY_MOST or offset + length > p.page_size:
            return False
        filled += length
    return filled == p.page_size - upper


cdef int _page_trouble(Pages* p, uint64_t number, int kind, bint ordered) noexcept nogil:
    """What is wrong with a page of a tree."""
    cdef const char* page
    cdef MDB_val before, key
    cdef uint32_t i
    if number > p.last_page:
        return T_OUTSIDE
    page = _page(p, number)
    if _word(page) != number or _u16(page + KIND) != kind:
        return T_PAGE
    if not _nodes_fit(p, page, kind):
        return T_NODES
    for i in range(1 if kind == LEAF else 2, _count(page)):  # the first key of a branch is not looked at
        _key(_node(page, i - 1), &before)
        _key(_node(page, i), &key)
        if ordered and _compare(&before, &key) >= 0:
            return T_ORDER
    return NO_TROUBLE


cdef int _value(Pages* p, const char* node, MDB_val* value, bint take, int how=WHOLE) noexcept nogil:
    """The value of a leaf's node, or what is wrong: its pages are not there, or (then it is given all the same) their
    head does not say so."""
    cdef uint32_t size = _data_size(node)
    cdef uint64_t number
    cdef uint64_t count
    cdef const char* page
    value.mv_data, value.mv_size = <void*>(node + NODE_HEAD + _u16(node + 6)), size
    if _u16(node + 4) != BIG:
        return NO_TROUBLE
    number = _word(<const char*>value.mv_data)
    count = (PAGE_HEAD - 1 + <uint64_t>size) // p.page_size + 1
    if number > p.last_page or count > p.last_page - number + 1 or (take and not _take(p, number, count)):
        return T_VALUE
    if how == SHALLOW:
        return NO_TROUBLE
    page = _page(p, number)
    value.mv_data = <void*>(page + PAGE_HEAD)
    if how == HEADLESS:
        return NO_TROUBLE
    if _word(page) != number or _u16(page + KIND) != OVERFLOW \
            or (_u16(page + LOWER) | <uint32_t>_u16(page + UPPER) << 16) != count:
        return T_HEAD
    return NO_TROUBLE


cdef bint page_is_leaf(Pages* p, uint64_t number) noexcept nogil:
    return _page_trouble(p, number, LEAF, True) == NO_TROUBLE


cdef uint32_t page_count(Pages* p, uint64_t number) noexcept nogil:
    return _count(_page(p, number))


cdef bint page_entry(Pages* p, uint64_t number, uint32_t index, MDB_val* key, MDB_val* value) noexcept nogil:
    """An entry of a leaf that no tree leads to."""
    cdef const char* node = _node(_page(p, number), index)
    _key(node, key)
    return _value(p, node, value, False) == NO_TROUBLE


cdef uint32_t damaged_leaf(Pages* p, uint64_t number) noexcept nogil:
    """How many entries a leaf may have of which not all is right; 0: it does not look like one."""
    cdef const char* page = _page(p, number)
    cdef uint32_t count
    if _u16(page + KIND) != LEAF or _word(page) != number or _u16(page + LOWER) < PAGE_HEAD:
        return 0
    count = _count(page)
    return count if count <= (p.page_size - PAGE_HEAD) // 2 else 0


cdef bint damaged_leaf_entry(Pages* p, uint64_t number, uint32_t index, MDB_val* key, MDB_val* value,
                             bint* placed) noexcept nogil:
    """One of them, if all of it is within the page; ``placed``: its key stands between its neighbours'. What it says still
    has to prove itself by its own checksum."""
    cdef const char* page = _page(p, number)
    cdef MDB_val beside
    if not _node_inside(p, page, index, key):
        return False
    placed[0] = not (index and _node_inside(p, page, index - 1, &beside) and _compare(&beside, key) >= 0)
    if index + 1 < _count(page) and _node_inside(p, page, index + 1, &beside) and _compare(key, &beside) >= 0:
        placed[0] = False
    if _u16(_node(page, index) + 4) == 0 \
            and <size_t>(<char*>key.mv_data - page) + key.mv_size + _data_size(_node(page, index)) > p.page_size:
        return False
    return _value(p, _node(page, index), value, False) == NO_TROUBLE


cdef bint _node_inside(Pages* p, const char* page, uint32_t index, MDB_val* key) noexcept nogil:
    cdef size_t offset = _u16(page + PAGE_HEAD + 2 * index)
    cdef const char* node = page + offset
    if offset < PAGE_HEAD + 2 * <size_t>_count(page) or offset + NODE_HEAD > p.page_size:
        return False
    if _u16(node + 4) not in (0, BIG) or not 0 < _u16(node + 6) <= KEY_MOST:
        return False
    if offset + NODE_HEAD + _u16(node + 6) + (WORD if _u16(node + 4) == BIG else 0) > p.page_size:
        return False
    _key(node, key)
    return True


# --- trees -----------------------------------------------------------------------------------------


cdef void walk_begin(Walk* w, Pages* p, Tree* tree, int how) noexcept nogil:
    memset(w, 0, sizeof(Walk))
    p.walks += 1
    w.pages, w.tree, w.number, w.how = p, tree[0], p.walks, how
    w.ordered = tree != &p.free
    w.level = -1
    if tree.flags & DB_FLAGS != (0 if w.ordered else NUMBERED):  # else keys are looked for in another order, or worse
        _trouble(w, tree.root if tree.depth else 0, T_FLAGS)
    if tree.depth > DEEP or (tree.depth == 0) != (tree.root == <size_t>-1):
        _trouble(w, tree.root, T_PAGE)
    elif tree.depth:
        _down(w, tree.root)


cdef void _trouble(Walk* w, uint64_t page, int what) noexcept nogil:
    w.broken = True
    _note(w.pages, w.number, page, what)


cdef void _down(Walk* w, uint64_t number) noexcept nogil:
    """Into a page; if it cannot be used it is passed over."""
    cdef int kind = LEAF if w.level + 2 == w.tree.depth else BRANCH
    cdef int what = _page_trouble(w.pages, number, kind, w.ordered)
    if w.pages.stop != NULL and w.pages.stop[0]:
        what = T_PAGE
    if what == NO_TROUBLE and not _take(w.pages, number, 1):
        what = T_TWICE
    if what != NO_TROUBLE:
        _trouble(w, number, what)
        return
    w.level += 1
    w.stack[w.level] = number
    w.at[w.level] = 0


cdef bint _in_order(Walk* w, MDB_val* key) noexcept nogil:
    """Whether a key is where it should be: not below its page's separator, above what came before."""
    return not w.ordered or ((w.low.mv_size == 0 or _compare(&w.low, key) <= 0)
                             and (w.key.mv_size == 0 or _compare(&w.key, key) < 0))


cdef bint walk_next(Walk* w, MDB_val* key, MDB_val* value) noexcept nogil:
    """The next entry that can be read; False: there are no more."""
    cdef const char* page
    cdef const char* node
    cdef uint32_t i
    cdef int what
    while w.level >= 0:
        page = _page(w.pages, w.stack[w.level])
        i = w.at[w.level]
        if i >= _count(page):
            w.level -= 1
            continue
        w.at[w.level] += 1
        node = _node(page, i)
        _key(node, key)
        if w.level + 1 < w.tree.depth:
            if i and not _in_order(w, key):
                _trouble(w, w.stack[w.level], T_ORDER)
            elif i:
                w.low = key[0]
            _down(w, _child(node))
            continue
        w.entries += 1
        if not _in_order(w, key):
            _trouble(w, w.stack[w.level], T_ORDER)
            continue
        w.key = key[0]
        what = _value(w.pages, node, value, True, w.how)
        if what == T_HEAD and w.ordered:  # it has a checksum of its own
            _note(w.pages, w.number, _word(node + NODE_HEAD + _u16(node + 6)), T_HEAD)
        elif what != NO_TROUBLE:
            _trouble(w, w.stack[w.level], T_VALUE)
            continue
        return True
    if not w.broken and w.entries != w.tree.entries:
        _trouble(w, w.tree.root, T_ENTRIES)
    return False


cdef bint tree_find(Pages* p, const char* name, size_t n, Tree* tree) noexcept nogil:
    """The tree of a named database."""
    cdef MDB_val want, key, value
    cdef uint64_t number = p.main.root
    cdef uint16_t level
    cdef uint32_t i
    cdef const char* page
    want.mv_data, want.mv_size = <void*>name, n
    for level in range(p.main.depth if p.main.depth == 1 else 0):  # five names fit one page
        if _page_trouble(p, number, LEAF, True) != NO_TROUBLE:
            return False
        page = _page(p, number)
        for i in range(_count(page)):
            _key(_node(page, i), &key)
            if _compare(&key, &want) == 0 and _u16(_node(page, i) + 4) == SUB \
                    and _value(p, _node(page, i), &value, False) == NO_TROUBLE and value.mv_size == TREE:
                _tree(tree, <const char*>value.mv_data)
                return True
    return False


cdef bint _free_pages(Walk* w, MDB_val* key, MDB_val* value) noexcept nogil:
    """One entry: the pages that a transaction has left. Nobody uses them."""
    cdef const char* at = <const char*>value.mv_data
    cdef uint64_t count, number, i
    cdef uint64_t before = <uint64_t>-1
    cdef uint64_t left_by
    if key.mv_size != WORD or value.mv_size < WORD:
        return False
    count = _word(at)
    left_by = _word(<const char*>key.mv_data)
    if count > value.mv_size // WORD - 1 or left_by > w.pages.transaction or left_by <= w.left_by:
        return False
    w.left_by = left_by
    for i in range(count):
        number = _word(at + WORD + WORD * i)
        if number > w.pages.last_page or number < 2 or number >= before or not _take(w.pages, number, 1):
            return False
        before = number
    return True


cdef bint free_check(Pages* p) noexcept nogil:
    """The list of free pages; all other trees have been walked before."""
    cdef Walk w
    cdef MDB_val key, value
    walk_begin(&w, p, &p.free, WHOLE)
    while walk_next(&w, &key, &value):
        if not _free_pages(&w, &key, &value):
            _trouble(&w, w.stack[w.level], T_FREE)
    return not w.broken


cdef bint _all_there(Pages* p) noexcept nogil:
    """Whether each tree has its name; for one that has not LMDB would begin an empty one."""
    cdef Tree tree
    return tree_find(p, b"meta", 4, &tree) and tree_find(p, b"pairs", 5, &tree) and tree_find(p, b"dead", 4, &tree) \
        and tree_find(p, b"blocks", 6, &tree) and tree_find(p, b"subjects", 8, &tree)


# --- what is in them -------------------------------------------------------------------------------


cdef struct Said:  # what a log's counters say of the keys of its blocks
    uint32_t ident
    uint64_t fold  # taken away when it was found

cdef struct Look:
    Pages* pages
    Opener* opener
    Said* said
    uint32_t nsaid
    uint32_t said_cap


cdef bint _named(const MDB_val* key, const char* name, size_t n) noexcept nogil:
    return key.mv_size == n and memcmp(key.mv_data, name, n) == 0


cdef bint _proved(Look* l, Tree* tree, int which) noexcept nogil:
    """Whether every entry is what was written under its key. One whose key is another, in order all the same, is found by
    nobody who looks for it: of ``dead``, what was removed would be there again; of ``subjects`` a subject would have no
    messages; of ``pairs`` a stream would be gone; and all of it without a word."""
    cdef Walk w
    cdef MDB_val key, value
    walk_begin(&w, l.pages, tree, HEADLESS)
    while walk_next(&w, &key, &value):
        if not unseal(l.opener, which, &key, &value):
            return False
        if which == SEAL_META:
            _hear(l, &key, &value)
    return not w.broken


cdef void _hear(Look* l, const MDB_val* key, const MDB_val* value) noexcept nogil:
    """An entry of ``meta``: counters name the keys of blocks."""
    cdef LogState s
    cdef bint folded = False
    cdef uint32_t ident
    if key.mv_size != META_KEY or memcmp(key.mv_data, b"log:", 4) != 0 or not state_read(value, &s, &folded) or not folded:
        return
    memcpy(&ident, <const char*>key.mv_data + 4, 4)
    l.said = <Said*>grow(l.said, &l.said_cap, l.nsaid + 1, sizeof(Said))
    l.said[l.nsaid].ident, l.said[l.nsaid].fold = ident, s.blocks
    l.nsaid += 1


cdef int _by_ident(const void* a, const void* b) noexcept nogil:
    cdef uint32_t x = (<const Said*>a).ident
    cdef uint32_t y = (<const Said*>b).ident
    return (x > y) - (x < y)


cdef void _take_away(Look* l, uint32_t ident, uint64_t fold) noexcept nogil:
    """A log's blocks have these keys. What nobody says anything of is of a log that was dropped, or of an earlier version."""
    cdef Said wanted
    cdef Said* said = NULL
    wanted.ident = ident
    if l.nsaid:
        said = <Said*>bsearch(&wanted, l.said, l.nsaid, sizeof(Said), _by_ident)
    if said != NULL:
        said.fold ^= fold


cdef bint _blocks_stand(Look* l, Tree* tree) noexcept nogil:
    """Whether blocks have the keys that were written, without a look at them: under another key a block's messages would
    be gone, or another log's. The counters of ``meta`` are known."""
    cdef Walk w
    cdef MDB_val key, value
    cdef uint32_t i, ident
    cdef uint32_t before = 0
    cdef uint64_t fold = 0
    if l.nsaid:
        qsort(l.said, l.nsaid, sizeof(Said), _by_ident)
    walk_begin(&w, l.pages, tree, SHALLOW)
    while walk_next(&w, &key, &value):
        if key.mv_size != KEY:
            return False
        ident = key_ident(key.mv_data)
        if ident != before:
            _take_away(l, before, fold)
            before, fold = ident, 0
        fold ^= key_fold(key.mv_data)
    _take_away(l, before, fold)
    for i in range(l.nsaid):
        if l.said[i].fold:
            return False
    return not w.broken


cdef bint _tree_sound(Look* l, const MDB_val* name, Tree* tree) noexcept nogil:
    cdef Walk w
    cdef MDB_val key, value
    if _named(name, b"meta", 4):
        return True  # that was the first one
    if _named(name, b"blocks", 6):
        return _blocks_stand(l, tree)
    if _named(name, b"dead", 4):
        return _proved(l, tree, SEAL_DEAD)
    if _named(name, b"pairs", 5):
        return _proved(l, tree, SEAL_PAIRS)
    if _named(name, b"subjects", 8):
        return _proved(l, tree, SEAL_SUBJECTS)
    walk_begin(&w, l.pages, tree, SHALLOW)
    while walk_next(&w, &key, &value):
        pass
    return not w.broken


cdef bint _trees_sound(Look* l) noexcept nogil:
    cdef Pages* p = l.pages
    cdef Walk names
    cdef Tree tree
    cdef MDB_val key, value
    if p.main.depth and not (_all_there(p) and tree_find(p, b"meta", 4, &tree) and _proved(l, &tree, SEAL_META)):
        return False
    walk_begin(&names, p, &p.main, SHALLOW)
    while walk_next(&names, &key, &value):
        if value.mv_size != TREE:
            return False
        _tree(&tree, <const char*>value.mv_data)
        if not _tree_sound(l, &key, &tree):
            return False
    return not names.broken and free_check(p)


def file_sound(path, Vault_ vault=None, Stop stop=None):
    """Whether LMDB may be let at a file: all but the insides of blocks. One page that is damaged could end the process,
    lead LMDB to write over good ones, hide messages, or bring back what was removed."""
    cdef Py_buffer buffer
    cdef Opener opener
    cdef const uint8_t* flag = &stop.flag if stop is not None else NULL
    cdef bint sound
    memset(&opener, 0, sizeof(Opener))
    opener.vault = &vault.v if vault is not None else NULL
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
            with nogil:
                sound = _sound(<const char*>buffer.buf, buffer.len, &opener, flag)
                opener_free(&opener)
            PyBuffer_Release(&buffer)
    return sound


cdef class Stop:
    def set(self):
        self.flag = 1

    @property
    def stopped(self):
        return self.flag != 0


cdef bint _sound(const char* data, size_t size, Opener* o, const uint8_t* stop) noexcept nogil:
    cdef Pages p
    cdef Look l
    cdef bint sound = pages_open(&p, data, size)
    memset(&l, 0, sizeof(Look))
    l.pages, l.opener, p.stop = &p, o, stop
    sound = sound and _trees_sound(&l) and p.total == 0
    free(l.said)
    pages_close(&p)
    return sound
