"""How generations of the journal begin and end (generations.pyx)."""

from libc.stdint cimport uint64_t

from .contents cimport Contents
from .journal cimport Writer


cdef class Generations(Contents):
    cdef Writer* w
    cdef object on_freeze
    cdef object mover
    cdef object moved
    cdef object stopping
    cdef object retry_with
    cdef list frozen_dropped
    cdef list frozen_marks
    cdef uint64_t frozen_batch  # the last one of the generation that is moved
    cdef list left  # files of the last run that go once LMDB has what is in them
    cdef int event_fd
    cdef int old_fd
    cdef object old_path
    cdef object unbegun  # what could not get a thread
    cdef list met  # pages of data.mdb where the mover met a damaged large value; to be told
    cdef object broken  # files of the last run with damage: they are kept under another name

    cdef freeze(self, uint64_t batch)
    cdef flush(self, uint64_t generation)
    cdef move(self, uint64_t generation, uint64_t batch)
    cdef bint thaw(self)
    cdef ready(self)
    cdef later(self, text)
