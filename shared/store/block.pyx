"""Blocks: messages packed for the disk, about 64 KiB in one value of LMDB, each found by its index without unpacking.

A block is a head (format, flags, owner, count, first and last sequence, time of its first message, latest time, checksum of the
head), the records, and behind them an offset for each record and, if sequences are missing, a sequence for each. A
record is its checksum, time, subject, the distance to the previous message on the subject, sizes, header and payload; a
subject is written out once in a block, later records point back to it. All in all 12 to 16 bytes over the message.

Reading trusts nothing: every offset and length is held against the block's end, and the checksum against the message.

Of an encrypted block head, offsets and sequences are one part, which is opened first, and the rest is opened a chunk at
a time, as far as somebody looks. A message that touches a damaged chunk is damaged.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport must
from phloem.shared.kernel.text cimport hash_bytes

from .keys cimport key_ident, key_seq
from .log cimport record_check
from .types cimport *
from .varint cimport get_varint, put_varint, unzigzag, zigzag
from .vault cimport Opener, Sealed, Vault, sealed_begin, sealed_need, sealed_put, sealed_size

cdef enum:
    FORMAT = 1
    SEEN = 1024
    RECORD_MAX = 64  # bytes of a record beside subject and body
    VARINT_MAX = 10


cdef inline uint32_t _head_check(const char* head) noexcept nogil:
    return hash_bytes(head, BLOCK_HEAD - 4, HEAD_SEED)


cdef bint block_open(Block* b, const char* data, size_t size) noexcept nogil:
    """Whether it is a block whose parts are all there."""
    b.sealed = NULL
    return _open(b, data, size)


cdef bint block_open_sealed(Block* b, Sealed* sealed, Opener* o, const char* key, const char* data,
                            size_t size) noexcept nogil:
    """The same for one that is encrypted, under its key; ``sealed`` is there as long as the block is read."""
    b.sealed = sealed
    return sealed_begin(sealed, o, key, data, size, BLOCK_HEAD) and _open(b, sealed.plain.data, sealed.plain.length)


cdef size_t _tail_of(const char* block) noexcept nogil:
    """Bytes at the end that say where messages are: offsets and sequences, of a compressed one only these."""
    cdef uint32_t count
    cdef uint64_t first, last
    memcpy(&count, block + 4, 4)
    memcpy(&first, block + 8, 8)
    memcpy(&last, block + 16, 8)
    return <size_t>count * ((0 if block[1] & BLOCK_ZSTD else 2) + (4 if last - first + 1 != count else 0))


cdef size_t block_shut_size(const char* block, size_t size) noexcept nogil:
    """Bytes of a sound block when it is encrypted."""
    return sealed_size(BLOCK_HEAD, _tail_of(block), size)


cdef void block_shut(Vault* v, const char* key, const char* block, size_t size, char* to) noexcept nogil:
    sealed_put(v, key, block, BLOCK_HEAD, _tail_of(block), size, to)


cdef uint32_t block_owner(uint32_t ident) noexcept nogil:
    """What a head says of the log that the block is of: enough to tell logs apart whose numbers differ in one bit."""
    return ident % 0xFFFF + 1


cdef bint block_belongs(Block* b, const char* key) noexcept nogil:
    """Whether a block's own head says that this is its key."""
    return b.last == key_seq(key) and (b.owner == 0 or b.owner == block_owner(key_ident(key)))


cdef bint block_whole(Block* b) noexcept nogil:
    """Opens all of an encrypted block; False: some of it is damaged."""
    return b.sealed == NULL or sealed_need(b.sealed, 0, b.size)


cdef inline bint _near(Block* b, size_t start, size_t n) noexcept nogil:
    """Whether these bytes can be looked at, as far as they are inside the block."""
    cdef size_t end = b.offsets - b.data
    if b.sealed == NULL:
        return True
    return sealed_need(b.sealed, start, start + n if start + n < end else end)


