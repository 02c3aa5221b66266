"""Copying from one stream into another without an object for each message: what mirrors and sources mostly do.

It stops before a message that carries a header of the server's own, or that may not be stored: somebody has to decide
about it (intake.py of the server). A mirror's copy has the sequence, time and header of its origin; a source's has
``Nats-Stream-Source`` behind its other headers.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from phloem.shared.kernel.sublist cimport grow
from phloem.shared.kernel.text cimport put_number
from phloem.shared.kernel.types cimport Msg
from phloem.shared.store.log cimport Log_, filter_add, filter_clear, log_next
from phloem.shared.store.types cimport DAMAGED, MISSING, SEQ_GIVEN_MAX, Filter, Record

from .engine cimport Stream, wake
from .stream cimport stream_fits, stream_store
from .types cimport memmem

cdef enum:
    FIXED = 64  # of a source's header beside its texts: NATS/1.0, the sequence, line ends


cdef inline char* _put(char* to, const char* text, size_t n) noexcept nogil:
    memcpy(to, text, n)
    return to + n


cdef class Draw:
    cdef Stream stream
    cdef Log_ origin
    cdef Filter filter
    cdef bytes before, behind, identity
    cdef bint mirror
    cdef readonly uint64_t last_seq

    def __cinit__(self):
        memset(&self.filter, 0, sizeof(Filter))

    def __init__(self, Stream stream not None, Log_ origin not None, filters, bytes before_seq not None,
                 bytes behind_seq not None, bytes identity not None):
        self.stream, self.origin = stream, origin
        self.before, self.behind, self.identity = before_seq, behind_seq, identity
        self.mirror = not before_seq
        for pattern in filters:
            filter_add(&self.filter, pattern, len(pattern))

    def __dealloc__(self):
        filter_clear(&self.filter)

    cdef uint32_t _compose(self, Record* r, Msg* m):
        """The message as it will be here, in the engine's scratch; the length of its header. The origin's log is not
        asked again before it is stored, but its own pages may move when this stream's log is: hence the copy."""
        cdef size_t texts = len(self.before) + len(self.behind) + len(self.identity)
        cdef size_t need = r.subject_len * 2 + r.size + texts + FIXED
        cdef char* at
        cdef char* body
        self.stream.s.engine.scratch = <char*>grow(self.stream.s.engine.scratch, &self.stream.s.engine.scratch_cap,
                                                   <uint32_t>need, 1)
        at = self.stream.s.engine.scratch
        m.subject, m.subject_len = at, r.subject_len
        body = at = _put(at, r.subject, r.subject_len)
        if self.mirror:
            memcpy(at, r.body, r.size)
            m.body, m.header_len, m.size = body, r.header_len, r.size
            return r.header_len
        if r.header_len > 4:  # a shorter one has no line: anything goes over the wire as a header
            at = _put(at, r.body, r.header_len - 2)
        else:
            at = _put(at, b"NATS/1.0\r\n", 10)
        at = _put(at, <const char*>self.before, len(self.before))
        at += put_number(at, r.seq)
        at = _put(at, <const char*>self.behind, len(self.behind))
        at = _put(_put(at, r.subject, r.subject_len), b" ", 1)
        at = _put(_put(at, <const char*>self.identity, len(self.identity)), b"\r\n\r\n", 4)
        m.body, m.header_len = body, <uint32_t>(at - body)
        at = _put(at, r.body + r.header_len, r.size - r.header_len)
        m.size = <uint32_t>(at - body)
        return m.header_len

    def take(self, uint64_t start, uint64_t end, uint32_t messages, size_t size, int64_t now):
        cdef Record r
        cdef Msg m
        cdef int found
        cdef uint32_t count = 0
        cdef size_t taken = 0
        cdef bint asks = False
        memset(&m, 0, sizeof(Msg))
        while count < messages and taken < size:
            found = log_next(self.origin.l, &self.filter, start, end, &r)
            if found == MISSING:
                start = end + 1
                break
            start = r.seq
            if found == DAMAGED:
                start += 1
                continue
            if r.header_len and memmem(r.body, r.header_len, b"\nNats-", 6) != NULL:
                asks = True
                break
            self._compose(&r, &m)
            if not stream_fits(&self.stream.s, &m) or (
                    self.mirror and not self.stream.s.log.last_seq < r.seq <= SEQ_GIVEN_MAX):
                asks = True
                break
            stream_store(&self.stream.s, r.seq if self.mirror else 0, r.ts if self.mirror else now, m.subject,
                         m.subject_len, m.body, m.header_len, m.size)
            self.last_seq = r.seq
            start = r.seq + 1
            count += 1
            taken += m.size
        if count:
            wake(&self.stream.engine.g)
        return start, count, asks
