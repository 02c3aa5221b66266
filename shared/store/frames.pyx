"""A journal's file read back: which batches are whole, and where something is damaged.

A frame that is broken ends its generation, unless valid frames of the same generation stand behind it: then something
between them was damaged.
"""

from collections import namedtuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from .journal cimport FRAME, R_DROPPED, R_MESSAGE, R_NOTE, R_PAIR, R_REMOVED, R_SKIPPED, frame_at
from .types cimport SEQ_MAX
from .varint cimport get_varint

cdef enum:
    PAIR_KEY_MAX = 500  # what Store.put takes and LMDB's keys have room for

MARK = b"PHL1"  # what a frame begins with
Frames = namedtuple("Frames", "frames last_batch damaged")


cdef long _following(bytes data, size_t at, uint64_t generation, uint64_t batch):
    """A valid later frame behind a broken one; -1: there is none.

    A payload may look like a frame, but does not know the numbers of this run's batches. Where none is known yet, only
    what stands exactly behind the broken frame is believed.
    """
    cdef const char* p = PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef uint64_t number = 0
    cdef uint32_t length
    cdef long found
    if batch == 0:
        if size < FRAME or at > size - FRAME or not data.startswith(MARK, at):
            return -1
        memcpy(&length, p + at + 4, 4)
        found = at + FRAME + length
        return found if frame_at(p, size, found, generation, &number) else -1
    found = data.find(MARK, at)
    while found >= 0:
        if frame_at(p, size, found, generation, &number) and batch < number <= batch + size // FRAME:
            return found
        found = data.find(MARK, found + 1)
    return -1


def frames(bytes data not None, uint64_t generation):
    cdef const char* p = PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef size_t at = 0
    cdef size_t n
    cdef long following
    cdef uint64_t batch = 0
    cdef uint64_t number = 0
    places, damaged = [], []
    while True:
        n = frame_at(p, size, at, generation, &number)
        if n and (batch == 0 or number == batch + 1):
            places.append(at)
            at, batch = at + n, number
            continue
        following = _following(data, at, generation, batch)
        if following < 0:
            return Frames(places, batch, damaged)
        frame_at(p, size, following, generation, &number)
        damaged.append((at, following, batch, number))
        at, batch = following, number - 1


cdef bint _skip_record(const char** at, const char* end) noexcept nogil:
    """Steps over one record; False: it does not end."""
    cdef int type = at[0][0]
    cdef const char* p = at[0] + 1
    cdef uint64_t numbers[6]
    cdef int i
    cdef int n = 6 if type == R_MESSAGE else 3 if type == R_REMOVED else 1 if type == R_DROPPED else 2
    cdef uint64_t more = 0
    if not R_MESSAGE <= type <= R_DROPPED:
        return False
    for i in range(n):
        p = get_varint(p, end, &numbers[i])
    if p == NULL:
        return False
    if type != R_PAIR and (numbers[0] >> 32 or (type <= R_SKIPPED and numbers[1] > SEQ_MAX)):
        return False
    if type == R_REMOVED and numbers[2] > SEQ_MAX:
        return False
    if type == R_MESSAGE:
        if numbers[3] > 0xFFFF or numbers[5] > 0x7FFFFFFF or numbers[4] > numbers[5]:
            return False
        more = 4 + numbers[3] + numbers[5]
    elif type == R_NOTE:
        more = numbers[1]
    elif type == R_PAIR:
        if not 0 < numbers[0] <= PAIR_KEY_MAX:
            return False
        more = numbers[0] + (numbers[1] - 1 if numbers[1] else 0)
    if more > <uint64_t>(end - p):
        return False
    at[0] = p + more
    return True


def open_batch(bytes data not None, size_t at):
    cdef const char* p = PyBytes_AS_STRING(data) + at
    cdef uint32_t length
    cdef const char* end
    memcpy(&length, p + 4, 4)
    end = p + FRAME + length
    p += FRAME
    while p < end:
        if not _skip_record(&p, end):
            return False
    return True
