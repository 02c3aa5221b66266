# The Python face of a log; part of log.pyx, its contract is log.pyi.

from collections import namedtuple

Message = namedtuple("Message", "seq ts subject header payload")


class Damaged(Exception):
    def __init__(self, seq):
        super().__init__(f"message {seq} is damaged on disk: its checksum does not match; see phloem store check")
        self.seq = seq


cdef class Filters:
    """A Filter for the length of a call."""

    cdef Filter f

    def __cinit__(self, patterns):
        memset(&self.f, 0, sizeof(Filter))
        for pattern in patterns:
            filter_add(&self.f, pattern, len(pattern))

    def __dealloc__(self):
        filter_clear(&self.f)


cdef object message_of(int found, Record* r):
    if found == MISSING:
        return None
    if found == DAMAGED:
        raise Damaged(r.seq)
    return Message(r.seq, r.ts, PyBytes_FromStringAndSize(r.subject, r.subject_len),
                   PyBytes_FromStringAndSize(r.body, r.header_len),
                   PyBytes_FromStringAndSize(r.body + r.header_len, r.size - r.header_len))


cdef uint64_t _end(Log* l, end) except? 0:
    """The last sequence to look at. 0 is one: nothing is visible yet."""
    return l.last_seq if end is None else <uint64_t>end


cdef bint _collect(void* context, const char* subject, uint32_t n, SubjectState* s) noexcept nogil:
    with gil:
        (<dict>context)[PyBytes_FromStringAndSize(subject, n)] = s.count
    return True


cdef class Log_:
    def __init__(self, *, uint64_t seed=0):
        if self.l == NULL:
            self.l = log_new(seed, NULL, 0, True)
            self.l.owner = <void*>self
            self.owned = True

    def __dealloc__(self):
        if self.l != NULL and self.owned:
            log_free(self.l)

    @property
    def ident(self):
        return self.l.ident

    @property
    def memory(self):
        return bool(self.l.memory)

    @property
    def relaxed(self):
        return bool(self.l.relaxed)

    @relaxed.setter
    def relaxed(self, bint value):
        self.l.relaxed = value

    @property
    def damaged(self):
        return (self.l.damaged_first, self.l.damaged_last) if self.l.damaged_first else None

    @property
    def messages(self):
        return self.l.messages

    @property
    def bytes(self):
        return self.l.bytes

    @property
    def subjects_count(self):
        return self.l.subjects

    @property
    def first_seq(self):
        return self.l.first_seq

    @property
    def last_seq(self):
        return self.l.last_seq

    @property
    def journalled(self):
        return self.l.journalled

    @property
    def visible_seq(self):
        return self.l.visible_seq

    @property
    def last_ts(self):
        return self.l.last_ts

    def append(self, bytes subject not None, bytes header not None, bytes payload not None, int64_t ts, uint64_t seq=0):
        cdef bytes body = header + payload
        if seq and seq <= self.l.last_seq:
            raise ValueError(f"sequence {seq} was given out already, the last is {self.l.last_seq}")
        if seq > SEQ_GIVEN_MAX:
            raise ValueError(f"sequence {seq} is above 2^61")
        if len(subject) > SUBJECT_MAX or len(body) > SIZE_MAX_:
            raise ValueError("the subject or the message is too long")
        return log_append(self.l, seq, ts, subject, <uint32_t>len(subject), body, <uint32_t>len(header), <uint32_t>len(body))

    def skip(self, uint64_t last_seq):
        if last_seq > SEQ_GIVEN_MAX and last_seq > self.l.last_seq + 1:
            raise ValueError(f"sequence {last_seq} is above 2^61")
        log_skip(self.l, last_seq)

    def remove(self, uint64_t seq):
        return log_remove(self.l, seq)

    def purge(self, filters=(), *, uint64_t below=0, uint64_t keep=0):
        cdef Filters f = Filters(filters)
        if below > SEQ_GIVEN_MAX and below > self.l.last_seq + 1:
            raise ValueError(f"sequence {below} is above 2^61")
        return log_purge(self.l, &f.f, below, keep)

    def read(self, uint64_t seq):
        cdef Record r
        r.seq = seq
        return message_of(log_read(self.l, seq, &r), &r)

    def next(self, filters=(), uint64_t start=0, end=None):
        cdef Record r
        cdef Filters f = Filters(filters)
        return message_of(log_next(self.l, &f.f, start, _end(self.l, end), &r), &r)

    def subject(self, bytes subject not None):
        cdef SubjectState s
        log_subject(self.l, subject, <uint32_t>len(subject), &s)
        return s.count, s.first, s.last

    def subjects(self, filters=()):
        cdef Filters f = Filters(filters)
        found = {}
        log_subjects(self.l, &f.f, _collect, <void*>found)
        return dict(sorted(found.items()))

    def count(self, filters=(), uint64_t start=0, end=None):
        cdef Filters f = Filters(filters)
        return log_count(self.l, &f.f, start, _end(self.l, end))

    def last_of_subjects(self, filters=(), end=None):
        cdef Filters f = Filters(filters)
        cdef uint64_t* seqs = NULL
        cdef uint64_t i
        cdef uint64_t n = log_last_of_subjects(self.l, &f.f, _end(self.l, end), &seqs)
        result = [seqs[i] for i in range(n)]
        free(seqs)
        return result

    def seq_from_time(self, int64_t ts):
        return log_seq_from_time(self.l, ts)

    def gaps(self, uint32_t limit):
        cdef Record r
        cdef uint64_t at = self.l.first_seq
        result = []
        while at <= self.l.last_seq and len(result) < limit:
            if log_next(self.l, NULL, at, self.l.last_seq, &r) == MISSING:
                r.seq = self.l.last_seq + 1
            while at < r.seq and len(result) < limit:
                result.append(at)
                at += 1
            at = r.seq + 1
        return result


globals()["Log"] = Log_
