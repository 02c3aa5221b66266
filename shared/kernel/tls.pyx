"""TLS in the hot path: what a socket brings is opened, what waits for it is sealed, without Python.

The handshake is Python's (``shared/net/tls.py``); what comes here is an SSL object that has finished it, between two
memory BIOs. OpenSSL therefore never touches the socket: one ``recv`` brings up to 240 KiB of records and one ``send``
takes 64 KiB of them, where a socket BIO needs two system calls for each record it reads and one for each it writes.
There is no retry of half a write either: sealing always succeeds, and what the socket does not take waits sealed.

Three rules hold.

* After ``tls_receive`` OpenSSL holds no whole record: everything that has arrived is plaintext in the caller's hands,
  so that epoll's silence means silence. A part of a record waits inside OpenSSL for the rest.
* ``pending`` of a Conn counts plaintext that has not left: sealed bytes count as what they carry until they are out.
* Plaintext is sealed when the socket takes it and not before, ``BATCH`` bytes or so at a time.

OpenSSL is the copy inside ``cryptography``; ``use`` is given the addresses of its functions by whoever imported it,
so there is one library in the process and none on a server without TLS. KeyUpdate and session tickets are handled
inside SSL_read; renegotiation is switched off with the contexts.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, malloc

from .sublist cimport must
from .types cimport *


cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* buf, size_t n, int flags)
    ssize_t send(int fd, const void* buf, size_t n, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    BUFFER = 1 << 18  # scratch for sealed bytes, of the kernel
    SLICE = 1 << 14  # fed to OpenSSL at a time, which bounds what a connection's BIO grows to
    BIG = 1 << 13  # a BIO that held more is replaced when the connection has been idle
    WANT_READ = 2  # SSL_ERROR_WANT_READ
    ZERO_RETURN = 6  # SSL_ERROR_ZERO_RETURN: close_notify


cdef struct Api:
    int (*SSL_read)(void* ssl, void* buf, int n) noexcept nogil
    int (*SSL_write)(void* ssl, const void* buf, int n) noexcept nogil
    int (*SSL_get_error)(const void* ssl, int result) noexcept nogil
    int (*SSL_shutdown)(void* ssl) noexcept nogil
    void (*SSL_set_bio)(void* ssl, void* into, void* out_of) noexcept nogil
    void (*ERR_clear_error)() noexcept nogil
    void* (*BIO_new)(void* method) noexcept nogil
    void* (*BIO_s_mem)() noexcept nogil
    int (*BIO_read)(void* bio, void* buf, int n) noexcept nogil
    int (*BIO_write)(void* bio, const void* buf, int n) noexcept nogil
    long (*BIO_get_mem_data)(void* bio, char** at) noexcept nogil


cdef Api api


FUNCTIONS = (
    "SSL_read", "SSL_write", "SSL_get_error", "SSL_shutdown", "SSL_set_bio", "ERR_clear_error", "BIO_new", "BIO_s_mem",
    "BIO_read", "BIO_write", "BIO_get_mem_data",
)


def use(table):
    """Takes the addresses of OpenSSL's functions, by name as in ``FUNCTIONS``; KeyError if one is missing."""
    cdef void** at = <void**>&api
    cdef int i
    addresses = [table[name] for name in FUNCTIONS]
    for i in range(len(addresses)):
        at[i] = <void*><size_t>addresses[i]


cdef void tls_begin(Core* k, Conn* c, size_t ssl, size_t into, size_t out_of) except *:
    """From now on ``c`` speaks TLS. What came behind the handshake is in ``into`` and has to be asked for."""
    cdef char* at
    if api.SSL_read == NULL:
        raise ValueError("use() comes first")
    if k.seal_buf == NULL:
        k.seal_buf = <char*>must(malloc(BUFFER))
    c.tls = <Tls*>must(calloc(1, sizeof(Tls)))
    c.tls.ssl, c.tls.into, c.tls.out_of = <void*>ssl, <void*>into, <void*>out_of
    c.tls.sealed = <size_t>api.BIO_get_mem_data(c.tls.out_of, &at)  # the last flight of the handshake, if it is left
    c.tls.held = 1
    c.in_socket += <size_t>api.BIO_get_mem_data(c.tls.into, &at)


cdef size_t _open(Tls* t, char* at, size_t room, int* error) noexcept nogil:
    """Plaintext of whatever is whole; ``error`` says why there is no more."""
    cdef size_t total = 0
    cdef int n
    while total < room:
        n = api.SSL_read(t.ssl, at + total, <int>(room - total))
        if n <= 0:
            error[0] = api.SSL_get_error(t.ssl, n)
            return total
        total += <size_t>n
    error[0] = 0
    return total


