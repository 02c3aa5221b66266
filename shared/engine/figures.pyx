"""Payloads whose figures stand in columns: what sensors say in text, JSON or CSV or anything, is the same text again and
again with other figures in it. The texts (*shapes*) are written once, and each figure as its distance from the one in
the same place before, which is small where values wander.

    shapes   varint, how many, at most 255; for each: length (varint), pieces. A piece is a length (varint), so many bytes
             of text, and what stands behind them: 0 the end, 1 a figure, 2 and more a figure with leading zeros, whose
             width is one less
    choice   for each payload the number of its shape, a byte
    columns  shape by shape, place by place: decimals of each figure, as runs (how many, for how many payloads; varints);
             then distances, zigzag varints

A figure has at most 18 digits, so any payload, also one that is no text, comes back as it was. One whose shapes are of
no use is left as it is by whoever asks: ``add`` says so.

With ``times`` (one for each payload, known to both ends) a figure of 19 digits, 20 in a shape, is its distance from the
payload's time: nanoseconds since 1970 are that, and what is new in them is how long something took.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.text cimport hash_bytes, put_number
from phloem.shared.store.types cimport Buffer
from phloem.shared.store.varint cimport get_varint, unzigzag, zigzag

from .buffers cimport add_byte, add_number, add_text, relax, room

cdef enum:
    SHAPES = 255
    SLOTS = 512
    DIGITS = 18  # of a figure: less than 2^60
    TIME = 20  # what stands for one in a shape; it has 19 digits
    FIGURES_MAX = 1 << 20  # of all payloads
    VARINT = 10

cdef uint64_t[19] POWER
POWER[0] = 1
cdef int _i
for _i in range(1, 19):
    POWER[_i] = POWER[_i - 1] * 10


cdef inline bint _digit(char c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef inline int64_t _expected(int64_t value, uint8_t had, uint8_t has) noexcept nogil:
    """The figure before, with as many decimals as this one has."""
    if has >= had:
        return <int64_t>(<uint64_t>value * POWER[has - had])
    return value // <int64_t>POWER[had - has]


cdef class Figures:
    def __cinit__(self):
        memset(&self.shapes, 0, sizeof(Buffer))
        memset(&self.shape_of, 0, sizeof(Buffer))
        memset(&self.values, 0, sizeof(Buffer))
        memset(&self.scales, 0, sizeof(Buffer))
        memset(&self.starts, 0, sizeof(Buffer))
        memset(&self.scratch, 0, sizeof(Buffer))
        memset(&self.order, 0, sizeof(Buffer))
        memset(&self.marks, 0, sizeof(Buffer))

    def __dealloc__(self):
        free(self.shapes.data)
        free(self.shape_of.data)
        free(self.values.data)
        free(self.scales.data)
        free(self.starts.data)
        free(self.scratch.data)
        free(self.order.data)
        free(self.marks.data)

    cdef void clear(self, const int64_t* times) noexcept nogil:
        """Begin with other payloads. ``times``: of each, or NULL."""
        self.times = times
        self.shapes.length = self.shape_of.length = self.values.length = self.scales.length = self.starts.length = 0
        self.order.length = self.marks.length = 0
        memset(&self.slots[0], 0, sizeof(self.slots))
        self.nshapes = 0
        self.payloads = 0
        self.useless = False

    cdef void relax(self) noexcept nogil:
        """Give back what an unusual parcel took."""
        relax(&self.shapes)
        relax(&self.shape_of)
        relax(&self.values)
        relax(&self.scales)
        relax(&self.starts)
        relax(&self.order)
        relax(&self.marks)

    # --- writing ---------------------------------------------------------------------------------------

    cdef bint add(self, const char* p, size_t n) noexcept nogil:
        """One more payload; False: this leads to nothing."""
        cdef uint32_t figures
        cdef int shape
        cdef uint64_t start = self.scales.length  # as wide as it is read
        if self.useless:
            return False
        memcpy(room(&self.starts, 8), &start, 8)
        self.starts.length += 8
        figures = self._take_apart(p, n)
        shape = self._shape(figures)
        if shape < 0 or self.scales.length > FIGURES_MAX:
            self.useless = True
            return False
        self.table[shape].payloads += 1
        add_byte(&self.shape_of, <uint8_t>shape)
        self.payloads += 1
        return True

    cdef uint32_t _take_apart(self, const char* p, size_t n) noexcept nogil:
        """The payload's shape goes to ``scratch``, its figures to ``values``; how many they are."""
        cdef size_t at = 0
        cdef size_t text = 0  # where the text before the next figure begins
        cdef size_t digits, decimals
        cdef uint32_t figures = 0
        cdef uint8_t mark
        self.scratch.length = 0
        while at < n:
            if not _digit(p[at]):
                at += 1
                continue
            digits = 1
            while at + digits < n and _digit(p[at + digits]):
                digits += 1
            if digits == TIME - 1 and self.times != NULL and c"1" <= p[at] <= c"8":
                add_number(&self.scratch, at - text)
                add_text(&self.scratch, p + text, at - text)
                add_byte(&self.scratch, TIME)
                self._time(p + at)
                at += digits
                text = at
                figures += 1
                continue
            if digits > DIGITS:
                at += digits
                continue
            mark, decimals = 1, 0
            if digits > 1 and p[at] == c"0":
                mark = <uint8_t>(digits + 1)
            elif at + digits + 1 < n and p[at + digits] == c"." and _digit(p[at + digits + 1]):
                decimals = 1
                while at + digits + 1 + decimals < n and _digit(p[at + digits + 1 + decimals]):
                    decimals += 1
                if digits + decimals > DIGITS:
                    decimals = 0
            add_number(&self.scratch, at - text)
            add_text(&self.scratch, p + text, at - text)
            add_byte(&self.scratch, mark)
            self._value(p + at, digits, decimals)
            at += digits + (decimals + 1 if decimals else 0)
            text = at
            figures += 1
        add_number(&self.scratch, n - text)
        add_text(&self.scratch, p + text, n - text)
        add_byte(&self.scratch, 0)
        return figures

    cdef void _time(self, const char* p) noexcept nogil:
        cdef int64_t value = 0
        cdef int i
        for i in range(TIME - 1):
            value = value * 10 + (p[i] - c"0")
        value = <int64_t>(<uint64_t>value - <uint64_t>self.times[self.payloads])
        add_text(&self.values, <const char*>&value, 8)
        add_byte(&self.scales, 0)

    cdef void _value(self, const char* p, size_t digits, size_t decimals) noexcept nogil:
        cdef int64_t value = 0
        cdef size_t i
        for i in range(digits):
            value = value * 10 + (p[i] - c"0")
        for i in range(decimals):
            value = value * 10 + (p[digits + 1 + i] - c"0")
        add_text(&self.values, <const char*>&value, 8)
        add_byte(&self.scales, <uint8_t>decimals)

    cdef int _shape(self, uint32_t figures) noexcept nogil:
        """The number of the shape in ``scratch``; -1: there are too many."""
        cdef uint32_t n = <uint32_t>self.scratch.length
        cdef uint32_t slot = hash_bytes(self.scratch.data, n, 0) % SLOTS
        cdef Shape* shape
        while self.slots[slot]:
            shape = &self.table[self.slots[slot] - 1]
            if shape.length == n and memcmp(self.shapes.data + shape.at, self.scratch.data, n) == 0:
                return <int>self.slots[slot] - 1
            slot = (slot + 1) % SLOTS
        if self.nshapes == SHAPES:
            return -1
        shape = &self.table[self.nshapes]
        shape.at, shape.length, shape.figures = self.shapes.length, n, figures
        shape.payloads = shape.begin = 0
        add_text(&self.shapes, self.scratch.data, n)
        self.nshapes += 1
        self.slots[slot] = self.nshapes
        return <int>self.nshapes - 1

    cdef void write(self, Buffer* to) noexcept nogil:
        """All of it."""
        cdef uint32_t i, place
        add_number(to, self.nshapes)
        for i in range(self.nshapes):
            add_number(to, self.table[i].length)
            add_text(to, self.shapes.data + self.table[i].at, self.table[i].length)
        add_text(to, self.shape_of.data, self.shape_of.length)
        self._sort()
        for i in range(self.nshapes):
            for place in range(self.table[i].figures):
                self._write_scales(to, i, place)
                self._write_values(to, i, place)

    cdef void _sort(self) noexcept nogil:
        """Payloads by their shape: ``order`` has those of a shape one behind the other."""
        cdef uint32_t i
        cdef uint32_t at = 0
        cdef uint32_t* order
        cdef Shape* shape
        for i in range(self.nshapes):
            self.table[i].begin = at
            at += self.table[i].payloads
        order = <uint32_t*>room(&self.order, self.payloads * 4)
        self.order.length = self.payloads * 4
        for i in range(<uint32_t>self.payloads):
            shape = &self.table[<uint8_t>self.shape_of.data[i]]
            order[shape.begin] = i
            shape.begin += 1
        for i in range(self.nshapes):
            self.table[i].begin -= self.table[i].payloads

    cdef uint32_t _at(self, uint64_t k) noexcept nogil:
        return (<uint32_t*>self.order.data)[k]

    cdef uint64_t _index(self, uint64_t payload, uint32_t place) noexcept nogil:
        cdef uint64_t start
        memcpy(&start, self.starts.data + payload * 8, 8)
        return start + place

    cdef void _write_scales(self, Buffer* to, uint32_t shape, uint32_t place) noexcept nogil:
        cdef uint64_t i, k
        cdef uint64_t times = 0
        cdef uint8_t last = 0
        cdef uint8_t scale
        for k in range(self.table[shape].begin, self.table[shape].begin + self.table[shape].payloads):
            i = self._at(k)
            scale = <uint8_t>self.scales.data[self._index(i, place)]
            if times and scale != last:
                add_number(to, last)
                add_number(to, times)
                times = 0
            last = scale
            times += 1
        add_number(to, last)
        add_number(to, times)

    cdef void _write_values(self, Buffer* to, uint32_t shape, uint32_t place) noexcept nogil:
        cdef uint64_t i, k, index
        cdef int64_t value
        cdef int64_t before = 0
        cdef uint8_t had = 0
        cdef uint8_t scale
        for k in range(self.table[shape].begin, self.table[shape].begin + self.table[shape].payloads):
            i = self._at(k)
            index = self._index(i, place)
            memcpy(&value, self.values.data + index * 8, 8)
            scale = <uint8_t>self.scales.data[index]
            add_number(to, zigzag(<int64_t>(<uint64_t>value - <uint64_t>_expected(before, had, scale))))
            before, had = value, scale

    # --- reading ---------------------------------------------------------------------------------------

    cdef bint read(self, const char* p, const char* end, uint64_t payloads, Buffer* to, Buffer* sizes,
                   size_t most, const int64_t* times) noexcept nogil:
        """The payloads one behind the other, and their sizes (uint32); False: it is not what ``write`` writes, or there
        are more than ``most`` bytes. Nothing may be left before ``end``."""
        self.clear(times)
        to.length = sizes.length = 0
        p = self._read_shapes(p, end)
        if p == NULL or <uint64_t>(end - p) < payloads:
            return False
        if not self._choose(p, payloads, most):
            return False
        p += payloads
        p = self._read_columns(p, end)
        return p == end and self._put_together(to, sizes, most)

    cdef const char* _read_shapes(self, const char* p, const char* end) noexcept nogil:
        cdef uint64_t shapes = 0
        cdef uint64_t n = 0
        cdef uint64_t i
        cdef Shape* shape
        p = get_varint(p, end, &shapes)
        if p == NULL or not 1 <= shapes <= SHAPES:
            return NULL
        for i in range(shapes):
            p = get_varint(p, end, &n)
            if p == NULL or n > <uint64_t>(end - p):
                return NULL
            shape = &self.table[i]
            shape.at, shape.length = self.shapes.length, <uint32_t>n
            shape.figures = shape.payloads = shape.begin = 0
            shape.marks = self.marks.length
            if not self._walk(p, p + n, shape):
                return NULL
            add_text(&self.shapes, p, n)
            p += n
        self.nshapes = <uint32_t>shapes
        return p

    cdef bint _walk(self, const char* p, const char* end, Shape* shape) noexcept nogil:
        """Counts the figures of a shape, and notes what stands for each; False: it is none, or there are too many."""
        cdef uint64_t n = 0
        cdef uint8_t mark = 1
        while mark:
            p = get_varint(p, end, &n)
            if p == NULL or n >= <uint64_t>(end - p):
                return False
            p += n
            mark = <uint8_t>p[0]
            p += 1
            if mark > DIGITS + 1 and (mark != TIME or self.times == NULL):
                return False
            if mark:
                if self.marks.length == FIGURES_MAX:  # each shape is used, so there are no fewer figures
                    return False
                add_byte(&self.marks, mark)
                shape.figures += 1
        return p == end

    cdef bint _choose(self, const char* p, uint64_t payloads, size_t most) noexcept nogil:
        """Which payload has which shape; False: one that is not there, or texts that are too many bytes."""
        cdef uint64_t i
        cdef uint64_t figures = 0
        cdef size_t texts = 0
        cdef uint8_t shape
        for i in range(payloads):
            shape = <uint8_t>p[i]
            if shape >= self.nshapes:
                return False
            add_text(&self.starts, <const char*>&figures, 8)
            figures += self.table[shape].figures
            texts += self.table[shape].length
            self.table[shape].payloads += 1
            if figures > FIGURES_MAX or texts > most:
                return False
        add_text(&self.shape_of, p, payloads)
        self.payloads = payloads
        room(&self.values, figures * 8)
        self.values.length = figures * 8
        room(&self.scales, figures)
        self.scales.length = figures
        return True

    cdef const char* _read_columns(self, const char* p, const char* end) noexcept nogil:
        cdef uint32_t i, place
        self._sort()
        for i in range(self.nshapes):
            if self.table[i].payloads == 0 and self.table[i].figures:
                return NULL
            for place in range(self.table[i].figures):
                p = self._read_scales(p, end, i, place)
                if p == NULL:
                    return NULL
                p = self._read_values(p, end, i, place)
                if p == NULL:
                    return NULL
        return p

    cdef const char* _read_scales(self, const char* p, const char* end, uint32_t shape, uint32_t place) noexcept nogil:
        cdef uint64_t scale = 0
        cdef uint64_t times = 0
        cdef uint64_t i, k
        for k in range(self.table[shape].begin, self.table[shape].begin + self.table[shape].payloads):
            i = self._at(k)
            if times == 0:
                p = get_varint(get_varint(p, end, &scale), end, &times)
                if p == NULL or times == 0 or scale >= DIGITS:
                    return NULL
            times -= 1
            self.scales.data[self._index(i, place)] = <char>scale
        return p if times == 0 else NULL

    cdef const char* _read_values(self, const char* p, const char* end, uint32_t shape, uint32_t place) noexcept nogil:
        cdef uint64_t i, k, index
        cdef uint64_t distance = 0
        cdef int64_t before = 0
        cdef uint8_t had = 0
        cdef uint8_t scale
        cdef uint8_t mark = <uint8_t>self.marks.data[self.table[shape].marks + place]
        for k in range(self.table[shape].begin, self.table[shape].begin + self.table[shape].payloads):
            i = self._at(k)
            p = get_varint(p, end, &distance)
            if p == NULL:
                return NULL
            index = self._index(i, place)
            scale = <uint8_t>self.scales.data[index]
            before = <int64_t>(<uint64_t>_expected(before, had, scale) + <uint64_t>unzigzag(distance))
            had = scale
            if mark == TIME:
                if scale:
                    return NULL
            elif before < 0 or <uint64_t>before >= POWER[DIGITS]:
                return NULL
            memcpy(self.values.data + index * 8, &before, 8)
        return p

    cdef bint _put_together(self, Buffer* to, Buffer* sizes, size_t most) noexcept nogil:
        cdef uint64_t i
        cdef size_t begin
        cdef uint32_t n
        for i in range(self.payloads):
            begin = to.length
            if not self._compose(to, &self.table[<uint8_t>self.shape_of.data[i]], self._index(i, 0), i) or to.length > most:
                return False
            n = <uint32_t>(to.length - begin)
            add_text(sizes, <const char*>&n, 4)
        return True

    cdef bint _compose(self, Buffer* to, Shape* shape, uint64_t index, uint64_t payload) noexcept nogil:
        cdef const char* p = self.shapes.data + shape.at
        cdef const char* end = p + shape.length
        cdef uint64_t n = 0
        cdef int64_t value
        cdef uint8_t mark
        while p < end:
            p = get_varint(p, end, &n)
            add_text(to, p, n)
            p += n
            mark = <uint8_t>p[0]
            p += 1
            if mark == 0:
                break
            memcpy(&value, self.values.data + index * 8, 8)
            if mark == TIME:
                if not _put_time(to, <uint64_t>value + <uint64_t>self.times[payload]):
                    return False
            elif not _put_figure(to, <uint64_t>value, mark, <uint8_t>self.scales.data[index]):
                return False
            index += 1
        return True


cdef bint _put_time(Buffer* to, uint64_t value) noexcept nogil:
    cdef char* at = room(to, VARINT * 2)
    if not POWER[DIGITS] <= value < 9 * POWER[DIGITS]:
        return False
    to.length += put_number(at, value)
    return True


cdef bint _put_figure(Buffer* to, uint64_t value, uint8_t mark, uint8_t scale) noexcept nogil:
    cdef char* at = room(to, 2 * DIGITS + 8)
    cdef uint64_t rest
    cdef uint32_t width = mark - 1
    cdef uint32_t i
    if mark == 1:
        at += put_number(at, value // POWER[scale])
        if scale:
            at[0] = c"."
            rest = value % POWER[scale]
            _padded(at + 1, rest, scale)
            at += 1 + scale
    else:
        if scale or width < 2 or value >= POWER[width]:
            return False
        _padded(at, value, width)
        at += width
    to.length = at - to.data
    return True


cdef inline void _padded(char* at, uint64_t value, uint32_t width) noexcept nogil:
    cdef uint32_t i
    for i in range(width):
        at[width - 1 - i] = <char>(c"0" + value % 10)
        value //= 10
