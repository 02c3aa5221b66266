"""Operations of the client and leaf protocols."""

from .types cimport Conn, Core

cdef const char* parse(Core* k, Conn* c, const char* p, const char* e) noexcept nogil
