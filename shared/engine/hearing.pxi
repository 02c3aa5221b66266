# What consumers hear: acknowledgements, the passing of time; and what they note of it. Part of consumer.pyx, because
# handing out and hearing call each other.


cdef void consumer_used(Consumer* c) noexcept nogil:
    c.last_used_ns = c.stream.engine.core.now_ns


cdef void consumer_note_ack(Consumer* c, uint64_t seq) noexcept nogil:
    if not c.durable_state:
        return
    c.acked = <uint64_t*>grow(c.acked, &c.acked_cap, c.nacked + 1, sizeof(uint64_t))
    c.acked[c.nacked] = seq
    c.nacked += 1
    _noting(c)


cdef void consumer_apply_ack(Consumer* c, uint64_t seq) noexcept nogil:
    """Noted: the message is done with, or was handed out as often as allowed."""
    cdef Pending* p = pending_find(c, seq & ~GIVEN_UP)
    cdef uint64_t number
    if p != NULL:
        number = p.consumer_seq
        pending_drop(c, p)
        floor_after(c, number)
    if seq & GIVEN_UP:
        given_up_add(c, seq & ~GIVEN_UP)
    else:
        given_up_drop(c, seq)


cdef void consumer_ack(Consumer* c, uint64_t seq, bint terminated) noexcept nogil:
    """An acknowledgement (with the policy "all" of everything before as well), or the end of waiting for one."""
    cdef Pending* p = pending_find(c, seq)
    cdef Engine* g = c.stream.engine
    cdef uint64_t number = 0
    cdef uint64_t below
    if c.ack_policy == ACK_ALL and not terminated:
        while c.oldest != NULL and c.oldest.stream_seq <= seq:
            number = c.oldest.consumer_seq
            _done(c, c.oldest)
        below = given_up_below(c, seq)
        while below:
            _late(c, below)
            below = given_up_below(c, seq)
        if number and c.npending:  # the floor is what was named, although nothing may be between it and the next
            c.floor_consumer, c.floor_stream = number, seq
    elif p != NULL:
        if c.samples and not terminated:
            tell(c, ACKED, seq, p.last_seq, p.deliveries, g.core.now_ns - p.sent_ns)
        _done(c, p)
    elif c.ack_policy == ACK_EXPLICIT and c.stream.retention != LIMITS and seq < c.next_seq:
        _late(c, seq)
    if not terminated:
        c.last_ack_ns = g.core.now_ns
    consumer_used(c)
    if not c.busy and (c.pulls != NULL or c.push):
        consumer_kick(c)


cdef void _dropped(Consumer* c, Pending* p) noexcept nogil:
    cdef uint64_t seq = p.stream_seq
    cdef uint64_t number = p.consumer_seq
    pending_drop(c, p)
    floor_after(c, number)
    consumer_note_ack(c, seq)


cdef void _done(Consumer* c, Pending* p) noexcept nogil:
    cdef uint64_t seq = p.stream_seq
    _dropped(c, p)
    if c.stream.retention != LIMITS:
        c.stream.acked(c.stream, c, seq)


cdef void _late(Consumer* c, uint64_t seq) noexcept nogil:
    """An acknowledgement of what had been handed out as often as allowed before."""
    if given_up_drop(c, seq):
        consumer_note_ack(c, seq)
    c.stream.acked(c.stream, c, seq)


cdef bint consumer_nak(Consumer* c, uint64_t seq, uint64_t delay_ns) noexcept nogil:
    """It is to be handed out again, now or after a while; False: it was not out."""
    cdef Pending* p = pending_find(c, seq)
    if p == NULL:
        return False
    tell(c, NAKED, seq, p.last_seq, p.deliveries, 0)
    if delay_ns:
        wait_until(c, p, c.stream.engine.core.now_ns + delay_ns)
        _due(c, p)
    else:
        requeue(c, p)
    consumer_used(c)
    consumer_kick(c)
    return True


