"""Direct get of the last message on a subject (direct.pyx)."""

from phloem.shared.kernel.types cimport Conn, Core, Msg

cdef bint api_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
cdef bint direct_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
