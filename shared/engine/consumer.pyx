"""Consumers: handing messages out, and hearing what became of them.

A consumer reads its log from ``next_seq`` to what is visible; what has to be handed out again goes first. It stops for
a reason and goes on when that reason is gone: nobody waits (pull) or listens (push), too much is unacknowledged, the
receiver's socket is full, flow control, rate, a pause. ``consumers_work`` gives each of those that may have something
to do a bounded turn in every round.

``num_pending`` is always exact: it grows with what becomes visible, and shrinks with what is handed out for the first
time or removed before that. What a file stream's consumer has heard is noted in the journal with the next batch.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.deliver cimport deliver
from phloem.shared.kernel.interest cimport subs_expire
from phloem.shared.kernel.output cimport due
from phloem.shared.kernel.plan cimport plan_for
from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.text cimport equals, hash_bytes, put_number, starts_with
from phloem.shared.kernel.types cimport NO_RESPONDERS, SYSTEM, Conn, Core, Msg, Plan
from phloem.shared.store.journal cimport journal_note
from phloem.shared.store.log cimport filter_matches, log_count, log_next, log_read
from phloem.shared.store.types cimport DAMAGED, FOUND, MISSING, Record
from phloem.shared.store.varint cimport put_varint

from .answers cimport answer_message, send_message
from .pending cimport (
    again_pop, again_push, floor_after, given_up_add, given_up_below, given_up_drop, given_up_has, pending_add,
    pending_clear, pending_drop, pending_find, requeue, wait_until,
)
from .pull cimport (
    pull_choose, pull_leave, pull_turn, pulls_in_vain, pulls_sweep, say_heartbeat, say_status, soon, tell,
)
from .types cimport *

cdef enum:
    TURN_MESSAGES = 512  # of one consumer in one round, then others have theirs
    TURN_BYTES = 1 << 20
    BLOCKED = 4 << 20  # a receiver with more than this in its out-buffer gets no more for now
    HEAD_MAX = 1200  # of an acknowledgement subject: names of 255 bytes, a scope and five numbers
    WINDOW_MOST = 32 << 20  # of flow control; it begins with a sixteenth and doubles with each answer
    WALK_NS = 1000  # of the time between two looks at what is out, for each message that is
    NOTE_NS = 1_000_000_000  # positions that nobody acknowledges are noted this often
    SPANS_MAX = 4096
    TOKENS_MAX = 13

cdef uint64_t GIVEN_UP = <uint64_t>1 << 63

cdef enum Turn:  # how a turn ended
    IDLE = 0  # wait for something to happen
    AGAIN = 1  # there is more, but the turn is over
    WAIT = 2  # the receiver is full: look again in the next round


# --- names -----------------------------------------------------------------------------------------


cdef uint32_t _name_hash(Engine* g, void* account, const char* stream, uint32_t sn, const char* name,
                         uint32_t n) noexcept nogil:
    return hash_bytes(name, n, g.core.seed ^ <uint64_t><size_t>account ^ hash_bytes(stream, sn, g.core.seed))


cdef Consumer* consumer_by_name(Engine* g, void* account, const char* stream, uint32_t sn, const char* name,
                                uint32_t n) noexcept nogil:
    cdef uint32_t h
    cdef Consumer* c
    if g.by_name_cap == 0:
        return NULL
    h = _name_hash(g, account, stream, sn, name, n)
    c = g.by_name[h & (g.by_name_cap - 1)]
    while c != NULL:
        # ack_head is $JS.ACK.<stream>.<consumer>.
        if c.hash == h and <void*>c.stream.account == account and equals(c.name, c.name_len, name, n) \
                and c.ack_head_len == sn + n + 10 and memcmp(c.ack_head + 8, stream, sn) == 0:
            return c
        c = c.chain
    return NULL


cdef void consumer_enter(Engine* g, Consumer* c) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t cap = g.by_name_cap
    if g.nconsumers >= cap:
        cap = cap * 2 if cap else 64
        free(g.by_name)
        g.by_name = <Consumer**>must(calloc(cap, sizeof(Consumer*)))
        g.by_name_cap = cap
        for i in range(g.nconsumers):
            _chain_in(g, g.consumers[i])
    c.hash = _name_hash(g, c.stream.account, c.ack_head + 8, c.ack_head_len - c.name_len - 10, c.name, c.name_len)
    _chain_in(g, c)
    g.consumers = <Consumer**>grow(g.consumers, &g.consumer_cap, g.nconsumers + 1, sizeof(Consumer*))
    g.consumers[g.nconsumers] = c
    g.nconsumers += 1


cdef void _chain_in(Engine* g, Consumer* c) noexcept nogil:
    c.chain = g.by_name[c.hash & (g.by_name_cap - 1)]
    g.by_name[c.hash & (g.by_name_cap - 1)] = c


cdef uint32_t _without(Consumer** list, uint32_t n, Consumer* c) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(n):
        if list[i] is not c:
            list[kept] = list[i]
            kept += 1
    return kept


cdef void consumer_leave(Engine* g, Consumer* c) noexcept nogil:
    """Out of everything that the engine looks through."""
    cdef Consumer** at = &g.by_name[c.hash & (g.by_name_cap - 1)]
    cdef uint32_t i
    while at[0] is not c:
        at = &at[0].chain
    at[0] = c.chain
    g.nconsumers = _without(g.consumers, g.nconsumers, c)
    g.nbusy = _without(g.busy, g.nbusy, c)
    g.nnoting = _without(g.noting, g.nnoting, c)
    for i in range(g.nevents):
        if g.events[i].consumer is c:
            g.events[i].consumer = NULL


# --- what is wanted --------------------------------------------------------------------------------


cdef bint consumer_wants(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    """Whether the message still has to be kept for this consumer. One that was handed out as often as allowed is: somebody
    may look into why."""
    cdef uint64_t i
    if c.gone or not filter_matches(&c.filter, subject, n):
        return False
    if seq >= c.next_seq:
        return True
    for i in range(c.last_at, c.nlast):
        if c.last_seqs[i] == seq:
            return True
    if c.ack_policy == ACK_NONE:
        return False
    return pending_find(c, seq) != NULL or given_up_has(c, seq)


cdef void consumer_kick(Consumer* c) noexcept nogil:
    """Something has happened: it may have something to hand out."""
    cdef Engine* g = c.stream.engine
    if c.busy or c.gone:
        return
    c.busy = 1
    g.busy = <Consumer**>grow(g.busy, &g.busy_cap, g.nbusy + 1, sizeof(Consumer*))
    g.busy[g.nbusy] = c
    g.nbusy += 1


cdef void consumers_news(Stream* s, uint64_t start, uint64_t end) noexcept nogil:
    """These sequences have become visible."""
    cdef uint32_t i
    cdef uint64_t count
    cdef Consumer* c
    for i in range(s.nconsumers):
        c = s.consumers[i]
        count = log_count(s.log, &c.filter, start if start > c.next_seq else c.next_seq, end)
        c.num_pending += count
        if count or (c.last_at < c.nlast and c.last_seqs[c.nlast - 1] >= start):
            consumer_kick(c)


cdef void consumer_recount(Consumer* c) noexcept nogil:
    """From scratch: after creation, another filter, a reset."""
    cdef Stream* s = c.stream
    cdef uint64_t i
    c.num_pending = 0
    for i in range(c.last_at, c.nlast):
        if c.last_seqs[i]:
            c.num_pending += 1
    if c.next_seq <= s.told_seq:
        c.num_pending += log_count(s.log, &c.filter, c.next_seq, s.told_seq)


cdef void consumer_removed(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil:
    cdef Pending* p
    cdef uint64_t i
    if subject == NULL:  # everything below seq
        c.num_pending = c.nlast = c.last_at = 0
        pending_clear(c)
        c.ngiven = 0
        if c.next_seq < seq:
            c.next_seq = seq
        c.floor_consumer, c.floor_stream = c.delivered_consumer, c.delivered_stream
        consumer_kick(c)
        return
    p = pending_find(c, seq)
    if p != NULL:
        tell(c, TERMINATED, seq, p.consumer_seq, p.deliveries, 1)
        _dropped(c, p)  # the stream is not told: it is removing the message
        consumer_used(c)
        consumer_kick(c)
        return
    if given_up_drop(c, seq):
        return
    if c.last_at < c.nlast and seq < c.next_seq:
        for i in range(c.last_at, c.nlast):
            if c.last_seqs[i] == seq:
                c.last_seqs[i] = 0
                c.num_pending -= 1 if c.num_pending else 0
                return
        return
    if seq >= c.next_seq and seq <= c.stream.told_seq and filter_matches(&c.filter, subject, n) and c.num_pending:
        c.num_pending -= 1


# --- handing out -----------------------------------------------------------------------------------


cdef int _next_new(Consumer* c, Record* r) noexcept nogil:
    """The next message that was never handed out; ``next_seq`` stays where it is."""
    cdef int found
    while c.last_at < c.nlast:
        if c.last_seqs[c.last_at] > c.stream.told_seq:  # not on the disk yet, and neither is what follows
            return MISSING
        if c.last_seqs[c.last_at]:
            found = log_read(c.stream.log, c.last_seqs[c.last_at], r)
            if found != MISSING:
                return found
        c.last_at += 1
    if c.next_seq > c.stream.told_seq:
        return MISSING
    return log_next(c.stream.log, &c.filter, c.next_seq, c.stream.told_seq, r)


cdef void _took_new(Consumer* c, uint64_t seq) noexcept nogil:
    if c.last_at < c.nlast:
        c.last_at += 1
    else:
        c.next_seq = seq + 1
    if c.num_pending:
        c.num_pending -= 1
    c.delivered_consumer += 1
    if seq > c.delivered_stream:
        c.delivered_stream = seq


cdef Pending* _next_again(Consumer* c, Record* r) noexcept nogil:
    """The next message to hand out again; NULL: none. Those that may not be any more are told and dropped."""
    cdef uint64_t seq = again_pop(c)
    cdef Pending* p
    while seq:
        p = pending_find(c, seq)
        if p != NULL and p.due_ns == 0:
            if c.max_deliver > 0 and p.deliveries >= <uint64_t>c.max_deliver:
                _given_up(c, p)
            elif log_read(c.stream.log, seq, r) == FOUND:
                return p
            else:
                consumer_ack(c, seq, True)
        seq = again_pop(c)
    return NULL


cdef void _given_up(Consumer* c, Pending* p) noexcept nogil:
    """Handed out as often as allowed: it stays in the stream and below nobody's floor."""
    cdef uint64_t seq = p.stream_seq
    cdef uint64_t number = p.consumer_seq
    tell(c, MAX_DELIVERIES, seq, number, p.deliveries, 0)
    pending_drop(c, p)
    floor_after(c, number)
    if c.stream.retention == INTEREST:
        given_up_add(c, seq)
        consumer_note_ack(c, seq | GIVEN_UP)
    else:
        consumer_note_ack(c, seq)


