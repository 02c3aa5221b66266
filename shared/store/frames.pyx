"""A journal's files read back: which batches are whole, and what is missing.

Batches are numbered without gaps through all generations, so a frame is believed when its number follows; the first one
of a file also when it does not. A frame that is broken ends its generation, unless valid frames of the same generation
stand behind it: then what is missing between them is a hole.

Every frame says which batch was the last on the disk when it was closed. So it is known afterwards what a hole is: one
of batches that a later frame calls safe is damage; others may have been on their way when the power went (sync mode
``interval``), nobody was told that they are safe, and losing them is no damage.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from .journal cimport FRAME, R_DROPPED, R_MESSAGE, R_NOTE, R_PAIR, R_REMOVED, R_SKIPPED, frame_at, frame_plain
from .types cimport SEQ_MAX
from .varint cimport get_varint
from .vault cimport Opener, Vault_, opener_free

cdef enum:
    PAIR_KEY_MAX = 500  # what Store.put takes and LMDB's keys have room for

MARK, MARK_SHUT = b"PHL1", b"PHL2"  # what a frame begins with, and an encrypted one


def generations_in(folder):
    names = [name[8:] for name in os.listdir(folder) if name.startswith("journal-")]
    return sorted(int(name) for name in names if name.isdigit())


cdef long _following(Opener* o, bytes data, size_t at, uint64_t generation, uint64_t batch):
    """A valid later frame behind a broken one; -1: there is none.

    A payload may look like a frame, but does not know the numbers of this store's batches. Where none is known yet, only
    what stands exactly behind the broken frame is believed.
    """
    cdef const char* p = PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef uint64_t number = 0
    cdef uint32_t length
    cdef long found
    cdef bytes mark = MARK if o.vault == NULL else MARK_SHUT
    if batch == 0:
        if size < FRAME or at > size - FRAME or not data.startswith(mark, at):
            return -1
        memcpy(&length, p + at + 4, 4)
        found = at + FRAME + length
        return found if frame_at(o, p, size, found, generation, &number) else -1
    found = data.find(mark, at)
    while found >= 0:
        if frame_at(o, p, size, found, generation, &number) and batch < number <= batch + size // FRAME:
            return found
        found = data.find(mark, found + 1)
    return -1


cdef class Journals:
    cdef readonly uint64_t batch
    cdef readonly uint64_t unsynced
    cdef uint64_t safe  # the last batch of which a frame says that it was on the disk
    cdef list missing
    cdef object vault  # kept, because ``opener`` names it
    cdef Opener opener

    def __init__(self, uint64_t batch, Vault_ vault=None):
        self.batch = self.safe = batch
        self.missing = []
        self.vault = vault
        self.opener.vault = &vault.v if vault is not None else NULL

    def __dealloc__(self):
        opener_free(&self.opener)

    def plain(self, bytes data not None, size_t at):
        cdef const char* p = PyBytes_AS_STRING(data) + at
        cdef uint32_t length
        cdef bytes whole
        cdef size_t n
        if self.opener.vault == NULL:
            return data, at
        memcpy(&length, p + 4, 4)
        whole = PyBytes_FromStringAndSize(NULL, FRAME + length)
        n = frame_plain(&self.opener, p, PyBytes_AS_STRING(whole))
        return whole[:n], 0

    def read(self, name, bytes data not None, uint64_t generation):
        cdef const char* p = PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data)
        cdef size_t at = 0
        cdef size_t n
        cdef long following
        cdef uint64_t number = 0
        places = []
        while True:
            n = frame_at(&self.opener, p, size, at, generation, &number)
            if n and (at == 0 or self.batch == 0 or number == self.batch + 1):
                if self.batch and number > self.batch + 1:
                    self.missing.append((name, 0, 0, self.batch, number))
                places.append(at)
                self._believe(p + at, number)
                at += n
                continue
            following = _following(&self.opener, data, at, generation, self.batch)
            if following < 0:
                return places
            frame_at(&self.opener, p, size, following, generation, &number)
            self.missing.append((name, at, following, self.batch, number))
            at, self.batch = following, number - 1

    cdef void _believe(self, const char* frame, uint64_t number) noexcept:
        cdef uint64_t safe
        memcpy(&safe, frame + 32, 8)
        if safe == 0:  # an earlier version did not say
            safe = number - 1
        if self.safe < safe < number:
            self.safe = safe
        self.batch = number

    def holes(self):
        return [hole for hole in self.missing if hole[3] < self.safe]

    def damage(self):
        cdef uint64_t before, number
        self.unsynced = 0
        for _, _, _, before, number in self.missing:
            self.unsynced += number - 1 - max(before, min(number - 1, self.safe))
        return [f"{name}: bytes {at} to {following} are damaged; what was stored in the batches between {before} and "
                f"{number} is lost" if following else
                f"{name}: it does not go on from what was there before; what was stored in the batches between {before} "
                f"and {number} is lost" for name, at, following, before, number in self.holes()]


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
