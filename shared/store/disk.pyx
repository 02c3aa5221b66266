"""Reading a log from LMDB.

``blocks`` maps (log, last sequence) to a block of messages, so that the first key at or above (log, sequence) is the
block that has the sequence, if any has. ``dead`` has a bit for each removed message of a block that still holds it,
under the block's key. ``subjects`` maps (log, subject) to count, first and last sequence; in LMDB's order subjects with
a common beginning are neighbours, so that a filter looks only at those that begin as it does.

A message names the one before it on its subject. Where little matches a filter, its messages are gathered along these
chains, newest first, instead of looking at everything between them; the list is kept in the Filter until the next
flush.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport pattern_matches

from .block cimport (
    BLOCK_HEAD, BLOCK_ZSTD, Block, block_after, block_belongs, block_find, block_open, block_open_sealed, block_read, block_seq,
    block_verified,
)
from .environment cimport disk_absent, disk_begins, disk_find, disk_let_go, disk_value
from .keys cimport (
    ANY_KEY, HIDDEN_SUBJECT, KEY, META_KEY, SEAL_DEAD, SEAL_META, SEAL_SUBJECTS, SUBJECT_KEY, LogState, Place, key_seq,
    meta_key, put_key, state_read, subject_key, subject_prefix, subject_value, unseal,
)
from .lmdb cimport MDB_CORRUPTED, MDB_LAST, MDB_NEXT, MDB_NOTFOUND, MDB_PREV, MDB_SET_RANGE, MDB_val, lmdb
from .log cimport filter_matches
from .packing cimport packed_size, unpack
from .table cimport dead_has
from .types cimport *
from .vault cimport Opener, Vault, opener_free, sealed_free

cdef enum:
    GATHER_SHARE = 8  # a filter that matches less than an eighth of what is there gathers, others look at everything
    GATHER_MAX = 2_000_000  # sequences kept for one filter: 16 MB
    SHORT_SUBJECT = 1024  # the entry of one that is not longer is no large value
    LOOKED_MAX = 1 << 20  # bytes of blocks; what is mapped around them is as much again
    CHAIN_MAX = 1024  # a subject with more messages than this is looked for forwards


cdef DiskLog* disk_log(Disk* d) noexcept nogil:
    cdef DiskLog* k = <DiskLog*>must(calloc(1, sizeof(DiskLog)))
    k.disk, k.opener.vault = d, d.vault
    return k


cdef void disk_log_free(void* disk) noexcept nogil:
    if disk != NULL:
        opener_free(&(<DiskLog*>disk).opener)
        sealed_free(&(<DiskLog*>disk).sealed)
        free((<DiskLog*>disk).expanded)
        free(disk)


cdef void disk_log_anew(void* disk) noexcept nogil:
    """LMDB has another file now: nothing that was read holds."""
    cdef DiskLog* k = <DiskLog*>disk
    k.block.data = NULL
    k.block.first = k.block.last = 0
    k.bits = NULL
    k.lost = 0


cdef inline void _damage(Log* l, uint64_t seq) noexcept nogil:
    cdef Disk* d = (<DiskLog*>l.disk).disk
    d.damaged += 1
    d.damaged_ident, d.damaged_seq = l.ident, seq
    if seq and (l.damaged_first == 0 or seq < l.damaged_first):
        l.damaged_first = seq
    if seq > l.damaged_last:
        l.damaged_last = seq


cdef inline void disk_note_head(Disk* d, uint64_t bad) noexcept nogil:
    if bad:
        d.bad_page = bad


cdef int disk_state(Disk* d, uint32_t ident, LogState* s) noexcept nogil:
    """Found."""
    cdef char key[META_KEY]
    cdef MDB_val k, v
    cdef bint folded
    cdef int error
    meta_key(key, b"log:", ident)
    k.mv_data, k.mv_size = key, META_KEY
    error = lmdb.get(d.reader, d.meta, &k, &v)
    if error:
        if error == MDB_NOTFOUND and disk_absent(d, d.meta, SEAL_META, &k):
            return MISSING
        d.error = error if error != MDB_NOTFOUND else MDB_CORRUPTED
        return DAMAGED
    if not unseal(&d.opener, SEAL_META, &k, &v) or not state_read(&v, s, &folded):
        return DAMAGED
    return FOUND if s.last_seq <= SEQ_MAX and s.first_seq <= s.last_seq + 1 else DAMAGED


cdef int disk_place(Disk* d, Place* place) noexcept nogil:
    """Found; where the journal goes on from."""
    cdef MDB_val k, v
    memset(place, 0, sizeof(Place))
    k.mv_data, k.mv_size = <char*>b"generation", 10
    if lmdb.get(d.reader, d.meta, &k, &v) != 0:
        return MISSING
    if not unseal(&d.opener, SEAL_META, &k, &v) or (v.mv_size != sizeof(Place) and v.mv_size != 8):
        return DAMAGED
    memcpy(place, v.mv_data, v.mv_size)
    return FOUND if place.generation <= SEQ_MAX else DAMAGED


# --- blocks ----------------------------------------------------------------------------------------


cdef bint _expand(DiskLog* k) noexcept nogil:
    """Unpacks a compressed block into the log's own buffer."""
    cdef uint32_t size = packed_size(&k.block)
    if size == 0:
        return False
    if size > k.expanded_cap:
        k.expanded = <char*>must(realloc(k.expanded, size))
        k.expanded_cap = size
    return unpack(k.disk.expand, &k.block, k.expanded, size) and block_open(&k.block, k.expanded, size)


