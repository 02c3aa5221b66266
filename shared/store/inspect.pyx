"""A closed store looked through without LMDB: every page, block, record, index entry and batch, each held against the
others. What is damaged is told and passed over; with a store to put things ``into``, what is good is kept.

Nothing is written here but to the store that is given. Rules that are checked and not obvious: a message's link to the
message before it on its subject may lead to one that is removed, but never past one that is not; the index may name a
first sequence that is too low (it is exact only once somebody asked), never one that is too high.
"""

from collections import namedtuple

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import os

from .block cimport (
    BLOCK_ZSTD, Block as BlockView, block_belongs, block_open, block_open_sealed, block_owner, block_read, block_seq, block_shut,
    block_shut_size, block_verified, block_whole,
)
from .keys cimport (
    ANY_KEY, KEY, SEAL_DEAD, SEAL_META, SEAL_PAIRS, SEAL_SUBJECTS, SUBJECT_KEY, LogState, Place, key_fold, key_ident, key_seq,
    pair_key, put_key, seal, seal_size, state_read, subject_key, subject_value, unseal, unseal_pair,
)
from .lmdb cimport MDB_val
from .log cimport Log_, log_append, log_skip, record_bytes
from .packing cimport packed_size, unpack
from .pages cimport (
    Pages, T_ENTRIES, T_FLAGS, T_FREE, T_HEAD, T_NODES, T_ORDER, T_OUTSIDE, T_PAGE, T_TWICE, T_VALUE, Tree, Walk, damaged_leaf,
    damaged_leaf_entry, free_check, page_count, page_entry, page_is_leaf, page_used, pages_close, pages_open, tree_find,
    walk_begin, walk_next,
)
from .replay cimport apply_batch
from .store cimport Store
from .table cimport table_free, table_new, topic_find, topic_make
from .types cimport *
from .vault cimport Opener, Sealed, Vault, Vault_, opener_free, sealed_free

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, int a, const char* b, int c, const char* d, unsigned int e)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_renameat2

cdef enum:
    AT_FDCWD = -100  # fcntl.h
    RENAME_EXCHANGE = 2
    EXAMPLES = 10
    TRIED_BYTES = 1 << 24  # are looked at for one entry whose key may have a flipped bit

DATABASES = ("meta", "pairs", "dead", "blocks", "subjects")
SEALS = {"meta": SEAL_META, "subjects": SEAL_SUBJECTS, "dead": SEAL_DEAD, "pairs": SEAL_PAIRS}
TROUBLES = {
    T_OUTSIDE: "lies beyond the end of the file",
    T_TWICE: "is used twice",
    T_PAGE: "is not the page that should be there",
    T_NODES: "has entries that do not fit together",
    T_ORDER: "has keys out of order",
    T_VALUE: "names a value that is not there",
    T_ENTRIES: "begins a tree with more or fewer entries than it says",
    T_HEAD: "is damaged where a large value begins; the value is looked at by itself",
    T_FLAGS: "begins a tree that is said to be of another kind",
    T_FREE: "lists free pages that are in use or do not exist",
}
Block = namedtuple("Block", "ident first last live kept damaged chains text")
State = namedtuple("State", "first_seq last_seq messages bytes subjects last_ts blocks")


# --- trees -----------------------------------------------------------------------------------------


cdef class Walker:
    cdef Walk w
    cdef Inspector inspector  # keeps the pages

    def __iter__(self):
        return self

    def __next__(self):
        cdef MDB_val key, value
        if self.inspector.closed or not walk_next(&self.w, &key, &value):
            raise StopIteration
        return (PyBytes_FromStringAndSize(<char*>key.mv_data, key.mv_size),
                PyBytes_FromStringAndSize(<char*>value.mv_data, value.mv_size))


