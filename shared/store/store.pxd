"""The store's Python class for other compiled modules (store.pyx); its typed contract is store.pyi."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .disk cimport Disk
from .journal cimport Writer
from .log cimport Log_
from .types cimport Journal


cdef class Store:
    cdef Journal j
    cdef Disk disk
    cdef Writer* w
    cdef readonly str folder
    cdef dict logs  # ident -> Log
    cdef dict fresh  # pairs changed in this generation: key -> value or None
    cdef dict frozen_pairs
    cdef list dropped
    cdef list frozen_dropped
    cdef list graveyard  # logs that are deleted but may still be read by the mover
    cdef dict notes_of
    cdef object writer_thread
    cdef object mover
    cdef object on_freeze
    cdef object on_problem
    cdef int event_fd
    cdef int old_fd
    cdef int lock_fd
    cdef uint64_t seed
    cdef uint64_t interval_ns
    cdef object moved
    cdef object stopping
    cdef object _functions
    cdef object _old_path
    cdef public dict figures
    cdef list damage
    cdef bint opened
    cdef str told  # the last problem; it is not told again at once

    cdef Log_ _attach(self, uint32_t ident)
    cdef _forget(self, uint32_t ident)
    cdef Log_ _log(self, uint64_t ident)
    cdef const char* _record(self, const char* p, const char* end, int64_t base) except? NULL
    cdef const char* _message(self, const char* p, const char* end, int64_t base) except? NULL