cdef bint _opened(DiskLog* k, const char* key, MDB_val* v) noexcept nogil:
    if k.opener.vault == NULL:
        return block_open(&k.block, <const char*>v.mv_data, v.mv_size)
    return block_open_sealed(&k.block, &k.sealed, &k.opener, key, <const char*>v.mv_data, v.mv_size)


cdef int _enter(Log* l, uint64_t seq) noexcept nogil:
    """Makes the first block that ends at ``seq`` or later the log's current one."""
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef Disk* d = k.disk
    cdef char key[KEY]
    cdef MDB_val at, v
    cdef uint64_t bad
    cdef int error
    if k.serial == d.serial and k.block.data != NULL and k.block.first <= seq <= k.block.last:
        return FOUND
    put_key(key, l.ident, seq)
    at.mv_data, at.mv_size = key, KEY
    k.block.data = NULL
    error = lmdb.cursor_get(d.cursor, &at, NULL, MDB_SET_RANGE)
    if error == 0:
        error = disk_value(d, d.cursor, d.pages, &at, &v, &bad)
    if error and error != MDB_NOTFOUND:
        return _refused(l, k, seq, l.disk_last, error)
    if error == MDB_NOTFOUND or at.mv_size != KEY or memcmp(at.mv_data, key, 4) != 0:
        if (error or _stands(d, &at, &v)) and _stands_before(d, key, error, 0):
            return MISSING
        return _refused(l, k, seq, l.disk_last, MDB_CORRUPTED)
    disk_note_head(d, bad)
    d.looked += v.mv_size
    if d.looked > LOOKED_MAX:
        disk_let_go(d)
    memcpy(key, at.mv_data, KEY)
    if not _opened(k, key, &v):
        k.block.count = 1
        return _unreadable(l, k, seq, key_seq(key))
    if not block_belongs(&k.block, key):
        return _refused(l, k, seq, key_seq(key), MDB_CORRUPTED)
    if seq < k.block.first and not _stands_before(d, key, 0, k.block.first):
        return _refused(l, k, seq, k.block.first - 1, MDB_CORRUPTED)
    k.bits = NULL
    at.mv_data, at.mv_size = key, KEY
    error = lmdb.get(d.reader, d.dead, &at, &v)
    if error == MDB_NOTFOUND:
        error = 0 if disk_absent(d, d.dead, SEAL_DEAD, &at) else MDB_CORRUPTED
        at.mv_size = 0
    if error:  # what was removed would be there again
        return _refused(l, k, seq, key_seq(key), error)
    if at.mv_size:
        if not unseal(&k.opener, SEAL_DEAD, &at, &v) or v.mv_size != 4 + (k.block.count + 7) // 8:
            return _unreadable(l, k, seq, key_seq(key))
        k.bits = <const char*>v.mv_data + 4
    if k.block.flags & BLOCK_ZSTD and not _expand(k):
        return _unreadable(l, k, seq, key_seq(key))
    k.serial = d.serial
    return FOUND


