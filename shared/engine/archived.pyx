"""Messages as entries of a snapshot (NATSARC1, shared/jetstream/archive.py), without an object for each of them."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from phloem.shared.kernel.sublist cimport grow
from phloem.shared.store.log cimport Log_, filter_clear, log_next
from phloem.shared.store.types cimport DAMAGED, MISSING, Filter, Record
from phloem.shared.store.varint cimport put_varint, zigzag

from phloem.shared.store.log import Damaged

cdef enum:
    NUMBERS = 50  # the five numbers of an entry


def archived(Log_ log not None, uint64_t start, uint64_t end, size_t size):
    cdef Filter everything
    cdef Record r
    cdef char* text = NULL
    cdef char* at
    cdef uint32_t cap = 0
    cdef size_t used = 0
    cdef int found = 0
    memset(&everything, 0, sizeof(Filter))
    try:
        while start <= end and used < size:
            found = log_next(log.l, &everything, start, end, &r)
            if found == MISSING:
                start = end + 1
                break
            if found == DAMAGED:
                raise Damaged(r.seq)
            text = <char*>grow(text, &cap, <uint32_t>(used + NUMBERS + r.subject_len + r.size), 1)
            at = put_varint(text + used, r.subject_len)
            at = put_varint(at, zigzag(r.ts))
            at = put_varint(at, r.seq)
            at = put_varint(at, r.header_len)
            at = put_varint(at, r.size - r.header_len)
            memcpy(at, r.subject, r.subject_len)
            memcpy(at + r.subject_len, r.body, r.size)
            used = <size_t>(at - text) + r.subject_len + r.size
            start = r.seq + 1
        return PyBytes_FromStringAndSize(text, <Py_ssize_t>used), start
    finally:
        filter_clear(&everything)
        free(text)