cdef size_t tls_receive(Core* k, Conn* c, char* at, size_t room) noexcept nogil:
    """One read of the socket, opened, at ``at``: the bytes of plaintext. If nothing will follow, ``end`` of the Tls says
    why; what came before is there all the same. ``room`` has to be some times ``SEALED_MAX``."""
    cdef Tls* t = c.tls
    cdef size_t total = 0
    cdef size_t fed = 0
    cdef size_t piece
    cdef ssize_t n
    cdef int error = WANT_READ
    cdef char* sealed
    if t.held:
        t.held = 0
        api.ERR_clear_error()
        total = _open(t, at, room, &error)
    else:
        room = room - SEALED_MAX  # what OpenSSL holds of a record comes out with the rest of it
        n = recv(c.fd, k.seal_buf, room if room < BUFFER else BUFFER, MSG_DONTWAIT)
        if n <= 0:
            if n == 0:
                t.end = CLIENT_CLOSED
            elif errno != EAGAIN and errno != EINTR:
                t.end = READ_ERROR
            return 0
        c.in_socket += <uint64_t>n
        api.ERR_clear_error()
        while fed < <size_t>n and error == WANT_READ:
            piece = <size_t>n - fed
            if piece > SLICE:
                piece = SLICE
            api.BIO_write(t.into, k.seal_buf + fed, <int>piece)
            fed += piece
            total += _open(t, at + total, room + SEALED_MAX - total, &error)
        if n > BIG:
            t.grown = 1
    t.sealed = <size_t>api.BIO_get_mem_data(t.out_of, &sealed)  # the answer to a KeyUpdate, or an alert
    if error != WANT_READ:
        t.end = CLIENT_CLOSED if error == ZERO_RETURN else READ_ERROR
        if error != ZERO_RETURN:
            if t.sealed and t.carried == 0:
                send(c.fd, sealed, t.sealed, MSG_DONTWAIT | MSG_NOSIGNAL)  # the alert, as far as it goes
            t.sealed = 0
            t.broken = 1
    return total


cdef bint tls_seal(Core* k, Conn* c, const char* at, size_t n) noexcept nogil:
    """Seals ``n`` bytes, at most RECORD, behind what is sealed already; False: this connection can send no more."""
    cdef Tls* t = c.tls
    cdef char* sealed
    if t.broken:
        return False
    api.ERR_clear_error()
    if api.SSL_write(t.ssl, at, <int>n) != <int>n:
        t.broken = 1
        return False
    t.carried += n
    t.sealed = <size_t>api.BIO_get_mem_data(t.out_of, &sealed)
    if t.sealed > BIG:
        t.grown = 1
    return True


cdef ssize_t tls_send(Core* k, Conn* c) noexcept nogil:
    """Hands the socket sealed bytes; how much of what they carry has left (0 is possible), or -1 with errno. The last byte
    that is carried has left when the last sealed one has."""
    cdef Tls* t = c.tls
    cdef char* sealed
    cdef size_t left
    cdef ssize_t n
    api.BIO_get_mem_data(t.out_of, &sealed)
    n = send(c.fd, sealed, t.sealed, MSG_DONTWAIT | MSG_NOSIGNAL)
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            t.broken = 1
        return -1
    c.out_socket += <uint64_t>n
    t.sealed -= <size_t>n
    left = t.carried
    if t.sealed and left:
        left = left - 1 if <size_t>n >= left else <size_t>n
    t.carried -= left
    while n > 0:
        n -= api.BIO_read(t.out_of, k.seal_buf, <int>n if n < BUFFER else BUFFER)
    return <ssize_t>left


cdef void tls_forget(Conn* c) noexcept nogil:
    """What is sealed will not be sent, and nothing can follow it."""
    cdef Tls* t = c.tls
    if t.sealed:
        t.broken = 1
    t.sealed = t.carried = 0


cdef void tls_farewell(Core* k, Conn* c) noexcept nogil:
    """close_notify, if it can be sent at once."""
    cdef Tls* t = c.tls
    cdef char* sealed
    cdef long n
    if t.broken or t.sealed:
        return
    api.ERR_clear_error()
    api.SSL_shutdown(t.ssl)
    n = api.BIO_get_mem_data(t.out_of, &sealed)
    if n > 0:
        send(c.fd, sealed, <size_t>n, MSG_DONTWAIT | MSG_NOSIGNAL)


cdef void tls_shrink(Conn* c) noexcept nogil:
    """Gives back what the BIOs of an idle connection have grown to: they never shrink by themselves."""
    cdef Tls* t = c.tls
    cdef char* at
    if not t.grown or t.sealed or t.held or api.BIO_get_mem_data(t.into, &at) > 0:
        return
    t.grown = 0
    t.into = must(api.BIO_new(api.BIO_s_mem()))
    t.out_of = must(api.BIO_new(api.BIO_s_mem()))
    api.SSL_set_bio(t.ssl, t.into, t.out_of)
