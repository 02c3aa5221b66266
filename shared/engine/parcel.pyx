"""Messages as the columns of a parcel: what is alike stands together, so that it compresses.

    version       1 byte: 1, or 2 for a hub that knows it
    messages      varint, at least 1
    skips         varint, how many; for each: messages since the last skip, sequences that are passed over (varints).
                  Before the first skip sequences follow one another from the parcel's first.
    times         the first in 8 bytes, nanoseconds since 1970; then how the distance changes (zigzag varints)
    subjects      varint, how many; each: length (varint), text. Then runs: which one, how many messages (varints)
    header sizes  runs: size, how many messages (varints)
    headers       one behind the other
                  version 2: a byte before both: 0 and as above; or 1, how many bytes (varint), and as in figures.pyx
    payloads      a byte: 0, then the size of each (varints), and one behind the other; or 1, and as in figures.pyx

A stream of readings has two or three bytes of its own per message beside its payload. What is read here comes from a
peer: everything is walked through and compared with the end before anything is stored. A few bytes can say a lot (a
subject that is named once has any number of messages, a figure any number of payloads), so it is counted beforehand.
"""

from collections import namedtuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memmove, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport hash_bytes, put_number, valid_subject
from phloem.shared.kernel.types cimport Msg
from phloem.shared.store.log cimport Log_, filter_add, filter_clear, log_next, record_bytes
from phloem.shared.store.types cimport DAMAGED, MISSING, SEQ_GIVEN_MAX, Buffer, Filter, Record
from phloem.shared.store.varint cimport get_varint, put_varint, unzigzag, zigzag

from .buffers cimport add_number, add_text, relax, room
from .engine cimport Stream, wake
from .figures cimport Figures
from .stream cimport stream_fits, stream_store

cdef enum:
    BEFORE = 1  # headers as they are, times in payloads as well
    VERSION = 2
    SUBJECTS = 4096  # of one parcel; the next one has room for others
    SLOTS = 8192  # of the table that finds a subject again
    MESSAGES = 65_536  # of one parcel
    VARINT = 10
    HEADER_MAX = 65_535  # as in stream.pyx
    SUBJECT_MAX = 32_768
    LINE = 96  # of the header line, beside its texts
    PLAIN = 0
    IN_COLUMNS = 1
    FEW = 8  # so many messages have too little in common for columns
    EXPANDED_MAX = 32 << 20  # of a parcel, every subject counted; what is larger is in a parcel of its own, and plain
    STORED_MAX = 64 << 20  # what is unpacked at a time

Packed = namedtuple("Packed", "columns next_seq messages newest_ts damaged size")
Unpacked = namedtuple("Unpacked", "messages duplicates refused next_seq")


class Unreadable(Exception):
    pass


# --- packing -----------------------------------------------------------------------------------------


cdef struct Run:  # equal values, written when another one comes
    uint64_t value
    uint64_t times


cdef inline void _again(Buffer* b, Run* run, uint64_t value) noexcept nogil:
    if run.times and run.value == value:
        run.times += 1
        return
    _end_run(b, run)
    run.value, run.times = value, 1


cdef inline void _end_run(Buffer* b, Run* run) noexcept nogil:
    if run.times:
        add_number(b, run.value)
        add_number(b, run.times)
    run.times = 0


cdef enum Column:
    SKIPS, TIMES, NAMES, NAME_RUNS, HEADER_RUNS, HEADERS, PAYLOADS
    COLUMNS