cdef bint _stands(Disk* d, const MDB_val* at, const MDB_val* v) noexcept nogil:
    """Whether a block that is beside what is looked for has the key that it was written under, as far as it says so."""
    cdef DiskLog other
    cdef MDB_val value = v[0]
    cdef char key[KEY]
    cdef bint stands
    if at.mv_size != KEY:
        return False
    memcpy(key, at.mv_data, KEY)
    memset(&other, 0, sizeof(DiskLog))
    other.opener.vault = d.vault
    if _opened(&other, key, &value):
        stands = block_belongs(&other.block, key)
    else:
        stands = d.vault == NULL  # its head is damaged, as is told when it is read; encrypted it may be the key as well
    opener_free(&other.opener)
    sealed_free(&other.sealed)
    return stands


cdef bint _stands_before(Disk* d, const char* key, int error, uint64_t first) noexcept nogil:
    """The same for the block before the reader's cursor, which has found nothing (``error``), or a block of the log of
    ``key`` that begins with ``first``, or another log's (0)."""
    cdef MDB_val at, v
    cdef uint64_t bad
    error = lmdb.cursor_get(d.cursor, &at, NULL, MDB_LAST if error else MDB_PREV)
    if error == MDB_NOTFOUND:
        return True
    if error or disk_value(d, d.cursor, d.pages, &at, &v, &bad) != 0:
        return False
    if first and at.mv_size == KEY and memcmp(at.mv_data, key, 4) == 0 and key_seq(at.mv_data) >= first:
        return False
    return _stands(d, &at, &v)


cdef int _refused(Log* l, DiskLog* k, uint64_t seq, uint64_t last, int error) noexcept nogil:
    """LMDB cannot be read here, or what it says cannot be: the file is looked at, and consumers wait for it."""
    k.disk.error = error
    if l.journal != NULL:
        l.journal.doubtful = 1
    k.block.data = NULL
    k.lost = 1
    k.block.first, k.block.last = seq, last if last > seq else seq
    _damage(l, seq)
    return DAMAGED


cdef int _unreadable(Log* l, DiskLog* k, uint64_t seq, uint64_t last) noexcept nogil:
    """A block that cannot be read, or of which nobody knows what was removed. Readers step over the whole of it."""
    k.lost = _live(k) if k.block.count > 1 else 1
    k.block.data = NULL
    k.block.first, k.block.last = seq, last
    _damage(l, last)
    return DAMAGED


cdef uint64_t disk_lost(Log* l, uint64_t seq) noexcept nogil:
    """How many messages go when ``seq`` is removed, which was found damaged: those of its block, if it stands for it."""
    cdef DiskLog* k = <DiskLog*>l.disk
    return k.lost if k.block.data == NULL and seq == k.block.last and k.lost else 1


cdef inline bint _gone(Log* l, DiskLog* k, uint32_t index, uint64_t seq) noexcept nogil:
    if k.bits != NULL and (k.bits[index >> 3] >> (index & 7)) & 1:
        return True
    return dead_has(&l.dead, seq) or dead_has(l.frozen_dead, seq)


