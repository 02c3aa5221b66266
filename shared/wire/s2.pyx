"""S2 and Snappy streams: the framing in which snapshots of streams and their backups are written.

A stream is a row of chunks: one byte of type, three of length, then a masked CRC-32C of the plain content and the
content, compressed (blocks.pyx) or not.
Rules: nothing is allocated before its size is checked; the decoder hands out one block of at most 4 MiB at a time,
however little input says so; what the encoder writes is plain Snappy inside blocks of 64 KiB, which every reader knows.

Specification: google/snappy framing_format.txt; klauspost/compress s2/README.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from .blocks cimport *

from phloem.shared.errors import PhloemError

cdef enum:
    ROOM = BLOCK + BLOCK // 6 + 64


class CorruptStream(PhloemError):
    """What was read is no S2 stream; the text is that of Go's reader."""


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
            if self._chunk == NULL and n == self._need:
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
        cdef size_t n = 0, at = 4
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
            if not plain_size(p + 4, self._need - 4, &at, &n):
                self._fail("s2: corrupt input")
            at += 4
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
                n = encode_fast(self._plain, self._have, self._room, self._table, False)
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