cdef void _due(Consumer* c, Pending* p) noexcept nogil:
    """It has another time to be handed out again at."""
    soon(&c.pending_due_ns, p.due_ns)
    soon(&c.due_ns, p.due_ns)
    soon(&c.stream.engine.due_ns, p.due_ns)


cdef struct Parts:  # of an acknowledgement's subject
    Consumer* consumer
    uint64_t seq


cdef bint _number(const char* p, uint32_t n, uint64_t* value) noexcept nogil:
    cdef uint32_t i
    value[0] = 0
    if n == 0 or n > 19:
        return False
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return False
        value[0] = value[0] * 10 + <uint64_t>(p[i] - c'0')
    return True


cdef bint _parse(Engine* g, AccountState* a, const char* s, uint32_t n, uint32_t base, Parts* out) noexcept nogil:
    """``$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<...>`` or, with 11 tokens or more, domain and account in front,
    which have to be this server's and this account's."""
    cdef uint32_t starts[TOKENS_MAX]
    cdef uint32_t tokens = 1
    cdef uint32_t i, first
    starts[0] = 0
    for i in range(n):
        if s[i] == c'.':
            if tokens == TOKENS_MAX - 1:
                break
            starts[tokens] = i + 1
            tokens += 1
    starts[tokens] = n + 1
    if tokens != base and tokens < base + 2:
        return False
    first = 2 if tokens == base else 4
    out.consumer = consumer_by_name(g, a, s + starts[first], starts[first + 1] - starts[first] - 1,
                                    s + starts[first + 1], starts[first + 2] - starts[first + 1] - 1)
    out.seq = 0
    if base == 9 and not _number(s + starts[first + 3], starts[first + 4] - starts[first + 3] - 1, &out.seq):
        return False
    if out.consumer == NULL:
        return False
    return tokens == base or equals(s + starts[2], starts[4] - starts[2] - 1, out.consumer.stream.scope,
                                    out.consumer.stream.scope_len)


cdef bint ack_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil:
    """The sink of ``$JS.ACK.>``. Kinds with an argument are for Python."""
    cdef Engine* g = <Engine*>context
    cdef Parts a
    cdef Pending* p
    cdef const char* body = m.body + m.header_len
    cdef uint32_t n = m.size - m.header_len
    if not _parse(g, src.account, m.subject, m.subject_len, 9, &a) or a.consumer.ack_policy in (ACK_NONE, ACK_FLOW):
        k.unheard = 1  # perhaps somebody behind a link knows the consumer
        return True
    if n == 0 or equals(body, n, b"+ACK", 4) or equals(body, n, b"+OK", 3):
        consumer_ack(a.consumer, a.seq, False)
    elif equals(body, n, b"-NAK", 4):
        consumer_nak(a.consumer, a.seq, 0)
    elif equals(body, n, b"+WPI", 4):
        p = pending_find(a.consumer, a.seq)
        if p != NULL and p.due_ns:
            p.due_ns = due_after(a.consumer, p.deliveries, k.now_ns)
            _due(a.consumer, p)
        consumer_used(a.consumer)
    elif starts_with(body, n, b"-NAK", 4) or starts_with(body, n, b"+TERM", 5) or starts_with(body, n, b"+NXT", 4):
        return False
    if m.reply_len:
        if a.consumer.durable_state:
            consumer_note(a.consumer)  # the batch that has it is the one that is waited for
        answer_message(g, a.consumer.stream.log if a.consumer.durable_state else NULL, src.account, m.reply,
                       m.client_reply_len, NULL, 0, NULL, 0)
    return True


cdef uint32_t _flow_subject(Consumer* c, char* to) noexcept nogil:
    """$JS.FC.<stream>.<consumer>.<number>, or with domain and account."""
    cdef uint32_t at = _head(c, b"$JS.FC.", 7, to)
    return at + <uint32_t>put_number(to + at, c.question)