cdef int disk_read(Log* l, uint64_t seq, Record* r) noexcept nogil:
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef uint32_t i
    cdef int found = _enter(l, seq)
    if found == FOUND:
        if seq < k.block.first:
            return MISSING
        i = block_find(&k.block, seq)
        if i == k.block.count or block_seq(&k.block, i) != seq or _gone(l, k, i, seq):
            return MISSING
        found = block_verified(&k.block, i, r)
        if found == DAMAGED:
            _damage(l, seq)
    r.seq = seq
    return found


cdef int _look(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil:
    """The first match from ``start`` to ``end``, looking at every message."""
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef uint32_t i
    cdef uint64_t seq, previous
    cdef int found
    while start <= end:
        found = _enter(l, start)
        if found == DAMAGED:  # its last message stands for the block until it is removed
            if dead_has(&l.dead, k.block.last) or dead_has(l.frozen_dead, k.block.last):
                start = k.block.last + 1
                continue
            r.seq = k.block.last
        if found != FOUND:
            return found
        i = block_find(&k.block, start)
        while i < k.block.count:
            seq = block_seq(&k.block, i)
            if seq > end:
                return MISSING
            if not _gone(l, k, i, seq):
                r.seq = seq
                found = block_read(&k.block, i, r, &previous)
                if found == FOUND and filter_matches(f, r.subject, r.subject_len):
                    found = block_verified(&k.block, i, r)
                elif found == FOUND:
                    i = block_after(&k.block, i)
                    continue
                if found == DAMAGED:
                    _damage(l, seq)
                    r.seq = seq
                return found
            i = block_after(&k.block, i)
        start = k.block.last + 1
    return MISSING


cdef int disk_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil:
    cdef int found
    if f == NULL or f.count == 0 or not _gathered(l, f, start):
        return _look(l, f, start, end, r)
    if f.gathered_at >= f.ngathered or f.gathered[f.gathered_at] < start \
            or (f.gathered_at and f.gathered[f.gathered_at - 1] >= start):
        f.gathered_at = _above(f.gathered, f.ngathered, start)
    while f.gathered_at < f.ngathered and f.gathered[f.gathered_at] <= end:
        found = disk_read(l, f.gathered[f.gathered_at], r)
        if found != MISSING:
            return found
        f.gathered_at += 1
    return MISSING


cdef uint32_t _above(uint64_t* list, uint32_t n, uint64_t value) noexcept nogil:
    """The index of the first that is ``value`` or more."""
    cdef uint32_t low = 0
    cdef uint32_t high = n
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if list[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


# --- gathering -------------------------------------------------------------------------------------


cdef struct Chains:
    Log* log
    Filter* filter
    uint64_t start
    uint64_t total
    uint64_t most
    uint32_t cap
    bint broken


cdef bint _add_total(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    cdef Chains* c = <Chains*>context
    c.total += s.count
    return c.total <= c.most


cdef uint64_t _chain(Log* l, uint64_t seq) noexcept nogil:
    """The message before ``seq`` on its subject; 0: none; UINT64_MAX: that cannot be said."""
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef Record r
    cdef uint64_t previous
    cdef uint32_t i
    if _enter(l, seq) != FOUND or seq < k.block.first:
        return <uint64_t>-1
    i = block_find(&k.block, seq)
    if i == k.block.count or block_seq(&k.block, i) != seq or block_read(&k.block, i, &r, &previous) != FOUND:
        return <uint64_t>-1
    return previous


cdef bint _follow(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    cdef Chains* c = <Chains*>context
    cdef Filter* f = c.filter
    cdef uint64_t seq = s.last
    while seq >= c.start and seq >= s.first and seq and not c.broken:
        f.gathered = <uint64_t*>grow(f.gathered, &c.cap, f.ngathered + 1, sizeof(uint64_t))
        f.gathered[f.ngathered] = seq
        f.ngathered += 1
        if seq == s.first:
            break
        seq = _chain(c.log, seq)
        c.broken = seq == <uint64_t>-1  # what it led to is in no block: there may be more before it
    return not c.broken and f.ngathered <= GATHER_MAX


cdef int _by_value(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t*>a)[0]
    cdef uint64_t y = (<const uint64_t*>b)[0]
    return (x > y) - (x < y)


cdef bint _gathered(Log* l, Filter* f, uint64_t start) noexcept nogil:
    """Whether the filter's list says all from ``start`` on; it is made when that is worth it."""
    cdef Chains c
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef uint64_t damaged
    if f.gathered_flush == k.disk.serial:
        if f.gathered_to == 0:  # looked into already: not worth it
            return False
        if start >= f.gathered_from:
            return True
    memset(&c, 0, sizeof(Chains))
    c.log, c.filter, c.start = l, f, start
    c.most = l.messages // GATHER_SHARE
    if c.most > GATHER_MAX:
        c.most = GATHER_MAX
    f.gathered_flush, f.gathered_to, f.ngathered, f.gathered_at = k.disk.serial, 0, 0, 0
    free(f.gathered)
    f.gathered = NULL
    damaged = k.disk.damaged
    disk_subjects(l, f, _add_total, &c)
    if c.total > c.most:
        return False
    disk_subjects(l, f, _follow, &c)
    if c.broken or damaged != k.disk.damaged or f.ngathered > GATHER_MAX:
        f.ngathered = 0
        return False
    if f.ngathered:
        qsort(f.gathered, f.ngathered, sizeof(uint64_t), _by_value)
    f.gathered_from, f.gathered_to = start, l.disk_last
    return True


# --- subjects --------------------------------------------------------------------------------------


cdef bint disk_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    """As of the last flush. False: the subject has no message on disk."""
    cdef Disk* d = (<DiskLog*>l.disk).disk
    cdef char key[ANY_KEY]
    cdef MDB_val at, v
    cdef const char* text
    cdef uint32_t length
    cdef uint64_t bad = 0
    cdef int error
    at.mv_data, at.mv_size = key, subject_key(d.vault, key, l.ident, subject, n)
    if n <= SHORT_SUBJECT:
        error = lmdb.get(d.reader, d.subjects, &at, &v)
    else:
        error = disk_find(d, d.reader, d.subjects, d.pages, &at, &v, &bad)
    if error == MDB_NOTFOUND and disk_absent(d, d.subjects, SEAL_SUBJECTS, &at):
        return False
    if error:
        d.error = error if error != MDB_NOTFOUND else MDB_CORRUPTED
        return _recount(l, subject, n, s)
    disk_note_head(d, bad)
    if unseal(&d.opener, SEAL_SUBJECTS, &at, &v) and subject_value(<const char*>v.mv_data, v.mv_size, s, &text, &length):
        return True
    return _recount(l, subject, n, s)


cdef bint _recount(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    """What a damaged entry said, from the messages themselves: slow, and right."""
    cdef Filter one
    cdef Record r
    cdef char* pattern = <char*>subject
    cdef unsigned short length = <unsigned short>n
    cdef uint64_t at = 0
    cdef int found
    _damage(l, 0)
    memset(&one, 0, sizeof(Filter))
    one.patterns, one.lengths, one.count = &pattern, &length, 1
    s.count = s.first = s.last = 0
    while True:
        found = _look(l, &one, at, l.disk_last, &r)
        if found == MISSING:
            return s.count > 0
        at = r.seq + 1
        if found == FOUND:
            s.count += 1
            s.first, s.last = s.first if s.first else r.seq, r.seq


cdef uint64_t disk_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil:
    cdef SubjectState s
    cdef Filter one
    cdef Record r
    cdef char* pattern = <char*>subject
    cdef unsigned short length = <unsigned short>n
    cdef uint64_t seq
    cdef uint64_t found = 0
    if not disk_subject(l, subject, n, &s) or s.last < start:
        return 0
    if start < s.first:
        start = s.first
    if s.count <= CHAIN_MAX:
        seq = s.last
        while seq >= start and seq and seq != <uint64_t>-1:
            if not (dead_has(&l.dead, seq) or dead_has(l.frozen_dead, seq)):
                found = seq
            seq = _chain(l, seq)
        if seq != <uint64_t>-1:
            return found if found == 0 or disk_read(l, found, &r) != MISSING else _first_of(l, subject, n, found + 1)
    memset(&one, 0, sizeof(Filter))
    one.patterns, one.lengths, one.count = &pattern, &length, 1
    return r.seq if _look(l, &one, start, l.disk_last, &r) != MISSING else 0


cdef uint64_t _first_of(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil:
    cdef Filter one
    cdef Record r
    cdef char* pattern = <char*>subject
    cdef unsigned short length = <unsigned short>n
    memset(&one, 0, sizeof(Filter))
    one.patterns, one.lengths, one.count = &pattern, &length, 1
    return r.seq if _look(l, &one, start, l.disk_last, &r) != MISSING else 0


cdef uint32_t _beginning(const char* pattern, uint32_t n) noexcept nogil:
    """How much of a pattern every subject that matches begins with."""
    cdef uint32_t i
    for i in range(n):
        if (pattern[i] == c'*' or pattern[i] == c'>') and (i == 0 or pattern[i - 1] == c'.') \
                and (i + 1 == n or pattern[i + 1] == c'.'):
            return i
    return n


cdef void _each_subject(Log* l, Filter* f, uint32_t which, subject_fn each, void* context, bint* on) noexcept nogil:
    cdef Disk* d = (<DiskLog*>l.disk).disk
    cdef char key[ANY_KEY]
    cdef uint32_t n = 0
    cdef uint32_t i
    cdef void* cursor = NULL
    cdef MDB_val at, v
    cdef SubjectState s
    cdef const char* text
    cdef uint32_t length
    cdef size_t prefix
    cdef bint mine
    cdef uint64_t bad
    cdef Opener opener  # ``each`` may ask for other subjects while it has this one
    cdef char* found = NULL
    cdef const char* beginning = b""
    memset(&opener, 0, sizeof(Opener))
    opener.vault = d.vault
    if f != NULL and f.count:
        n = _beginning(f.patterns[which], f.lengths[which])
        beginning = f.patterns[which]
    prefix = subject_prefix(d.vault, key, l.ident, beginning, n)
    if lmdb.cursor_open(d.reader, d.subjects, &cursor) != 0:
        return
    at.mv_data, at.mv_size = key, prefix
    if not disk_begins(d, d.subjects, SEAL_SUBJECTS, &at):
        _doubted(l)
    i = MDB_SET_RANGE
    while lmdb.cursor_get(cursor, &at, NULL, i) == 0:
        i = MDB_NEXT
        if disk_value(d, cursor, d.pages, &at, &v, &bad) != 0:
            break
        if at.mv_size < prefix or memcmp(at.mv_data, key, prefix) != 0:
            if not unseal(&opener, SEAL_SUBJECTS, &at, &v):
                _doubted(l)
            break
        disk_note_head(d, bad)
        if not unseal(&opener, SEAL_SUBJECTS, &at, &v) \
                or not subject_value(<const char*>v.mv_data, v.mv_size, &s, &text, &length):
            length = 0
            d.error = MDB_CORRUPTED
            if d.vault != NULL:
                free(found)
                found = _whose(l, &at, &length)
                if found == NULL or not _recount(l, found, length, &s):
                    _damage(l, 0)
                    length = 0
                    continue
                text = found
            elif at.mv_size > 4 + SUBJECT_KEY or not _recount(l, <const char*>at.mv_data + 4,
                                                            <uint32_t>(at.mv_size - 4), &s):
                _damage(l, 0)
                continue
        if length == 0:
            text, length = <const char*>at.mv_data + 4, <uint32_t>(at.mv_size - 4)
        mine = f == NULL or f.count == 0 or pattern_matches(f.patterns[which], f.lengths[which], text, length)
        if mine and _first_pattern(f, text, length) == which:
            on[0] = each(context, text, length, &s)
            if not on[0]:
                break
    free(found)
    opener_free(&opener)
    lmdb.cursor_close(cursor)


cdef void _doubted(Log* l) noexcept nogil:
    """The index may not have all that it should have here."""
    _damage(l, 0)
    (<DiskLog*>l.disk).disk.error = MDB_CORRUPTED


cdef char* _whose(Log* l, const MDB_val* key, uint32_t* length) noexcept nogil:
    """The subject whose hidden key this is, out of the messages: slow, and right. The caller frees it; NULL: none has
    it any more."""
    cdef Vault* vault = (<DiskLog*>l.disk).disk.vault
    cdef Record r
    cdef char its[ANY_KEY]
    cdef char* text
    cdef uint64_t at = 0
    cdef int found
    while True:
        found = _look(l, NULL, at, l.disk_last, &r)
        if found == MISSING:
            return NULL
        at = r.seq + 1
        if found == FOUND:
            subject_key(vault, its, l.ident, r.subject, r.subject_len)
            if key.mv_size == HIDDEN_SUBJECT and memcmp(its, key.mv_data, HIDDEN_SUBJECT) == 0:
                text = <char*>must(malloc(r.subject_len))
                memcpy(text, r.subject, r.subject_len)
                length[0] = r.subject_len
                return text


cdef inline uint32_t _first_pattern(Filter* f, const char* subject, uint32_t n) noexcept nogil:
    cdef uint32_t i
    if f == NULL or f.count < 2:
        return 0
    for i in range(f.count):
        if pattern_matches(f.patterns[i], f.lengths[i], subject, n):
            return i
    return 0


cdef void disk_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil:
    """Every subject that matches, each once."""
    cdef uint32_t i
    cdef bint on = True
    for i in range(f.count if f != NULL and f.count else 1):
        if on:
            _each_subject(l, f, i, each, context, &on)


# --- counting and time -----------------------------------------------------------------------------


cdef inline uint32_t _live(DiskLog* k) noexcept nogil:
    cdef uint32_t live
    if k.bits == NULL:
        return k.block.count
    memcpy(&live, k.bits - 4, 4)
    return live


cdef uint64_t disk_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil:
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef Record r
    cdef uint64_t count = 0
    cdef bint settled = l.dead.total == 0 and (l.frozen_dead == NULL or l.frozen_dead.total == 0)
    cdef bint all = f == NULL or f.count == 0
    while start <= end:
        if all and settled and _enter(l, start) == FOUND and start <= k.block.first and k.block.last <= end \
                and l.dead.below <= k.block.first and (l.frozen_dead == NULL or l.frozen_dead.below <= k.block.first):
            count += _live(k)
            start = k.block.last + 1
            continue
        if disk_next(l, f, start, end, &r) == MISSING:
            break
        count += 1
        start = r.seq + 1
    return count


cdef uint64_t disk_seq_from_time(Log* l, int64_t ts) noexcept nogil:
    """The first message with this time or a later one; 0: none has. Clocks jump, so every block is asked."""
    cdef DiskLog* k = <DiskLog*>l.disk
    cdef Record r
    cdef uint64_t start = l.first_seq
    cdef int found
    while start <= l.disk_last:
        found = _enter(l, start)
        if found == MISSING:
            return 0
        if found == FOUND and k.block.max_ts >= ts:
            while start <= k.block.last and _look(l, NULL, start, k.block.last, &r) == FOUND:
                if r.ts >= ts:
                    return r.seq
                start = r.seq + 1
        start = k.block.last + 1
    return 0
