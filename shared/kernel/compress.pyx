"""Compression of leaf links in the hot path: between the Chunks of output.pyx, or the parser, and the socket or TLS.

What is agreed on is a stream of S2 chunks in each direction (wire 2.8). Python negotiates and calls ``compress`` at
the one moment when both directions switch: what waits in the Chunks by then still goes out as it is, and so does
nothing that comes later; what was read behind the peer's last plain line is the beginning of its stream.

Rules:

* Chunks are compressed when the socket takes them and not before, a block at a time. What the socket leaves of a block
  waits compressed (``left``); ``pending`` of the Conn counts plain bytes that have not left, as with TLS.
* A chunk's size is checked before any of it is kept, the size that it unpacks to before there is room for it, and the
  checksum before any of it is parsed. Who has not logged in gets EARLY bytes of each. Blocks are unpacked one at a time
  and parsed before the next one is, so that a few bytes that mean gigabytes cost no memory, and a round has its bound.
* An idle link holds no buffer. Whatever is large is the kernel's: one buffer to unpack into, one to compress into.

Levels are nats-server's: ``uncompressed`` frames and sums only, ``fast`` is the greedy encoder, ``better`` and ``best``
are the dense one at two depths. Each block stands for itself, so small flushes hardly shrink; blocks of less than
SMALLEST bytes are not even tried.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove

from phloem.shared.wire.blocks cimport (
    BLOCK, BLOCK_MAX, CHUNK_MAX, COMPRESSED, DENSE, HASH_BITS, IDENTIFIER, MAGIC_SIZE, PLAIN, SKIPPABLE, SNAPPY_BLOCK_MAX,
    Chains, checksum, decode_block, encode_dense, encode_fast, little, plain_size, room_for,
)

from .sublist cimport must
from .types cimport *

cdef enum:
    EARLY = 1 << 17  # of a chunk, and of what it unpacks to, before CONNECT was accepted
    RAW_CARRY = 1 << 17  # a chunk that is not whole yet is moved in front of the next read up to this size
    SMALLEST = 48
    UNCOMPRESSED = 0
    FAST = 1
    BETTER = 2
    DEPTH_BETTER = 4  # places that are looked at
    DEPTH_BEST = 16

cdef const char* MAGIC = b"\xff\x06\x00\x00S2sTwO"
cdef const char* SNAPPY_MAGIC = b"\xff\x06\x00\x00sNaPpY"


cdef void pack_begin(Core* k, Conn* c) except *:
    """From now on ``c`` speaks S2. It stands still behind the line that agreed on it."""
    cdef Pack* z = <Pack*>must(calloc(1, sizeof(Pack)))
    z.plain_first = c.pending if c.tls == NULL else c.pending - c.tls.carried
    z.raw, z.raw_len, z.raw_cap = c.buf, c.buf_len, c.buf_cap
    c.buf = NULL
    c.buf_len = c.buf_cap = 0
    c.in_plain -= z.raw_len  # as which it was counted when it was read
    c.pack = z


cdef void pack_adapt(Conn* c) noexcept nogil:
    """The level that nats-server takes for this round trip: the first limit that it keeps within; beyond all of them the
    one after, if there is room for it. A limit of 0 leaves its level out."""
    cdef Pack* z = c.pack
    cdef uint8_t i
    if z.nlimits == 0:
        return
    for i in range(z.nlimits):
        if c.rtt_ns <= z.limits[i]:
            z.level = i
            return
    z.level = 3 if z.nlimits >= 3 else z.nlimits - 1


# --- input -----------------------------------------------------------------------------------------


cdef size_t pack_room(Core* k, Conn* c, char** at) noexcept nogil:
    """Where the next read goes, and how much of it. ``pack_filled`` says what came; nothing has to."""
    cdef Pack* z = c.pack
    if z.raw_len <= RAW_CARRY:
        at[0] = k.recv_buf + CARRY_MAX + z.raw_len
        return READ_MAX - z.raw_len
    if z.raw_cap - z.raw_len < READ_MAX // 2:  # a large chunk on its way: it grows in place, with what really arrives
        z.raw_cap = z.raw_cap * 2 if z.raw_cap > READ_MAX else READ_MAX * 2
        z.raw = <char*>must(realloc(z.raw, z.raw_cap))
    at[0] = z.raw + z.raw_len
    return z.raw_cap - z.raw_len


cdef void pack_filled(Core* k, Conn* c, size_t n) noexcept nogil:
    """``n`` bytes were read to where ``pack_room`` said."""
    cdef Pack* z = c.pack
    if z.raw_len <= RAW_CARRY:
        z.base = k.recv_buf
        z.at = k.recv_buf + CARRY_MAX
        if z.raw_len:
            memcpy(z.at, z.raw, z.raw_len)
        z.end = z.at + z.raw_len + n
    else:
        z.base = z.at = z.raw
        z.end = z.raw + z.raw_len + n


cdef void pack_kept(Conn* c) noexcept nogil:
    """Nothing was read: what was kept is looked at again."""
    cdef Pack* z = c.pack
    z.base = z.at = z.raw
    z.end = z.raw + z.raw_len


cdef void pack_keep(Conn* c) noexcept nogil:
    """Keeps what was not unpacked."""
    cdef Pack* z = c.pack
    cdef size_t n = z.end - z.at
    if n == 0 or c.flags & CLOSING:
        pack_deaf(c)
        return
    if z.base == z.raw:
        if z.at != z.raw:
            memmove(z.raw, z.at, n)
        if n <= RAW_CARRY < z.raw_cap:
            z.raw = <char*>must(realloc(z.raw, n))
            z.raw_cap = n
    else:
        if n > z.raw_cap:
            free(z.raw)
            z.raw = <char*>must(malloc(n))
            z.raw_cap = n
        memcpy(z.raw, z.at, n)
    z.raw_len = n


cdef void pack_hold(Core* k, Conn* c) noexcept nogil:
    """There is more to unpack than this round allows; the next one goes on with it."""
    if not c.pack.queued and c.pack.raw_len:
        c.pack.queued = 1
        c.pack.next = k.held
        k.held = c


cdef void pack_deaf(Conn* c) noexcept nogil:
    """Nothing more will be unpacked."""
    free(c.pack.raw)
    c.pack.raw = c.pack.base = c.pack.at = c.pack.end = NULL
    c.pack.raw_len = c.pack.raw_cap = 0


cdef char* _plain(Core* k, size_t n) noexcept nogil:
    """Room for ``n`` bytes, with CARRY_MAX in front."""
    cdef size_t wanted = 1 << 17
    if n + CARRY_MAX > k.plain_cap:
        while wanted < n + CARRY_MAX:
            wanted *= 2
        free(k.plain_buf)
        k.plain_buf = <char*>must(malloc(wanted))
        k.plain_cap = wanted
    return k.plain_buf + CARRY_MAX


cdef Unpacked pack_next(Core* k, Conn* c, char** at, size_t* n) noexcept nogil:
    """The next block, ``n`` bytes at ``at``; in front of it may be written what is kept of an operation, if that is not
    more than CARRY_MAX."""
    cdef Pack* z = c.pack
    cdef const uint8_t* p
    cdef size_t have, need, most, begin = 0
    cdef uint8_t kind
    while True:
        have = z.end - z.at
        if z.skip:
            need = z.skip if z.skip < have else have
            z.at += need
            z.skip -= need
            if z.skip:
                return MORE
            continue
        if have < 4:
            return MORE
        p = <const uint8_t*>z.at
        kind, need = p[0], little(p + 1, 3)
        if kind == IDENTIFIER:
            if need != MAGIC_SIZE - 4:
                return CORRUPT
            if have < MAGIC_SIZE:
                return MORE
            z.snappy = memcmp(p, SNAPPY_MAGIC, MAGIC_SIZE) == 0
            if not z.snappy and memcmp(p, MAGIC, MAGIC_SIZE) != 0:
                return CORRUPT
            z.known = 1
            z.at += MAGIC_SIZE
            continue
        if not z.known:
            return CORRUPT
        if kind >= SKIPPABLE:
            z.at += 4
            z.skip = need
            continue
        most = SNAPPY_BLOCK_MAX if z.snappy else BLOCK_MAX
        if not c.flags & CONNECTED and most > EARLY:
            most = EARLY
        if kind > PLAIN or need < 4 or need > most + 64:
            return CORRUPT
        if have - 4 < need:
            return MORE
        z.at += 4 + need
        p += 4
        need -= 4
        if kind == PLAIN:
            n[0] = need
            if n[0] > most or checksum(p + 4, need) != little(p, 4):
                return CORRUPT
            if c.buf_len == 0 or <size_t>(<const char*>p + 4 - z.base) >= c.buf_len:  # all that is in front was used
                at[0] = <char*>p + 4
                return WHOLE
            at[0] = _plain(k, need)
            memcpy(at[0], p + 4, need)
            return WHOLE
        if not plain_size(p + 4, need, &begin, n) or n[0] > most:
            return CORRUPT
        at[0] = _plain(k, n[0])
        if not decode_block(p + 4 + begin, need - begin, <uint8_t*>at[0], n[0]):
            return CORRUPT
        if checksum(<uint8_t*>at[0], n[0]) != little(p, 4):
            return CORRUPT
        return WHOLE


# --- output ----------------------------------------------------------------------------------------


cdef size_t _gather(Core* k, Chunk* t, size_t most) noexcept nogil:
    """The first ``most`` bytes of some Chunks put together."""
    cdef size_t n = 0
    cdef size_t piece
    if k.gather_buf == NULL:
        k.gather_buf = <char*>must(malloc(DENSE))
    while t != NULL and n < most:
        piece = t.end - t.start
        if piece > most - n:
            piece = most - n
        memcpy(k.gather_buf + n, <char*>(t + 1) + t.start, piece)
        n += piece
        t = t.next
    return n


cdef size_t _squeeze(Core* k, uint8_t level, const uint8_t* at, size_t n, uint8_t* to) noexcept nogil:
    """Bytes that the block takes; 0: it is not worth the reader's work."""
    cdef size_t made
    if level == UNCOMPRESSED or n < SMALLEST:
        return 0
    if level == FAST:
        if k.hash_table == NULL:
            k.hash_table = <uint16_t*>must(malloc(sizeof(uint16_t) << HASH_BITS))
        made = encode_fast(at, n, to, k.hash_table, True)
        k.packed += 2 * n
    else:
        if k.chains == NULL:
            k.chains = must(malloc(sizeof(Chains)))
        made = encode_dense(at, n, to, <Chains*>k.chains, DEPTH_BETTER if level == BETTER else DEPTH_BEST)
        k.packed += 16 * n
    return made if made < n else 0