cdef void _ask_flow(Consumer* c) noexcept nogil:
    cdef char reply[HEAD_MAX]
    cdef uint32_t n
    c.questions += 1
    c.question, c.asked = c.questions, c.unconfirmed
    n = _flow_subject(c, reply)
    send_message(c.stream.engine, &c.source, c.stream.account, c.deliver_subject, c.deliver_len, reply, n,
                 b"NATS/1.0 100 FlowControl Request\r\n\r\n", 36, 36)


cdef bint flow_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil:
    """The sink of ``$JS.FC.>``: a push consumer's receiver has read so far."""
    cdef Engine* g = <Engine*>context
    cdef Parts a
    cdef Consumer* c
    cdef char asked[HEAD_MAX]
    cdef uint32_t n
    if not _parse(g, src.account, m.subject, m.subject_len, 5, &a) or not a.consumer.flow_control:
        k.unheard = 1  # perhaps somebody behind a link knows the consumer
        return True
    c = a.consumer
    if c.question == 0:
        return True
    n = _flow_subject(c, asked)
    if not equals(asked, n, m.subject, m.subject_len):
        return True
    c.question = 0
    c.unconfirmed -= c.asked
    if c.unconfirmed < 0:
        c.unconfirmed = 0
    if c.window < WINDOW_MOST:
        c.window *= 2
    if c.ack_policy == ACK_FLOW:
        _flow_ack(c, _header_number(m, b"\nNats-Last-Consumer:", 20), _header_number(m, b"\nNats-Last-Stream:", 18))
    consumer_kick(c)
    return True


cdef uint64_t _header_number(Msg* m, const char* name, uint32_t n) noexcept nogil:
    """The value of a header that is a number; 0 for none."""
    cdef const char* end = m.body + m.header_len
    cdef const char* at = <const char*>memmem(m.body, m.header_len, name, n)
    cdef const char* stop
    cdef uint64_t value = 0
    if at == NULL:
        return 0
    at += n
    while at < end and at[0] == c' ':
        at += 1
    stop = at
    while stop < end and stop[0] != c'\r':
        stop += 1
    return value if _number(at, <uint32_t>(stop - at), &value) else 0


cdef void _flow_ack(Consumer* c, uint64_t number, uint64_t seq) noexcept nogil:
    """With the policy "flow_control": the receiver has everything up to here."""
    if number > c.delivered_consumer or seq > c.delivered_stream or number <= c.floor_consumer or seq <= c.floor_stream:
        return
    while c.oldest != NULL and c.oldest.stream_seq <= seq:
        _done(c, c.oldest)
    if seq > c.floor_stream:
        c.floor_consumer, c.floor_stream = number, seq
    c.last_ack_ns = c.stream.engine.core.now_ns
    consumer_used(c)


# --- time ------------------------------------------------------------------------------------------


cdef void _expire_pending(Consumer* c, uint64_t now) noexcept nogil:
    """What was not acknowledged in time goes out again, in the order of the stream. A long list is not walked more often
    than it takes some time to walk it."""
    cdef Pending* p = c.oldest
    cdef Pending* following
    cdef bint any = False
    if c.pending_due_ns == 0 or now < c.pending_due_ns:
        soon(&c.due_ns, c.pending_due_ns)
        return
    c.pending_due_ns = 0
    while p != NULL:
        following = p.after
        if p.due_ns and now >= p.due_ns:
            if c.max_deliver > 0 and p.deliveries >= <uint64_t>c.max_deliver:
                _given_up(c, p)
            else:
                requeue(c, p)
            any = True
        else:
            soon(&c.pending_due_ns, p.due_ns)
        p = following
    if c.pending_due_ns and c.pending_due_ns < now + c.npending * WALK_NS:
        c.pending_due_ns = now + c.npending * WALK_NS
    soon(&c.due_ns, c.pending_due_ns)
    if any:
        consumer_kick(c)


