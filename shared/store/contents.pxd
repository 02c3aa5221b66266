"""What a store holds (contents.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from .disk cimport Disk
from .log cimport Log_
from .types cimport *
from .vault cimport Vault_

cdef class Contents:
    cdef Journal j
    cdef Disk disk
    cdef readonly str folder
    cdef readonly Vault_ vault  # None: nothing is encrypted
    cdef uint64_t seed
    cdef dict logs  # ident -> Log
    cdef dict marks  # ident -> what LMDB says of a log of which something was lost, and what this run found out
    cdef dict fresh  # pairs changed in this generation: key -> value or None
    cdef dict frozen_pairs
    cdef dict notes_of  # owner -> notes that the journal had
    cdef list dropped  # idents
    cdef list graveyard  # logs that are deleted but may still be read by the mover
    cdef object on_problem
    cdef set bad_pages  # of data.mdb, of which it was told that a large value begins there damaged
    cdef str told  # the last problem; it is not told again at once
    cdef public dict figures

    cdef Log_ log(self, uint64_t ident)
    cdef forget(self, uint32_t ident)
    cdef read_marks(self)
    cdef keep_notes(self)
    cdef tell_head(self, uint64_t page)
    cdef _scan_disk(self, bytes prefix, dict found)