cdef uint64_t due_after(Consumer* c, uint32_t deliveries, uint64_t now) noexcept nogil:
    """When a message that was handed out ``now`` goes out again; never, if nobody waits for its acknowledgement."""
    if c.ack_policy == ACK_FLOW:
        return NEVER_NS
    if c.nbackoff:
        return now + c.backoff_ns[deliveries - 1 if deliveries <= c.nbackoff else c.nbackoff - 1]
    return now + c.ack_wait_ns


cdef uint32_t _head(Consumer* c, const char* prefix, uint32_t n, char* to) noexcept nogil:
    """``$JS.ACK.`` or ``$JS.FC.``, <stream>.<consumer>. behind it; in the second form <domain>.<account>. between them."""
    cdef uint32_t at = n
    memcpy(to, prefix, n)
    if c.stream.engine.scoped_replies:
        memcpy(to + at, c.stream.scope, c.stream.scope_len)
        at += c.stream.scope_len
        to[at] = c'.'
        at += 1
    memcpy(to + at, c.ack_head + 8, c.ack_head_len - 8)
    return at + c.ack_head_len - 8


cdef uint32_t _ack_subject(Consumer* c, char* to, Record* r, uint32_t deliveries, uint64_t number,
                           uint64_t pending) noexcept nogil:
    cdef uint32_t at = _head(c, b"$JS.ACK.", 8, to)
    at += <uint32_t>put_number(to + at, deliveries)
    to[at] = c'.'
    at += 1 + <uint32_t>put_number(to + at + 1, r.seq)
    to[at] = c'.'
    at += 1 + <uint32_t>put_number(to + at + 1, number)
    to[at] = c'.'
    at += 1 + <uint32_t>put_number(to + at + 1, <uint64_t>r.ts)
    to[at] = c'.'
    return at + 1 + <uint32_t>put_number(to + at + 1, pending)


