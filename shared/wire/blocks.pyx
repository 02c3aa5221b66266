"""Blocks of Snappy and S2: what is between a chunk's checksum and its end, and that checksum.

A block is its plain length and a row of elements: literals, and copies from an offset before. S2 extends Snappy's by
"repeat": a copy with offset 0 uses the last offset again, and may be long. ``encode_fast`` takes the last place with
the same four bytes and copies from it; ``encode_dense`` looks at ``depth`` places and one byte further before it
decides. Both write what any reader of S2 reads, and ``encode_fast`` without ``repeats`` what any reader of Snappy does.

Rules: nothing is read or written outside of what the caller says is there; offsets and lengths are checked before they
are used. Nothing is allocated here.

Specification: google/snappy format_description.txt; klauspost/compress s2/README.md.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #if defined(__x86_64__) && defined(__GNUC__)
    static int crc_by_processor(void) { return __builtin_cpu_supports("sse4.2"); }
    __attribute__((target("sse4.2")))
    static uint32_t crc_step(uint32_t crc, const uint8_t* p, size_t n) {
        uint64_t c = crc, word;
        for (; n >= 8; n -= 8, p += 8) { memcpy(&word, p, 8); c = __builtin_ia32_crc32di(c, word); }
        for (; n; n--, p++) c = __builtin_ia32_crc32qi((uint32_t)c, *p);
        return (uint32_t)c;
    }
    #elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
    #include <sys/auxv.h>
    static int crc_by_processor(void) { return (getauxval(AT_HWCAP) >> 7) & 1; }  /* HWCAP_CRC32 */
    __attribute__((target("+crc")))
    static uint32_t crc_step(uint32_t crc, const uint8_t* p, size_t n) {
        uint64_t word;
        for (; n >= 8; n -= 8, p += 8) { memcpy(&word, p, 8); crc = __builtin_aarch64_crc32cx(crc, word); }
        for (; n; n--, p++) crc = __builtin_aarch64_crc32cb(crc, *p);
        return crc;
    }
    #else
    static int crc_by_processor(void) { return 0; }
    static uint32_t crc_step(uint32_t crc, const uint8_t* p, size_t n) { (void)p; (void)n; return crc; }
    #endif
    static inline unsigned equal_bytes(uint64_t difference) {  /* little-endian, as all of the kernel */
        return (unsigned)__builtin_ctzll(difference) >> 3;
    }
    """
    int crc_by_processor() nogil
    uint32_t crc_step(uint32_t crc, const uint8_t* p, size_t n) nogil
    unsigned int equal_bytes(uint64_t difference) nogil

cdef enum:
    LONG_ENOUGH = 256  # a match of this length is taken without looking for a better one


cdef uint32_t crc_table[8][256]
cdef bint crc_fast = crc_by_processor() != 0


cdef void _fill_table() noexcept:
    cdef uint32_t i, k, c
    for i in range(256):
        c = i
        for k in range(8):
            c = (c >> 1) ^ (<uint32_t>0x82F63B78 if c & 1 else 0)
        crc_table[0][i] = c
    for i in range(256):
        for k in range(1, 8):
            crc_table[k][i] = (crc_table[k - 1][i] >> 8) ^ crc_table[0][crc_table[k - 1][i] & 0xFF]


_fill_table()


cdef uint32_t checksum(const uint8_t* p, size_t n) noexcept nogil:
    """CRC-32C, eight bytes at a time, masked as the framing wants it."""
    cdef uint32_t c = 0xFFFFFFFF
    cdef uint32_t low, high
    if crc_fast:
        c = crc_step(c, p, n)
        n = 0
    while n >= 8:
        memcpy(&low, p, 4)
        memcpy(&high, p + 4, 4)
        low ^= c
        c = (crc_table[7][low & 0xFF] ^ crc_table[6][(low >> 8) & 0xFF] ^ crc_table[5][(low >> 16) & 0xFF]
             ^ crc_table[4][low >> 24] ^ crc_table[3][high & 0xFF] ^ crc_table[2][(high >> 8) & 0xFF]
             ^ crc_table[1][(high >> 16) & 0xFF] ^ crc_table[0][high >> 24])
        p += 8
        n -= 8
    while n:
        c = (c >> 8) ^ crc_table[0][(c ^ p[0]) & 0xFF]
        p += 1
        n -= 1
    c = ~c
    return ((c >> 15) | (c << 17)) + <uint32_t>0xA282EAD8