cdef void _sweep_push(Consumer* c, uint64_t now) noexcept nogil:
    cdef char stalled[HEAD_MAX]
    cdef uint32_t n = 0
    if c.heartbeat_ns and c.active:
        if now >= c.last_sent_ns + c.heartbeat_ns:
            if c.question:
                n = _flow_subject(c, stalled)
            say_heartbeat(c, c.deliver_subject, c.deliver_len, stalled, n)
            c.last_sent_ns = now
            if c.ack_policy == ACK_FLOW and c.npending and c.question == 0:
                _ask_flow(c)
        soon(&c.due_ns, c.last_sent_ns + c.heartbeat_ns)


cdef void _sweep_one(Consumer* c, uint64_t now) noexcept nogil:
    cdef bint pinned = c.pin[0] != 0
    c.due_ns = 0
    if c.paused_until_ns:
        if now >= c.paused_until_ns:
            c.paused_until_ns = 0
            tell(c, RESUMED, 0, 0, 0, 0)
            consumer_kick(c)
        else:
            soon(&c.due_ns, c.paused_until_ns)
    _expire_pending(c, now)
    if c.push:
        _sweep_push(c, now)
    else:
        pulls_sweep(c, now)
        if pinned and not c.pin[0]:  # somebody else may be next
            consumer_kick(c)
    if c.hold_ns > now:
        soon(&c.due_ns, c.hold_ns)
    elif c.hold_ns:
        consumer_kick(c)
    if c.noting:
        if now >= c.noted_ns + NOTE_NS:
            consumer_note(c)
        else:
            soon(&c.due_ns, c.noted_ns + NOTE_NS)
    if c.inactive_ns:
        if c.active or c.pulls != NULL:
            c.last_used_ns = now
        if now >= c.last_used_ns + c.inactive_ns:
            tell(c, INACTIVE, 0, 0, 0, 0)
            c.last_used_ns = now
        soon(&c.due_ns, c.last_used_ns + c.inactive_ns)


cdef void consumers_sweep(Engine* g, uint64_t now) noexcept nogil:
    """Everything that is due; ``due_ns`` says when the next thing will be."""
    cdef uint32_t i
    g.due_ns = 0
    for i in range(g.nconsumers):
        if g.consumers[i].due_ns and now >= g.consumers[i].due_ns:
            _sweep_one(g.consumers[i], now)
        soon(&g.due_ns, g.consumers[i].due_ns)


# --- notes -----------------------------------------------------------------------------------------


cdef void consumer_note(Consumer* c) noexcept nogil:
    """What was handed out and what was acknowledged since the last note. Format: counts and varints, see
    ``consumer_face.pxi`` for reading."""
    cdef Engine* g = c.stream.engine
    cdef size_t need = 40 + <size_t>c.nspans * 30 + <size_t>c.nacked * 10
    cdef char* at
    cdef uint32_t i
    c.noting = 0
    c.noted_ns = g.core.now_ns
    g.nnoting = _without(g.noting, g.nnoting, c)
    if c.nspans + c.nacked == 0 or not c.durable_state or c.stream.log.journal == NULL:
        return
    if c.stream.log.journal.failed:  # nothing is written any more
        c.nspans = c.nacked = 0
        return
    g.scratch = <char*>grow(g.scratch, &g.scratch_cap, <uint32_t>need, 1)
    at = put_varint(g.scratch, c.nspans)
    for i in range(c.nspans):
        at = put_varint(at, c.spans[i].stream_seq)
        at = put_varint(at, c.spans[i].consumer_seq)
        at = put_varint(at, c.spans[i].count)
    at = put_varint(at, c.nacked)
    for i in range(c.nacked):
        at = put_varint(at, c.acked[i])
    c.nspans = c.nacked = 0
    journal_note(c.stream.log.journal, c.ident, g.scratch, <uint32_t>(at - g.scratch))


cdef void consumers_write_notes(Engine* g) noexcept nogil:
    """Before a batch is handed over: acknowledgements go with it, and so do the positions they are about."""
    cdef uint32_t i = 0
    cdef Consumer* c
    while i < g.nnoting:
        c = g.noting[i]
        if c.nacked or c.nspans > SPANS_MAX:
            consumer_note(c)  # takes it off the list
        else:
            i += 1
