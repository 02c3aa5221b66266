"""A log: one stream's messages, wherever they are (types.pxd); counters that are always exact.

Looking for a message goes from the oldest place to the newest: disk, frozen Table, active Table. Looking for a subject
goes the other way: the newest place that knows the subject speaks for the whole log. A subject that the active Table
does not know yet is looked up once, and its numbers are kept there from then on.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport equals, has_wildcard, hash_bytes, pattern_matches

from .disk cimport (
    disk_count, disk_lost, disk_next, disk_read, disk_seq_from_time, disk_subject, disk_subject_next, disk_subjects,
)
from .journal cimport journal_message, journal_purged, journal_removed, journal_skipped
from .table cimport (
    dead_add, dead_clear, dead_has, table_find, table_free, table_new, table_next, table_page, table_put, table_take,
    topic_drop, topic_find, topic_make,
)
from .types cimport *

cdef enum:
    LOOK_BACK = 64  # neighbours that are tried before the index is asked for a subject's last message but one
    CHECK_SEED = 0x70686C6F
    SUBJECT_MAX = 65000  # lengths of subjects are 16 bits wide
    SIZE_MAX_ = 0x7FFFFFFF


# --- filters ---------------------------------------------------------------------------------------


cdef bint filter_matches(Filter* f, const char* subject, size_t n) noexcept nogil:
    cdef uint32_t i
    if f == NULL or f.count == 0:
        return True
    for i in range(f.count):
        if pattern_matches(f.patterns[i], f.lengths[i], subject, n):
            return True
    return False


cdef void filter_add(Filter* f, const char* pattern, size_t n) noexcept nogil:
    f.patterns = <char**>must(realloc(f.patterns, (f.count + 1) * sizeof(char*)))
    f.lengths = <unsigned short*>must(realloc(f.lengths, (f.count + 1) * sizeof(unsigned short)))
    f.patterns[f.count] = <char*>must(malloc(n + 1))
    memcpy(f.patterns[f.count], pattern, n)
    f.lengths[f.count] = <unsigned short>n
    f.count += 1


cdef void filter_clear(Filter* f) noexcept nogil:
    cdef uint32_t i
    for i in range(f.count):
        free(f.patterns[i])
    free(f.patterns)
    free(f.lengths)
    free(f.gathered)
    memset(f, 0, sizeof(Filter))


cdef inline bint _everything(Filter* f) noexcept nogil:
    return f == NULL or f.count == 0 or (f.count == 1 and f.lengths[0] == 1 and f.patterns[0][0] == c'>')


cdef inline bint _literal(Filter* f) noexcept nogil:
    return f != NULL and f.count == 1 and not has_wildcard(f.patterns[0], f.lengths[0])


# --- making and freezing ---------------------------------------------------------------------------


cdef Log* log_new(uint64_t seed, Journal* j, uint32_t ident, bint memory) noexcept nogil:
    """An empty log. The caller fills in what an earlier life of it left on disk."""
    cdef Log* l = <Log*>must(malloc(sizeof(Log)))
    memset(l, 0, sizeof(Log))
    l.ident = ident
    l.memory = memory
    l.journal = NULL if memory else j
    l.active = table_new(seed)
    l.first_seq = 1
    return l


cdef void log_free(Log* l) noexcept nogil:
    table_free(l.active)
    table_free(l.frozen)
    dead_clear(&l.dead)
    if l.frozen_dead != NULL:
        dead_clear(l.frozen_dead)
        free(l.frozen_dead)
    free(l)


cdef void log_freeze(Log* l) noexcept nogil:
    l.frozen = l.active
    l.active = table_new(l.frozen.seed)
    l.frozen_dead = <DeadSet*>must(malloc(sizeof(DeadSet)))
    l.frozen_dead[0] = l.dead
    memset(&l.dead, 0, sizeof(DeadSet))


cdef void log_thaw(Log* l) noexcept nogil:
    """What was frozen is on disk, and the reader sees it."""
    if l.frozen.last > l.disk_last:
        l.disk_last = l.frozen.last
    table_free(l.frozen)
    l.frozen = NULL
    dead_clear(l.frozen_dead)
    free(l.frozen_dead)
    l.frozen_dead = NULL


cdef uint64_t record_bytes(Log* l, uint32_t n, uint32_t header_len, uint32_t size) noexcept nogil:
    """What a message counts towards max_bytes, as nats-server counts it for this storage."""
    if l.memory:
        return <uint64_t>n + size + 16
    return <uint64_t>n + size + 30 + (4 if header_len else 0)


cdef uint32_t record_check(uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                           uint32_t header_len, uint32_t size) noexcept nogil:
    """Of everything that a message is; any change of any bit shows with all but one chance in 2**32."""
    cdef uint64_t whole[4]
    whole[0] = seq
    whole[1] = <uint64_t>ts
    whole[2] = (<uint64_t>header_len << 32) | size
    whole[3] = (<uint64_t>hash_bytes(subject, n, CHECK_SEED) << 32) | hash_bytes(body, size, CHECK_SEED)
    return hash_bytes(<const char*>whole, sizeof(whole), CHECK_SEED)


cdef inline void _touch(Log* l) noexcept nogil:
    cdef Journal* j = l.journal
    if l.dirty:
        return
    l.dirty = 1
    j.dirty = <Log**>grow(j.dirty, &j.dirty_cap, j.ndirty + 1, sizeof(Log*))
    j.dirty[j.ndirty] = l
    j.ndirty += 1


cdef void log_touch(Log* l) noexcept nogil:
    _touch(l)


cdef inline void _fill(Record* r, Entry* e) noexcept nogil:
    r.seq, r.ts = e.seq, e.ts
    r.subject, r.subject_len = &e.topic.text[0], e.topic.length
    r.body, r.header_len, r.size = &e.body[0], e.header_len, e.size


# --- subjects --------------------------------------------------------------------------------------


cdef bint _known(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    """What the frozen Table or the disk knows of a subject; False: it has no message there."""
    cdef Topic* p
    if l.frozen != NULL:
        p = topic_find(l.frozen, subject, n)
        if p != NULL:
            s.count, s.first, s.last = p.count, p.first, p.last
            return p.count > 0 and p.last >= l.dead.below
    if l.disk == NULL or l.disk_last == 0:
        return False
    if not disk_subject(l, subject, n, s) or s.count == 0 or s.last < l.dead.below:
        return False
    return l.frozen_dead == NULL or s.last >= l.frozen_dead.below


cdef Topic* _topic(Log* l, const char* subject, uint32_t n) noexcept nogil:
    """The subject's Topic in the active Table, with the numbers of the whole log."""
    cdef Topic* p = topic_find(l.active, subject, n)
    cdef SubjectState s
    if p != NULL:
        return p
    p = topic_make(l.active, subject, n)
    if not l.memory and _known(l, subject, n, &s):
        p.count, p.first, p.last = s.count, s.first, s.last
    return p


