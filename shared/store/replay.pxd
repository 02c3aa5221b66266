"""Batches of the journal applied to a store's contents (replay.pyx)."""

from .contents cimport Contents

cdef apply_batch(Contents c, bytes data, size_t at)
