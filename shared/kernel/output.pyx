"""Out-buffers, flushing, and how a connection ends.

What waits for a connection is a list of Chunks from two pools; an idle connection holds none. A socket that
takes no more is ARMED for EPOLLOUT and left alone until then; nothing here ever blocks.

A connection ends in three steps: ``doom`` (no more reading, no more deliveries; cheap, allowed anywhere, also in
the middle of a delivery), then at the end of the tick the reactor removes its subscriptions, then ``finish``
once its last bytes, usually an ``-ERR``, are out or its time is over.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .sublist cimport grow, must
from .compress cimport Piece, pack_forget, pack_left, pack_sent, pack_slice
from .tls cimport BATCH, RECORD, tls_farewell, tls_forget, tls_seal, tls_send
from .types cimport *


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void* buf, size_t n, int flags)
    ssize_t sendmsg(int fd, const msghdr* msg, int flags)
    ssize_t recv(int fd, void* buf, size_t n, int flags)
    int shutdown(int fd, int how)
    int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/epoll.h>" nogil:
    union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_ctl(int ep, int op, int fd, epoll_event* ev)
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT

cdef enum:
    SMALL = 2048 - sizeof(Chunk)  # a few protocol lines for a mostly idle connection
    LARGE = 65536 - sizeof(Chunk)
    POOL_LARGE_MAX = 64  # 4 MiB kept for reuse
    POOL_SMALL_MAX = 512  # 1 MiB
    IOV_MAX_USED = 64  # one call takes up to 4 MiB
    PACK_BUDGET = 1 << 20  # plain bytes that one flush compresses: others want their turn
    DRAIN_BEFORE_CLOSE = 1 << 18  # unread input makes the kernel send RST, which can overtake our -ERR


cdef Chunk* _chunk(Core* k, size_t want, bint first) noexcept nogil:
    cdef Chunk* t
    if first and want <= SMALL:
        t = k.free_small
        if t != NULL:
            k.free_small = t.next
            k.nfree_small -= 1
        else:
            t = <Chunk*>must(malloc(sizeof(Chunk) + SMALL))
            t.cap = SMALL
    else:
        t = k.free_large
        if t != NULL:
            k.free_large = t.next
            k.nfree_large -= 1
        else:
            t = <Chunk*>must(malloc(sizeof(Chunk) + LARGE))
            t.cap = LARGE
    t.next = NULL
    t.start = 0
    t.end = 0
    return t


cdef void _recycle(Core* k, Chunk* t) noexcept nogil:
    if t.cap == LARGE and k.nfree_large < POOL_LARGE_MAX:
        t.next = k.free_large
        k.free_large = t
        k.nfree_large += 1
    elif t.cap == SMALL and k.nfree_small < POOL_SMALL_MAX:
        t.next = k.free_small
        k.free_small = t
        k.nfree_small += 1
    else:
        free(t)


cdef void release_pools(Core* k) noexcept nogil:
    cdef Chunk* t
    while k.free_large != NULL:
        t = k.free_large
        k.free_large = t.next
        free(t)
    while k.free_small != NULL:
        t = k.free_small
        k.free_small = t.next
        free(t)
    k.nfree_large = k.nfree_small = 0


cdef void out_slow(Core* k, Conn* c, const char* p, size_t n) noexcept nogil:
    """Appends ``n`` bytes over as many Chunks as it takes."""
    cdef Chunk* t
    cdef size_t room
    c.pending += n
    while n:
        t = c.out_tail
        if t == NULL or t.end == t.cap:
            t = _chunk(k, n, c.out_tail == NULL)
            if c.out_tail == NULL:
                c.out_head = t
            else:
                c.out_tail.next = t
            c.out_tail = t
        room = t.cap - t.end
        if room > n:
            room = n
        memcpy(<char*>(t + 1) + t.end, p, room)
        t.end += <uint32_t>room
        p += room
        n -= room
    mark_dirty(k, c)


cdef void mark_dirty(Core* k, Conn* c) noexcept nogil:
    """``c`` is looked at by the end of the tick: flushed, or cut off if too much waits for a full socket."""
    if c.flags & DIRTY or (c.flags & ARMED and c.pending <= pending_max(k, c)):
        return
    c.flags |= DIRTY
    k.dirty = <Conn**>grow(k.dirty, &k.dirty_cap, k.ndirty + 1, sizeof(Conn*))
    k.dirty[k.ndirty] = c
    k.ndirty += 1


cdef void watch(Core* k, Conn* c) noexcept nogil:
    """Registers the socket for exactly what is wanted now; a socket with no wish is taken out of epoll, so that a
    hang-up cannot spin while parsing stands still."""
    cdef epoll_event ev
    cdef uint32_t wanted = 0
    if c.fd < 0:
        return
    if not c.flags & (WAITING | STALLED | CLOSING):
        wanted = EPOLLIN
    if c.flags & ARMED:
        wanted |= EPOLLOUT
    if wanted == c.epoll_events:
        return
    memset(&ev, 0, sizeof(ev))
    ev.events = wanted
    ev.data.ptr = c
    if c.epoll_events == 0:
        epoll_ctl(k.epoll_fd, EPOLL_CTL_ADD, c.fd, &ev)
    elif wanted == 0:
        epoll_ctl(k.epoll_fd, EPOLL_CTL_DEL, c.fd, &ev)
    else:
        epoll_ctl(k.epoll_fd, EPOLL_CTL_MOD, c.fd, &ev)
    c.epoll_events = wanted


cdef void _sent(Core* k, Conn* c, size_t n) noexcept nogil:
    """``n`` bytes more of what waited have left."""
    c.pending -= n
    if c.kind == LEAF:  # a slow link is kept as long as it moves; a client has to take each batch in time
        c.blocked_ns = k.now_ns
    c.blocked_left = c.blocked_left - n if c.blocked_left > n else 0


cdef void _drop(Core* k, Conn* c, size_t n) noexcept nogil:
    """The first ``n`` bytes of the Chunks are not needed any more."""
    cdef Chunk* t
    cdef size_t size
    while n:
        t = c.out_head
        size = t.end - t.start
        if n < size:
            t.start += <uint32_t>n
            return
        n -= size
        c.out_head = t.next
        if t.next == NULL:
            c.out_tail = NULL
        _recycle(k, t)


cdef void _full(Core* k, Conn* c) noexcept nogil:
    """The socket takes no more: EPOLLOUT tells when it does."""
    if not c.flags & ARMED:
        c.flags |= ARMED
        c.blocked_ns = k.now_ns
        c.blocked_left = c.pending
    elif c.blocked_left == 0:  # that batch is out, the next one's time begins
        c.blocked_ns = k.now_ns
        c.blocked_left = c.pending
    due(k, write_deadline(k, c))
    watch(k, c)


cdef void _cannot_write(Core* k, Conn* c) noexcept nogil:
    release_output(k, c)
    doom(k, c, WRITE_ERROR)


cdef bint _flush_plain(Core* k, Conn* c) noexcept nogil:
    """Whether all is out."""
    cdef iovec iov[IOV_MAX_USED]
    cdef msghdr msg
    cdef Chunk* t
    cdef size_t n
    cdef ssize_t sent
    while c.pending:
        n = 0
        t = c.out_head
        while t != NULL and n < IOV_MAX_USED:
            iov[n].iov_base = <char*>(t + 1) + t.start
            iov[n].iov_len = t.end - t.start
            n += 1
            t = t.next
        memset(&msg, 0, sizeof(msg))
        msg.msg_iov = iov
        msg.msg_iovlen = n
        sent = sendmsg(c.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                _full(k, c)
            else:
                _cannot_write(k, c)
            return False
        c.out_plain += <size_t>sent
        c.out_packed += <size_t>sent
        c.out_socket += <size_t>sent
        _sent(k, c, <size_t>sent)
        _drop(k, c, <size_t>sent)
    return True


cdef void _refused(Core* k, Conn* c, int error) noexcept nogil:
    """The socket has taken nothing."""
    if error == EAGAIN or error == EINTR:
        _full(k, c)
    else:
        _cannot_write(k, c)


cdef void _spent(Core* k, Conn* c, size_t n) noexcept nogil:
    """``n`` bytes were compressed. When that is all that a flush may, EPOLLOUT tells that it goes on."""
    if c.pack.level:
        k.pack_budget -= n if n < k.pack_budget else k.pack_budget


cdef bint _flush_packed(Core* k, Conn* c) noexcept nogil:
    """Whether all is out."""
    cdef Pack* z = c.pack
    cdef Piece s
    cdef iovec iov[2]
    cdef msghdr msg
    cdef size_t gone
    cdef ssize_t sent
    cdef int error
    while not z.broken:
        if z.left_len:
            sent = send(c.fd, z.left + z.left_at, z.left_len, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                _refused(k, c, errno)
                return False
            z.left_at += <size_t>sent
            z.left_len -= <size_t>sent
            c.out_socket += <size_t>sent
            _sent(k, c, pack_sent(c, <size_t>sent))
            continue
        if c.out_head == NULL:
            return True
        if k.pack_budget == 0:
            _full(k, c)
            return False
        pack_slice(k, c, &s, False)
        iov[0].iov_base, iov[0].iov_len = &s.head[0], s.head_len
        iov[1].iov_base, iov[1].iov_len = <void*>s.body, s.body_len
        memset(&msg, 0, sizeof(msg))
        msg.msg_iov = iov
        msg.msg_iovlen = 2
        sent = sendmsg(c.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
        error = errno
        gone = s.plain
        if sent != <ssize_t>(s.head_len + s.body_len):
            pack_left(c, &s, <size_t>sent if sent > 0 else 0)
            gone = pack_sent(c, <size_t>sent) if sent > 0 else 0
        _drop(k, c, s.plain)
        if sent < 0:
            _refused(k, c, error)
            return False
        c.out_socket += <size_t>sent
        _sent(k, c, gone)
        _spent(k, c, s.plain)
    _cannot_write(k, c)
    return False


cdef bint _seal_packed(Core* k, Conn* c) noexcept nogil:
    """Seals one piece of what compression makes; it counts as what it was before."""
    cdef Piece s
    cdef size_t carried = c.tls.carried
    cdef size_t n
    pack_slice(k, c, &s, True)
    while s.body_len:
        n = s.body_len if s.body_len < RECORD else RECORD
        if not tls_seal(k, c, s.body, n):
            return False
        s.body += n
        s.body_len -= n
    c.tls.carried = carried + s.plain
    _drop(k, c, s.plain)
    _spent(k, c, s.plain)
    return True


cdef bint _seal(Core* k, Conn* c) noexcept nogil:
    """Seals some of what waits. Records are filled: where a Chunk ends before one is full and more follows, the pieces
    are put together."""
    cdef Chunk* t
    cdef const char* at
    cdef size_t n
    cdef size_t piece
    while c.out_head != NULL and c.tls.carried < BATCH:
        if c.pack != NULL:
            if k.pack_budget == 0:
                return True
            if not _seal_packed(k, c):
                return False
            continue
        t = c.out_head
        at = <char*>(t + 1) + t.start
        n = t.end - t.start
        if n > RECORD:
            n = RECORD
        elif n < RECORD and t.next != NULL:
            n = 0
            while t != NULL and n < RECORD:
                piece = t.end - t.start
                if piece > RECORD - n:
                    piece = RECORD - n
                memcpy(k.seal_buf + n, <char*>(t + 1) + t.start, piece)
                n += piece
                t = t.next
            at = k.seal_buf
        if n and not tls_seal(k, c, at, n):
            return False
        c.out_plain += n
        c.out_packed += n
        _drop(k, c, n)
    return True


cdef bint _flush_sealed(Core* k, Conn* c) noexcept nogil:
    """Whether all is out."""
    cdef ssize_t left
    while c.tls.sealed or c.out_head != NULL:
        if c.tls.sealed == 0:
            if c.pack != NULL and k.pack_budget == 0:
                _full(k, c)
                return False
            if not _seal(k, c):
                _cannot_write(k, c)
                return False
        left = tls_send(k, c)
        if left < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                _full(k, c)
            else:
                _cannot_write(k, c)
            return False
        _sent(k, c, <size_t>left)
    return True


cdef void flush(Core* k, Conn* c) noexcept nogil:
    """Hands the socket as much as it takes."""
    if c.fd < 0:
        return
    k.pack_budget = PACK_BUDGET
    if c.tls != NULL:
        if not _flush_sealed(k, c):
            return
    elif not (_flush_plain(k, c) if c.pack == NULL else _flush_packed(k, c)):
        return
    if c.flags & ARMED:
        c.flags &= ~<uint32_t>ARMED
        watch(k, c)


cdef void flush_dirty(Core* k) noexcept nogil:
    cdef uint32_t i = 0
    cdef Conn* c
    while i < k.ndirty:  # flushing may doom a connection, never make another one dirty
        c = k.dirty[i]
        c.flags &= ~<uint32_t>DIRTY
        if not c.flags & ARMED:
            flush(k, c)
        if c.pending > pending_max(k, c):  # answers and interest count, too: who asks has to read
            cut_off(k, c)
        i += 1
    k.ndirty = 0


cdef void cut_off(Core* k, Conn* c) noexcept nogil:
    """Too much waits for ``c``."""
    if c.flags & CLOSING:
        return
    if c.kind == CLIENT:
        k.slow_clients += 1
    else:
        k.slow_leafs += 1
    doom(k, c, SLOW_CONSUMER_PENDING)


cdef void doom(Core* k, Conn* c, unsigned int reason) noexcept nogil:
    """The connection is over. The first reason counts."""
    if c.flags & CLOSING:
        return
    c.flags |= CLOSING
    c.reason = reason
    if reason == SLOW_CONSUMER_PENDING or reason == SLOW_CONSUMER_DEADLINE:
        release_output(k, c)
    watch(k, c)
    if not c.scheduled:
        c.scheduled = 1
        c.next_doomed = k.doomed
        k.doomed = c


cdef void complain(Core* k, Conn* c, const char* text, size_t n) noexcept nogil:
    """``-ERR 'text'`` to the peer, and to Python for the log."""
    if c.flags & CLOSING:
        return
    out(k, c, b"-ERR '", 6, text, n)
    out(k, c, b"'\r\n", 3, b"", 0)
    emit(k, c, EV_ERRORED, text, n)


cdef void fail(Core* k, Conn* c, const char* text, size_t n, unsigned int reason) noexcept nogil:
    """``complain`` unless ``n`` is 0, and the end."""
    if n:
        complain(k, c, text, n)
    doom(k, c, reason)


cdef void emit(Core* k, Conn* c, int type, const char* data, size_t n) noexcept nogil:
    cdef Event* e
    k.events = <Event*>grow(k.events, &k.event_cap, k.nevents + 1, sizeof(Event))
    e = &k.events[k.nevents]
    k.nevents += 1
    e.type = type
    e.conn = c
    e.length = n
    e.data = <char*>must(malloc(n + 1))
    memcpy(e.data, data, n)


cdef void release_output(Core* k, Conn* c) noexcept nogil:
    cdef Chunk* t
    while c.out_head != NULL:
        t = c.out_head
        c.out_head = t.next
        _recycle(k, t)
    c.out_tail = NULL
    c.pending = 0
    if c.tls != NULL:
        tls_forget(c)
    if c.pack != NULL:
        pack_forget(c)


cdef void finish(Core* k, Conn* c) noexcept nogil:
    """Closes the descriptor and queues the report; the reactor has removed the subscriptions before."""
    cdef char waste[4096]
    cdef ssize_t n
    cdef size_t total = 0
    if c.fd >= 0:
        c.flags &= ~<uint32_t>ARMED
        watch(k, c)
        if c.tls != NULL:
            tls_farewell(k, c)
        shutdown(c.fd, SHUT_WR)
        while total < DRAIN_BEFORE_CLOSE:
            n = recv(c.fd, waste, sizeof(waste), MSG_DONTWAIT)
            if n <= 0:
                break
            total += <size_t>n
        close(c.fd)
        c.fd = -1
        release_output(k, c)
    if c.prev != NULL:
        c.prev.next = c.next
    else:
        k.conns = c.next
    if c.next != NULL:
        c.next.prev = c.prev
    k.nconns -= 1
    c.next_doomed = k.closed
    k.closed = c