cdef bint plain_size(const uint8_t* s, size_t n, size_t* at, size_t* size) noexcept nogil:
    """The plain length in front of a block, and where its elements begin; False: there is no such length."""
    cdef size_t shift = 0
    cdef size_t i = 0
    size[0] = 0
    while True:
        if i == n or shift > 28:
            return False
        size[0] |= <size_t>(s[i] & 0x7F) << shift
        i += 1
        if s[i - 1] < 0x80:
            break
        shift += 7
    at[0] = i
    return True


cdef bint decode_block(const uint8_t* s, size_t n, uint8_t* to, size_t room) noexcept nogil:
    """Fills ``to`` with exactly ``room`` bytes; False: the block is corrupt."""
    cdef const uint8_t* end = s + n
    cdef size_t d = 0, offset = 0, length, extra, i
    cdef uint8_t tag
    while s < end:
        tag = s[0]
        if tag & 3 == 0:
            length = tag >> 2
            s += 1
            if length >= 60:
                extra = length - 59
                if extra > <size_t>(end - s):
                    return False
                length = little(s, extra)
                s += extra
            length += 1
            if length > <size_t>(end - s) or length > room - d:
                return False
            memcpy(to + d, s, length)
            s += length
            d += length
            continue
        extra = 1 if tag & 3 == 1 else 2 if tag & 3 == 2 else 4
        if extra >= <size_t>(end - s):
            return False
        if extra == 1:
            length = (tag >> 2) & 7
            i = (<size_t>(tag & 0xE0) << 3) | s[1]
            s += 2
            if i:
                offset = i
            elif length >= 5:
                extra = length - 4
                if extra > <size_t>(end - s):
                    return False
                length = little(s, extra) + (4 if extra == 1 else 1 << 8 if extra == 2 else 1 << 16)
                s += extra
            length += 4
        else:
            length = 1 + (tag >> 2)
            offset = little(s + 1, extra)
            s += 1 + extra
        if offset == 0 or offset > d or length > room - d:
            return False
        if offset >= length:
            memcpy(to + d, to + d - offset, length)
        else:
            for i in range(d, d + length):  # the copy reads what it writes: a pattern that repeats
                to[i] = to[i - offset]
        d += length
    return d == room


cdef inline size_t put_size(uint8_t* to, size_t n) noexcept nogil:
    """The plain length in front of a block."""
    cdef size_t out = 0
    while n >= 0x80:
        to[out] = <uint8_t>(n & 0x7F | 0x80)
        n >>= 7
        out += 1
    to[out] = <uint8_t>n
    return out + 1


cdef inline size_t put_literal(uint8_t* to, const uint8_t* p, size_t n) noexcept nogil:
    cdef size_t head = 1
    if n == 0:
        return 0
    if n <= 60:
        to[0] = <uint8_t>((n - 1) << 2)
    elif n <= 256:
        to[0], to[1], head = 60 << 2, <uint8_t>(n - 1), 2
    elif n <= 65536:
        to[0], to[1], to[2], head = 61 << 2, <uint8_t>((n - 1) & 0xFF), <uint8_t>((n - 1) >> 8), 3
    else:
        to[0], to[1], to[2], head = 62 << 2, <uint8_t>((n - 1) & 0xFF), <uint8_t>((n - 1) >> 8 & 0xFF), 4
        to[3] = <uint8_t>((n - 1) >> 16)
    memcpy(to + head, p, n)
    return head + n


cdef inline size_t put_copy(uint8_t* to, size_t offset, size_t n) noexcept nogil:
    """A copy of at least four bytes, in pieces of at most 64 of which none is shorter than four."""
    cdef size_t at = 0, piece
    while n:
        if n <= 11 and offset < 2048 and n >= 4:
            to[at] = <uint8_t>(((offset >> 8) << 5) | ((n - 4) << 2) | 1)
            to[at + 1] = <uint8_t>(offset & 0xFF)
            return at + 2
        piece = n if n <= 64 else 60 if n < 68 else 64
        to[at] = <uint8_t>(((piece - 1) << 2) | 2)
        to[at + 1] = <uint8_t>(offset & 0xFF)
        to[at + 2] = <uint8_t>(offset >> 8)
        at += 3
        n -= piece
    return at


