"""The reactor: one epoll descriptor inside asyncio's loop, and the kernel's face towards Python.

asyncio watches ``Kernel.fileno()`` and calls ``Kernel.tick(now_ns)``. A tick reads what is ready, lets ``parse``
carry it out, flushes what was written, and tells Python only of what it has to decide (``Events`` in the
``.pyi``). It is bounded in bytes, so that the loop's other work gets its turn, and every connection is read once
a round, so that no publisher starves another. Time comes in as an argument; the only clock in here is the
timerfd that ends a publisher's stall.

A connection without a socket (``fd=-1``) takes its input from ``Connection.feed`` and keeps its output for
``Connection.output``: tests drive the whole kernel in memory through it.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.pyport cimport PY_SSIZE_T_MAX
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from .compress cimport *
from .crossing cimport crossing_free
from .deliver cimport deliver
from .heap cimport give_back, one_arena
from .interest cimport sub_add, sub_find, sub_remove, subs_clear, subs_expire
from .mapping cimport mapping_free, mappings_free, mappings_replace
from .ops cimport parse
from .output cimport complain, doom, due, fail, finish, flush, flush_dirty, mark_dirty, out, release_output, release_pools, watch, write_deadline
from .permits cimport forget_replies, may_subscribe, permits_add, permits_clear
from .plan cimport plan_for, plans_clear
from .replies cimport ServedEvent, replies_free, replies_sweep
from .service cimport cross, service_free, services_free, services_replace
from .shadow cimport stream_import_free, streams_free, streams_replace, streams_stale
from .sublist cimport must, node_subject, sublist_clear, sublist_init, sublist_node
from .telling cimport link_down, link_up
from .text cimport has_wildcard, next_random, valid_subject
from .tls cimport tls_begin, tls_receive, tls_shrink
from .transform cimport *
from .types cimport *

import json

from phloem.shared.kernel.reasons import Reason

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    ssize_t recv(int fd, void* buf, size_t n, int flags)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* n)
    int MSG_DONTWAIT

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_INFO

cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    int F_DUPFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void* buf, size_t n)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int clock_gettime(int clock, timespec* t)

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    int CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int ep, int op, int fd, epoll_event* ev)
    int epoll_wait(int ep, epoll_event* ev, int n, int timeout)
    int EPOLL_CTL_ADD, EPOLL_CLOEXEC
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLET

cdef enum:
    UNPACK_MAX = 1 << 20  # plain bytes of one connection in one round
    EVENTS_MAX = 256  # ready connections in one round
    TICK_BYTES = 8 << 20  # then asyncio gets its turn
    TICK_ROUNDS = 64
    TICK_LINGERS = 32  # with linger_ns of 50 us, other work of the loop waits 1.6 ms at most
    SCRATCH = 1 << 18  # the largest control line and then some
    NAME_MAX = 65000  # bytes of a subject or queue; lengths in the sublist are 16 bits wide
    IDENTITY_MAX = 1 << 17  # bytes of JSON about one connection; a user's JWT is in it

KIND_CLIENT = CLIENT
KIND_LEAF = LEAF
BUILD = "compiled"


def heap_one_arena():
    one_arena()


def heap_give_back():
    with nogil:
        give_back()
NUMBERS = {  # what types.pxd says; a test compares it with reasons.py
    "CLIENT_CLOSED": CLIENT_CLOSED, "AUTHENTICATION_TIMEOUT": AUTHENTICATION_TIMEOUT,
    "AUTHENTICATION_VIOLATION": AUTHENTICATION_VIOLATION, "SLOW_CONSUMER_PENDING": SLOW_CONSUMER_PENDING,
    "SLOW_CONSUMER_DEADLINE": SLOW_CONSUMER_DEADLINE, "WRITE_ERROR": WRITE_ERROR, "READ_ERROR": READ_ERROR,
    "PARSE_ERROR": PARSE_ERROR, "STALE": STALE, "PROTOCOL_VIOLATION": PROTOCOL_VIOLATION,
    "MAX_PAYLOAD": MAX_PAYLOAD, "MAX_CONTROL_LINE": MAX_CONTROL_LINE, "SERVER_SHUTDOWN": SERVER_SHUTDOWN,
}


cdef void _keep(Conn* c, const char* p, size_t n) noexcept nogil:
    """Keeps unparsed input; ``p`` may point into the connection's own buffer."""
    if n == 0:
        free(c.buf)
        c.buf = NULL
        c.buf_len = c.buf_cap = 0
        return
    if c.buf != NULL and p >= c.buf and p < c.buf + c.buf_cap:
        if p != c.buf:  # a large payload gets here with each piece of it
            memmove(c.buf, p, n)
    else:
        if n > c.buf_cap:
            free(c.buf)
            c.buf = <char*>must(malloc(n))
            c.buf_cap = n
        memcpy(c.buf, p, n)
    c.buf_len = n


