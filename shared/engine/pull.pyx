"""Pull requests: a queue of who waits for messages, served in turns, and the exact words that end a request.

A status is a message without a body on the request's own reply subject; what is left of the request is told with those
that end it early. A request whose reply subject nobody listens to any more is dropped without a word.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

from phloem.shared.kernel.plan cimport plan_for
from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport next_random, put_number
from phloem.shared.kernel.types cimport Plan

from .answers cimport send_message
from .types cimport *

cdef enum:
    STATUS_MAX = 512


cdef void soon(uint64_t* due_ns, uint64_t ns) noexcept nogil:
    """Something is due at ``ns`` (0 or NEVER_NS: never)."""
    if ns and ns != NEVER_NS and (due_ns[0] == 0 or ns < due_ns[0]):
        due_ns[0] = ns


cdef void tell(Consumer* c, int what, uint64_t stream_seq, uint64_t consumer_seq, uint64_t deliveries,
               uint64_t ns) noexcept nogil:
    """An event for Python, at the end of the round."""
    cdef Engine* g = c.stream.engine
    cdef Event* e
    g.events = <Event*>grow(g.events, &g.event_cap, g.nevents + 1, sizeof(Event))
    e = &g.events[g.nevents]
    g.nevents += 1
    e.consumer, e.what, e.ns = c, what, ns
    e.stream_seq, e.consumer_seq, e.deliveries = stream_seq, consumer_seq, deliveries


cdef inline uint32_t _put(char* to, uint32_t at, const char* text, uint32_t n) noexcept nogil:
    memcpy(to + at, text, n)
    return at + n


cdef void say_status(Consumer* c, const char* to, uint32_t n, const char* status, Pull* left) noexcept nogil:
    """``NATS/1.0 <status>``; with ``left`` how much of that request is left."""
    cdef char text[STATUS_MAX]
    cdef uint32_t at = _put(text, 0, b"NATS/1.0 ", 9)
    at = _put(text, at, status, <uint32_t>strlen(status))
    at = _put(text, at, b"\r\n", 2)
    if left != NULL:
        at = _put(text, at, b"Nats-Pending-Messages: ", 23)
        at += <uint32_t>put_number(&text[0] + at, left.batch if left.batch > 0 else 0)
        at = _put(text, at, b"\r\nNats-Pending-Bytes: ", 22)
        at += <uint32_t>put_number(&text[0] + at, left.max_bytes if left.max_bytes > 0 else 0)
        at = _put(text, at, b"\r\n", 2)
    at = _put(text, at, b"\r\n", 2)
    send_message(c.stream.engine, &c.source, c.stream.account, to, n, NULL, 0, text, at, at)


cdef void say_heartbeat(Consumer* c, const char* to, uint32_t n, const char* stalled, uint32_t sn) noexcept nogil:
    cdef char text[STATUS_MAX]
    cdef uint32_t at = _put(text, 0, b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: ", 49)
    at += <uint32_t>put_number(&text[0] + at, c.delivered_consumer)
    at = _put(text, at, b"\r\nNats-Last-Stream: ", 20)
    at += <uint32_t>put_number(&text[0] + at, c.delivered_stream)
    at = _put(text, at, b"\r\n", 2)
    if sn and sn < STATUS_MAX - 200:
        at = _put(text, at, b"Nats-Consumer-Stalled: ", 23)
        at = _put(text, at, stalled, sn)
        at = _put(text, at, b"\r\n", 2)
    at = _put(text, at, b"\r\n", 2)
    send_message(c.stream.engine, &c.source, c.stream.account, to, n, NULL, 0, text, at, at)


cdef bint somebody_listens(Consumer* c, const char* subject, uint32_t n) noexcept nogil:
    cdef Plan* p = plan_for(c.stream.engine.core, c.stream.account, &c.source, subject, n)
    return p.ntargets > 0 or p.nforeign > 0 or p.nlinks > 0 or p.ngroups > 0


# --- the queue -------------------------------------------------------------------------------------


cdef Pull* pull_new(Consumer* c, const char* reply, uint32_t n) noexcept nogil:
    cdef Pull* p = <Pull*>must(calloc(1, sizeof(Pull) + n))
    p.reply_len = <unsigned short>n
    memcpy(&p.reply[0], reply, n)
    p.max_bytes = -1
    return p


cdef void pull_join(Consumer* c, Pull* p) noexcept nogil:
    """At the end; with the policy "prioritized" behind those of the same or a higher priority (a lower number)."""
    cdef Pull** at = &c.pulls
    c.npulls += 1
    if c.priority_policy != PRIORITIZED:
        p.next = NULL
        if c.pulls == NULL:
            c.pulls = p
        else:
            c.last_pull.next = p
        c.last_pull = p
        return
    while at[0] != NULL and at[0].priority <= p.priority:
        at = &at[0].next
    p.next = at[0]
    at[0] = p
    if p.next == NULL:
        c.last_pull = p


cdef void _unlink(Consumer* c, Pull* p) noexcept nogil:
    cdef Pull* before = NULL
    cdef Pull* at = c.pulls
    while at is not p:
        before = at
        at = at.next
    if before == NULL:
        c.pulls = p.next
    else:
        before.next = p.next
    if c.last_pull is p:
        c.last_pull = before
    c.npulls -= 1


cdef void pull_leave(Consumer* c, Pull* p) noexcept nogil:
    _unlink(c, p)
    free(p)


cdef void pull_turn(Consumer* c, Pull* p) noexcept nogil:
    """It has had a message: the others come first now."""
    if c.npulls > 1:
        _unlink(c, p)
        pull_join(c, p)


cdef bint _eligible(Consumer* c, Pull* p) noexcept nogil:
    if c.priority_policy == OVERFLOW and (p.min_pending or p.min_ack_pending):
        return (p.min_pending > 0 and c.num_pending >= p.min_pending) \
            or (p.min_ack_pending > 0 and c.npending >= p.min_ack_pending)
    if c.priority_policy == PINNED and c.pin[0]:
        return p.pinned
    return True


cdef void _pin(Consumer* c, Pull* p) noexcept nogil:
    """The first to be served is the one that is served from now on."""
    cdef const char* digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    cdef Engine* g = c.stream.engine
    cdef int i
    for i in range(22):
        c.pin[i] = digits[(next_random(&g.core.random) >> 33) % 62]
    c.pin[22] = 0
    p.pinned = p.claims = 1
    c.pinned_ns = g.core.now_ns
    c.pin_due_ns = g.core.now_ns + c.pin_ttl_ns
    soon(&c.due_ns, c.pin_due_ns)
    tell(c, PIN_SET, 0, 0, 0, 0)


cdef void unpin(Consumer* c, bint admin) noexcept nogil:
    cdef Pull* p = c.pulls
    c.pin[0] = 0
    c.pin_due_ns = 0
    while p != NULL:
        p.pinned = 0
        p = p.next
    tell(c, PIN_LOST, 0, 0, admin, 0)


cdef Pull* pull_choose(Consumer* c) noexcept nogil:
    """Whose turn it is; those whose time is over or that nobody listens to any more are dropped on the way: the timer
    may be late, and a message in answer to a request that its client has given up is lost to it. NULL: nobody's."""
    cdef Pull* p = c.pulls
    cdef Pull* following
    while p != NULL:
        following = p.next
        if p.expires_ns and c.stream.engine.core.now_ns >= p.expires_ns:
            say_status(c, &p.reply[0], p.reply_len, b"408 Request Timeout", p)
            pull_leave(c, p)
        elif c.priority_policy == PINNED and p.claims and not p.pinned:
            say_status(c, &p.reply[0], p.reply_len, b"423 Nats-Wrong-Pin-Id", p)
            pull_leave(c, p)
        elif _eligible(c, p):
            if somebody_listens(c, &p.reply[0], p.reply_len):
                if c.priority_policy == PINNED and not c.pin[0]:
                    _pin(c, p)
                return p
            pull_leave(c, p)
        p = following
    return NULL