cdef void _with_headers(Consumer* c, Record* r) noexcept nogil:
    """Headers of the server's own behind the message's; the payload is left out where only headers are wanted."""
    cdef Engine* g = c.stream.engine
    cdef uint32_t payload = r.size - r.header_len
    cdef uint32_t at
    g.scratch = <char*>grow(g.scratch, &g.scratch_cap, r.size + 128, 1)
    if r.header_len >= 4:
        at = r.header_len - 2
        memcpy(g.scratch, r.body, at)
    else:
        memcpy(g.scratch, b"NATS/1.0\r\n", 10)
        at = 10
    if c.headers_only:
        memcpy(g.scratch + at, b"Nats-Msg-Size: ", 15)
        at += 15
        at += <uint32_t>put_number(g.scratch + at, payload)
        memcpy(g.scratch + at, b"\r\n", 2)
        at += 2
    if c.pin[0]:
        memcpy(g.scratch + at, b"Nats-Pin-Id: ", 13)
        memcpy(g.scratch + at + 13, c.pin, 22)
        memcpy(g.scratch + at + 35, b"\r\n", 2)
        at += 37
    memcpy(g.scratch + at, b"\r\n", 2)
    at += 2
    if not c.headers_only:
        memcpy(g.scratch + at, r.body + r.header_len, payload)
        r.size = at + payload
    else:
        r.size = at
    r.body, r.header_len = g.scratch, at


