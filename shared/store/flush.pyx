"""Moving a generation of the journal into LMDB: one write transaction that holds everything of the generation and its
number, so that after a crash either all of it is there or the journal still has it.

For each log, in this order: a purge takes whole blocks; removed messages of older generations become bits; the frozen
Table becomes blocks (the last one goes on where it was left if it was less than half full); subjects get their numbers.
A block of which nothing is left goes. One of which half is left (then a quarter, an eighth) is written again without
what was removed; only where a removed message links two others of its subject its head stays.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport must

from .block cimport (
    BLOCK_HEAD, BLOCK_SHUT, BLOCK_ZSTD, Block, BlockWriter, block_add, block_belongs, block_find, block_finish, block_free, block_open,
    block_read, block_restart, block_resume, block_seq, block_whole,
)
from .disk cimport Disk
from .entries cimport (
    DAMAGED_BLOCK, block_at, dead_bits, delete_block, delete_entry, drop_messages, flush_meta, may_go, put_block,
    put_sealed,
)
from .environment cimport disk_find, disk_pages, disk_value
from .keys cimport (
    ANY_KEY, KEY, META_KEY, SEAL_DEAD, SEAL_META, SEAL_SUBJECTS, SUBJECT_KEY, LogState, Place, key_fold, key_seq, meta_key,
    put_key, state_read, subject_key, subject_value, unseal,
)
from .lmdb cimport MDB_GET_CURRENT, MDB_LAST, MDB_NEXT, MDB_NOTFOUND, MDB_PREV, MDB_SET_RANGE, MDB_val, lmdb
from .log cimport record_check
from .packing cimport packed, packed_size, unpack
from .table cimport table_next
from .types cimport *
from .varint cimport put_varint
from .vault cimport Sealed, opener_free, sealed_free

cdef enum:
    RESUME_MAX = 32768  # a last block of less than this is gone on with
    THIN_LEAST = 12288  # a block of less than three pages is not made smaller: that would save one at most, or none
    THIN_MAX = 64 << 20  # bytes of blocks that one flush makes smaller; others have their turn when they are emptier


cdef int flush_begin(Flush* f, Disk* d) noexcept nogil:
    cdef int error
    memset(f, 0, sizeof(Flush))
    f.disk, f.opener.vault = d, d.vault
    error = lmdb.txn_begin(d.env, NULL, 0, &f.txn)
    if error:
        return error
    f.pages = disk_pages(d)
    error = lmdb.cursor_open(f.txn, d.blocks, &f.blocks)
    if error:
        lmdb.txn_abort(f.txn)
    return error


cdef void flush_abort(Flush* f) noexcept nogil:
    opener_free(&f.opener)
    lmdb.cursor_close(f.blocks)
    lmdb.txn_abort(f.txn)


cdef int flush_commit(Flush* f, const Place* place) noexcept nogil:
    cdef int error = _place(f, place)
    opener_free(&f.opener)
    lmdb.cursor_close(f.blocks)
    if error:
        lmdb.txn_abort(f.txn)
        return error
    return lmdb.txn_commit(f.txn)


cdef int flush_step(Disk* d, const Place* place) noexcept nogil:
    """A transaction that changes nothing. LMDB uses pages again that were left two transactions ago, so that without it
    the file would have the pages of two generations beside what is live."""
    cdef Flush f
    cdef int error
    memset(&f, 0, sizeof(Flush))
    f.disk = d
    error = lmdb.txn_begin(d.env, NULL, 0, &f.txn)
    if error:
        return error
    error = _place(&f, place)
    if error:
        lmdb.txn_abort(f.txn)
        return error
    return lmdb.txn_commit(f.txn)


cdef int _place(Flush* f, const Place* place) noexcept nogil:
    return flush_meta(f, b"generation", 10, <const char*>place, sizeof(Place))


# --- removed messages ------------------------------------------------------------------------------


cdef int _by_number(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<DeadPage**>a)[0].number
    cdef uint64_t y = (<DeadPage**>b)[0].number
    return (x > y) - (x < y)


cdef struct Grave:  # the block whose bits are being set
    uint64_t first
    uint64_t last  # 0: none
    uint32_t count
    uint32_t live
    uint32_t before  # live when it was opened
    uint8_t* bits  # live count, then a bit for each message
    size_t size
    size_t cap
    Block block
    Sealed sealed  # what of an encrypted one is opened
    bint changed


cdef inline int _halvings(uint32_t n) noexcept nogil:
    cdef int count = 0
    while n > 1:
        n //= 2
        count += 1
    return count


cdef bint _links(Flush* f, uint32_t ident, Record* r) noexcept nogil:
    """Whether a removed message is newer than the oldest of its subject: then its subject's chain may lead over it."""
    cdef char key[ANY_KEY]
    cdef MDB_val k, v
    cdef SubjectState s
    cdef const char* text
    cdef uint32_t n
    cdef uint64_t bad
    cdef int error
    k.mv_data, k.mv_size = key, subject_key(f.disk.vault, key, ident, r.subject, r.subject_len)
    error = disk_find(f.disk, f.txn, f.disk.subjects, f.pages, &k, &v, &bad)
    if error:
        return error != MDB_NOTFOUND
    return not unseal(&f.opener, SEAL_SUBJECTS, &k, &v) or not subject_value(<const char*>v.mv_data, v.mv_size, &s, &text, &n) \
        or r.seq > s.first