cdef inline size_t put_repeat(uint8_t* to, size_t n) noexcept nogil:
    """A copy of ``n`` bytes, at least four, from the last offset."""
    to[1] = 0
    if n <= 8:
        to[0] = <uint8_t>((n - 4) << 2 | 1)
        return 2
    if n < 8 + 256:
        to[0], to[2] = 5 << 2 | 1, <uint8_t>(n - 8)
        return 3
    if n < 260 + 65536:
        n -= 260
        to[0], to[2], to[3] = 6 << 2 | 1, <uint8_t>(n & 0xFF), <uint8_t>(n >> 8)
        return 4
    n -= 65540
    to[0], to[2], to[3], to[4] = 7 << 2 | 1, <uint8_t>(n & 0xFF), <uint8_t>(n >> 8 & 0xFF), <uint8_t>(n >> 16)
    return 5


cdef inline size_t put_match(uint8_t* to, size_t offset, size_t n, size_t last) noexcept nogil:
    """A copy of at least four bytes; what is longer than one element goes on as a repeat."""
    cdef size_t piece = n
    if offset == last:
        return put_repeat(to, n)
    if offset >= 65536:
        if n > 64:
            piece = 60
        to[0] = <uint8_t>(((piece - 1) << 2) | 3)
        to[1], to[2] = <uint8_t>(offset & 0xFF), <uint8_t>(offset >> 8 & 0xFF)
        to[3], to[4] = <uint8_t>(offset >> 16), 0
        return 5 + (put_repeat(to + 5, n - piece) if n > piece else 0)
    if n > 64:
        piece = 60
    n -= piece
    if n == 0:
        return put_copy(to, offset, piece)
    piece = put_copy(to, offset, piece)
    return piece + put_repeat(to + piece, n)


cdef inline size_t cost(size_t offset, size_t n, size_t last) noexcept nogil:
    """Bytes that ``put_match`` takes."""
    cdef size_t repeat = 2 if n <= 8 else 3
    if offset == last:
        return repeat
    if offset >= 65536:
        return 5 if n <= 64 else 8
    if offset < 2048 and n <= 11:
        return 2
    return 3 if n <= 64 else 6


cdef inline size_t common(const uint8_t* a, const uint8_t* b, const uint8_t* end) noexcept nogil:
    """How many bytes are the same; ``b`` is the later one and goes on to ``end``."""
    cdef const uint8_t* start = b
    cdef uint64_t one, other
    while end - b >= 8:
        memcpy(&one, a, 8)
        memcpy(&other, b, 8)
        if one != other:
            return <size_t>(b - start) + equal_bytes(one ^ other)
        a += 8
        b += 8
    while b < end and a[0] == b[0]:
        a += 1
        b += 1
    return <size_t>(b - start)


cdef inline int _bits(size_t n, int most) noexcept nogil:
    """Of the hashes for a block of ``n`` bytes: a small block has no large table to clear."""
    cdef int bits = 8
    while bits < most and (<size_t>1 << bits) < n:
        bits += 1
    return bits


cdef size_t encode_fast(const uint8_t* src, size_t n, uint8_t* to, uint16_t* table, bint repeats) noexcept nogil:
    """Greedy: the last place with the same four bytes, found by their hash, is copied from. ``n`` is at most BLOCK, the
    table has 1 << HASH_BITS entries. The bytes written."""
    cdef size_t out = put_size(to, n), i = 1, anchor = 0, candidate, length, last = 0
    cdef uint32_t word, other, h
    cdef int shift = 32 - _bits(n, HASH_BITS)
    memset(table, 0, sizeof(uint16_t) << (32 - shift))
    while i + 4 <= n:
        memcpy(&word, src + i, 4)
        h = (word * <uint32_t>0x1E35A7BD) >> shift
        candidate = table[h]
        table[h] = <uint16_t>i
        memcpy(&other, src + candidate, 4)
        if other != word:
            i += 1 + ((i - anchor) >> 5)  # what does not compress is passed faster and faster
            continue
        length = 4 + common(src + candidate + 4, src + i + 4, src + n)
        while i > anchor and candidate and src[i - 1] == src[candidate - 1]:
            i -= 1
            candidate -= 1
            length += 1
        out += put_literal(to + out, src + anchor, i - anchor)
        if repeats:
            out += put_match(to + out, i - candidate, length, last)
            last = i - candidate
        else:
            out += put_copy(to + out, i - candidate, length)
        i += length
        anchor = i
        if i + 2 <= n:  # what follows is often found from its end
            memcpy(&word, src + i - 2, 4)
            table[(word * <uint32_t>0x1E35A7BD) >> shift] = <uint16_t>(i - 2)
    return out + put_literal(to + out, src + anchor, n - anchor)


