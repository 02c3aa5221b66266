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
from .keys cimport LogState
from .log cimport (
    Log_, log_append, log_free, log_freeze, log_new, log_purge, log_remove, log_remove_range, log_skip,
)
from .table cimport table_next
from .types cimport *
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


# --- over another file of LMDB's -------------------------------------------------------------------


cdef void log_again(Log* l, const LogState* s, FrozenLog* f) noexcept nogil:
    """A log whose part on disk is not what it was (``s``, mended): what is in memory is applied once more, so that its
    counters and its subjects' are right again. ``f``: what the mover is told of it; NULL: it is not among those."""
    cdef Log* n = log_new(l.active.seed, NULL, l.ident, False)
    cdef Log old
    n.disk, n.disk_last = l.disk, l.disk_last
    n.first_seq, n.last_seq, n.last_ts = s.first_seq, s.last_seq, s.last_ts
    n.messages, n.bytes, n.subjects = s.messages, s.bytes, s.subjects
    log_skip(n, l.disk_last)  # nothing is given out twice, whatever is left
    if l.frozen != NULL:
        _once_more(n, l.frozen_dead, l.frozen)
        if f != NULL:
            log_skip(n, f.last_seq)
        log_freeze(n)
        if f != NULL:
            f.table, f.dead = n.frozen, n.frozen_dead
            f.first_seq, f.messages, f.bytes, f.subjects = n.first_seq, n.messages, n.bytes, n.subjects
    _once_more(n, &l.dead, l.active)
    log_skip(n, l.last_seq)
    old = l[0]
    l.active, l.frozen, l.dead, l.frozen_dead = n.active, n.frozen, n.dead, n.frozen_dead
    l.first_seq, l.messages, l.bytes, l.subjects = n.first_seq, n.messages, n.bytes, n.subjects
    n.active, n.frozen, n.dead, n.frozen_dead = old.active, old.frozen, old.dead, old.frozen_dead
    log_free(n)


cdef void _once_more(Log* n, DeadSet* dead, Table* table) noexcept nogil:
    """What one generation removed from what was there before it, and what it has."""
    cdef uint32_t i, slot
    cdef Entry* e
    if dead.below:
        log_purge(n, NULL, dead.below, 0)
    for i in range(dead.cap):
        if dead.slots[i] == NULL:
            continue
        for slot in range(PAGE_SLOTS):
            if (dead.slots[i].bits[slot // 64] >> (slot % 64)) & 1:
                log_remove(n, dead.slots[i].number * PAGE_SLOTS + slot)
    e = table_next(table, 0)
    while e != NULL:
        log_append(n, e.seq, e.ts, &e.topic.text[0], e.topic.length, &e.body[0], e.header_len, e.size)
        e = table_next(table, e.seq + 1)