cdef bint _crowded(Plan* plan) noexcept nogil:
    """Whether what waits for the receivers is so much that more would only be cut off."""
    cdef uint32_t i
    for i in range(plan.ntargets + plan.nforeign):
        if plan.targets[i].conn.pending > BLOCKED:
            return True
    for i in range(plan.nlinks):
        if plan.links[i].conn.pending > BLOCKED:
            return True
    return False


cdef bint _own(Plan* plan) noexcept nogil:
    cdef uint32_t i
    for i in range(plan.ntargets + plan.nforeign):
        if plan.targets[i].conn.kind == SYSTEM:
            return True
    return False


cdef uint32_t _hand_over(Consumer* c, const char* to, uint32_t n, Record* r, const char* reply,
                         uint32_t reply_len) noexcept nogil:
    """One message to its receiver, under its own subject; over a link, and where the server itself listens (a stream
    that takes from this one), the subject is part of the reply."""
    cdef Engine* g = c.stream.engine
    cdef Msg m
    cdef char sizes[32]
    cdef char whole[HEAD_MAX + 512]
    cdef uint32_t digits = 0
    cdef Plan* plan = plan_for(g.core, c.stream.account, &c.source, to, n)
    cdef bint own = _own(plan)
    memset(&m, 0, sizeof(Msg))
    if r.header_len:
        digits = <uint32_t>put_number(sizes, r.header_len)
        sizes[digits] = c' '
        digits += 1
    digits += <uint32_t>put_number(&sizes[0] + digits, r.size)
    m.subject, m.subject_len = to, n
    m.reply, m.reply_len, m.client_reply_len = reply, reply_len, reply_len
    if (plan.nlinks or own) and reply_len + r.subject_len + 1 < sizeof(whole):
        memcpy(whole, reply, reply_len)
        whole[reply_len] = c'@'
        memcpy(&whole[0] + reply_len + 1, r.subject, r.subject_len)
        m.reply, m.reply_len = whole, reply_len + 1 + r.subject_len
    m.deliver_subject, m.deliver_subject_len = r.subject, r.subject_len
    m.body, m.header_len, m.size = r.body, r.header_len, r.size
    if own:  # an acknowledgement or a stream's limit may remove it, while others have yet to get it
        g.lent = <char*>grow(g.lent, &g.lent_cap, r.subject_len + r.size, 1)
        memcpy(g.lent, r.subject, r.subject_len)
        memcpy(g.lent + r.subject_len, r.body, r.size)
        m.deliver_subject, m.body = g.lent, g.lent + r.subject_len
    m.sizes, m.sizes_len = sizes, digits
    m.has_header = r.header_len > 0
    return deliver(g.core, &c.source, &m, plan)