cdef bint _open(Block* b, const char* data, size_t size) noexcept nogil:
    cdef uint32_t check
    cdef size_t tail
    if size < BLOCK_HEAD or data[0] != FORMAT:
        return False
    memcpy(&check, data + BLOCK_HEAD - 4, 4)
    if check != _head_check(data):
        return False
    b.data, b.size, b.disordered = data, size, False
    b.flags = <uint8_t>data[1]
    b.owner = <uint8_t>data[2] | <uint32_t><uint8_t>data[3] << 8
    memcpy(&b.count, data + 4, 4)
    memcpy(&b.first, data + 8, 8)
    memcpy(&b.last, data + 16, 8)
    memcpy(&b.base_ts, data + 24, 8)
    memcpy(&b.max_ts, data + 32, 8)
    if b.count == 0 or b.last < b.first or b.last > SEQ_MAX or b.last - b.first + 1 < b.count:
        return False
    if b.flags & BLOCK_ZSTD:
        tail = _tail_of(data)
        return size >= BLOCK_HEAD + tail and (b.sealed == NULL or b.sealed.tail == tail)
    tail = <size_t>b.count * 2
    b.deltas = NULL
    if b.last - b.first + 1 != b.count:
        tail += <size_t>b.count * 4
    if size < BLOCK_HEAD + tail:
        return False
    if b.sealed != NULL and b.sealed.tail != tail:
        return False
    b.offsets = data + size - tail
    if b.last - b.first + 1 != b.count:
        b.deltas = b.offsets + <size_t>b.count * 2
    b.disordered = not _ascending(b)
    return True


cdef bint _ascending(Block* b) noexcept nogil:
    """No checksum is over the list of sequences: a message's own has its sequence in it. But the list is searched."""
    cdef uint32_t i, delta
    cdef uint32_t before = 0
    if b.deltas == NULL:
        return True
    for i in range(b.count):
        memcpy(&delta, b.deltas + <size_t>i * 4, 4)
        if i and delta <= before:
            return False
        before = delta
    return b.first + before == b.last


cdef uint64_t block_seq(Block* b, uint32_t index) noexcept nogil:
    cdef uint32_t delta
    if b.deltas == NULL:
        return b.first + index
    memcpy(&delta, b.deltas + <size_t>index * 4, 4)
    return b.first + delta


cdef uint32_t block_find(Block* b, uint64_t seq) noexcept nogil:
    """The index of the first message with this sequence or a higher one; ``count``: there is none."""
    cdef uint32_t low = 0
    cdef uint32_t high = b.count
    cdef uint32_t middle
    if b.deltas == NULL:
        return 0 if seq <= b.first else b.count if seq > b.last else <uint32_t>(seq - b.first)
    if b.disordered:
        return _lowest(b, seq)
    while low < high:
        middle = (low + high) // 2
        if block_seq(b, middle) < seq:
            low = middle + 1
        else:
            high = middle
    return low


cdef uint32_t _lowest(Block* b, uint64_t seq) noexcept nogil:
    """``block_find`` where nothing is known of the order."""
    cdef uint32_t i
    cdef uint32_t found = b.count
    cdef uint64_t its
    cdef uint64_t best = b.last + 1
    for i in range(b.count):
        its = block_seq(b, i)
        if seq <= its < best:
            found, best = i, its
    return found


cdef uint32_t block_after(Block* b, uint32_t index) noexcept nogil:
    """The index of the message with the next sequence; ``count``: there is none."""
    return _lowest(b, block_seq(b, index) + 1) if b.disordered else index + 1


