"""How entries of LMDB are named and sealed.

``blocks`` and ``dead`` have keys of a log's number and a sequence, big-endian, so that LMDB's order is theirs.
``subjects`` has the log's number and the subject. ``meta`` has the journal's place (``generation``), and for each log its
counters (``log:`` and its number) and, if some of it was lost, a mark that says what (``bad:`` and its number). A value
that has no checksum of its own has a seal behind it, which covers its key as well. The keys of a log's blocks are folded
into one number that its counters have, so that a key that has become another one shows without a look at the blocks.

In an encrypted store the seal is the cipher's. Sequences and numbers of logs stay as they are in keys, because LMDB's
order is needed; subjects and the keys of pairs are hidden (vault.pyx) and stand in the value as well. A subject is
hidden token by token: whoever reads the file sees how many subjects have the same first tokens, not which.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

from phloem.shared.kernel.text cimport hash_bytes

from .lmdb cimport MDB_val
from .types cimport *
from .varint cimport get_varint
from .vault cimport HIDDEN, SHUT, Opener, Vault, opener_room, vault_hide, vault_open, vault_shut

cdef enum:  # what a name is hidden for
    WHOLE_SUBJECT = 1
    REST_OF_LEVELS = 2
    WHOLE_PAIR = 3
    CLASS_OF_PAIR = 4
    TOKENS = 16  # and the number of a level

cdef enum:
    STATE_UNFOLDED = 48  # bytes of a LogState of an earlier version, which said nothing of keys
    FOLD_SEED = 0x666F6C64


cdef void put_key(char* to, uint32_t ident, uint64_t seq) noexcept nogil:
    cdef int i
    for i in range(4):
        to[i] = <char>(ident >> (24 - 8 * i))
    for i in range(8):
        to[4 + i] = <char>(seq >> (56 - 8 * i))


cdef uint32_t key_ident(const void* key) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>key
    return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]


cdef uint64_t key_seq(const void* key) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>key + 4
    cdef uint64_t seq = 0
    cdef int i
    for i in range(8):
        seq = (seq << 8) | p[i]
    return seq


cdef uint64_t key_fold(const void* key) noexcept nogil:
    """What a block's key adds to the fold of its log, by exclusive or; and what takes it away again."""
    cdef uint32_t low = hash_bytes(<const char*>key, KEY, FOLD_SEED)
    return <uint64_t>hash_bytes(<const char*>key, KEY, low) << 32 | low


cdef bint state_read(const MDB_val* v, LogState* s, bint* folded) noexcept nogil:
    """An unsealed value; False: it is none. ``folded``: whether it says something of keys."""
    if v.mv_size != sizeof(LogState) and v.mv_size != STATE_UNFOLDED:
        return False
    s.blocks = 0
    memcpy(s, v.mv_data, v.mv_size)
    folded[0] = v.mv_size == sizeof(LogState)
    return True


cdef uint32_t _hide_tokens(Vault* v, char* to, uint32_t ident, const char* subject, uint32_t n) noexcept nogil:
    """What comes of the subject's first tokens, each with those before it; how many there are."""
    cdef char hidden[HIDDEN]
    cdef uint32_t at = 0
    cdef uint32_t level = 0
    while level < LEVELS and at < n:
        while at < n and subject[at] != c'.':
            at += 1
        vault_hide(v, TOKENS + level, ident, subject, at, hidden)
        memcpy(to + level * LEVEL, hidden, LEVEL)
        level += 1
        at += 1
    return level


cdef size_t subject_prefix(Vault* v, char* to, uint32_t ident, const char* beginning, uint32_t n) noexcept nogil:
    """What the keys of all subjects begin with that begin so; it ends with a dot, or is a whole subject, or empty."""
    put_key(to, ident, 0)
    if v != NULL:
        return 4 + LEVEL * _hide_tokens(v, to + 4, ident, beginning, n)
    if n > SUBJECT_KEY:
        n = SUBJECT_KEY
    memcpy(to + 4, beginning, n)
    return 4 + n


cdef size_t subject_key(Vault* v, char* to, uint32_t ident, const char* subject, uint32_t n) noexcept nogil:
    """A subject that is too long for a key ends in a hash there, and one that is hidden is nothing else; the value has
    the whole of it."""
    cdef char hidden[HIDDEN]
    cdef uint32_t h, levels
    cdef int i
    put_key(to, ident, 0)
    if v != NULL:
        levels = _hide_tokens(v, to + 4, ident, subject, n)
        if levels < LEVELS:
            vault_hide(v, REST_OF_LEVELS, ident, subject, n, hidden)
            memcpy(to + 4 + levels * LEVEL, hidden, (LEVELS - levels) * LEVEL)
        vault_hide(v, WHOLE_SUBJECT, ident, subject, n, to + 4 + LEVELS * LEVEL)
        return HIDDEN_SUBJECT
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