cdef int _thin_into(Flush* f, uint32_t ident, Grave* g, Block* b, BlockWriter* w, uint8_t* bits) noexcept nogil:
    """The block's messages without those that are removed. The last one stays: its sequence is the block's key."""
    cdef Record r
    cdef uint64_t previous
    cdef uint16_t offset
    cdef uint32_t check, i
    cdef bint dead
    for i in range(b.count):
        dead = (g.bits[4 + (i >> 3)] >> (i & 7)) & 1
        if block_read(b, i, &r, &previous) != FOUND:
            return DAMAGED_BLOCK
        if dead and i + 1 < b.count and not _links(f, ident, &r):
            continue
        if dead:
            bits[4 + (w.count >> 3)] |= <uint8_t>(1 << (w.count & 7))
            r.size = r.header_len = 0
            check = ~record_check(r.seq, r.ts, r.subject, r.subject_len, r.body, 0, 0)  # never taken for a message
        else:
            memcpy(&offset, b.offsets + <size_t>i * 2, 2)
            memcpy(&check, b.data + offset, 4)
        if not block_add(w, r.seq, r.ts, r.subject, r.subject_len, r.body, r.header_len, r.size, check, previous):
            return DAMAGED_BLOCK
    return 0


cdef int _thin(Flush* f, uint32_t ident, Grave* g) noexcept nogil:
    """Writes a block again without what was removed; DAMAGED_BLOCK: it stays as it is, being small or damaged."""
    cdef char key[KEY]
    cdef MDB_val k, v
    cdef Block b
    cdef BlockWriter w
    cdef char* copy
    cdef uint8_t* bits
    cdef bint compressed = False
    cdef uint64_t bad
    cdef int error
    put_key(key, ident, g.last)
    k.mv_data, k.mv_size = key, KEY
    error = disk_find(f.disk, f.txn, f.disk.blocks, f.pages, &k, &v, &bad)
    if error:
        return error
    if v.mv_size < THIN_LEAST or bad:
        return DAMAGED_BLOCK
    f.thinned += v.mv_size
    copy = _plain_copy(f, key, &v, &b, &compressed)
    if copy == NULL:
        return DAMAGED_BLOCK
    memset(&w, 0, sizeof(BlockWriter))
    w.full = _full(f)
    bits = <uint8_t*>must(calloc(1, g.size))
    error = _thin_into(f, ident, g, &b, &w, bits) if b.count == g.count and not b.disordered else DAMAGED_BLOCK
    if error == 0:
        memcpy(bits, &g.live, 4)
        error = _write_block(f, ident, &w, compressed)
    if error == 0 and w.count > g.live:
        error = put_sealed(f, f.disk.dead, SEAL_DEAD, key, KEY, bits, 4 + (w.count + 7) // 8)
    elif error == 0:
        error = delete_entry(f, f.disk.dead, key, KEY)
    block_free(&w)
    free(bits)
    free(copy)
    return error


cdef inline size_t _full(Flush* f) noexcept nogil:
    return BLOCK_SHUT if f.disk.vault != NULL else 0


cdef char* _plain_copy(Flush* f, const char* key, MDB_val* v, Block* b, bint* compressed) noexcept nogil:
    """A block outside the map, because what points into it does not outlive a put, and expanded; NULL: it is damaged."""
    cdef Sealed s
    cdef char* copy
    memset(&s, 0, sizeof(Sealed))
    copy = _expanded_copy(f, b, compressed) if block_at(f, &s, key, v, b) and block_whole(b) else NULL
    sealed_free(&s)
    return copy


cdef char* _expanded_copy(Flush* f, Block* b, bint* compressed) noexcept nogil:
    cdef uint32_t size
    cdef char* copy
    compressed[0] = b.flags & BLOCK_ZSTD != 0
    if not compressed[0]:
        copy = <char*>must(malloc(b.size))
        memcpy(copy, b.data, b.size)
        block_open(b, copy, b.size)
        return copy
    size = packed_size(b)
    if size == 0:
        return NULL
    copy = <char*>must(malloc(size))
    if unpack(f.disk.unsqueeze, b, copy, size) and block_open(b, copy, size):
        return copy
    free(copy)
    return NULL


cdef int _close_grave(Flush* f, uint32_t ident, Grave* g) noexcept nogil:
    """Writes the bits, or removes the block if nothing is left in it."""
    cdef char key[KEY]
    cdef int error
    if g.last == 0 or not g.changed:
        return 0
    put_key(key, ident, g.last)
    g.changed = False
    if g.live == 0:
        error = delete_block(f, key)
        if error != DAMAGED_BLOCK:
            return error or delete_entry(f, f.disk.dead, key, KEY)
    memcpy(g.bits, &g.live, 4)
    if g.live and g.count // g.live >= 2 and _halvings(g.count // g.live) > _halvings(g.count // g.before) and f.thinned < THIN_MAX:
        error = _thin(f, ident, g)
        if error != DAMAGED_BLOCK:
            return error
    return put_sealed(f, f.disk.dead, SEAL_DEAD, key, KEY, g.bits, g.size)


cdef int _open_grave(Flush* f, uint32_t ident, uint64_t seq, Grave* g) noexcept nogil:
    """Goes to the block that has ``seq``; MDB_NOTFOUND: none has."""
    cdef char key[KEY]
    cdef MDB_val at, v
    cdef uint64_t bad
    cdef int error = _close_grave(f, ident, g)
    if error:
        return error
    g.last = 0
    put_key(key, ident, seq)
    at.mv_data, at.mv_size = key, KEY
    error = lmdb.cursor_get(f.blocks, &at, NULL, MDB_SET_RANGE)
    if error:
        return error
    if at.mv_size != KEY or memcmp(at.mv_data, key, 4) != 0:
        return MDB_NOTFOUND
    error = disk_value(f.disk, f.blocks, f.pages, &at, &v, &bad)
    if error:
        return error
    if bad:
        f.bad_page = bad
    memcpy(key, at.mv_data, KEY)
    if not block_at(f, &g.sealed, key, &v, &g.block) or not block_belongs(&g.block, key):
        return _bury_block(f, key, seq)
    g.first, g.last, g.count = g.block.first, key_seq(key), g.block.count
    g.size = 4 + (g.count + 7) // 8
    if g.size > g.cap:
        g.bits = <uint8_t*>must(realloc(g.bits, g.size * 2))
        g.cap = g.size * 2
    error = dead_bits(f, key, g.size, &v)
    if error == DAMAGED_BLOCK:
        g.last = 0
        return _bury_block(f, key, seq)
    if error == 0:
        memcpy(g.bits, v.mv_data, g.size)
        memcpy(&g.live, g.bits, 4)
    elif error != MDB_NOTFOUND:
        return error
    else:
        memset(g.bits, 0, g.size)
        g.live = g.count
    g.before = g.live if g.live else 1
    g.changed = False
    return 0 if g.first <= seq else MDB_NOTFOUND


cdef int _bury_block(Flush* f, const char* key, uint64_t seq) noexcept nogil:
    """A message of a block that cannot be read was removed. The last one stood for all of it (``disk_lost``)."""
    cdef int error
    if seq != key_seq(key):
        return DAMAGED_BLOCK
    error = delete_block(f, key)
    return error or delete_entry(f, f.disk.dead, key, KEY) or DAMAGED_BLOCK


cdef int _bury(Flush* f, uint32_t ident, Grave* g, uint64_t seq) noexcept nogil:
    """Sets the bit of one message; one that no block has is passed over."""
    cdef uint32_t i
    cdef int error
    if not (g.last and g.first <= seq <= g.last):
        error = _open_grave(f, ident, seq, g)
        if error == MDB_NOTFOUND or error == DAMAGED_BLOCK:
            return 0
        if error:
            return error
    i = _index(g, seq)
    if i < g.count and not (g.bits[4 + (i >> 3)] >> (i & 7)) & 1:
        g.bits[4 + (i >> 3)] |= <uint8_t>(1 << (i & 7))
        g.live -= 1 if g.live else 0
        g.changed = True
    return 0


cdef uint32_t _index(Grave* g, uint64_t seq) noexcept nogil:
    """The message's place in the block. The head of a compressed block still says whether sequences are missing."""
    cdef uint32_t i
    if g.block.flags & BLOCK_ZSTD and g.last - g.first + 1 != g.count:
        return _index_packed(g, seq)
    if g.block.flags & BLOCK_ZSTD:
        return <uint32_t>(seq - g.first)
    i = block_find(&g.block, seq)
    return i if i < g.count and block_seq(&g.block, i) == seq else g.count


cdef uint32_t _index_packed(Grave* g, uint64_t seq) noexcept nogil:
    """Of a compressed block with holes: its sequences follow the compressed bytes as they are."""
    cdef const char* deltas = g.block.data + g.block.size - <size_t>g.count * 4
    cdef uint32_t low = 0
    cdef uint32_t high = g.count
    cdef uint32_t middle
    cdef uint32_t delta
    cdef uint64_t want = seq - g.first
    if g.block.size < BLOCK_HEAD + <size_t>g.count * 4:
        return g.count
    while low < high:
        middle = (low + high) // 2
        memcpy(&delta, deltas + <size_t>middle * 4, 4)
        if delta < want:
            low = middle + 1
        else:
            high = middle
    if low < g.count:
        memcpy(&delta, deltas + <size_t>low * 4, 4)
    return low if low < g.count and delta == want else g.count


cdef int _bury_all(Flush* f, FrozenLog* l) noexcept nogil:
    cdef DeadSet* d = l.dead
    cdef DeadPage** pages
    cdef uint32_t i, slot
    cdef uint32_t n = 0
    cdef Grave g
    cdef int error = 0
    if d.count == 0:
        return 0
    memset(&g, 0, sizeof(Grave))
    pages = <DeadPage**>must(malloc(d.count * sizeof(DeadPage*)))
    for i in range(d.cap):
        if d.slots[i] != NULL:
            pages[n] = d.slots[i]
            n += 1
    qsort(pages, n, sizeof(DeadPage*), _by_number)
    for i in range(n):
        for slot in range(PAGE_SLOTS):
            if error == 0 and (pages[i].bits[slot // 64] >> (slot % 64)) & 1:
                error = _bury(f, l.ident, &g, pages[i].number * PAGE_SLOTS + slot)
    if error == 0:
        error = _close_grave(f, l.ident, &g)
    free(g.bits)
    sealed_free(&g.sealed)
    free(pages)
    return error


# --- new messages ----------------------------------------------------------------------------------


cdef int _write_block(Flush* f, uint32_t ident, BlockWriter* w, bint compress) noexcept nogil:
    cdef char key[KEY]
    cdef int error
    block_finish(w, ident)
    put_key(key, ident, w.last)
    if not compress:
        return put_block(f, key, w.whole.data, w.whole.length)
    with gil:
        error = _put_packed(f, key, w)
    return error


cdef int _put_packed(Flush* f, const char* key, BlockWriter* w) noexcept:
    cdef bytes whole
    try:
        whole = packed(f.disk.squeeze, w)
    except MemoryError:
        return ENOMEM
    return put_block(f, key, PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole))


cdef int _newest(Flush* f, const char* key, MDB_val* at, MDB_val* v, uint64_t* bad) noexcept nogil:
    """The block that the cursor is at; this transaction may have made it smaller, then LMDB has it."""
    bad[0] = 0
    if memcmp(f.put_key, key, KEY) == 0:
        return lmdb.cursor_get(f.blocks, at, v, MDB_GET_CURRENT)
    return disk_value(f.disk, f.blocks, f.pages, at, v, bad)


cdef int _resume(Flush* f, FrozenLog* l, BlockWriter* w, Grave* g) noexcept nogil:
    """Goes on with the log's last block if much of it is free: few blocks however often a slow stream is flushed."""
    cdef char key[KEY]
    cdef MDB_val at, v
    cdef Block b
    cdef uint32_t after = l.ident + 1
    cdef uint64_t bad
    cdef int error
    put_key(key, after, 0)
    at.mv_data, at.mv_size = key, KEY
    error = lmdb.cursor_get(f.blocks, &at, NULL, MDB_SET_RANGE)
    error = lmdb.cursor_get(f.blocks, &at, NULL, MDB_LAST if error == MDB_NOTFOUND else MDB_PREV)
    if error == MDB_NOTFOUND:
        return 0
    if error:
        return error
    put_key(key, l.ident, 0)
    if at.mv_size != KEY or memcmp(at.mv_data, key, 4) != 0:
        return 0
    memcpy(key, at.mv_data, KEY)
    error = _newest(f, key, &at, &v, &bad)
    if error:
        return error
    if bad:
        f.bad_page = bad
    if v.mv_size >= RESUME_MAX or bad or not block_at(f, &g.sealed, key, &v, &b) or b.flags & BLOCK_ZSTD:
        return 0
    if not block_belongs(&b, key) or not block_whole(&b):
        return 0
    block_resume(w, &b)
    error = dead_bits(f, key, 4 + (b.count + 7) // 8, &v)
    if error == DAMAGED_BLOCK:
        block_free(w)
        w.full = _full(f)
        return 0
    if error == 0:
        g.count = b.count
        g.size = v.mv_size
        g.bits = <uint8_t*>must(malloc(v.mv_size))
        memcpy(g.bits, v.mv_data, v.mv_size)
        error = delete_entry(f, f.disk.dead, key, KEY)
    elif error == MDB_NOTFOUND:
        error = 0
    f.fold ^= key_fold(key)
    return error or delete_entry(f, f.disk.blocks, key, KEY)


cdef int _bits_of_resumed(Flush* f, FrozenLog* l, BlockWriter* w, Grave* g) noexcept nogil:
    """The block has grown and has another key: so have its bits."""
    cdef char key[KEY]
    cdef uint32_t live
    cdef size_t size = 4 + (w.count + 7) // 8
    cdef uint8_t* bits
    cdef int error
    if g.bits == NULL:
        return 0
    bits = <uint8_t*>must(calloc(1, size))
    memcpy(bits, g.bits, g.size)
    memcpy(&live, bits, 4)
    live += w.count - g.count
    memcpy(bits, &live, 4)
    put_key(key, l.ident, w.last)
    error = put_sealed(f, f.disk.dead, SEAL_DEAD, key, KEY, bits, size)
    free(bits)
    free(g.bits)
    g.bits = NULL
    return error


cdef int _add_block(Flush* f, FrozenLog* l, BlockWriter* w, Grave* g) noexcept nogil:
    """One under a key that is new."""
    cdef char key[KEY]
    cdef int error = _bits_of_resumed(f, l, w, g) or _write_block(f, l.ident, w, l.compress)
    put_key(key, l.ident, w.last)
    f.fold ^= key_fold(key)
    return error


cdef int _append(Flush* f, FrozenLog* l) noexcept nogil:
    cdef BlockWriter w
    cdef Grave g
    cdef Entry* e = table_next(l.table, 0)
    cdef int error
    if e == NULL:
        return 0
    memset(&w, 0, sizeof(BlockWriter))
    memset(&g, 0, sizeof(Grave))
    w.full = _full(f)
    error = _resume(f, l, &w, &g)
    while e != NULL and error == 0:
        if not block_add(&w, e.seq, e.ts, &e.topic.text[0], e.topic.length, &e.body[0], e.header_len, e.size, e.check,
                         e.previous):
            error = _add_block(f, l, &w, &g)
            block_restart(&w)
            continue
        f.messages += 1
        e = table_next(l.table, e.seq + 1)
    if error == 0 and w.count:
        error = _add_block(f, l, &w, &g)
    block_free(&w)
    free(g.bits)
    sealed_free(&g.sealed)
    return error


cdef int _by_text(const void* a, const void* b) noexcept nogil:
    cdef Topic* x = (<Topic**>a)[0]
    cdef Topic* y = (<Topic**>b)[0]
    cdef int order = memcmp(&x.text[0], &y.text[0], x.length if x.length < y.length else y.length)
    return order if order else <int>x.length - <int>y.length


cdef int _put_subject(Flush* f, uint32_t ident, Topic* p) noexcept nogil:
    cdef char key[ANY_KEY]
    cdef char value[32]
    cdef MDB_val k
    cdef char* at
    cdef char* whole
    cdef size_t kn = subject_key(f.disk.vault, key, ident, &p.text[0], p.length)
    cdef size_t n
    cdef int error
    if p.count == 0:
        k.mv_data, k.mv_size = key, kn
        if p.length > SUBJECT_KEY and not may_go(f, f.disk.subjects, SEAL_SUBJECTS, &k):
            return 0
        return delete_entry(f, f.disk.subjects, key, kn)
    at = put_varint(value, p.count)
    at = put_varint(at, p.last)
    at = put_varint(at, p.last - p.first if p.first <= p.last else 0)
    n = at - &value[0]
    if p.length <= SUBJECT_KEY and f.disk.vault == NULL:
        return put_sealed(f, f.disk.subjects, SEAL_SUBJECTS, key, kn, value, n)
    whole = <char*>must(malloc(n + p.length))
    memcpy(whole, value, n)
    memcpy(whole + n, &p.text[0], p.length)
    error = put_sealed(f, f.disk.subjects, SEAL_SUBJECTS, key, kn, whole, n + p.length)
    free(whole)
    return error


cdef int _subjects(Flush* f, FrozenLog* l) noexcept nogil:
    """In their order, so that neighbours are written together; hidden ones are it less."""
    cdef Table* t = l.table
    cdef Topic** all
    cdef Topic* p
    cdef uint32_t i
    cdef uint32_t n = 0
    cdef int error = 0
    if t.ntopics == 0:
        return 0
    all = <Topic**>must(malloc(t.ntopics * sizeof(Topic*)))
    for i in range(t.topic_cap):
        p = t.topics[i]
        while p != NULL:
            all[n] = p
            n += 1
            p = p.chain
    qsort(all, n, sizeof(Topic*), _by_text)
    for i in range(n):
        if error == 0:
            error = _put_subject(f, l.ident, all[i])
    free(all)
    return error


cdef int _fold_before(Flush* f, uint32_t ident) noexcept nogil:
    """What the log's counters say of the keys of its blocks; those of an earlier version say nothing, then it is what is
    there."""
    cdef char key[KEY]
    cdef MDB_val k, v
    cdef LogState s
    cdef bint folded
    cdef int error
    f.fold = 0
    meta_key(key, b"log:", ident)
    k.mv_data, k.mv_size = key, META_KEY
    if lmdb.get(f.txn, f.disk.meta, &k, &v) == 0 and unseal(&f.opener, SEAL_META, &k, &v) and state_read(&v, &s, &folded) and folded:
        f.fold = s.blocks
        return 0
    put_key(key, ident, 0)
    k.mv_data, k.mv_size = key, KEY
    error = lmdb.cursor_get(f.blocks, &k, NULL, MDB_SET_RANGE)
    while error == 0 and memcmp(k.mv_data, key, 4) == 0:
        f.fold ^= key_fold(k.mv_data) if k.mv_size == KEY else 0
        error = lmdb.cursor_get(f.blocks, &k, NULL, MDB_NEXT)
    return 0 if error == MDB_NOTFOUND else error


cdef int flush_log(Flush* f, FrozenLog* l) noexcept nogil:
    """Everything of one log; an error of LMDB or of the system, and then nothing of it may be committed."""
    cdef char key[META_KEY]
    cdef LogState s
    cdef int error = _fold_before(f, l.ident)
    if error:
        return error
    if l.dead.below:
        error = drop_messages(f, l.ident)  # all that is on disk was below the purge
    if error == 0:
        error = _bury_all(f, l)
    if error == 0:
        error = _append(f, l)
    if error == 0:
        error = _subjects(f, l)
    if error:
        return error
    memset(&s, 0, sizeof(LogState))
    s.first_seq, s.last_seq, s.last_ts = l.first_seq, l.last_seq, l.last_ts
    s.messages, s.bytes, s.subjects, s.blocks = l.messages, l.bytes, l.subjects, f.fold
    meta_key(key, b"log:", l.ident)
    return flush_meta(f, key, META_KEY, <char*>&s, sizeof(LogState))
