"""Batches of the journal applied to a store's contents (replay.pyx)."""

from .contents cimport Contents
from .keys cimport LogState
from .types cimport FrozenLog, Log

cdef apply_batch(Contents c, bytes data, size_t at)
cdef void log_again(Log* l, const LogState* s, FrozenLog* f) noexcept nogil