cdef uint64_t log_subject_next(Log* l, const char* subject, uint32_t n, uint64_t start) noexcept nogil:
    """The first message on ``subject`` with this sequence or a higher one; 0: there is none."""
    cdef uint64_t seq
    cdef Topic* p
    cdef Entry* e
    if start < l.first_seq:
        start = l.first_seq
    if l.disk != NULL and start <= l.disk_last:
        seq = disk_subject_next(l, subject, n, start)
        if seq:
            return seq
    if l.frozen != NULL and start <= l.frozen.last:
        p = topic_find(l.frozen, subject, n)
        e = p.oldest if p != NULL else NULL
        while e != NULL:
            if e.seq >= start and not dead_has(&l.dead, e.seq):
                return e.seq
            e = e.newer
    p = topic_find(l.active, subject, n)
    e = p.oldest if p != NULL else NULL
    while e != NULL and e.seq < start:
        e = e.newer
    return e.seq if e != NULL else 0


cdef bint log_subject(Log* l, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    """Count, first and last message of a subject; False: it has none."""
    cdef Topic* p = topic_find(l.active, subject, n)
    if p == NULL:
        if l.memory or not _known(l, subject, n, s):
            memset(s, 0, sizeof(SubjectState))
            return False
        s.first = log_subject_next(l, subject, n, s.first)
        return True
    if p.count == 0:
        memset(s, 0, sizeof(SubjectState))
        return False
    if p.oldest == NULL or p.first != p.oldest.seq:
        p.first = log_subject_next(l, subject, n, p.first)
    s.count, s.first, s.last = p.count, p.first, p.last
    return True


cdef uint64_t _previous(Log* l, const char* subject, uint32_t n, uint64_t first, uint64_t seq) noexcept nogil:
    """The last message on ``subject`` below ``seq``; there is one, at ``first`` or later."""
    cdef Topic* p = topic_find(l.active, subject, n)
    cdef Entry* e = p.newest if p != NULL else NULL
    cdef Record r
    cdef uint64_t at = seq - 1
    cdef uint64_t found = 0
    cdef uint64_t floor = seq - LOOK_BACK if seq > LOOK_BACK else 1
    while e != NULL:
        if e.seq < seq:
            return e.seq
        e = e.older
    while at >= floor and at >= first:
        if log_read(l, at, &r) == FOUND and equals(r.subject, r.subject_len, subject, n):
            return at
        at -= 1
    at = first
    while True:
        at = log_subject_next(l, subject, n, at)
        if at == 0 or at >= seq:
            return found
        found = at
        at += 1


cdef struct Gather:
    Log* log
    Filter* filter
    subject_fn each
    void* context
    bint on


cdef void log_subjects(Log* l, Filter* f, subject_fn each, void* context) noexcept nogil:
    """Tells every subject that has messages and matches; ``each`` says whether to go on. No order."""
    cdef Gather g
    cdef SubjectState s
    if _literal(f):
        if log_subject(l, f.patterns[0], f.lengths[0], &s):
            each(context, f.patterns[0], f.lengths[0], &s)
        return
    g.log, g.filter, g.each, g.context, g.on = l, f, each, context, True
    _tell_topics(&g, l.active, NULL)
    if g.on and l.frozen != NULL:
        _tell_topics(&g, l.frozen, l.active)
    if g.on and l.disk != NULL and l.disk_last:
        disk_subjects(l, f, _tell_disk, &g)


cdef void _tell_topics(Gather* g, Table* t, Table* newer) noexcept nogil:
    cdef uint32_t i
    cdef Topic* p
    cdef SubjectState s
    for i in range(t.topic_cap):
        p = t.topics[i]
        while p != NULL and g.on:
            if p.count and filter_matches(g.filter, &p.text[0], p.length) \
                    and (newer == NULL or (topic_find(newer, &p.text[0], p.length) == NULL
                                           and p.last >= g.log.dead.below)):
                s.count, s.first, s.last = p.count, p.first, p.last
                g.on = g.each(g.context, &p.text[0], p.length, &s)
            p = p.chain


cdef bint _tell_disk(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    cdef Gather* g = <Gather*>context
    cdef Log* l = g.log
    if topic_find(l.active, subject, n) != NULL or s.count == 0 or s.last < l.dead.below:
        return True
    if l.frozen != NULL and (topic_find(l.frozen, subject, n) != NULL or s.last < l.frozen_dead.below):
        return True
    g.on = g.each(g.context, subject, n, s)
    return g.on


# --- writing ---------------------------------------------------------------------------------------


cdef uint64_t log_append(Log* l, uint64_t seq, int64_t ts, const char* subject, uint32_t n, const char* body,
                         uint32_t header_len, uint32_t size) noexcept nogil:
    """Adds a message and gives its sequence; ``seq`` 0: the next one, else one above ``last_seq`` (a mirror)."""
    cdef Topic* p = _topic(l, subject, n)
    cdef Entry* e = <Entry*>must(malloc(sizeof(Entry) + size))
    if seq == 0:
        seq = l.last_seq + 1
    e.topic = p
    e.seq, e.ts = seq, ts
    e.header_len, e.size = header_len, size
    memcpy(&e.body[0], body, size)
    e.previous = p.last
    e.check = 0 if l.memory else record_check(seq, ts, subject, n, body, header_len, size)
    table_put(l.active, e)
    if p.count == 0:
        l.subjects += 1
        p.first = seq
    p.count += 1
    p.last = seq
    if l.messages == 0:
        l.first_seq = seq
    l.messages += 1
    l.bytes += record_bytes(l, n, header_len, size)
    l.last_seq = seq
    l.last_ts = ts
    if l.journal == NULL:
        l.visible_seq = seq
    else:
        journal_message(l.journal, l, seq, ts, subject, n, body, header_len, size, e.check)
        _touch(l)
    return seq


cdef void log_skip(Log* l, uint64_t last_seq) noexcept nogil:
    """Sequences up to this one are given out without a message."""
    if last_seq > SEQ_MAX:
        last_seq = SEQ_MAX  # higher ones are not read back
    if last_seq <= l.last_seq:
        return
    l.last_seq = last_seq
    if l.messages == 0:
        l.first_seq = last_seq + 1
    if l.journal == NULL:
        l.visible_seq = last_seq
    else:
        journal_skipped(l.journal, l, last_seq)
        _touch(l)


cdef void _forget(Log* l, const char* subject, uint32_t n, uint64_t seq) noexcept nogil:
    """A message of the subject is going: the Topic's numbers without it. The message can still be found."""
    cdef Topic* p = _topic(l, subject, n)
    if p.count:
        p.count -= 1
    if p.count == 0:
        p.first = p.last = 0
        l.subjects -= 1
        return
    if seq == p.first:
        p.first = seq + 1
    if seq == p.last:
        p.last = _previous(l, subject, n, p.first, seq)


cdef void _without(Log* l, uint64_t seq, uint64_t bytes) noexcept nogil:
    """A message is gone: counters, and where the log begins now."""
    cdef Record r
    l.messages -= 1
    l.bytes -= bytes if bytes < l.bytes else l.bytes
    if l.messages == 0:
        l.first_seq = l.last_seq + 1
        l.bytes = 0
    elif seq == l.first_seq:
        l.first_seq = seq + 1
        if log_next(l, NULL, seq + 1, l.last_seq, &r) != MISSING:
            l.first_seq = r.seq


cdef bint log_remove(Log* l, uint64_t seq) noexcept nogil:
    """Removes a message; False: there is none with this sequence."""
    cdef Entry* e = table_find(l.active, seq)
    cdef Topic* p
    cdef Record r
    cdef uint64_t bytes, lost
    cdef int found
    if e != NULL:
        p = e.topic
        if l.removed != NULL:
            l.removed(l.removed_context, l, seq, &p.text[0], p.length)
        bytes = record_bytes(l, p.length, e.header_len, e.size)
        _forget(l, &p.text[0], p.length, seq)
        table_take(l.active, e)
        if p.count == 0 and l.memory:
            topic_drop(l.active, p)
    else:
        found = log_read(l, seq, &r)
        if found == MISSING:
            return False
        bytes = 0
        if found == DAMAGED:
            lost = disk_lost(l, seq) - 1
            l.messages -= lost if lost < l.messages else l.messages - 1
        else:
            if l.removed != NULL:
                l.removed(l.removed_context, l, seq, r.subject, r.subject_len)
                log_read(l, seq, &r)
            bytes = record_bytes(l, r.subject_len, r.header_len, r.size)
            _forget_elsewhere(l, &r)
        dead_add(&l.dead, seq)
    _without(l, seq, bytes)
    if l.journal != NULL:
        journal_removed(l.journal, l, seq)
        _touch(l)
    return True


cdef void log_remove_range(Log* l, uint64_t first, uint64_t last) noexcept nogil:
    """Removes what there is from ``first`` to ``last``; holes cost nothing."""
    cdef Record r
    cdef int found
    if last > l.last_seq:
        last = l.last_seq
    while first <= last:
        if log_remove(l, first):
            first += 1
            continue
        found = log_next(l, NULL, first, last, &r)
        if found == MISSING:
            return
        first = r.seq if found == FOUND else first + 1  # all of a block that cannot be read, one by one


cdef void _forget_elsewhere(Log* l, Record* r) noexcept nogil:
    """``_forget`` for a message that is not in the active Table: its subject has to outlive further reading."""
    cdef char few[256]
    cdef char* subject = few
    if r.subject_len > sizeof(few):
        subject = <char*>must(malloc(r.subject_len))
    memcpy(subject, r.subject, r.subject_len)
    _forget(l, subject, r.subject_len, r.seq)
    if subject != few:
        free(subject)


cdef uint64_t _purge_all(Log* l, uint64_t below) noexcept nogil:
    """Everything goes; the next sequence is ``below`` if that is higher."""
    cdef uint64_t count = l.messages
    cdef uint64_t seed = l.active.seed
    if below > SEQ_MAX:
        below = SEQ_MAX
    if below <= l.last_seq:
        below = l.last_seq + 1
    if l.removed != NULL and count:
        l.removed(l.removed_context, l, below, NULL, 0)
    table_free(l.active)
    l.active = table_new(seed)
    l.last_seq = below - 1
    l.first_seq = below
    l.messages = l.bytes = l.subjects = l.damaged_first = l.damaged_last = 0
    l.suspect = 0  # whatever was lost would be gone now
    if not l.memory:
        dead_clear(&l.dead)
        l.dead.below = below
    if l.journal == NULL:
        l.visible_seq = l.last_seq
    else:
        journal_purged(l.journal, l, below)
        _touch(l)
    return count


cdef uint64_t log_purge(Log* l, Filter* f, uint64_t below, uint64_t keep) noexcept nogil:
    """Removes what matches: below a sequence (0: all), or all but the newest ``keep``. The number removed."""
    cdef uint64_t total
    cdef uint64_t done = 0
    cdef uint64_t at = l.first_seq
    cdef uint64_t end = l.last_seq
    cdef Record r
    if _everything(f) and keep == 0 and (below == 0 or below > l.last_seq):
        return _purge_all(l, below)
    if below:
        end = below - 1
    total = log_count(l, f, at, end)
    total = total - keep if total > keep else 0
    while done < total and log_next(l, f, at, end, &r) != MISSING:
        at = r.seq + 1
        done += log_remove(l, r.seq)
    return done


# --- reading ---------------------------------------------------------------------------------------


cdef int log_read(Log* l, uint64_t seq, Record* r) noexcept nogil:
    """The message with this sequence, visible or not."""
    cdef Entry* e
    if seq < l.first_seq or seq > l.last_seq:
        return MISSING
    e = table_find(l.active, seq)
    if e != NULL:
        _fill(r, e)
        return FOUND
    if l.memory or dead_has(&l.dead, seq):
        return MISSING
    if l.frozen != NULL:
        e = table_find(l.frozen, seq)
        if e != NULL:
            _fill(r, e)
            return FOUND
    if l.disk == NULL or seq > l.disk_last or dead_has(l.frozen_dead, seq):
        return MISSING
    return disk_read(l, seq, r)


cdef int log_next(Log* l, Filter* f, uint64_t start, uint64_t end, Record* r) noexcept nogil:
    """The first message that matches from ``start`` to ``end``, both included. DAMAGED: ``r.seq`` says which one."""
    cdef Entry* e
    cdef int found
    if start < l.first_seq:
        start = l.first_seq
    if end > l.last_seq:
        end = l.last_seq
    if start > end:
        return MISSING
    if l.disk != NULL and start <= l.disk_last:
        found = disk_next(l, f, start, end if end < l.disk_last else l.disk_last, r)
        if found != MISSING:
            return found
        start = l.disk_last + 1
    if l.frozen != NULL:
        e = table_next(l.frozen, start)
        while e != NULL and e.seq <= end:
            start = e.seq + 1
            if not dead_has(&l.dead, e.seq) and filter_matches(f, &e.topic.text[0], e.topic.length):
                _fill(r, e)
                return FOUND
            e = table_next(l.frozen, start)
    e = table_next(l.active, start)
    while e != NULL and e.seq <= end:
        if filter_matches(f, &e.topic.text[0], e.topic.length):
            _fill(r, e)
            return FOUND
        e = table_next(l.active, e.seq + 1)
    return MISSING


cdef int log_oldest(Log* l, Record* r) noexcept nogil:
    return log_next(l, NULL, l.first_seq, l.last_seq, r)


cdef uint64_t _count_table(Log* l, Table* t, DeadSet* dead, Filter* f, uint64_t start, uint64_t end) noexcept nogil:
    cdef uint64_t count = 0
    cdef bint all = _everything(f) and (dead == NULL or (dead.total == 0 and dead.below <= t.first))
    cdef Entry* e
    if all and start <= t.first and end >= t.last:
        return t.count
    e = table_next(t, start)
    while e != NULL and e.seq <= end:
        if all and e.seq % PAGE_SLOTS == 0 and e.seq + PAGE_SLOTS - 1 <= end:
            count += table_page(t, e.seq).used
            e = table_next(t, e.seq + PAGE_SLOTS)
            continue
        if not dead_has(dead, e.seq) and filter_matches(f, &e.topic.text[0], e.topic.length):
            count += 1
        e = table_next(t, e.seq + 1)
    return count


cdef bint _add_count(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    (<uint64_t*>context)[0] += s.count
    return True


cdef uint64_t log_count(Log* l, Filter* f, uint64_t start, uint64_t end) noexcept nogil:
    """How many messages from ``start`` to ``end`` match."""
    cdef uint64_t count = 0
    if start < l.first_seq:
        start = l.first_seq
    if end > l.last_seq:
        end = l.last_seq
    if start > end or l.messages == 0:
        return 0
    if start == l.first_seq and end == l.last_seq:
        if _everything(f):
            return l.messages
        log_subjects(l, f, _add_count, &count)
        return count
    if l.disk != NULL and start <= l.disk_last:
        count = disk_count(l, f, start, end if end < l.disk_last else l.disk_last)
    if l.frozen != NULL:
        count += _count_table(l, l.frozen, &l.dead, f, start, end)
    return count + _count_table(l, l.active, NULL, f, start, end)


cdef struct Seqs:
    Log* log
    uint64_t end
    uint64_t* list
    uint32_t count
    uint32_t cap


cdef bint _add_last(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    cdef Seqs* all = <Seqs*>context
    cdef uint64_t last = s.last
    if last > all.end:
        if log_subject_next(all.log, subject, n, s.first) > all.end:
            return True
        last = _previous(all.log, subject, n, s.first, all.end + 1)
        if last == 0:
            return True
    all.list = <uint64_t*>grow(all.list, &all.cap, all.count + 1, sizeof(uint64_t))
    all.list[all.count] = last
    all.count += 1
    return True


cdef int _by_value(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t*>a)[0]
    cdef uint64_t y = (<const uint64_t*>b)[0]
    return (x > y) - (x < y)


cdef uint64_t log_last_of_subjects(Log* l, Filter* f, uint64_t end, uint64_t** seqs) noexcept nogil:
    """The last message up to ``end`` of each subject that matches, in order of sequence; the caller frees ``seqs``."""
    cdef Seqs all
    memset(&all, 0, sizeof(Seqs))
    all.log, all.end = l, end
    log_subjects(l, f, _add_last, &all)
    if all.count:
        qsort(all.list, all.count, sizeof(uint64_t), _by_value)
    seqs[0] = all.list
    return all.count


cdef uint64_t log_seq_from_time(Log* l, int64_t ts) noexcept nogil:
    """The first message that was stored at ``ts`` or later; ``last_seq + 1``: none was."""
    cdef uint64_t seq
    cdef Entry* e
    if l.disk != NULL and l.disk_last:
        seq = disk_seq_from_time(l, ts)
        if seq:
            return seq
    if l.frozen != NULL:
        e = table_next(l.frozen, 0)
        while e != NULL:
            if e.ts >= ts and not dead_has(&l.dead, e.seq):
                return e.seq
            e = table_next(l.frozen, e.seq + 1)
    e = table_next(l.active, 0)
    while e != NULL and e.ts < ts:
        e = table_next(l.active, e.seq + 1)
    return e.seq if e != NULL else l.last_seq + 1


include "face.pxi"
