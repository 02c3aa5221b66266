"""Executing a plan."""

from libc.stdint cimport uint32_t

from .types cimport AccountState, Conn, Core, Msg, Plan

cdef uint32_t deliver(Core* k, Conn* src, Msg* m, Plan* p) noexcept nogil
cdef void no_responders(Core* k, Conn* src, Msg* m) noexcept nogil
