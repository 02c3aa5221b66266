"""LMDB's file (environment.pyx)."""

from .disk cimport Disk
from .lmdb cimport MDB_val
from .vault cimport Vault

cdef int disk_open(Disk* d, const char* path, bint read_only, Vault* vault) noexcept nogil
cdef void disk_close(Disk* d) noexcept nogil
cdef int disk_refresh(Disk* d) noexcept nogil
cdef bint disk_value_sound(Disk* d, const MDB_val* v) noexcept nogil
