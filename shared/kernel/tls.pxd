"""TLS of connections that the kernel serves; tls.pyx has the thought."""

from .types cimport Conn, Core

cdef enum:
    RECORD = 16384  # plaintext in the largest record
    SEALED_MAX = RECORD + 256 + 5  # that record on the wire
    BATCH = 1 << 16  # plaintext that is sealed before the socket is tried

cdef void tls_begin(Core* k, Conn* c, size_t ssl, size_t into, size_t out_of) except *
cdef size_t tls_receive(Core* k, Conn* c, char* at, size_t room) noexcept nogil
cdef bint tls_seal(Core* k, Conn* c, const char* at, size_t n) noexcept nogil
cdef ssize_t tls_send(Core* k, Conn* c) noexcept nogil
cdef void tls_forget(Conn* c) noexcept nogil
cdef void tls_farewell(Core* k, Conn* c) noexcept nogil
cdef void tls_shrink(Conn* c) noexcept nogil