cdef class Inspector:
    cdef Pages p
    cdef Py_buffer buffer
    cdef readonly bint closed
    cdef bint free_is_sound

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self.buffer, PyBUF_SIMPLE)
        pages_open(&self.p, <const char*>self.buffer.buf, self.buffer.len)

    def close(self):
        if not self.closed:
            self.closed = True
            pages_close(&self.p)
            PyBuffer_Release(&self.buffer)

    def __dealloc__(self):
        self.close()

    @property
    def readable(self):
        return self.p.page_size > 0

    @property
    def pages(self):
        return self.p.last_page + 1

    def entries(self, name):
        """How many entries a database is said to have; None: it cannot be found."""
        cdef Tree tree
        cdef bytes text = name.encode()
        return tree.entries if self._find(text, &tree) else None

    cdef bint _find(self, bytes name, Tree* tree):
        """The tree of a database, also under a name of which one bit has flipped."""
        cdef bytes tried
        cdef char* at
        cdef size_t i
        if tree_find(&self.p, name, len(name), tree):
            return True
        for i in range(8 * <size_t>PyBytes_GET_SIZE(name)):
            tried = PyBytes_FromStringAndSize(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
            at = PyBytes_AS_STRING(tried)
            at[i >> 3] ^= <char>(1 << (i & 7))
            if tree_find(&self.p, tried, len(tried), tree):
                return True
        return False

    def missing(self):
        cdef Tree tree
        cdef bytes text
        result = []
        for name in DATABASES:
            text = name.encode()
            if not tree_find(&self.p, text, len(text), &tree):  # whatever ``walk`` finds
                result.append(name)
        return result

    def walk(self, name):
        cdef Walker walker = Walker.__new__(Walker)
        cdef Tree tree
        cdef bytes text = name.encode()
        walker.inspector = self
        walker.w.level = -1
        if self._find(text, &tree):
            walk_begin(&walker.w, &self.p, &tree, False)
        return walker

    def finish(self):
        cdef Walk w
        cdef MDB_val key, value
        walk_begin(&w, &self.p, &self.p.main, False)
        while walk_next(&w, &key, &value):
            pass
        self.free_is_sound = free_check(&self.p)

    def orphans(self):
        cdef uint64_t number
        cdef uint32_t i
        cdef MDB_val key, value
        cdef bint placed
        if not self.free_is_sound:
            return
        for number in range(2, self.p.last_page + 1):
            if page_used(&self.p, number):
                continue
            whole = page_is_leaf(&self.p, number)
            for i in range(page_count(&self.p, number) if whole else damaged_leaf(&self.p, number)):
                placed = True
                if page_entry(&self.p, number, i, &key, &value) if whole \
                        else damaged_leaf_entry(&self.p, number, i, &key, &value, &placed):
                    yield (PyBytes_FromStringAndSize(<char*>key.mv_data, key.mv_size),
                           PyBytes_FromStringAndSize(<char*>value.mv_data, value.mv_size), placed)

    def problems(self):
        cdef uint32_t i
        return [(self.p.problems[i].page, TROUBLES[self.p.problems[i].what]) for i in range(self.p.nproblems)]


# --- entries ---------------------------------------------------------------------------------------


cdef class Reader:
    """Takes seals off. What it gives is Python's, whatever its opener does next."""

    cdef Opener opener
    cdef readonly Vault_ vault

    def __init__(self, Vault_ vault=None):
        self.vault = vault
        self.opener.vault = &vault.v if vault is not None else NULL

    def __dealloc__(self):
        opener_free(&self.opener)

    def unsealed(self, name, bytes key not None, bytes value not None):
        cdef MDB_val k, v
        k.mv_data, k.mv_size = PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
        v.mv_data, v.mv_size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
        if not unseal(&self.opener, SEALS[name], &k, &v):
            return None
        return PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)

    def rightful(self, name, bytes key not None, bytes value not None):
        """The key that an entry was written under, if one bit of it has flipped since; None: there is none such."""
        cdef MDB_val k, v
        cdef bytes tried
        cdef char* at
        cdef size_t n = PyBytes_GET_SIZE(key)
        cdef size_t i
        if not 0 < n <= ANY_KEY or 8 * n * <size_t>PyBytes_GET_SIZE(value) > TRIED_BYTES:
            return None
        tried = PyBytes_FromStringAndSize(PyBytes_AS_STRING(key), n)
        at = PyBytes_AS_STRING(tried)
        for i in range(8 * n):
            at[i >> 3] ^= <char>(1 << (i & 7))
            k.mv_data, k.mv_size = at, n
            v.mv_data, v.mv_size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
            if unseal(&self.opener, SEALS[name], &k, &v):
                return tried
            at[i >> 3] ^= <char>(1 << (i & 7))
        return None

    def home(self, bytes key not None, bytes value not None):
        """The key that a block was written under, by its own head, or as ``rightful``; None: nobody knows."""
        cdef BlockView b
        cdef char own[KEY]
        cdef uint32_t ident = key_ident(PyBytes_AS_STRING(key))
        cdef int bit
        if PyBytes_GET_SIZE(key) != KEY:
            return None
        if self.opener.vault != NULL:
            if self.is_block(key, value) is not None:
                return key
            for bit in range(8 * KEY):
                tried = bytearray(key)
                tried[bit >> 3] ^= 1 << (bit & 7)
                if self.is_block(bytes(tried), value) is not None:
                    return bytes(tried)
            return None
        if not block_open(&b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
            return None
        if b.owner and b.owner != block_owner(ident):
            ident = min([ident ^ (1 << i) for i in range(32) if block_owner(ident ^ (<uint32_t>1 << i)) == b.owner] or [b.owner - 1])
        put_key(own, ident, b.last)
        return PyBytes_FromStringAndSize(own, KEY)

    def pair(self, bytes key not None, bytes value not None):
        cdef MDB_val k, v, its
        k.mv_data, k.mv_size = PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
        v.mv_data, v.mv_size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
        if not unseal_pair(&self.opener, &k, &v, &its):
            return None
        return (PyBytes_FromStringAndSize(<char*>its.mv_data, its.mv_size),
                PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size))

    def block(self, bytes key not None, bytes value not None):
        """The block as it is without encryption; None: not all of it is what was written."""
        cdef Sealed s
        cdef bytes whole = None
        cdef BlockView b
        if self.opener.vault == NULL:
            return value if block_open(&b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) else None
        memset(&s, 0, sizeof(Sealed))
        if PyBytes_GET_SIZE(key) == KEY \
                and block_open_sealed(&b, &s, &self.opener, PyBytes_AS_STRING(key), PyBytes_AS_STRING(value),
                                      PyBytes_GET_SIZE(value)) and block_whole(&b):
            whole = PyBytes_FromStringAndSize(s.plain.data, s.plain.length)
        sealed_free(&s)
        return whole

    def is_block(self, bytes key not None, bytes value not None):
        """Whether it proves itself by its head, and how it is compressed: None, or whether it is."""
        cdef Sealed s
        cdef BlockView b
        cdef bint sound
        if PyBytes_GET_SIZE(key) != KEY:
            return None
        memset(&s, 0, sizeof(Sealed))
        if self.opener.vault == NULL:
            sound = block_open(&b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        else:
            sound = block_open_sealed(&b, &s, &self.opener, PyBytes_AS_STRING(key), PyBytes_AS_STRING(value),
                                      PyBytes_GET_SIZE(value))
        sealed_free(&s)
        return b.flags & BLOCK_ZSTD != 0 if sound and block_belongs(&b, PyBytes_AS_STRING(key)) else None

    def resealed(self, name, bytes key not None, bytes value not None, Vault_ into):
        """An entry as it is with another vault: key and value; None: it is damaged."""
        cdef Vault* v = &into.v if into is not None else NULL
        cdef char stored[ANY_KEY]
        cdef size_t n = PyBytes_GET_SIZE(key)
        cdef bytes plain, whole
        if name == "blocks":
            plain = self.block(key, value)
            if plain is None or v == NULL:
                return None if plain is None else (key, plain)
            whole = PyBytes_FromStringAndSize(NULL, block_shut_size(PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain)))
            block_shut(v, PyBytes_AS_STRING(key), PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain), PyBytes_AS_STRING(whole))
            return key, whole
        if name == "pairs":
            pair = self.pair(key, value)
            if pair is None:
                return None
            key, plain = pair
            n = pair_key(v, stored, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            if v != NULL:
                plain = len(key).to_bytes(2, "little") + key + plain
        else:
            plain = self.unsealed(name, key, value)
            if plain is None:
                return None
            memcpy(stored, PyBytes_AS_STRING(key), n)
            if name == "subjects":
                subject = _subject_parts(key, plain, &self.vault.v if self.vault is not None else NULL)
                if subject is None:
                    return None
                plain = subject[4] + (subject[0] if v != NULL or len(subject[0]) > SUBJECT_KEY else b"")
                n = _subject_key(v, stored, int.from_bytes(key[:4]), subject[0])
        return PyBytes_FromStringAndSize(stored, n), _sealed(v, SEALS[name], stored, n, plain)


cdef size_t _subject_key(Vault* v, char* stored, uint32_t ident, bytes text) except 0:
    return subject_key(v, stored, ident, text, <uint32_t>len(text))


cdef bytes _sealed(Vault* v, int which, char* stored, size_t n, bytes plain):
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(plain) + seal_size(v))
    cdef MDB_val k
    k.mv_data, k.mv_size = stored, n
    seal(v, which, &k, PyBytes_AS_STRING(plain), PyBytes_GET_SIZE(plain), PyBytes_AS_STRING(whole))
    return whole