cdef class Packer:
    cdef Log_ log
    cdef Filter filter
    cdef Buffer columns[COLUMNS]
    cdef uint32_t* slots  # number of a subject + 1, by hash
    cdef size_t* places  # of each subject in NAMES
    cdef uint32_t* lengths
    cdef uint32_t nnames
    cdef Run name_run
    cdef Run header_run
    cdef uint64_t nskips
    cdef Buffer sizes  # uint32 of each payload
    cdef Buffer stamps  # int64: the time of each message
    cdef Buffer header_sizes  # uint32 of each header
    cdef int version
    cdef Figures figures
    cdef Buffer spare  # the payloads as they were stored, while they are written as they are sent

    def __cinit__(self):
        memset(&self.filter, 0, sizeof(Filter))
        memset(&self.columns[0], 0, sizeof(self.columns))
        memset(&self.sizes, 0, sizeof(Buffer))
        memset(&self.spare, 0, sizeof(Buffer))
        memset(&self.stamps, 0, sizeof(Buffer))
        memset(&self.header_sizes, 0, sizeof(Buffer))
        self.figures = Figures()

    def __init__(self, Log_ log not None, filters=()):
        self.log = log
        for pattern in filters:
            filter_add(&self.filter, pattern, len(pattern))
        self.slots = <uint32_t*>must(calloc(SLOTS, sizeof(uint32_t)))
        self.places = <size_t*>must(calloc(SUBJECTS, sizeof(size_t)))
        self.lengths = <uint32_t*>must(calloc(SUBJECTS, sizeof(uint32_t)))

    def __dealloc__(self):
        cdef int i
        filter_clear(&self.filter)
        for i in range(COLUMNS):
            free(self.columns[i].data)
        free(self.sizes.data)
        free(self.spare.data)
        free(self.stamps.data)
        free(self.header_sizes.data)
        free(self.slots)
        free(self.places)
        free(self.lengths)

    cdef int _name(self, const char* text, uint32_t n) noexcept nogil:
        """The subject's number in this parcel; -1: there are too many."""
        cdef Buffer* names = &self.columns[<int>NAMES]
        cdef uint32_t slot = hash_bytes(text, n, 0) % SLOTS
        cdef uint32_t i
        while self.slots[slot]:
            i = self.slots[slot] - 1
            if self.lengths[i] == n and memcmp(names.data + self.places[i], text, n) == 0:
                return <int>i
            slot = (slot + 1) % SLOTS
        if self.nnames == SUBJECTS:
            return -1
        i = self.nnames
        self.nnames += 1
        self.slots[slot] = i + 1
        add_number(names, n)
        self.places[i], self.lengths[i] = names.length, n
        add_text(names, text, n)
        return <int>i

    cdef void _clear(self) noexcept nogil:
        cdef int i
        for i in range(COLUMNS):
            self.columns[i].length = 0
            if self.columns[i].cap > 1 << 20:  # of one large message: it need not stay
                free(self.columns[i].data)
                self.columns[i].data, self.columns[i].cap = NULL, 0
        self.sizes.length = self.stamps.length = self.header_sizes.length = 0
        memset(self.slots, 0, SLOTS * sizeof(uint32_t))
        self.nnames = 0
        self.nskips = 0
        self.name_run.times = self.header_run.times = 0

    cdef bint _add(self, Record* r, int64_t* last_ts, int64_t* step, uint64_t index) noexcept nogil:
        cdef int name = self._name(r.subject, r.subject_len)
        cdef int64_t distance
        cdef uint32_t size
        if name < 0:
            return False
        if index == 0:
            memcpy(room(&self.columns[<int>TIMES], 8), &r.ts, 8)
            self.columns[<int>TIMES].length += 8
            step[0] = 0
        else:
            distance = <int64_t>(<uint64_t>r.ts - <uint64_t>last_ts[0])
            add_number(&self.columns[<int>TIMES], zigzag(<int64_t>(<uint64_t>distance - <uint64_t>step[0])))
            step[0] = distance
        last_ts[0] = r.ts
        _again(&self.columns[<int>NAME_RUNS], &self.name_run, <uint64_t>name)
        _again(&self.columns[<int>HEADER_RUNS], &self.header_run, r.header_len)
        size = r.size - r.header_len
        add_text(&self.sizes, <const char*>&size, 4)
        size = r.header_len
        add_text(&self.header_sizes, <const char*>&size, 4)
        add_text(&self.stamps, <const char*>&r.ts, 8)
        add_text(&self.columns[<int>HEADERS], r.body, r.header_len)
        add_text(&self.columns[<int>PAYLOADS], r.body + r.header_len, r.size - r.header_len)
        return True

    cdef size_t _size(self) noexcept nogil:
        cdef size_t total = 0
        cdef int i
        for i in range(COLUMNS):
            total += self.columns[i].length
        return total

    def pack(self, uint64_t start, uint64_t end, size_t size, int64_t live_ns, int version=BEFORE):
        cdef Record r
        cdef int found
        cdef uint64_t index = 0
        cdef uint64_t due = start  # the sequence that needs no skip
        cdef uint64_t since = 0  # messages since the last skip
        cdef uint64_t at = start
        cdef size_t expanded = 0
        cdef int64_t last_ts = 0
        cdef int64_t step = 0
        cdef int64_t newest = 0
        cdef bint early = False
        damaged = []
        self.version = VERSION if version >= VERSION else BEFORE
        self._clear()
        while index < MESSAGES and self._size() < size:
            found = log_next(self.log.l, &self.filter, at, end, &r)
            if found == MISSING:
                at = end + 1
                break
            if found == DAMAGED:
                damaged.append(r.seq)
                at = r.seq + 1
                continue
            if index == 0:
                early = r.ts < live_ns
            elif (r.ts < live_ns) != early:
                at = r.seq
                break
            expanded += r.subject_len + r.size
            if index and expanded > EXPANDED_MAX:
                at = r.seq
                break
            if r.subject_len > SUBJECT_MAX or not self._add(&r, &last_ts, &step, index):
                at = r.seq
                if index == 0:  # a subject that no hub could take
                    damaged.append(r.seq)
                    at += 1
                    continue
                break
            if r.seq != due:
                add_number(&self.columns[<int>SKIPS], since)
                add_number(&self.columns[<int>SKIPS], r.seq - due)
                self.nskips += 1
                since = 0
            since += 1
            due = at = r.seq + 1
            newest = r.ts if index == 0 or r.ts > newest else newest
            index += 1
        if index == 0:
            return Packed(b"", at, 0, 0, tuple(damaged), 0) if damaged else None
        size = self._size()
        self._finish(index)
        return Packed(self._columns(index), at, index, newest, tuple(damaged), size)

    cdef void _finish(self, uint64_t messages) noexcept:
        """Headers and payloads as they are sent."""
        cdef Buffer* headers = &self.columns[<int>HEADERS]
        cdef Buffer* runs = &self.columns[<int>HEADER_RUNS]
        cdef Buffer* payloads = &self.columns[<int>PAYLOADS]
        cdef uint32_t* sizes = <uint32_t*>self.sizes.data
        cdef const char* at
        cdef Buffer plain
        cdef uint64_t i
        cdef bint helps
        _end_run(runs, &self.header_run)
        if self.version == VERSION:
            if self._helps(headers, <uint32_t*>self.header_sizes.data, messages):
                runs.length = headers.length = 0
                room(runs, 1)[0] = IN_COLUMNS
                runs.length = 1
                self.figures.write(headers)
                add_number(runs, headers.length)
            else:  # a byte before what is there
                room(runs, 1)
                memmove(runs.data + 1, runs.data, runs.length)
                runs.data[0] = PLAIN
                runs.length += 1
        helps = self._helps(payloads, sizes, messages)
        plain = payloads[0]
        payloads[0] = self.spare
        payloads.length = 0
        self.spare = plain
        room(payloads, 1)[0] = IN_COLUMNS if helps else PLAIN
        payloads.length = 1
        if helps:
            self.figures.write(payloads)
            return
        for i in range(messages):
            add_number(payloads, sizes[i])
        add_text(payloads, plain.data, plain.length)

    cdef bint _helps(self, Buffer* texts, uint32_t* sizes, uint64_t messages) noexcept nogil:
        """Whether these are better in columns, which ``figures`` has then."""
        cdef const char* at = texts.data
        cdef uint64_t i
        self.figures.clear(<const int64_t*>self.stamps.data if self.version == VERSION else NULL)
        if messages < FEW or texts.length == 0 or texts.length >= EXPANDED_MAX:
            return False
        for i in range(messages):
            if not self.figures.add(at, sizes[i]):
                return False
            at += sizes[i]
        return self.figures.shapes.length * 2 < texts.length

    cdef bytes _columns(self, uint64_t messages):
        cdef char head[1 + 2 * VARINT]
        cdef char names[VARINT]
        cdef char* at = head
        cdef size_t nhead, nnames
        cdef bytes whole
        cdef int i
        _end_run(&self.columns[<int>NAME_RUNS], &self.name_run)
        at[0] = <char>self.version
        at = put_varint(at + 1, messages)
        at = put_varint(at, self.nskips)
        nhead = at - head
        nnames = put_varint(names, self.nnames) - names
        whole = PyBytes_FromStringAndSize(NULL, nhead + nnames + self._size())
        at = PyBytes_AS_STRING(whole)
        memcpy(at, head, nhead)
        at += nhead
        for i in range(COLUMNS):
            if i == <int>NAMES:
                memcpy(at, names, nnames)
                at += nnames
            if self.columns[i].length:
                memcpy(at, self.columns[i].data, self.columns[i].length)
                at += self.columns[i].length
        return whole