cdef void _parse_kept(Core* k, Conn* c) noexcept nogil:
    cdef const char* left
    if c.flags & (WAITING | STALLED | CLOSING):
        return
    if c.buf_len:
        left = parse(k, c, c.buf, c.buf + c.buf_len)
        _keep(c, left, c.buf + c.buf_len - left)
    if c.flags & (WAITING | STALLED | CLOSING):
        return
    if c.pack != NULL and c.pack.raw_len and not c.pack.queued:
        pack_kept(c)
        _unpack(k, c)
    elif c.tls != NULL and c.tls.held:
        _receive(k, c)
    else:
        _end_of_input(k, c)


cdef void _end_of_input(Core* k, Conn* c) noexcept nogil:
    """TLS told the end together with what came before it: that is carried out first, however long it has to wait."""
    if c.tls != NULL and c.tls.end and not c.flags & (WAITING | STALLED) and not (c.pack != NULL and c.pack.queued):
        doom(k, c, c.tls.end)


cdef size_t _read(Core* k, Conn* c, char* at, size_t room) noexcept nogil:
    """One read of a socket; 0: nothing was there, or it is over and the connection doomed."""
    cdef ssize_t n
    if c.tls != NULL:
        n = <ssize_t>tls_receive(k, c, at, room)
        if c.tls.sealed:
            mark_dirty(k, c)
        if n == 0:
            _end_of_input(k, c)
        return <size_t>n
    n = recv(c.fd, at, room, MSG_DONTWAIT)
    if n <= 0:
        if n == 0 or (errno != EAGAIN and errno != EINTR):
            doom(k, c, CLIENT_CLOSED if n == 0 else READ_ERROR)
        return 0
    c.in_socket += <uint64_t>n
    return <size_t>n


cdef void _parse_block(Core* k, Conn* c, char* at, size_t n) noexcept nogil:
    """Parses what was unpacked to ``at``, with what is kept in front of it."""
    cdef const char* left
    if c.buf_len <= CARRY_MAX:
        at -= c.buf_len
        if c.buf_len:
            memcpy(at, c.buf, c.buf_len)
        n += c.buf_len
    else:
        if c.buf_cap - c.buf_len < n:
            c.buf_cap = c.buf_cap * 2 if c.buf_cap > n else c.buf_cap + n
            c.buf = <char*>must(realloc(c.buf, c.buf_cap))
        memcpy(c.buf + c.buf_len, at, n)
        at, n = c.buf, c.buf_len + n
    left = parse(k, c, at, at + n)
    _keep(c, left, at + n - left)


cdef size_t _unpack(Core* k, Conn* c) noexcept nogil:
    """Carries out what is in the blocks that have come, as many as a round allows; their bytes."""
    cdef char* at
    cdef size_t n, total = 0
    cdef Unpacked found = MORE
    while total < UNPACK_MAX and not c.flags & (WAITING | STALLED | CLOSING):
        found = pack_next(k, c, &at, &n)
        if found != WHOLE:
            break
        c.in_plain += n
        total += n
        _parse_block(k, c, at, n)
    if found == CORRUPT:
        doom(k, c, READ_ERROR)
    pack_keep(c)
    if found == WHOLE and not c.flags & (WAITING | STALLED | CLOSING):
        pack_hold(k, c)
    _end_of_input(k, c)
    return total


cdef size_t _receive_packed(Core* k, Conn* c) noexcept nogil:
    cdef char* at
    cdef size_t room, n
    if c.pack.queued:  # what is there first
        return 0
    room = pack_room(k, c, &at)
    n = _read(k, c, at, room)
    if n == 0:
        return 0
    c.in_packed += n
    pack_filled(k, c, n)
    return n + _unpack(k, c)


cdef size_t _unpack_held(Core* k) noexcept nogil:
    """Those that had more than a round allowed."""
    cdef Conn* c = k.held
    cdef Conn* next
    cdef size_t total = 0
    k.held = NULL
    while c != NULL:
        next = c.pack.next
        c.pack.queued = 0
        if not c.flags & (WAITING | STALLED | CLOSING):
            pack_kept(c)
            total += _unpack(k, c)
        c = next
    return total


