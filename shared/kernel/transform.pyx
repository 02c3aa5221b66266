"""New subjects from old ones: imports and mappings (security_ops 2.7). What is allowed in them is decided in Python.

A Transform is a list of steps, between whose results are dots. It works on bytes, as nats-server does, and on patterns
as well as on subjects: a ``*`` is a token like any other.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from .sublist cimport must
from .text cimport put_number, random_below
from .types cimport *

cdef struct Writer:
    char* at
    char* end
    uint8_t full


cdef Transform* transform_new(uint32_t nsteps) noexcept nogil:
    """Without steps yet; the caller fills them in and gives their texts and tokens away."""
    cdef Transform* t = <Transform*>must(calloc(1, sizeof(Transform) + nsteps * sizeof(Step)))
    t.nsteps = nsteps
    return t


cdef void transform_free(Transform* t) noexcept nogil:
    cdef uint32_t i
    if t == NULL:
        return
    for i in range(t.nsteps):
        free(t.steps[i].text)
        free(t.steps[i].tokens)
    free(t)


cdef inline void _put(Writer* w, const char* p, size_t n) noexcept nogil:
    if <size_t>(w.end - w.at) < n:
        w.full = 1
    else:
        memcpy(w.at, p, n)
        w.at += n


cdef size_t _token(const char* subject, size_t n, uint32_t index, const char** start) noexcept nogil:
    """The length of token ``index``; 0 if there are fewer."""
    cdef size_t i = 0
    cdef size_t begin
    while index and i < n:
        if subject[i] == c'.':
            index -= 1
        i += 1
    begin = i
    start[0] = subject + i
    if index:
        return 0
    while i < n and subject[i] != c'.':
        i += 1
    return i - begin


cdef uint32_t _fnv(uint32_t value, const char* p, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        value = (value ^ <uint8_t>p[i]) * <uint32_t>0x01000193
    return value


cdef void _number(Writer* w, uint64_t value) noexcept nogil:
    cdef char digits[20]
    cdef size_t n = put_number(digits, value)
    _put(w, digits, n)


cdef void _partition(Writer* w, Step* s, const char* subject, size_t n) noexcept nogil:
    """FNV-1a over the named tokens, or over all of the subject."""
    cdef uint32_t value = <uint32_t>0x811C9DC5
    cdef const char* p
    cdef size_t length
    cdef uint32_t i
    for i in range(s.ntokens):
        length = _token(subject, n, s.tokens[i], &p)
        value = _fnv(value, p, length)
    if s.ntokens == 0:
        value = _fnv(value, subject, n)
    _number(w, value % s.number if s.number else 0)


cdef inline size_t _rune(const char* p, size_t n) noexcept nogil:
    """Bytes of the character at ``p``."""
    cdef uint8_t b = <uint8_t>p[0]
    cdef size_t want = 1 if b < 0xC2 else 2 if b < 0xE0 else 3 if b < 0xF0 else 4 if b < 0xF5 else 1
    return want if want <= n else 1


cdef void _split(Writer* w, const char* p, size_t n, const char* by, size_t bn) noexcept nogil:
    """The pieces between ``by`` that are not empty; single characters if that is empty."""
    cdef size_t start = 0
    cdef size_t i = 0
    cdef bint first = True
    while i <= n:
        if i == n or (bn and n - i >= bn and memcmp(p + i, by, bn) == 0) or (bn == 0 and i > start):
            if i > start:
                if not first:
                    _put(w, b".", 1)
                _put(w, p + start, i - start)
                first = False
            if i == n:
                return
            i += bn
            start = i
            if bn:
                continue
        i += _rune(p + i, n - i) if bn == 0 else 1


cdef void _cut(Writer* w, int what, const char* p, size_t n, size_t size) noexcept nogil:
    """A token in pieces; one that is too short stays whole."""
    cdef size_t i
    cdef size_t left = n - size
    if size == 0 or size >= n:
        _put(w, p, n)
    elif what == LEFT:
        _put(w, p, size)
    elif what == RIGHT:
        _put(w, p + left, size)
    elif what == SPLIT_FROM_LEFT:
        _put(w, p, size)
        _put(w, b".", 1)
        _put(w, p + size, left)
    elif what == SPLIT_FROM_RIGHT:
        _put(w, p, left)
        _put(w, b".", 1)
        _put(w, p + left, size)
    else:
        i = n % size if what == SLICE_FROM_RIGHT else size
        if i == 0:
            i = size
        _put(w, p, i)
        while i < n:
            left = size if n - i > size else n - i
            _put(w, b".", 1)
            _put(w, p + i, left)
            i += left


cdef void _step(Core* k, Writer* w, Step* s, const char* subject, size_t n) noexcept nogil:
    cdef const char* p
    cdef size_t length
    if s.what == LITERAL:
        _put(w, s.text, s.text_len)
        return
    if s.what == PARTITION:
        _partition(w, s, subject, n)
        return
    if s.what == RANDOM:
        _number(w, random_below(&k.random, s.number) if s.number else 0)
        return
    length = _token(subject, n, s.tokens[0], &p)
    if s.what == TOKEN:
        _put(w, p, length)
    elif s.what == REST:
        _put(w, p, n - (p - subject))
    elif s.what == SPLIT:
        _split(w, p, length, s.text, s.text_len)
    else:
        _cut(w, s.what, p, length, s.number)


cdef uint32_t transform(Core* k, Transform* t, const char* subject, uint32_t n, char* to) noexcept nogil:
    """Writes the new subject to ``to``, which has room for SUBJECT_MAX bytes; its length, 0 if it has no room."""
    cdef Writer w
    cdef uint32_t i
    w.at = to
    w.end = to + SUBJECT_MAX
    w.full = 0
    for i in range(t.nsteps):
        if i:
            _put(&w, b".", 1)
        _step(k, &w, &t.steps[i], subject, n)
        if w.full:
            return 0
    return <uint32_t>(w.at - to)


cdef uint32_t local_subject(Core* k, StreamImport* im, const char* subject, uint32_t n, const char** to) noexcept nogil:
    """What an importer sees instead of the exporter's literal ``subject``; valid until the next call. 0: too long."""
    if im.same:
        to[0] = subject
        return n
    if im.forth == NULL:
        to[0] = &im.text[0] + im.from_len
        return im.to_len
    to[0] = k.local_buf
    return transform(k, im.forth, subject, n, k.local_buf)