cdef inline void _remember(const uint8_t* src, size_t upto, size_t* seen, Chains* t, int shift) noexcept nogil:
    """All places before ``upto`` can be found; places are kept plus one, 0 is none."""
    cdef uint32_t word, h
    cdef size_t i = seen[0]
    while i < upto:
        memcpy(&word, src + i, 4)
        h = (word * <uint32_t>0x9E3779B1) >> shift
        t.before[i] = t.head[h]
        i += 1
        t.head[h] = <uint32_t>i
    seen[0] = upto


cdef long _find(const uint8_t* src, size_t n, size_t i, size_t last, Chains* t, int shift, int depth, size_t* length,
                size_t* offset) noexcept nogil:
    """The match at ``i`` that saves most, and how many bytes that is; 0: none does."""
    cdef uint32_t word, other, place
    cdef size_t found
    cdef long best = 0, gain
    length[0] = 0
    memcpy(&word, src + i, 4)
    if last and last <= i:
        memcpy(&other, src + i - last, 4)
        if other == word:
            length[0] = 4 + common(src + i - last + 4, src + i + 4, src + n)
            offset[0] = last
            best = <long>length[0] - <long>cost(last, length[0], last)
    place = t.head[(word * <uint32_t>0x9E3779B1) >> shift]
    while place and depth and length[0] < LONG_ENOUGH:
        place -= 1
        depth -= 1
        if i + length[0] < n and src[place + length[0]] == src[i + length[0]]:
            memcpy(&other, src + place, 4)
            if other == word:
                found = 4 + common(src + place + 4, src + i + 4, src + n)
                gain = <long>found - <long>cost(i - place, found, last)
                if gain > best:
                    best, length[0], offset[0] = gain, found, i - place
        place = t.before[place]
    return best


cdef size_t encode_dense(const uint8_t* src, size_t n, uint8_t* to, Chains* chains, int depth) noexcept nogil:
    """Looks at up to ``depth`` places with the same four bytes, and whether waiting for a byte or two saves more. ``n``
    is at most DENSE. The bytes written."""
    cdef size_t out = put_size(to, n), i = 1, anchor = 0, last = 0, seen = 0
    cdef size_t length = 0, offset = 0, other_length = 0, other_offset = 0
    cdef long gain, other
    cdef int shift = 32 - _bits(n, HEAD_BITS), waits
    memset(&chains.head[0], 0, sizeof(uint32_t) << (32 - shift))
    while i + 4 <= n:
        _remember(src, i, &seen, chains, shift)
        gain = _find(src, n, i, last, chains, shift, depth, &length, &offset)
        if gain <= 0:
            i += 1 + ((i - anchor) >> 8)
            continue
        waits = 0
        while i + 5 <= n and length < LONG_ENOUGH and waits < 2:
            _remember(src, i + 1, &seen, chains, shift)
            other = _find(src, n, i + 1, last, chains, shift, depth, &other_length, &other_offset)
            if other <= gain:
                break
            i += 1
            waits += 1
            gain, length, offset = other, other_length, other_offset
        while i > anchor and i > offset and src[i - 1] == src[i - 1 - offset]:
            i -= 1
            length += 1
        out += put_literal(to + out, src + anchor, i - anchor)
        out += put_match(to + out, offset, length, last)
        last = offset
        i += length
        anchor = i
        if i + 4 <= n:
            _remember(src, i, &seen, chains, shift)
    return out + put_literal(to + out, src + anchor, n - anchor)


def compressed(bytes data not None, int depth):
    """One block as bytes, for tests and for whoever measures; the contract is blocks.pyi."""
    cdef size_t n = len(data)
    cdef const uint8_t* src = <const uint8_t*><const char*>data
    cdef uint8_t* to
    cdef uint16_t* table
    cdef Chains* chains
    if not 0 < n <= (DENSE if depth else BLOCK):
        raise ValueError("a block has between 1 and 65,536 bytes, a dense one twice as many")
    to = <uint8_t*>malloc(room_for(n))
    table = <uint16_t*>malloc(sizeof(uint16_t) << HASH_BITS)
    chains = <Chains*>malloc(sizeof(Chains))
    try:
        if to == NULL or table == NULL or chains == NULL:
            raise MemoryError
        with nogil:
            n = encode_dense(src, n, to, chains, depth) if depth else encode_fast(src, n, to, table, True)
        return (<char*>to)[:n]
    finally:
        free(to)
        free(table)
        free(chains)
