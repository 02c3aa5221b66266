"""The kernel's extension types, for compiled modules that work with them (objects.pxi)."""

from libc.stdint cimport uint32_t, uint64_t

from .types cimport *


cdef class Permissions:
    cdef Permits p

    cdef _add(self, int which, entry)


cdef class Account:
    cdef AccountState* a
    cdef Kernel kernel
    cdef readonly str name

    cdef _name_as_json(self)


cdef class Connection:
    cdef Conn* c
    cdef Kernel kernel
    cdef readonly uint64_t cid
    cdef readonly int kind
    cdef readonly Account account
    cdef readonly Permissions permissions
    cdef public object owner
    cdef object final
    cdef object final_carried
    cdef bytes left
    cdef object session  # keeps the SSL object alive; None: plain


cdef class Kernel:
    cdef Core k
    cdef object events
    cdef dict accounts
    cdef dict callbacks
    cdef uint32_t callbacks_made
    cdef uint32_t permits_made
    cdef bint busy
    cdef bint open
    cdef readonly uint64_t source_cid

    cdef _after(self)
    cdef _tell(self)
    cdef _tell_one(self, int type, Connection conn, bytes data)
    cdef _drop_internal(self)
    cdef _free_scratch(self)
    cdef void sink(self, uint32_t ident, sink_fn take, void* context)
    cdef void employ(self, work_fn work, work_fn say, void* context)
    cdef int pass_on(self, Account account, bytes subject, bytes header, bytes body) except -1
