"""How entries of LMDB are named and sealed (keys.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .lmdb cimport MDB_val
from .vault cimport HIDDEN, Opener, Vault
from .types cimport *

cdef enum:
    KEY = 12  # ident and sequence, big-endian, so that LMDB's order is theirs
    META_KEY = 8
    SUBJECT_KEY = 480  # bytes of a subject that are in a key; LMDB takes 511
    ANY_KEY = 511
    LEVELS = 5  # tokens of a subject that are hidden each for itself, so that a filter finds those that begin as it does
    LEVEL = 3  # bytes of one; that some agree by chance costs looking at them
    HIDDEN_SUBJECT = 4 + LEVELS * LEVEL + HIDDEN
    CLASS = 6  # bytes of a pair's key that say with which others it is looked for
    SEAL = 4  # bytes of checksum behind every value that has none of its own

cdef enum Sealed:  # what a seal is of; a value of one database is nothing in another
    SEAL_META = 0x6D657461
    SEAL_SUBJECTS = 0x7375626A
    SEAL_DEAD = 0x64656164
    SEAL_PAIRS = 0x70616972

cdef struct LogState:  # what the disk keeps of a log beside its messages
    uint64_t first_seq
    uint64_t last_seq
    uint64_t messages
    uint64_t bytes
    uint64_t subjects
    int64_t last_ts
    uint64_t blocks  # the keys of all its blocks, folded (``key_fold``)

cdef struct Place:  # how much of the journal is in LMDB
    uint64_t generation  # the last one that is there as a whole; 0: none
    uint64_t batch  # the last one of it; 0: a store of an earlier version did not say

# ``Vault`` and ``Opener.vault`` are NULL where nothing is encrypted
cdef size_t seal_size(Vault* v) noexcept nogil
cdef void seal(Vault* v, int which, MDB_val* key, const void* value, size_t n, char* to) noexcept nogil
cdef bint unseal(Opener* o, int which, MDB_val* key, MDB_val* value) noexcept nogil
cdef bint unseal_pair(Opener* o, MDB_val* stored, MDB_val* value, MDB_val* key) noexcept nogil
cdef size_t pair_key(Vault* v, char* to, const char* key, size_t n) noexcept nogil
cdef size_t pair_prefix(Vault* v, char* to, const char* prefix, size_t n) noexcept nogil
cdef uint64_t key_fold(const void* key) noexcept nogil
cdef bint state_read(const MDB_val* v, LogState* s, bint* folded) noexcept nogil
cdef void put_key(char* to, uint32_t ident, uint64_t seq) noexcept nogil
cdef uint32_t key_ident(const void* key) noexcept nogil
cdef uint64_t key_seq(const void* key) noexcept nogil
cdef size_t subject_key(Vault* v, char* to, uint32_t ident, const char* subject, uint32_t n) noexcept nogil
cdef size_t subject_prefix(Vault* v, char* to, uint32_t ident, const char* beginning, uint32_t n) noexcept nogil
cdef bint subject_value(const char* data, size_t size, SubjectState* s, const char** text, uint32_t* n) noexcept nogil
cdef void meta_key(char* to, const char* kind, uint32_t ident) noexcept nogil  # kind has 4 bytes