# --- unpacking ---------------------------------------------------------------------------------------


cdef struct Cursor:  # where each column is read
    uint64_t messages
    uint64_t skips
    const char* skip
    const char* time
    const char* name_run
    const char* header_run  # NULL: sizes are in header_sizes
    const char* header
    const char* payload


cdef struct Message:
    uint64_t seq
    int64_t ts
    uint64_t name
    uint64_t header_len
    uint64_t payload_len


cdef struct Steps:  # what a column's next value depends on
    uint64_t seq
    uint64_t until_skip  # messages; meaningless without skips
    uint64_t skips
    int64_t ts
    int64_t step
    Run name
    Run header


cdef inline bint _parted(const char* p, size_t n) noexcept nogil:
    """Whether a subscriber would see more than a subject in it."""
    cdef size_t i
    for i in range(n):
        if p[i] == c" " or c"\t" <= p[i] <= c"\r":
            return True
    return False


cdef inline const char* _numbers(const char* p, const char* end, uint64_t n) noexcept nogil:
    """Behind ``n`` numbers."""
    cdef uint64_t value = 0
    cdef uint64_t i
    for i in range(n):
        p = get_varint(p, end, &value)
        if p == NULL:
            return NULL
    return p


cdef const char* _runs(const char* p, const char* end, uint64_t messages, uint64_t below, uint64_t* total) noexcept nogil:
    """Behind the runs for so many messages; NULL: they are others, or a value is not ``below``. ``total``: the sum."""
    cdef uint64_t value = 0
    cdef uint64_t times = 0
    total[0] = 0
    while messages:
        p = get_varint(get_varint(p, end, &value), end, &times)
        if p == NULL or times == 0 or times > messages or value >= below:
            return NULL
        messages -= times
        total[0] += value * times  # at most 2^16 messages of 2^16 bytes of header
    return p