cdef size_t _receive(Core* k, Conn* c) noexcept nogil:
    """One read of one connection and everything that follows from it; the bytes read."""
    cdef char* at
    cdef size_t room, n
    cdef const char* left
    if c.pack != NULL:
        return _receive_packed(k, c)
    if c.buf_len <= CARRY_MAX:
        if c.buf_len:
            memcpy(k.recv_buf, c.buf, c.buf_len)
        at = k.recv_buf + c.buf_len
        room = READ_MAX
    else:  # a large payload on its way: it grows in place, with what really arrives
        if c.buf_cap - c.buf_len < READ_MAX // 2:
            c.buf_cap = c.buf_cap * 2 if c.buf_cap > READ_MAX else READ_MAX * 2
            c.buf = <char*>must(realloc(c.buf, c.buf_cap))
        at = c.buf + c.buf_len
        room = c.buf_cap - c.buf_len
    n = _read(k, c, at, room)
    if n == 0:
        return 0
    c.in_plain += n
    c.in_packed += n
    at -= c.buf_len
    left = parse(k, c, at, at + c.buf_len + n)
    _keep(c, left, at + c.buf_len + n - left)
    if c.tls != NULL:
        _end_of_input(k, c)
    return n


cdef void _release_stalled(Core* k, bint all) noexcept nogil:
    """Lets publishers go on whose receiver has drained or whose time is over."""
    cdef uint32_t held = k.nstalled
    cdef uint32_t kept = 0
    cdef uint32_t i
    cdef Conn* c
    for i in range(held):
        c = k.stalled[i]
        if all or c.flags & CLOSING or c.stall_for == NULL or c.stall_for.pending < k.stall_bytes // 2:
            c.flags &= ~<uint32_t>STALLED
            c.stall_for = NULL
            watch(k, c)
            _parse_kept(k, c)  # may stall again: appended behind, seen by a later call
        else:
            k.stalled[kept] = c
            kept += 1
    memmove(k.stalled + kept, k.stalled + held, (k.nstalled - held) * sizeof(Conn*))
    k.nstalled -= held - kept


cdef void _arm(Core* k, uint64_t after_ns) noexcept nogil:
    cdef itimerspec t
    k.timer_armed = 1
    memset(&t, 0, sizeof(t))
    t.it_value.tv_sec = <long>(after_ns // 1_000_000_000)
    t.it_value.tv_nsec = <long>(after_ns % 1_000_000_000)
    timerfd_settime(k.timer_fd, 0, &t, NULL)


cdef void _reap(Core* k) noexcept nogil:
    """Ends what was doomed: subscriptions go, the last bytes are tried, the descriptor is closed."""
    cdef Conn* c
    cdef uint32_t i
    while k.doomed != NULL:
        c = k.doomed
        k.doomed = c.next_doomed
        if not c.reaped:
            c.reaped = 1
            link_down(k, c)
            subs_clear(k, c)
            forget_replies(c)
            free(c.buf)
            c.buf = NULL
            c.buf_len = c.buf_cap = 0
            if c.pack != NULL:
                pack_deaf(c)
            for i in range(k.nstalled):
                if k.stalled[i].stall_for is c:
                    k.stalled[i].stall_for = NULL
            flush(k, c)
        if c.pending and c.fd >= 0 and c.flags & ARMED and c.reason != CLIENT_CLOSED and c.reason != READ_ERROR:
            continue  # it may still take its last words; the sweep ends it otherwise
        _forget_stalled(k, c)
        finish(k, c)


cdef void _forget_stalled(Core* k, Conn* c) noexcept nogil:
    cdef uint32_t i
    for i in range(k.nstalled):
        if k.stalled[i] is c:
            k.nstalled -= 1
            k.stalled[i] = k.stalled[k.nstalled]
            return


cdef void _last_words(Core* k, Conn* c) noexcept nogil:
    """A closing connection whose socket has room again, or whose time is over."""
    flush(k, c)
    if not (c.flags & ARMED and c.pending):
        _forget_stalled(k, c)
        finish(k, c)


cdef size_t _round(Core* k) noexcept nogil:
    """Serves every ready connection once; the bytes read, at least 1 if anything happened."""
    cdef epoll_event ready[EVENTS_MAX]
    cdef int n = epoll_wait(k.epoll_fd, ready, EVENTS_MAX, 0)
    cdef int i
    cdef Conn* c
    cdef size_t total = 0
    cdef uint64_t ticks
    if k.held != NULL:
        total += 1 + _unpack_held(k)
    for i in range(n):
        total += 1
        c = <Conn*>ready[i].data.ptr
        if c == NULL:
            if read(k.timer_fd, &ticks, 8) == 8:
                k.timer_armed = 0
                _release_stalled(k, True)
            continue
        if c is <Conn*>k:  # a descriptor of whoever does the work: _settle calls it
            continue
        if c.flags & CLOSING:
            if c.reaped:
                _last_words(k, c)
            continue
        if ready[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP) and c.flags & ARMED:
            flush(k, c)
        if ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) and not c.flags & (WAITING | STALLED | CLOSING):
            total += _receive(k, c)
    _settle(k)
    total += k.packed
    k.packed = 0
    return total