cdef void pack_slice(Core* k, Conn* c, Piece* s, bint in_one) noexcept nogil:
    """The next piece of what waits; the caller drops ``plain`` bytes of the Chunks when it has used it. ``in_one``: the
    head has to be in the body."""
    cdef Pack* z = c.pack
    cdef Chunk* t = c.out_head
    cdef const char* at = <char*>(t + 1) + t.start
    cdef char* to
    cdef size_t n = t.end - t.start
    cdef size_t most = DENSE if z.level >= BETTER else BLOCK
    cdef size_t made
    cdef uint32_t sum
    s.head_len = 0
    if z.plain_first:
        if n > z.plain_first:
            n = z.plain_first
        z.plain_first -= n
        s.body, s.body_len, s.plain = at, n, n
        c.out_plain += n
        c.out_packed += n
        return
    if n > most:
        n = most
    elif t.next != NULL and z.level != UNCOMPRESSED and n < most - most // 4:
        n = _gather(k, t, most)
        at = k.gather_buf
    if k.packed_buf == NULL and (in_one or z.level != UNCOMPRESSED):
        k.packed_buf = <char*>must(malloc(HEAD_MAX + room_for(DENSE)))
    made = 0 if n == 0 else _squeeze(k, z.level, <const uint8_t*>at, n, <uint8_t*>k.packed_buf + HEAD_MAX)
    if not z.begun:
        z.begun = 1
        memcpy(&s.head[0], MAGIC, MAGIC_SIZE)
        s.head_len = MAGIC_SIZE
    sum = checksum(<const uint8_t*>at, n)
    s.plain = n
    s.body = at
    s.body_len = n
    to = &s.head[0] + s.head_len
    to[0] = PLAIN
    if made:
        to[0] = COMPRESSED
        s.body = k.packed_buf + HEAD_MAX
        s.body_len = made
    made = s.body_len + 4
    to[1], to[2], to[3] = <char>(made & 0xFF), <char>(made >> 8 & 0xFF), <char>(made >> 16)
    memcpy(to + 4, &sum, 4)
    s.head_len += 8
    c.out_plain += n
    c.out_packed += s.head_len + s.body_len
    if in_one:
        if s.body == at:
            memcpy(k.packed_buf + HEAD_MAX, at, n)
        memcpy(k.packed_buf + HEAD_MAX - s.head_len, &s.head[0], s.head_len)
        s.body = k.packed_buf + HEAD_MAX - s.head_len
        s.body_len += s.head_len
        s.head_len = 0