cdef int block_read(Block* b, uint32_t index, Record* r, uint64_t* previous) noexcept nogil:
    """The message without a look at its checksum: enough to see whether it is wanted."""
    cdef uint16_t offset
    cdef const char* p
    cdef const char* end = b.offsets
    cdef const char* text
    cdef uint64_t ts, back, length, distance, header_len, size
    memcpy(&offset, b.offsets + <size_t>index * 2, 2)
    r.seq = block_seq(b, index)
    p = b.data + offset
    if offset < BLOCK_HEAD or end - p < 8 or not _near(b, offset, _length(b, index, offset)):
        return DAMAGED
    p = get_varint(p + 4, end, &ts)
    p = get_varint(p, end, &back)
    if p == NULL:
        return DAMAGED
    if back == 0:
        p = get_varint(p, end, &length)
        if p == NULL or length > <uint64_t>(end - p):
            return DAMAGED
        text = p
        p += length
    else:
        if back < BLOCK_HEAD or back >= offset or not _near(b, back, VARINT_MAX):
            return DAMAGED
        text = get_varint(b.data + back, end, &length)
        if text == NULL or length > <uint64_t>(end - text) or not _near(b, text - b.data, length):
            return DAMAGED
    p = get_varint(p, end, &distance)
    p = get_varint(p, end, &header_len)
    p = get_varint(p, end, &size)
    if p == NULL or size > <uint64_t>(end - p) or header_len > size or length > 0xFFFF or distance > r.seq:
        return DAMAGED
    r.ts = b.base_ts + unzigzag(ts)
    r.subject, r.subject_len = text, <uint32_t>length
    r.body, r.header_len, r.size = p, <uint32_t>header_len, <uint32_t>size
    previous[0] = r.seq - distance if distance else 0
    return FOUND


cdef inline size_t _length(Block* b, uint32_t index, uint16_t offset) noexcept nogil:
    """Of a record: they stand one behind the other."""
    cdef uint16_t following
    cdef size_t end = b.offsets - b.data
    if index + 1 < b.count:
        memcpy(&following, b.offsets + <size_t>(index + 1) * 2, 2)
        end = following
    return end - offset if end > offset else 0


cdef int block_verified(Block* b, uint32_t index, Record* r) noexcept nogil:
    """The message, or DAMAGED."""
    cdef uint32_t check
    cdef uint16_t offset
    cdef uint64_t previous
    if block_read(b, index, r, &previous) != FOUND:
        return DAMAGED
    memcpy(&offset, b.offsets + <size_t>index * 2, 2)
    memcpy(&check, b.data + offset, 4)
    if check != record_check(r.seq, r.ts, r.subject, r.subject_len, r.body, r.header_len, r.size):
        return DAMAGED
    return FOUND


# --- writing ---------------------------------------------------------------------------------------


cdef inline size_t _tail(BlockWriter* w, uint64_t last) noexcept nogil:
    return <size_t>(w.count + 1) * (2 if last - w.first + 1 == w.count + 1 else 6)


cdef void _reserve(BlockWriter* w, size_t more) noexcept nogil:
    if w.data.length + more > w.data.cap:
        w.data.cap = (w.data.length + more) * 2
        w.data.data = <char*>must(realloc(w.data.data, w.data.cap))
    if w.count == w.cap:
        w.cap = w.cap * 2 if w.cap else 512
        w.offsets = <unsigned short*>must(realloc(w.offsets, w.cap * 2))
        w.deltas = <unsigned int*>must(realloc(w.deltas, w.cap * 4))


