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
    cdef object heads  # of data.mdb, as they were after the last commit; None: not known
    cdef tuple place  # the last generation that LMDB has, and its last batch
    cdef object mended  # what came of making data.mdb anew, until it is opened
    cdef readonly str mending  # why data.mdb is being made anew; "": it is not
    cdef public object on_mended
    cdef object glance  # the thread that looks at the file of an idle store; None: it does not
    cdef object glanced  # what came of it: True, that something is wrong
    cdef object glance_stop
    cdef object glance_at_ns  # when it is due again
    cdef object glance_took_ns
    cdef object looked_at_ns  # by the mover, or when it was opened
    cdef object forced_at_ns  # no forced look before
    cdef bint forced  # the next look is one
    cdef object look_at_ns  # when the trees of data.mdb are looked at again
    cdef int refusal  # LMDB's error of the last move
    cdef int refused  # moves in a row that LMDB refused
    cdef int mends_in_row
    cdef double mended_at_s
    cdef bint pausing  # before another mend
    cdef uint64_t whole_generation  # generation_bytes, while they are 0 so that a generation ends
    cdef object broken  # files of the last run with damage: they are kept under another name

    cdef freeze(self, uint64_t batch)
    cdef flush(self, uint64_t generation)
    cdef move(self, uint64_t generation, uint64_t batch)
    cdef bint thaw(self)
    cdef ready(self)
    cdef later(self, text)
    cdef look(self)
    cdef look_soon(self)
    cdef see_glance(self)
    cdef end_glance(self)
    cdef see_heads(self)
    cdef _go_on_mended(self)
