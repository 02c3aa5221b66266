"""Batches of the journal applied to what a store holds, as if what they say happened again. Nothing of it is recorded
anew: a log has no journal meanwhile.

What LMDB has already may be in a batch as well: a message whose sequence was given out before is passed over, and the
rest has no effect the second time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .contents import NOTES, STATE

from .contents cimport Contents
from .journal cimport FRAME, R_DROPPED, R_MESSAGE, R_NOTE, R_PAIR, R_PURGED, R_REMOVED, R_SKIPPED
from .log cimport Log_, log_append, log_purge, log_remove_range, log_skip
from .varint cimport get_varint, unzigzag


cdef apply_batch(Contents c, bytes data, size_t at):
    """Applies the whole batch whose frame begins at ``at`` and whose records were found to be readable."""
    cdef const char* p = PyBytes_AS_STRING(data) + at
    cdef const char* end
    cdef uint32_t length
    cdef int64_t base
    memcpy(&length, p + 4, 4)
    memcpy(&base, p + 24, 8)
    p += FRAME
    end = p + length
    while p != NULL and p < end:
        p = _record(c, p, end, base)
        c.figures["replayed"] += 1


cdef const char* _record(Contents c, const char* p, const char* end, int64_t base) except? NULL:
    cdef int type = p[0]
    cdef uint64_t a = 0
    cdef uint64_t b = 0
    if type == R_MESSAGE:
        return _message(c, p + 1, end, base)
    p = get_varint(p + 1, end, &a)
    if type == R_DROPPED:
        if a in c.logs:
            c.forget(<uint32_t>a)
        else:
            c.dropped.append(a)
            c.marks.pop(a, None)
        return p
    p = get_varint(p, end, &b)
    if type == R_NOTE:
        c.notes_of.setdefault(a, []).append(PyBytes_FromStringAndSize(p, b))
        return p + b
    if type == R_PAIR:
        _pair(c, PyBytes_FromStringAndSize(p, a), PyBytes_FromStringAndSize(p + a, b - 1) if b else None)
        return p + a + (b - 1 if b else 0)
    return _about_log(c, type, c.log(a), b, p, end)


cdef _pair(Contents c, bytes key, value):
    c.fresh[key] = value
    if key.startswith(STATE):  # what was noted before is in it
        c.notes_of.pop(int.from_bytes(key[len(STATE):]), None)
        c.fresh[NOTES + key[len(STATE):]] = None


cdef const char* _about_log(Contents c, int type, Log_ log, uint64_t first, const char* p, const char* end) except? NULL:
    cdef uint64_t last = 0
    log.l.journal = NULL
    if type == R_REMOVED:
        p = get_varint(p, end, &last)
        log_remove_range(log.l, first, last)
    elif type == R_PURGED:
        log_purge(log.l, NULL, first, 0)
    elif type == R_SKIPPED:
        log_skip(log.l, first)
        log.l.visible_seq = log.l.last_seq
    log.l.journal = &c.j
    return p


cdef const char* _message(Contents c, const char* p, const char* end, int64_t base) except? NULL:
    cdef uint64_t numbers[6]  # ident, sequence, time stamp, lengths of subject, header and message
    cdef uint32_t n, i
    cdef Log_ log
    for i in range(6):
        numbers[i] = 0
        p = get_varint(p, end, &numbers[i])
    n = <uint32_t>numbers[3]
    log = c.log(numbers[0])
    if numbers[1] > log.l.last_seq:
        log.l.journal = NULL
        log_append(log.l, numbers[1], base + unzigzag(numbers[2]), p + 4, n, p + 4 + n, <uint32_t>numbers[4],
                   <uint32_t>numbers[5])
        log.l.journal = &c.j
    return p + 4 + n + numbers[5]
