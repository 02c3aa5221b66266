"""The store's Python class for other compiled modules (store.pyx); its typed contract is store.pyi."""

from .generations cimport Generations
from .vault cimport Vault


cdef class Store(Generations):
    cdef object writer_thread
    cdef int lock_fd
    cdef object functions  # of zstandard
    cdef list damage
    cdef tuple spaced  # serial of the reader, and ``space`` as it was then
    cdef bint opened
    cdef bint converts
    cdef bint sparing

    cdef Vault* _vault(self)