cdef class Unpacker:
    cdef Stream stream
    cdef public bytes prefix
    cdef size_t* places
    cdef uint32_t* lengths
    cdef uint32_t names_cap
    cdef uint32_t lengths_cap
    cdef const char* end
    cdef Figures figures
    cdef Buffer sizes  # uint32 of each payload
    cdef Buffer payloads  # where they came as columns
    cdef Buffer headers  # likewise
    cdef Buffer header_sizes
    cdef Buffer stamps  # int64: the time of each message, for version 2
    cdef const int64_t* times

    def __init__(self, Stream stream not None, bytes prefix not None):
        self.stream, self.prefix = stream, prefix
        self.figures = Figures()

    def __dealloc__(self):
        free(self.headers.data)
        free(self.header_sizes.data)
        free(self.stamps.data)
        free(self.sizes.data)
        free(self.payloads.data)
        free(self.places)
        free(self.lengths)

    cdef const char* _names(self, const char* base, const char* p, uint64_t* names) noexcept nogil:
        cdef uint64_t n = 0
        cdef uint64_t i
        p = get_varint(p, self.end, names)
        if p == NULL or names[0] == 0 or names[0] > SUBJECTS:
            return NULL
        self.places = <size_t*>grow(self.places, &self.names_cap, <uint32_t>names[0], sizeof(size_t))
        self.lengths = <uint32_t*>grow(self.lengths, &self.lengths_cap, <uint32_t>names[0], sizeof(uint32_t))
        for i in range(names[0]):
            p = get_varint(p, self.end, &n)
            if p == NULL or n > SUBJECT_MAX or n > <uint64_t>(self.end - p) or not valid_subject(p, n, True) or _parted(p, n):
                return NULL
            self.places[i], self.lengths[i] = p - base, <uint32_t>n
            p += n
        return p

    cdef bint _lay_out(self, bytes columns, Cursor* c) noexcept:
        """Finds where each column begins; False: they are not there, or not of these sizes."""
        cdef const char* base = PyBytes_AS_STRING(columns)
        cdef const char* p = base
        cdef uint64_t names = 0
        cdef uint64_t headers = 0
        cdef uint64_t size = 0
        self.end = base + PyBytes_GET_SIZE(columns)
        cdef bint later
        if p >= self.end or not BEFORE <= p[0] <= VERSION:
            return False
        later = p[0] == VERSION
        p = get_varint(get_varint(p + 1, self.end, &c.messages), self.end, &c.skips)
        if p == NULL or not 1 <= c.messages <= MESSAGES or c.skips > c.messages:
            return False
        c.skip = p
        p = _numbers(p, self.end, c.skips * 2)
        if p == NULL or self.end - p < 8:
            return False
        c.time = p
        p = _numbers(p + 8, self.end, c.messages - 1)
        if p == NULL:
            return False
        self.times = self._stamps(c.time, c.messages) if later else NULL
        p = self._names(base, p, &names)
        c.name_run = p
        p = _runs(p, self.end, c.messages, names, &size) if p != NULL else NULL
        if p == NULL or p >= self.end:
            return False
        if later and p[0] == IN_COLUMNS:
            p = self._headers(p + 1, c)
        elif later and p[0] != PLAIN:
            return False
        else:
            p += later
            c.header_run = p
            p = _runs(p, self.end, c.messages, HEADER_MAX + 1, &headers)
            if p == NULL or headers >= <uint64_t>(self.end - p):
                return False
            c.header = p
            p += headers
        if p == NULL or p >= self.end:
            return False
        if p[0] == IN_COLUMNS:
            c.payload = NULL
            if not self.figures.read(p + 1, self.end, c.messages, &self.payloads, &self.sizes, EXPANDED_MAX, self.times):
                return False
            c.payload = self.payloads.data
            return True
        return p[0] == PLAIN and self._sized(p + 1, c)

    cdef const int64_t* _stamps(self, const char* p, uint64_t messages) noexcept nogil:
        """The time of each message; the column has been walked through."""
        cdef uint64_t value = 0
        cdef int64_t ts
        cdef int64_t step = 0
        cdef uint64_t i
        self.stamps.length = 0
        memcpy(&ts, p, 8)
        p += 8
        for i in range(messages):
            if i:
                p = get_varint(p, self.end, &value)
                step = <int64_t>(<uint64_t>step + <uint64_t>unzigzag(value))
                ts = <int64_t>(<uint64_t>ts + <uint64_t>step)
            add_text(&self.stamps, <const char*>&ts, 8)
        return <const int64_t*>self.stamps.data

    cdef const char* _headers(self, const char* p, Cursor* c) noexcept nogil:
        """Behind headers in columns; NULL: they are not."""
        cdef uint64_t size = 0
        cdef uint64_t i
        p = get_varint(p, self.end, &size)
        if p == NULL or size > <uint64_t>(self.end - p):
            return NULL
        if not self.figures.read(p, p + size, c.messages, &self.headers, &self.header_sizes, EXPANDED_MAX, self.times):
            return NULL
        for i in range(c.messages):
            if (<uint32_t*>self.header_sizes.data)[i] > HEADER_MAX:
                return NULL
        c.header_run, c.header = NULL, self.headers.data
        return p + size

    cdef bint _sized(self, const char* p, Cursor* c) noexcept nogil:
        """Payloads as they were, behind their sizes."""
        cdef uint64_t size = 0
        cdef uint64_t total = 0
        cdef uint64_t i
        cdef uint32_t n
        self.sizes.length = 0
        for i in range(c.messages):
            p = get_varint(p, self.end, &size)
            if p == NULL or size > <uint64_t>(self.end - p):
                return False
            total += size  # at most 2^16 times the size of the input
            n = <uint32_t>size
            add_text(&self.sizes, <const char*>&n, 4)
        c.payload = p
        return total == <uint64_t>(self.end - p)

    cdef bint _next(self, Cursor* c, Steps* s, Message* m, uint64_t index) noexcept nogil:
        """The next message; the columns have been walked through, only what they mean may be wrong."""
        cdef uint64_t value = 0
        if s.skips and s.until_skip == 0:
            c.skip = get_varint(c.skip, self.end, &value)
            if value > SEQ_GIVEN_MAX - s.seq:
                return False
            s.seq += value
            s.skips -= 1
            if s.skips:
                c.skip = get_varint(c.skip, self.end, &s.until_skip)
                if s.until_skip == 0:
                    return False
        m.seq = s.seq
        s.seq += 1
        if s.until_skip:
            s.until_skip -= 1
        if index == 0:
            memcpy(&s.ts, c.time, 8)
            c.time += 8
        else:
            c.time = get_varint(c.time, self.end, &value)
            s.step = <int64_t>(<uint64_t>s.step + <uint64_t>unzigzag(value))
            s.ts = <int64_t>(<uint64_t>s.ts + <uint64_t>s.step)
        m.ts = s.ts
        if s.name.times == 0:
            c.name_run = get_varint(get_varint(c.name_run, self.end, &s.name.value), self.end, &s.name.times)
        if c.header_run == NULL:
            s.header.value, s.header.times = (<uint32_t*>self.header_sizes.data)[index], 1
        elif s.header.times == 0:
            c.header_run = get_varint(get_varint(c.header_run, self.end, &s.header.value), self.end, &s.header.times)
        s.name.times -= 1
        s.header.times -= 1
        m.name, m.header_len = s.name.value, s.header.value
        m.payload_len = (<uint32_t*>self.sizes.data)[index]
        return True

    cdef bint _check(self, Cursor c, uint64_t from_seq, uint64_t next_seq) noexcept nogil:
        """Whether all sequences rise and lie in the parcel's range, and it is not too much."""
        cdef Steps s
        cdef Message m
        cdef uint64_t i
        cdef uint64_t total = 0
        self._begin(&c, &s, from_seq)
        for i in range(c.messages):
            if not self._next(&c, &s, &m, i) or m.seq >= next_seq:
                return False
            total += self.lengths[m.name] + m.header_len + m.payload_len
            if i and total > STORED_MAX:
                return False
        return s.skips == 0

    cdef void _begin(self, Cursor* c, Steps* s, uint64_t from_seq) noexcept nogil:
        memset(s, 0, sizeof(Steps))
        s.seq, s.skips = from_seq, c.skips
        if c.skips:
            c.skip = get_varint(c.skip, self.end, &s.until_skip)

    cdef void _compose(self, const char* base, Cursor* c, Message* m, Msg* to, bytes origin, bytes clock,
                       bint historical, int64_t shift_ns) noexcept:
        """The message as this stream stores it, in the engine's scratch."""
        cdef size_t npre = PyBytes_GET_SIZE(self.prefix)
        cdef size_t texts = npre + PyBytes_GET_SIZE(origin) + PyBytes_GET_SIZE(clock)
        cdef size_t need = texts + self.lengths[m.name] + m.header_len + m.payload_len + LINE
        cdef int64_t ts = <int64_t>(<uint64_t>m.ts + <uint64_t>shift_ns)
        cdef char* at
        cdef char* body
        self.stream.s.engine.scratch = <char*>grow(
            self.stream.s.engine.scratch, &self.stream.s.engine.scratch_cap, <uint32_t>need, 1)
        at = self.stream.s.engine.scratch
        memset(to, 0, sizeof(Msg))
        to.subject = at
        at = _put(at, PyBytes_AS_STRING(self.prefix), npre)
        at = _put(at, base + self.places[m.name], self.lengths[m.name])
        to.subject_len = <uint32_t>(at - to.subject)
        body = at
        if m.header_len > 4:  # a shorter one has no line
            at = _put(at, c.header, m.header_len)
            if memcmp(at - 4, b"\r\n\r\n", 4) == 0:
                at -= 2
            elif memcmp(at - 2, b"\r\n", 2) != 0:  # no header, but what follows stands on a line of its own
                at = _put(at, b"\r\n", 2)
        else:
            at = _put(at, b"NATS/1.0\r\n", 10)
        at = _put(_put(at, b"Phloem-Origin: ", 15), PyBytes_AS_STRING(origin), PyBytes_GET_SIZE(origin))
        at = _put(at, b" ", 1)
        at += put_number(at, m.seq)
        at = _put(at, b" ", 1)
        at += put_number(at, <uint64_t>ts if ts > 0 else 0)
        at = _put(_put(at, b" ", 1), PyBytes_AS_STRING(clock), PyBytes_GET_SIZE(clock))
        if historical:
            at = _put(at, b"\r\nPhloem-Historical: 1", 22)
        at = _put(at, b"\r\n\r\n", 4)
        to.body, to.header_len, to.has_header = body, <uint32_t>(at - body), 1
        at = _put(at, c.payload, m.payload_len)
        to.size = <uint32_t>(at - body)

    cdef void _relax(self) noexcept nogil:
        """Give back what an unusual parcel took."""
        self.figures.relax()
        relax(&self.sizes)
        relax(&self.payloads)
        relax(&self.headers)
        relax(&self.header_sizes)
        relax(&self.stamps)

    cdef bint _never(self, Msg* m) noexcept nogil:
        """Whether the stream would refuse this message even if it were empty."""
        return m.header_len > HEADER_MAX or (
            self.stream.s.max_msg_size >= 0 and m.size > self.stream.s.max_msg_size) or record_bytes(
            self.stream.s.log, m.subject_len, m.header_len, m.size) > 32 << 20

    def store(self, bytes columns not None, uint64_t from_seq, uint64_t next_seq, uint64_t skip_below,
              bytes origin not None, int64_t shift_ns, bytes clock not None, bint historical, int64_t now_ns):
        cdef Cursor c
        cdef Steps s
        cdef Message m
        cdef Msg to
        cdef uint64_t i
        cdef uint64_t stored = 0
        cdef uint64_t passed = 0
        cdef uint64_t reached = next_seq
        cdef const char* base = PyBytes_AS_STRING(columns)
        refused = []
        if not self._lay_out(columns, &c) or not self._check(c, from_seq, next_seq):
            self._relax()
            raise Unreadable("the columns of a parcel are not what they should be")
        self._begin(&c, &s, from_seq)
        for i in range(c.messages):
            self._next(&c, &s, &m, i)
            if m.seq < skip_below:
                passed += 1
            else:
                self._compose(base, &c, &m, &to, origin, clock, historical, shift_ns)
                if self._never(&to):
                    refused.append(m.seq)
                elif not stream_fits(&self.stream.s, &to):
                    reached = m.seq
                    break
                else:
                    stream_store(&self.stream.s, 0, now_ns, to.subject, to.subject_len, to.body, to.header_len, to.size)
                    stored += 1
            c.header += m.header_len
            c.payload += m.payload_len
        self._relax()
        if stored:
            wake(&self.stream.engine.g)
        return Unpacked(stored, passed, tuple(refused), reached)


cdef inline char* _put(char* to, const char* text, size_t n) noexcept nogil:
    memcpy(to, text, n)
    return to + n
