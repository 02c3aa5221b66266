"""Whether a request to a service is measured."""

from libc.stdint cimport int32_t

from .types cimport Core, Msg

cdef bint is_sampled(Core* k, int32_t sampling, Msg* m, bint* by_header) noexcept nogil
