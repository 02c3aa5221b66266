"""The engine's Python classes for other compiled modules (engine.pyx); their typed contract is engine.pyi."""

from phloem.shared.kernel.reactor cimport Account, Kernel
from phloem.shared.store.log cimport Log_

from . cimport types
from .message_ids cimport MessageIds

cdef void wake(types.Engine* g) noexcept nogil


cdef class Engine:
    cdef types.Engine g
    cdef readonly Kernel kernel
    cdef readonly object store
    cdef set streams
    cdef list told

    cdef void _tell(self) noexcept


cdef class Quota:
    cdef types.Quota q


cdef class Stream:
    cdef types.Stream s
    cdef readonly Engine engine
    cdef readonly Account account
    cdef readonly Log_ log
    cdef readonly bytes name
    cdef readonly MessageIds ids
    cdef Quota quota
    cdef dict listening
    cdef object callback