def place_of(bytes value not None):
    cdef Place place
    cdef size_t size = PyBytes_GET_SIZE(value)
    if size != sizeof(Place) and size != 8:
        return None
    memset(&place, 0, sizeof(Place))
    memcpy(&place, PyBytes_AS_STRING(value), size)
    return (place.generation, place.batch) if place.generation <= SEQ_MAX else None


def state_of(bytes value not None):
    cdef LogState s
    cdef MDB_val v
    cdef bint folded
    v.mv_data, v.mv_size = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    if not state_read(&v, &s, &folded):
        return None
    return State(s.first_seq, s.last_seq, s.messages, s.bytes, s.subjects, s.last_ts, s.blocks if folded else None)


def fold_of(bytes key not None):
    return key_fold(PyBytes_AS_STRING(key)) if PyBytes_GET_SIZE(key) == KEY else 0


def subject_of(bytes key not None, bytes value not None, Vault_ vault=None):
    parts = _subject_parts(key, value, &vault.v if vault is not None else NULL)
    return parts[:4] if parts is not None else None


cdef _subject_parts(bytes key, bytes value, Vault* v):
    cdef SubjectState s
    cdef const char* text
    cdef uint32_t n
    cdef char whole[ANY_KEY]
    if not 4 < PyBytes_GET_SIZE(key) <= ANY_KEY \
            or not subject_value(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), &s, &text, &n):
        return None
    numbers = value[:PyBytes_GET_SIZE(value) - n]
    if n == 0:
        text, n = PyBytes_AS_STRING(key) + 4, <uint32_t>(PyBytes_GET_SIZE(key) - 4)
    if subject_key(v, whole, int.from_bytes(key[:4]), text, n) != <size_t>PyBytes_GET_SIZE(key) \
            or memcmp(whole, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) != 0:
        return None
    return PyBytes_FromStringAndSize(text, n), s.count, s.first, s.last, numbers


