"""Moving a generation into LMDB (flush.pyx)."""

from .disk cimport Disk
from .entries cimport Flush
from .keys cimport Place
from .types cimport *

cdef int flush_begin(Flush* f, Disk* d) noexcept nogil
cdef int flush_log(Flush* f, FrozenLog* l) noexcept nogil
cdef int flush_commit(Flush* f, const Place* place) noexcept nogil
cdef int flush_step(Disk* d, const Place* place) noexcept nogil
cdef void flush_abort(Flush* f) noexcept nogil
