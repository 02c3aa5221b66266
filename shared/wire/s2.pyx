"""S2 and Snappy streams: the framing in which snapshots of streams and their backups are written.

A stream is a row of chunks: one byte of type, three of length, then a masked CRC-32C of the plain content and the
content, compressed or not. S2 extends Snappy's blocks by "repeat": a copy with offset 0 uses the last offset again.
Rules: nothing is allocated before its size is checked; the decoder hands out one block of at most 4 MiB at a time,
however little input says so; what the encoder writes is plain Snappy inside blocks of 64 KiB, which every reader knows.

Specification: google/snappy framing_format.txt and format_description.txt; klauspost/compress s2/README.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.errors import PhloemError

cdef enum:
    BLOCK_MAX = 4 << 20        # plain bytes of one S2 block: what Go's reader allows
    SNAPPY_BLOCK_MAX = 1 << 16 # the same in a stream that says it is Snappy
    CHUNK_MAX = BLOCK_MAX + 64 # a block that does not compress, with its length and checksum
    BLOCK = 1 << 16            # plain bytes of a block that is written: positions are 16 bits wide
    ROOM = BLOCK + BLOCK // 6 + 64  # the worst that compressing can make of a block
    HASH_BITS = 14
    COMPRESSED = 0x00
    PLAIN = 0x01
    SKIPPABLE = 0x80
    IDENTIFIER = 0xFF


class CorruptStream(PhloemError):
    """What was read is no S2 stream; the text is that of Go's reader."""


cdef uint32_t crc_table[8][256]


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


cdef inline uint32_t little(const uint8_t* p, size_t n) noexcept nogil:
    """A number of ``n`` bytes, at most four."""
    cdef uint32_t value = 0
    cdef size_t i
    for i in range(n):
        value |= <uint32_t>p[i] << (8 * i)
    return value


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


cdef inline size_t put_literal(uint8_t* to, const uint8_t* p, size_t n) noexcept nogil:
    cdef size_t head = 1
    if n == 0:
        return 0
    if n <= 60:
        to[0] = <uint8_t>((n - 1) << 2)
    elif n <= 256:
        to[0], to[1], head = 60 << 2, <uint8_t>(n - 1), 2
    else:
        to[0], to[1], to[2], head = 61 << 2, <uint8_t>((n - 1) & 0xFF), <uint8_t>((n - 1) >> 8), 3
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


cdef size_t encode_block(const uint8_t* src, size_t n, uint8_t* to, uint16_t* table) noexcept nogil:
    """Greedy: the last place with the same four bytes, found by their hash, is copied from. The bytes written."""
    cdef size_t out = 0, i = 1, anchor = 0, candidate, length
    cdef uint32_t word, other, h
    cdef size_t left = n
    while left >= 0x80:
        to[out] = <uint8_t>(left & 0x7F | 0x80)
        left >>= 7
        out += 1
    to[out] = <uint8_t>left
    out += 1
    memset(table, 0, sizeof(uint16_t) << HASH_BITS)
    while i + 4 <= n:
        memcpy(&word, src + i, 4)
        h = (word * <uint32_t>0x1E35A7BD) >> (32 - HASH_BITS)
        candidate = table[h]
        table[h] = <uint16_t>i
        memcpy(&other, src + candidate, 4)
        if other != word:
            i += 1 + ((i - anchor) >> 5)  # what does not compress is passed faster and faster
            continue
        length = 4
        while i + length < n and src[candidate + length] == src[i + length]:
            length += 1
        out += put_literal(to + out, src + anchor, i - anchor)
        out += put_copy(to + out, i - candidate, length)
        i += length
        anchor = i
    return out + put_literal(to + out, src + anchor, n - anchor)