cdef bint _send(Consumer* c, Pull* pull, Record* r, Pending* p, uint64_t* bytes) noexcept nogil:
    """Hands a message out and keeps count; False: it does not fit what is left of the request, which ends."""
    cdef char reply[HEAD_MAX]
    cdef Engine* g = c.stream.engine
    cdef uint64_t number = c.delivered_consumer + 1
    cdef uint64_t left = c.num_pending
    cdef uint32_t n
    cdef uint64_t size
    cdef uint64_t seq = r.seq
    cdef int64_t ts = r.ts
    if p == NULL and left:
        left -= 1
    n = _ack_subject(c, reply, r, p.deliveries + 1 if p != NULL else 1, number, left)
    if c.headers_only or c.pin[0]:
        _with_headers(c, r)
    size = <uint64_t>r.subject_len + n + r.size
    bytes[0] += size
    if pull != NULL:
        if pull.max_bytes >= 0 and <int64_t>size > pull.max_bytes:
            say_status(c, &pull.reply[0], pull.reply_len, b"409 Message Size Exceeds MaxBytes", pull)
            pull_leave(c, pull)
            return False
        if pull.max_bytes >= 0:
            pull.max_bytes -= <int64_t>size
        pull.batch -= 1
        pull.delivered += 1
        pull.heartbeat_due_ns = g.core.now_ns + pull.heartbeat_ns if pull.heartbeat_ns else 0
    _delivered(c, r.seq, p)  # before: what it causes may come back at once
    if pull != NULL:
        _hand_over(c, &pull.reply[0], pull.reply_len, r, reply, n)
        _after_pull(c, pull)
    else:
        _hand_over(c, c.deliver_subject, c.deliver_len, r, reply, n)
        _after_push(c, size, ts)
    if p == NULL and c.ack_policy == ACK_NONE and c.stream.retention != LIMITS:
        c.stream.acked(c.stream, c, seq)
    return True


cdef void _delivered(Consumer* c, uint64_t seq, Pending* p) noexcept nogil:
    cdef Engine* g = c.stream.engine
    cdef uint64_t now = g.core.now_ns
    if p == NULL:
        _took_new(c, seq)
        if c.ack_policy == ACK_NONE:
            c.floor_consumer, c.floor_stream = c.delivered_consumer, c.delivered_stream
        else:
            p = pending_add(c, seq, c.delivered_consumer)
        _span(c, seq)
    else:
        c.delivered_consumer += 1
        p.deliveries += 1
        if p.deliveries == 2:
            c.redelivered += 1
    if p != NULL:
        p.sent_ns, p.last_seq = now, c.delivered_consumer
        wait_until(c, p, due_after(c, p.deliveries, now))
        _due(c, p)
    c.last_sent_ns = now


cdef void _span(Consumer* c, uint64_t seq) noexcept nogil:
    """Remembers for the journal that this was handed out."""
    cdef Span* s
    if not c.durable_state:
        return
    if c.nspans:
        s = &c.spans[c.nspans - 1]
        if s.stream_seq + s.count == seq and s.consumer_seq + s.count == c.delivered_consumer:
            s.count += 1
            _noting(c)
            return
    c.spans = <Span*>grow(c.spans, &c.span_cap, c.nspans + 1, sizeof(Span))
    s = &c.spans[c.nspans]
    c.nspans += 1
    s.stream_seq, s.consumer_seq, s.count = seq, c.delivered_consumer, 1
    _noting(c)