cdef bint block_add(BlockWriter* w, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                    uint32_t header_len, uint32_t size, uint32_t check, uint64_t previous) noexcept nogil:
    """Adds a message; False: the block has to be finished first."""
    cdef size_t most = RECORD_MAX + <size_t>n + size
    cdef char* at
    cdef uint32_t h
    cdef uint32_t offset
    cdef const char* known
    cdef uint64_t length
    if w.count and (w.data.length + most + _tail(w, seq) > (w.full if w.full else BLOCK_FULL) or seq - w.first > <uint64_t>0xFFFFFFFF):
        return False
    if w.count == 0:
        w.data.length = BLOCK_HEAD
        w.first, w.base_ts, w.max_ts = seq, ts, ts
        if w.seen == NULL:
            w.seen = <uint32_t*>must(calloc(SEEN, sizeof(uint32_t)))
        else:
            memset(w.seen, 0, SEEN * sizeof(uint32_t))
    _reserve(w, most)
    w.offsets[w.count] = <unsigned short>w.data.length
    w.deltas[w.count] = <uint32_t>(seq - w.first)
    at = w.data.data + w.data.length
    memcpy(at, &check, 4)
    at = put_varint(at + 4, zigzag(ts - w.base_ts))
    h = hash_bytes(subject, n, 0) & (SEEN - 1)
    offset = w.seen[h]
    if offset:
        known = get_varint(w.data.data + offset, w.data.data + w.data.length, &length)
        if known == NULL or length != n or memcmp(known, subject, n) != 0:
            offset = 0
    at = put_varint(at, offset)
    if offset == 0:
        if <size_t>(at - w.data.data) < 0xFFFF:
            w.seen[h] = <uint32_t>(at - w.data.data)
        at = put_varint(at, n)
        memcpy(at, subject, n)
        at += n
    at = put_varint(at, seq - previous if previous else 0)
    at = put_varint(at, header_len)
    at = put_varint(at, size)
    memcpy(at, body, size)
    w.data.length = (at + size) - w.data.data
    w.count += 1
    w.last = seq
    if ts > w.max_ts:
        w.max_ts = ts
    return True


cdef void block_finish(BlockWriter* w, uint32_t ident) noexcept nogil:
    """``whole`` is the value for the disk, of this log."""
    cdef uint32_t owner = block_owner(ident)
    cdef size_t tail = <size_t>w.count * 2
    cdef char* head
    cdef uint32_t check
    cdef bint holes = w.last - w.first + 1 != w.count
    if holes:
        tail += <size_t>w.count * 4
    _reserve(w, tail)
    head = w.data.data
    memset(head, 0, BLOCK_HEAD)
    head[0] = FORMAT
    memcpy(head + 2, &owner, 2)
    memcpy(head + 4, &w.count, 4)
    memcpy(head + 8, &w.first, 8)
    memcpy(head + 16, &w.last, 8)
    memcpy(head + 24, &w.base_ts, 8)
    memcpy(head + 32, &w.max_ts, 8)
    check = _head_check(head)
    memcpy(head + BLOCK_HEAD - 4, &check, 4)
    memcpy(head + w.data.length, w.offsets, <size_t>w.count * 2)
    if holes:
        memcpy(head + w.data.length + <size_t>w.count * 2, w.deltas, <size_t>w.count * 4)
    w.whole.data, w.whole.length = head, w.data.length + tail


cdef void block_restart(BlockWriter* w) noexcept nogil:
    w.count = 0
    w.data.length = BLOCK_HEAD


cdef bint block_resume(BlockWriter* w, Block* b) noexcept nogil:
    """Goes on with a block that was finished before it was full; False: it cannot be."""
    cdef size_t length = b.offsets - b.data
    cdef uint32_t i
    block_restart(w)
    w.first, w.last, w.base_ts, w.max_ts = b.first, b.last, b.base_ts, b.max_ts
    if w.seen == NULL:
        w.seen = <uint32_t*>must(calloc(SEEN, sizeof(uint32_t)))
    else:
        memset(w.seen, 0, SEEN * sizeof(uint32_t))
    for i in range(b.count):
        _reserve(w, length)
        memcpy(&w.offsets[i], b.offsets + <size_t>i * 2, 2)
        w.deltas[i] = <uint32_t>(block_seq(b, i) - b.first)
        w.count += 1
    memcpy(w.data.data, b.data, length)
    w.data.length = length
    return True


cdef void block_free(BlockWriter* w) noexcept nogil:
    free(w.data.data)
    free(w.offsets)
    free(w.deltas)
    free(w.seen)
    memset(w, 0, sizeof(BlockWriter))