cdef void _have_work_done(Core* k) noexcept nogil:
    if k.work != NULL and not k.working:
        k.working = 1
        k.work(k.work_context, k)
        k.working = 0
        subs_expire(k)
        k.stall_on = NULL


cdef void _settle(Core* k) noexcept nogil:
    """What follows from parsing: work, flushes, publishers that may go on, connections that are over."""
    _have_work_done(k)
    flush_dirty(k)
    if k.nstalled:
        _release_stalled(k, False)
        _have_work_done(k)  # what they said meanwhile
        flush_dirty(k)
        if k.nstalled and not k.timer_armed:  # the longest stall begins with the first publisher that is held
            _arm(k, k.stall_ns)
    while k.doomed != NULL:
        _reap(k)
        flush_dirty(k)
    if k.held != NULL:  # no descriptor will tell
        _arm(k, 1)


cdef uint64_t _monotonic_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1_000_000_000 + <uint64_t>t.tv_nsec


cdef bint _spin(Core* k) noexcept nogil:
    """Looks for the next input for up to ``linger_ns`` without going to sleep: waking up again often takes longer than
    the answer to what was just delivered. Whoever looks in vain looks less: after a miss only every sixteenth tick
    tries, so that traffic without such answers costs next to nothing."""
    cdef epoll_event one
    cdef uint64_t begin
    if k.spin_misses:
        k.spin_misses = (k.spin_misses + 1) & 15
        return False
    begin = _monotonic_ns()
    while True:
        if epoll_wait(k.epoll_fd, &one, 1, 0) > 0:
            return True
        if _monotonic_ns() - begin > k.linger_ns:
            k.spin_misses = 1
            return False


cdef void _ask_peer(Core* k, Conn* c, uint64_t now) noexcept nogil:
    c.pings_out += 1
    c.ping_sent_ns = now
    out(k, c, b"PING\r\n", 6, b"", 0)


cdef void _ping_due(Core* k, Conn* c, uint64_t now) noexcept nogil:
    """wire 1.5: two unanswered PINGs, and the third tick finds the connection stale. Who has just been heard is not
    asked, once the round trip is known; a hub is always asked, unless the link has an interval of its own."""
    cdef uint64_t interval = c.ping_interval_ns if c.ping_interval_ns else k.ping_interval_ns
    cdef uint64_t quiet = now - c.last_in_ns
    c.ping_due_ns = now + interval
    if c.tls != NULL and quiet >= k.ping_interval_ns:
        tls_shrink(c)
    if (not c.flags & SPOKE or c.ping_interval_ns) and quiet < interval and c.rtt_ns:
        return
    if c.pings_out + 1 > k.ping_max:
        if c.kind == LEAF:
            k.stale_leafs += 1
        else:
            k.stale_clients += 1
        fail(k, c, b"Stale Connection", 16, STALE)
        return
    _ask_peer(k, c, now)


cdef void _sweep(Core* k, uint64_t now) noexcept nogil:
    """Everything that is due by ``now``; ``due_ns`` says when the next thing will be."""
    cdef Conn* c = k.conns
    cdef Conn* following
    k.due_ns = 0
    while c != NULL:
        following = c.next
        if c.flags & CLOSING:
            if c.reaped:
                if now >= write_deadline(k, c):
                    release_output(k, c)
                    _last_words(k, c)
                else:
                    due(k, write_deadline(k, c))
            c = following
            continue
        if c.deadline_ns and now >= c.deadline_ns:
            c.deadline_ns = 0
            fail(k, c, b"Authentication Timeout", 22, AUTHENTICATION_TIMEOUT)
        if c.ping_due_ns and now >= c.ping_due_ns and not c.flags & CLOSING:
            _ping_due(k, c, now)
        if c.flags & ARMED and not c.flags & CLOSING:
            if now >= write_deadline(k, c):
                if c.kind == CLIENT:
                    k.slow_clients += 1
                else:
                    k.slow_leafs += 1
                doom(k, c, SLOW_CONSUMER_DEADLINE)
            else:
                due(k, write_deadline(k, c))
        due(k, c.deadline_ns)
        due(k, c.ping_due_ns)
        c = following
    replies_sweep(k)
    _settle(k)


include "account.pxi"
include "objects.pxi"