cdef size_t _class(const char* key, size_t n) noexcept nogil:
    """How much of a key names those that are looked for together: ``s/ACCOUNT/``, or a letter and a log's number; 0: it
    is too short for one."""
    cdef const char* slash
    if n < 2:
        return 0
    if key[1] == c'/':
        slash = <const char*>memchr(key + 2, c'/', n - 2)
        return slash - key + 1 if slash != NULL else 0
    return 5 if n >= 5 else 0


cdef size_t pair_prefix(Vault* v, char* to, const char* prefix, size_t n) noexcept nogil:
    """What the stored keys of all pairs begin with whose keys begin so. Others may begin so, too."""
    cdef char hidden[HIDDEN]
    if v == NULL:
        memcpy(to, prefix, n)
        return n
    n = _class(prefix, n)
    if n == 0:
        return 0
    vault_hide(v, CLASS_OF_PAIR, 0, prefix, n, hidden)
    memcpy(to, hidden, CLASS)
    return CLASS


cdef size_t pair_key(Vault* v, char* to, const char* key, size_t n) noexcept nogil:
    """At most ``ANY_KEY`` bytes."""
    cdef char hidden[HIDDEN]
    if v == NULL:
        memcpy(to, key, n)
        return n
    vault_hide(v, CLASS_OF_PAIR, 0, key, _class(key, n), hidden)
    memcpy(to, hidden, CLASS)
    vault_hide(v, WHOLE_PAIR, 0, key, n, to + CLASS)
    return CLASS + HIDDEN


cdef uint32_t _seal_of(int which, MDB_val* key, const void* value, size_t n) noexcept nogil:
    """The checksum of a value under its key."""
    return hash_bytes(<const char*>value, n, hash_bytes(<const char*>key.mv_data, key.mv_size, which))


cdef size_t _context(int which, MDB_val* key, char* to) noexcept nogil:
    memcpy(to, &which, 4)
    memcpy(to + 4, key.mv_data, key.mv_size)
    return 4 + key.mv_size


cdef size_t seal_size(Vault* v) noexcept nogil:
    """Bytes that a sealed value has more."""
    return SHUT if v != NULL else SEAL


cdef void seal(Vault* v, int which, MDB_val* key, const void* value, size_t n, char* to) noexcept nogil:
    """The value as it is stored under its key, of ANY_KEY bytes at most: ``n + seal_size(v)`` bytes."""
    cdef char context[4 + ANY_KEY]
    cdef uint32_t check
    if v != NULL:
        vault_shut(v, context, _context(which, key, context), <const char*>value, n, to)
        return
    check = _seal_of(which, key, value, n)
    memcpy(to, value, n)
    memcpy(to + n, &check, SEAL)


cdef bint unseal(Opener* o, int which, MDB_val* key, MDB_val* value) noexcept nogil:
    """Takes the seal off a value; False: it is not what was put there. Of an encrypted one ``value`` names the opener's
    own copy from then on, which holds until it opens another."""
    cdef char context[4 + ANY_KEY]
    cdef uint32_t check
    if o.vault != NULL:
        if value.mv_size < SHUT or key.mv_size > ANY_KEY or not vault_open(
                o, context, _context(which, key, context), <const char*>value.mv_data, value.mv_size,
                opener_room(o, value.mv_size)):
            return False
        value.mv_data = o.plain.data
        value.mv_size -= SHUT
        return True
    if value.mv_size < SEAL:
        return False
    value.mv_size -= SEAL
    memcpy(&check, <const char*>value.mv_data + value.mv_size, SEAL)
    return check == _seal_of(which, key, value.mv_data, value.mv_size)


cdef bint unseal_pair(Opener* o, MDB_val* stored, MDB_val* value, MDB_val* key) noexcept nogil:
    """The same for a pair, and its key as it was given: a hidden one stands before the value, behind its length."""
    cdef uint16_t n
    key[0] = stored[0]
    if not unseal(o, SEAL_PAIRS, stored, value):
        return False
    if o.vault == NULL:
        return True
    if value.mv_size < 2:
        return False
    memcpy(&n, value.mv_data, 2)
    if n > value.mv_size - 2:
        return False
    key.mv_data, key.mv_size = <char*>value.mv_data + 2, n
    value.mv_data = <char*>value.mv_data + 2 + n
    value.mv_size -= 2 + <size_t>n
    return True


cdef void meta_key(char* to, const char* kind, uint32_t ident) noexcept nogil:
    memcpy(to, kind, 4)
    memcpy(to + 4, &ident, 4)