cdef void pack_left(Conn* c, Piece* s, size_t sent) noexcept nogil:
    """Of a piece only ``sent`` bytes were taken: the rest waits."""
    cdef Pack* z = c.pack
    cdef size_t head = s.head_len - sent if sent < s.head_len else 0
    cdef size_t body = s.body_len + s.head_len - sent - head
    z.left = <char*>must(malloc(head + body))
    memcpy(z.left, &s.head[0] + (s.head_len - head), head)
    memcpy(z.left + head, s.body + (s.body_len - body), body)
    z.left_at, z.left_len, z.carried = 0, head + body, s.plain


cdef size_t pack_sent(Conn* c, size_t n) noexcept nogil:
    """``n`` bytes of ``left`` are out, or of what has just become it: how much of what they carry counts as left. The last
    byte that is carried has left when the last compressed one has."""
    cdef Pack* z = c.pack
    cdef size_t gone = z.carried
    if z.left_len and gone:
        gone = gone - 1 if n >= gone else n
    z.carried -= gone
    if z.left_len == 0:
        free(z.left)
        z.left = NULL
    return gone


cdef void pack_forget(Conn* c) noexcept nogil:
    """What is compressed will not be sent, and nothing can follow it."""
    cdef Pack* z = c.pack
    if z.left != NULL:
        z.broken = 1
        free(z.left)
        z.left = NULL
    z.left_len = z.left_at = z.carried = 0


cdef void pack_free(Core* k, Conn* c) noexcept nogil:
    cdef Conn** at = &k.held
    if c.pack == NULL:
        return
    while at[0] != NULL:
        if at[0] == c:
            at[0] = c.pack.next
            break
        at = &at[0].pack.next
    free(c.pack.raw)
    free(c.pack.left)
    free(c.pack)
    c.pack = NULL