cdef class Decoder:
    """``feed`` some of the stream, then ask for ``block`` until it has none."""

    cdef bytes _input
    cdef size_t _at
    cdef uint8_t _head[4]
    cdef size_t _nhead
    cdef uint8_t* _chunk  # a chunk that came in pieces
    cdef size_t _have
    cdef size_t _need
    cdef bint _known
    cdef bint _snappy
    cdef bint _failed

    def __cinit__(self):
        self._input = b""

    def __dealloc__(self):
        free(self._chunk)

    def feed(self, bytes data not None):
        if self._at < len(self._input):
            data = self._input[self._at:] + data
        self._input, self._at = data, 0

    @property
    def between_chunks(self):
        return self._nhead == 0 and self._at == len(self._input) and not self._failed

    def block(self):
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self._input)
        cdef size_t size = len(self._input), n
        while not self._failed and self._at < size:
            if self._nhead < 4:
                n = min(4 - self._nhead, size - self._at)
                memcpy(self._head + self._nhead, data + self._at, n)
                self._nhead += n
                self._at += n
                if self._nhead < 4:
                    break
                self._begin()
            n = min(self._need - self._have, size - self._at)
            if self._head[0] >= SKIPPABLE and self._head[0] != IDENTIFIER:
                self._have += n
                self._at += n
                if self._have == self._need:
                    self._nhead = 0
                continue
            if self._have == 0 and n == self._need:
                self._at += n
                found = self._whole(data + self._at - n)
            else:
                if self._chunk == NULL:
                    self._chunk = <uint8_t*>malloc(self._need)
                    if self._chunk == NULL:
                        raise MemoryError
                memcpy(self._chunk + self._have, data + self._at, n)
                self._have += n
                self._at += n
                if self._have < self._need:
                    break
                found = self._whole(self._chunk)
                free(self._chunk)
                self._chunk = NULL
            if found:
                return found
        return b""

    cdef _fail(self, str text):
        self._failed = True
        raise CorruptStream(text)

    cdef _begin(self):
        """The head of a chunk is there: its size is checked before any of it is kept."""
        cdef uint8_t kind = self._head[0]
        self._need, self._have = little(self._head + 1, 3), 0
        if not self._known and kind != IDENTIFIER:
            self._fail("s2: corrupt input")
        if kind == IDENTIFIER:
            if self._need != 6:
                self._fail("s2: corrupt input")
        elif kind < SKIPPABLE:
            if kind > PLAIN:
                self._fail("s2: unsupported input")
            if self._need < 4 or self._need > CHUNK_MAX:
                self._fail("s2: corrupt input")
        elif self._need == 0:
            self._nhead = 0

    cdef bytes _whole(self, const uint8_t* p):
        """All of a chunk is there."""
        cdef size_t most = SNAPPY_BLOCK_MAX if self._snappy else BLOCK_MAX
        cdef size_t n = 0, at = 4, shift = 0
        cdef bytes plain
        cdef uint8_t* to
        cdef bint fine = True
        self._nhead = 0
        if self._head[0] == IDENTIFIER:
            if memcmp(p, b"S2sTwO", 6) != 0 and memcmp(p, b"sNaPpY", 6) != 0:
                self._fail("s2: corrupt input")
            self._known, self._snappy = True, p[0] == c"s"
            return b""
        if self._head[0] == PLAIN:
            n = self._need - 4
        else:
            while True:
                if at == self._need or shift > 28:
                    self._fail("s2: corrupt input")
                n |= <size_t>(p[at] & 0x7F) << shift
                at += 1
                if p[at - 1] < 0x80:
                    break
                shift += 7
        if n > most:
            self._fail("s2: corrupt input")
        plain = PyBytes_FromStringAndSize(NULL, n)
        to = <uint8_t*>PyBytes_AS_STRING(plain)
        with nogil:
            if self._head[0] == PLAIN:
                memcpy(to, p + 4, n)
            else:
                fine = decode_block(p + at, self._need - at, to, n)
        if not fine:
            self._fail("s2: corrupt input")
        if checksum(to, n) != little(p, 4):
            self._fail("s2: corrupt input, crc mismatch")
        return plain


cdef class Encoder:
    """What is fed comes back as chunks, whenever there is enough for a block."""

    cdef uint8_t* _plain
    cdef uint8_t* _room
    cdef uint16_t* _table
    cdef size_t _have
    cdef bint _begun

    def __cinit__(self):
        self._plain = <uint8_t*>malloc(BLOCK)
        self._room = <uint8_t*>malloc(ROOM)
        self._table = <uint16_t*>malloc(sizeof(uint16_t) << HASH_BITS)
        if self._plain == NULL or self._room == NULL or self._table == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._plain)
        free(self._room)
        free(self._table)

    def feed(self, bytes data not None):
        cdef const uint8_t* p = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t left = len(data), n
        cdef list parts = []
        while left:
            n = min(left, <size_t>BLOCK - self._have)
            memcpy(self._plain + self._have, p, n)
            self._have += n
            p += n
            left -= n
            if self._have == BLOCK:
                self._chunk(parts)
        return b"".join(parts)

    def flush(self):
        cdef list parts = []
        self._chunk(parts)
        return b"".join(parts)

    cdef _chunk(self, list parts):
        cdef size_t n = 0
        cdef uint32_t sum
        cdef uint8_t head[8]
        if not self._begun:
            self._begun = True
            parts.append(b"\xff\x06\x00\x00S2sTwO")
        if self._have == 0:
            return
        with nogil:
            sum = checksum(self._plain, self._have)
            if self._have >= 16:
                n = encode_block(self._plain, self._have, self._room, self._table)
        head[0] = PLAIN
        if n == 0 or n >= self._have - self._have // 16:  # not worth the reader's work
            n = self._have
        else:
            head[0] = COMPRESSED
        head[1], head[2], head[3] = (n + 4) & 0xFF, ((n + 4) >> 8) & 0xFF, (n + 4) >> 16
        memcpy(head + 4, &sum, 4)
        parts.append((<char*>head)[:8])
        parts.append((<char*>(self._room if head[0] == COMPRESSED else self._plain))[:n])
        self._have = 0