# --- one log ---------------------------------------------------------------------------------------


cdef class Tally:
    cdef Table* table  # only its Topics are used
    cdef Log counting  # for record_bytes
    cdef uint32_t ident
    cdef object expand
    cdef uint32_t nseen
    cdef readonly uint64_t messages
    cdef readonly uint64_t bytes
    cdef readonly uint64_t first
    cdef readonly uint64_t last  # of everything that blocks have, removed or not
    cdef readonly int64_t last_ts
    cdef readonly bint compressed
    cdef object vault
    cdef Opener opener
    cdef Sealed sealed

    def __cinit__(self, uint32_t ident, expand, Vault_ vault=None):
        self.ident, self.expand, self.vault = ident, expand, vault
        self.opener.vault = &vault.v if vault is not None else NULL
        self.table = table_new(0)
        memset(&self.counting, 0, sizeof(Log))

    def close(self):
        table_free(self.table)
        self.table = NULL

    def __dealloc__(self):
        table_free(self.table)
        opener_free(&self.opener)
        sealed_free(&self.sealed)

    @property
    def subjects(self):
        return self.table.ntopics

    cdef bytes _plain(self, BlockView* b):
        """A compressed block as it was before; None: it cannot be expanded."""
        cdef uint32_t size = packed_size(b)
        cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
        if size == 0 or not unpack(<void*>self.expand, b, PyBytes_AS_STRING(whole), size):
            return None
        self.compressed = True
        return whole

    cdef bint _opened(self, BlockView* b, bytes key, bytes value):
        if self.opener.vault == NULL:
            return block_open(b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        return PyBytes_GET_SIZE(key) == KEY and block_open_sealed(
            b, &self.sealed, &self.opener, PyBytes_AS_STRING(key), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    def block(self, bytes key not None, bytes value not None, bits, Store into=None):
        cdef BlockView b
        cdef uint64_t last = key_seq(PyBytes_AS_STRING(key))
        cdef const uint8_t* dead = NULL
        if not self._opened(&b, key, value):
            return Block(self.ident, self.last + 1, last, 1, 0, [], [], "its head is damaged")
        if not block_belongs(&b, PyBytes_AS_STRING(key)) or b.first <= self.last:
            return Block(self.ident, b.first, last, b.count, 0, [], [], "it does not belong where it is")
        if b.flags & BLOCK_ZSTD:
            value = self._plain(&b)
            if value is None or not block_open(&b, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
                self.last = last
                return Block(self.ident, b.first, last, b.count, 0, [], [], "it cannot be expanded")
        if bits is not None:
            if len(bits) != 4 + (b.count + 7) // 8:
                return Block(self.ident, b.first, last, b.count, 0, [], [], "its removed messages are not known")
            dead = <const uint8_t*>PyBytes_AS_STRING(bits) + 4
        return self._records(&b, dead, bits, into)

    cdef _records(self, BlockView* b, const uint8_t* dead, bytes bits, Store into):
        cdef Log_ log = into.logs[self.ident] if into is not None else None
        cdef Record r
        cdef uint64_t previous
        cdef uint64_t kept = 0
        cdef uint64_t live = 0
        cdef uint32_t said, i
        cdef uint64_t before = self.last
        cdef bint ordered = True
        damaged, chains = [], []
        for i in range(b.count):
            ordered = ordered and before < block_seq(b, i) <= b.last
            before = block_seq(b, i)
            if dead != NULL and (dead[i >> 3] >> (i & 7)) & 1:
                continue
            live += 1
            if not ordered or block_read(b, i, &r, &previous) != FOUND or block_verified(b, i, &r) != FOUND:
                damaged.append(block_seq(b, i))
                continue
            kept += 1
            if not self._count(&r, previous):
                chains.append(r.seq)
            if log is not None:
                log.l.journal = NULL
                log_append(log.l, r.seq, r.ts, r.subject, r.subject_len, r.body, r.header_len, r.size)
                log.l.journal = &into.j
        self.last = b.last
        text = ""
        if dead != NULL:
            memcpy(&said, PyBytes_AS_STRING(bits), 4)
            text = "" if said == live else f"{live} messages are not removed, {said} are counted"
        return Block(self.ident, b.first, b.last, live, kept, damaged, chains, text)

    cdef bint _count(self, Record* r, uint64_t previous):
        """Adds a message to the sums; whether its link leads past no other."""
        cdef Topic* p = topic_find(self.table, r.subject, r.subject_len)
        cdef bint right
        if p == NULL:
            p = topic_make(self.table, r.subject, r.subject_len)
            p.first = r.seq
        right = previous < r.seq and previous >= p.last
        p.count += 1
        p.last = r.seq
        self.messages += 1
        self.bytes += record_bytes(&self.counting, r.subject_len, r.header_len, r.size)
        if self.first == 0:
            self.first = r.seq
        self.last_ts = r.ts
        return right

    def subject(self, bytes subject not None, uint64_t count, uint64_t first, uint64_t last):
        cdef Topic* p = topic_find(self.table, subject, <uint32_t>len(subject))
        if p == NULL:
            return False
        self.nseen += 1
        p.oldest = <Entry*>p  # a mark; this Table has no Entries
        return p.count == count and first <= p.first and p.last == last

    @property
    def left(self):
        return self.table.ntopics - self.nseen

    def unseen(self):
        cdef uint32_t i
        cdef Topic* p
        result = []
        for i in range(self.table.topic_cap):
            p = self.table.topics[i]
            while p != NULL and len(result) < EXAMPLES:
                if p.oldest == NULL:
                    result.append(PyBytes_FromStringAndSize(&p.text[0], p.length))
                p = p.chain
        return result


# --- making a store --------------------------------------------------------------------------------


def begin(Store store not None, uint32_t ident, *, bint compress):
    store.open_log(ident, compress=compress)


def finish(Store store not None, uint32_t ident, uint64_t last_seq):
    cdef Log_ log = store.logs[ident]
    log.l.journal = NULL
    log_skip(log.l, last_seq)
    log.l.visible_seq = log.l.last_seq
    log.l.journal = &store.j


def put(Store store not None, bytes key not None, bytes value not None):
    store.fresh[key] = value


def apply(Store store not None, batches):
    for data, at in batches:
        apply_batch(store, data, at)
    store.keep_notes()


def move(Store store not None):
    store.move(store.j.generation, store.j.batch - 1)


def place(Store store not None, uint64_t generation, uint64_t batch):
    store.j.generation, store.j.batch = generation, batch + 1
    store.j.written = store.j.durable = batch


def exchange(one, other):
    cdef bytes a = os.fsencode(one)
    cdef bytes b = os.fsencode(other)
    if syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0:
        raise OSError(errno, os.strerror(errno), one)