cdef void _noting(Consumer* c) noexcept nogil:
    cdef Engine* g = c.stream.engine
    if c.noting:
        return
    c.noting = 1
    g.noting = <Consumer**>grow(g.noting, &g.noting_cap, g.nnoting + 1, sizeof(Consumer*))
    g.noting[g.nnoting] = c
    g.nnoting += 1
    soon(&g.due_ns, c.noted_ns + NOTE_NS)
    soon(&c.due_ns, c.noted_ns + NOTE_NS)


cdef void _after_pull(Consumer* c, Pull* pull) noexcept nogil:
    if pull.batch <= 0:
        if pull.max_bytes > 0:
            say_status(c, &pull.reply[0], pull.reply_len, b"409 Batch Completed", pull)
        pull_leave(c, pull)
    else:
        pull_turn(c, pull)


cdef void _after_push(Consumer* c, uint64_t size, int64_t ts) noexcept nogil:
    cdef uint64_t now = c.stream.engine.core.now_ns
    if c.rate_bytes:
        if c.hold_ns < now:
            c.hold_ns = now
        c.hold_ns += size * 1_000_000_000 // c.rate_bytes
    if c.flow_control:
        c.unconfirmed += <int64_t>size
        if c.question == 0 and (c.unconfirmed > c.window // 2 or (c.ack_policy == ACK_FLOW and _all_out(c))):
            _ask_flow(c)


cdef void _look_for_interest(Consumer* c) noexcept nogil:
    """Push: is anybody there? Asked again when the account's subscriptions have changed."""
    cdef AccountState* a = c.stream.account
    cdef Plan* plan
    cdef uint32_t i
    cdef bint active
    if c.changes == a.inserts + a.removes + 1:
        return
    c.changes = a.inserts + a.removes + 1
    plan = plan_for(c.stream.engine.core, a, &c.source, c.deliver_subject, c.deliver_len)
    active = plan.nlinks > 0
    if c.group_len == 0:
        active = active or plan.ntargets > 0 or plan.nforeign > 0
    for i in range(plan.ngroups):
        if c.group_len and equals(&plan.groups[i].name_from.name[0], plan.groups[i].name_from.name_len,
                                  c.deliver_group, c.group_len):
            active = True
    if active != c.active:
        c.active = active
        c.last_used_ns = c.stream.engine.core.now_ns
        c.last_sent_ns = c.last_used_ns
        if active:  # whoever is there now owes nothing
            c.unconfirmed = c.asked = 0
            c.question = 0
        if c.heartbeat_ns:
            soon(&c.due_ns, c.last_sent_ns + c.heartbeat_ns)
        if c.inactive_ns:
            soon(&c.due_ns, c.last_used_ns + c.inactive_ns)


cdef bint _all_out(Consumer* c) noexcept nogil:
    """Whether as much is unacknowledged as may be."""
    return c.ack_policy != ACK_NONE and c.max_ack_pending > 0 and c.npending >= <uint64_t>c.max_ack_pending


cdef int _in_vain(Consumer* c) noexcept nogil:
    if not c.push:
        pulls_in_vain(c)
    return IDLE


cdef bint _may_push(Consumer* c) noexcept nogil:
    return c.active and not (c.flow_control and c.unconfirmed >= c.window)


cdef int _one(Consumer* c, uint64_t* bytes) noexcept nogil:
    """Hands out one message; a Turn, or -1: it did."""
    cdef Engine* g = c.stream.engine
    cdef uint64_t now = g.core.now_ns
    cdef Pull* pull = NULL
    cdef Pending* p
    cdef Record r
    cdef Plan* plan
    cdef uint64_t seq
    cdef int found
    if c.push:
        if not _may_push(c):
            if c.active and c.flow_control and c.question == 0:  # one message was larger than the window
                _ask_flow(c)
            return IDLE
    else:
        if c.priority_policy == PINNED and c.num_pending == 0 and c.again_first == c.again_count:
            return _in_vain(c)  # nobody is pinned for nothing
        pull = pull_choose(c)
        if pull == NULL:
            if not _all_out(c):
                pulls_in_vain(c)
            return IDLE
    if c.push:
        plan = plan_for(g.core, c.stream.account, &c.source, c.deliver_subject, c.deliver_len)
    else:
        plan = plan_for(g.core, c.stream.account, &c.source, &pull.reply[0], pull.reply_len)
    if _crowded(plan):
        return WAIT
    p = _next_again(c, &r)
    if p != NULL:
        seq = p.stream_seq
        if not _send(c, pull, &r, p, bytes):  # whatever it says of that may be an acknowledgement
            again_push(c, seq)
        return -1
    if _all_out(c):
        return IDLE
    if c.hold_ns > now:
        soon(&c.due_ns, c.hold_ns)
        return IDLE
    found = _next_new(c, &r)
    if found == DAMAGED and c.stream.log.journal != NULL and c.stream.log.journal.doubtful:
        return IDLE  # until the store has been mended
    if found == DAMAGED:  # it cannot be served; the store counts it
        _took_new(c, r.seq)
        c.delivered_consumer -= 1
        return -1
    if found == MISSING:
        if c.last_at >= c.nlast and c.next_seq <= c.stream.told_seq:
            c.next_seq = c.stream.told_seq + 1
        return _in_vain(c)
    if c.replay_original and _too_early(c, r.ts, now):
        return IDLE
    _send(c, pull, &r, NULL, bytes)
    return -1


cdef bint _too_early(Consumer* c, int64_t ts, uint64_t now) noexcept nogil:
    """Replaying with the gaps that were between the messages when they were stored."""
    cdef uint64_t gap
    if c.replay_ts and <uint64_t>ts > c.replay_ts:
        gap = <uint64_t>ts - c.replay_ts
        c.replay_ts = <uint64_t>ts
        c.hold_ns = (c.hold_ns if c.hold_ns > c.last_sent_ns else c.last_sent_ns) + gap
        if c.hold_ns > now:
            soon(&c.due_ns, c.hold_ns)
            return True
    c.replay_ts = <uint64_t>ts
    return False


cdef int _turn(Consumer* c) noexcept nogil:
    cdef int ended
    cdef uint64_t bytes = 0
    cdef uint32_t done = 0
    cdef Core* k = c.stream.engine.core
    if c.push:
        _look_for_interest(c)
    if c.paused_until_ns:
        pulls_in_vain(c)
    if c.gone or c.paused_until_ns or (c.push and not c.active) or (not c.push and c.pulls == NULL):
        return IDLE
    while done < TURN_MESSAGES and bytes < TURN_BYTES:
        ended = _one(c, &bytes)
        if ended >= 0:
            return ended
        done += 1
        if k.nexpired:
            subs_expire(k)
    return AGAIN


cdef void consumers_work(Engine* g) noexcept nogil:
    """A turn for each that may have something to hand out."""
    cdef uint32_t i
    cdef uint32_t n
    cdef int ended
    cdef Consumer* c
    cdef AccountState* a
    for i in range(g.nconsumers):  # somebody may have come to listen, or gone
        c = g.consumers[i]
        a = c.stream.account
        if c.push and c.changes != a.inserts + a.removes + 1:
            consumer_kick(c)
    if g.due_ns and g.core.now_ns >= g.due_ns:
        consumers_sweep(g, g.core.now_ns)
    n = g.nbusy
    for i in range(n):
        c = g.busy[i]
        ended = _turn(c)
        if ended == IDLE:
            c.busy = 0
        elif ended == AGAIN:
            g.more = 1
        soon(&g.due_ns, c.due_ns)
        if c.busy:
            g.busy[i] = c
        else:
            g.busy[i] = NULL
    _close_ranks(g)
    due(g.core, g.due_ns)


cdef void _close_ranks(Engine* g) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(g.nbusy):
        if g.busy[i] != NULL:
            g.busy[kept] = g.busy[i]
            kept += 1
    g.nbusy = kept


include "hearing.pxi"