cdef void pulls_in_vain(Consumer* c) noexcept nogil:
    """There is nothing to hand out: requests that do not wait end."""
    cdef Pull* p = c.pulls
    cdef Pull* following
    while p != NULL:
        following = p.next
        if p.no_wait and (p.expires_ns == 0 or p.delivered):
            say_status(c, &p.reply[0], p.reply_len, b"404 No Messages", NULL)
            pull_leave(c, p)
        p = following


cdef void pulls_end(Consumer* c, const char* status) noexcept nogil:
    """All of them, with a word or without."""
    cdef Pull* p
    while c.pulls != NULL:
        p = c.pulls
        if status != NULL:
            say_status(c, &p.reply[0], p.reply_len, status, p if status[4] == c'S' else NULL)
        pull_leave(c, p)


cdef void pulls_sweep(Consumer* c, uint64_t now) noexcept nogil:
    """What is due: requests whose time is over, heartbeats, the end of a pin. Whenever one is, requests that do not wait
    and have had something end, also those that were kept because too much is unacknowledged (reference 4.8)."""
    cdef Pull* p = c.pulls
    cdef Pull* following
    cdef bint rang = False
    while p != NULL and not rang:
        rang = (p.expires_ns and now >= p.expires_ns) or (p.heartbeat_ns and now >= p.heartbeat_due_ns)
        p = p.next
    p = c.pulls
    if c.pin[0] and c.pin_due_ns and now >= c.pin_due_ns:
        unpin(c, False)
    soon(&c.due_ns, c.pin_due_ns)
    while p != NULL:
        following = p.next
        if p.expires_ns and now >= p.expires_ns:
            say_status(c, &p.reply[0], p.reply_len, b"408 Request Timeout", p)
            pull_leave(c, p)
        elif rang and p.no_wait and (p.expires_ns == 0 or p.delivered):
            say_status(c, &p.reply[0], p.reply_len, b"404 No Messages", NULL)
            pull_leave(c, p)
        else:
            if p.heartbeat_ns and now >= p.heartbeat_due_ns:
                say_heartbeat(c, &p.reply[0], p.reply_len, NULL, 0)
                p.heartbeat_due_ns = now + p.heartbeat_ns
            soon(&c.due_ns, p.expires_ns)
            soon(&c.due_ns, p.heartbeat_due_ns)
        p = following
