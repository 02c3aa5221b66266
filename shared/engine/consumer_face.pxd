"""The consumers' Python class (consumer_face.pyx); its typed contract is consumer_face.pyi."""

from libc.stdint cimport uint64_t

from . cimport types
from .engine cimport Engine, Stream


cdef class Consumer:
    cdef types.Consumer c
    cdef readonly Engine engine
    cdef readonly Stream stream
    cdef readonly bytes name
    cdef bint open

    cdef _kick(self)
    cdef uint64_t _asked_for(self)
    cdef _drop_deaf(self)
    cdef _all_again(self)
