"""Operations of the client and leaf protocols, as they come off the wire (wire 1 and 2).

``parse`` takes whole operations from the front of the input and says how far it came; what is left is offered
again with more behind it. An operation whose payload is not all there sets ``need`` so that it is not looked at
too early. Nothing is reserved by what a size claims: sizes are checked first and buffers grow with the bytes
that really arrive.

CONNECT and INFO are for Python: parsing stands still (WAITING) until it has decided.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memset

from .compress cimport pack_adapt
from .deliver cimport deliver, no_responders
from .interest cimport subs_expire
from .mapping cimport map_message
from .output cimport complain, doom, emit, fail, flush_dirty, out, watch
from .permits cimport may_publish, reserved_reply, reserved_subject
from .plan cimport plan_for
from .scan cimport Slice, last_arg, next_arg
from .sublist cimport grow
from .subscribe cimport client_sub, client_unsub, deny, leaf_sub, leaf_unsub, ok
from .text cimport is_blank, is_verb, parse_size, starts_with, valid_subject
from .types cimport *

cdef enum:
    LEAF_LINE_MAX = 65536
    INFO_LINE_MAX = 1 << 20


cdef void _unknown(Core* k, Conn* c) noexcept nogil:
    fail(k, c, b"Unknown Protocol Operation", 26, PARSE_ERROR)


# --- messages --------------------------------------------------------------------------------------


cdef bint _sizes(Msg* m, const char* b, const char** end, bint with_header) noexcept nogil:
    """Takes one or two sizes from the end of the arguments; False if they are no sizes."""
    cdef Slice s = last_arg(b, end)
    cdef Slice total = s
    cdef int64_t size = parse_size(s.p, s.n)
    cdef int64_t header = 0
    if with_header:
        s = last_arg(b, end)
        header = parse_size(s.p, s.n)
    if size < 0 or header < 0 or header > size:
        return False
    m.size = <uint32_t>size
    m.header_len = <uint32_t>header
    m.sizes, m.sizes_len = total.p, <uint32_t>total.n
    if header:  # with one blank between them, whatever stood there
        memcpy(m.sizes_text, s.p, s.n)
        m.sizes_text[s.n] = c' '
        memcpy(&m.sizes_text[0] + s.n + 1, total.p, total.n)
        m.sizes, m.sizes_len = m.sizes_text, <uint32_t>(s.n + 1 + total.n)
    return True


cdef bint _args(Msg* m, const char* p, const char* e, bint with_header, bint leaf) noexcept nogil:
    """Subject, reply, queue names and sizes of a message in any legal spacing; False if they are not that."""
    cdef const char* at = p
    cdef const char* end = e
    cdef const char* ahead
    cdef Slice s
    if not _sizes(m, p, &end, with_header):
        return False
    s = next_arg(&at, end)
    m.subject, m.subject_len = s.p, <uint32_t>s.n
    if s.n == 0:
        return False
    s = next_arg(&at, end)
    ahead = at
    if leaf and s.n == 1 and (s.p[0] == c'|' or s.p[0] == c'+') and next_arg(&ahead, end).n:  # alone it is a reply
        m.has_queues = 1
        if s.p[0] == c'+':
            s = next_arg(&at, end)
            m.reply, m.reply_len = s.p, <uint32_t>s.n
            if s.n == 0:
                return False
        m.queues, m.queues_len = at, <uint32_t>(end - at)
        return True
    m.reply, m.reply_len = s.p, <uint32_t>s.n
    return next_arg(&at, end).n == 0


cdef inline bint _quick(Conn* c, Msg* m, const char* p, const char* e, bint with_header) noexcept nogil:
    """The spelling that clients really use: single blanks, no leading zero. What follows the subject can then be
    passed on as it is. False: not that spelling, look closer."""
    cdef Plan* plan = c.last_plan
    cdef const char* b
    cdef const char* q = e
    cdef const char* r
    if plan != NULL and c.last_epoch == c.account.plan_epoch and e - p > plan.subject_len \
            and p[plan.subject_len] == c' ' and memcmp(p, &plan.subject[0], plan.subject_len) == 0:
        b = p + plan.subject_len
    else:
        b = p
        while b < e and b[0] != c' ':
            if b[0] == c'\t':
                return False
            b += 1
        if b == e or b == p:
            return False
    while c'0' <= (q - 1)[0] <= c'9':  # stops at the blank at b at the latest
        q -= 1
    if q == e or e - q > 9 or (q - 1)[0] != c' ':
        return False
    m.size = <uint32_t>parse_size(q, e - q)
    m.header_len = 0
    m.sizes, m.sizes_len = q, <uint32_t>(e - q)
    q -= 1
    if with_header:
        if q == b:
            return False
        r = q
        while c'0' <= (r - 1)[0] <= c'9':
            r -= 1
        if r == q or q - r > 9 or (r - 1)[0] != c' ':
            return False
        m.header_len = <uint32_t>parse_size(r, q - r)
        if m.header_len > m.size or m.header_len == 0:
            return False
        m.sizes, m.sizes_len = r, <uint32_t>(e - r)
        q = r - 1
    m.subject, m.subject_len = p, <uint32_t>(b - p)
    if q != b:
        m.reply, m.reply_len = b + 1, <uint32_t>(q - b - 1)
        r = b + 1
        while r < q:
            if is_blank(r[0]):
                return False
            r += 1
        if m.reply_len == 0 or (m.reply_len == 1 and (b[1] == c'|' or b[1] == c'+')):
            return False
    m.tail = b + 1
    return True


cdef void _jetstream_reply(Msg* m) noexcept nogil:
    """A JetStream delivery over a link names the stored subject behind an ``@`` in the reply (wire 2.7)."""
    cdef uint32_t i
    cdef uint32_t dots = 0
    if not starts_with(m.reply, m.reply_len, b"$JS.ACK.", 8):
        return
    for i in range(m.reply_len):
        if m.reply[i] == c'.':
            dots += 1
        elif m.reply[i] == c'@':
            if dots >= 8 and i + 1 < m.reply_len:
                m.deliver_subject = m.reply + i + 1
                m.deliver_subject_len = m.reply_len - i - 1
                m.client_reply_len = i
                return


cdef const char* _message(Core* k, Conn* c, const char* start, const char* p, const char* nl, const char* e,
                          bint with_header) noexcept nogil:
    """PUB, HPUB, LMSG or HMSG: the end of the operation, or NULL while its payload is not all there."""
    cdef Msg m
    cdef const char* line_end = nl
    cdef size_t need
    cdef bint leaf = c.kind == LEAF
    if line_end > p and (line_end - 1)[0] == c'\r':
        line_end -= 1
    memset(&m, 0, sizeof(Msg))
    if line_end == nl or line_end == p or not _quick(c, &m, p, line_end, with_header):
        memset(&m, 0, sizeof(Msg))
        if not _args(&m, p, line_end, with_header, leaf):
            doom(k, c, PARSE_ERROR)
            return NULL
    if with_header and not leaf and not c.flags & HEADERS:
        doom(k, c, PARSE_ERROR)
        return NULL
    if m.size > c.max_payload:
        fail(k, c, b"Maximum Payload Violation", 25, MAX_PAYLOAD)
        return NULL
    m.body = nl + 1
    need = (m.body - start) + m.size + 2
    if <size_t>(e - start) < need:
        if <size_t>(e - start) == need - 1 and m.body[m.size] != c'\r':
            _unknown(k, c)
        c.need = need - 1 if <size_t>(e - start) < need - 1 else need
        return NULL
    if m.body[m.size] != c'\r' or m.body[m.size + 1] != c'\n':
        _unknown(k, c)
        return NULL
    m.has_header = m.header_len > 0
    if with_header and not m.has_header:
        m.tail = NULL
    if m.tail != NULL:
        m.tail_len = <uint32_t>(m.body + m.size + 2 - m.tail)
    m.client_reply_len = m.reply_len
    c.in_msgs += 1
    c.in_bytes += m.size
    k.in_msgs += 1
    k.in_bytes += m.size
    c.last_ns = c.last_in_ns = k.now_ns
    if c.flags & TRACE:
        emit(k, c, EV_TRACE_IN, start, line_end - start)
        emit(k, c, EV_TRACE_PAYLOAD, m.body, m.size)
    if leaf:
        _from_leaf(k, c, &m)
    else:
        _from_client(k, c, &m)
    return m.body + m.size + 2


cdef inline bint _same(const char* a, const char* b, size_t n) noexcept nogil:
    """memcmp without the call, for subjects."""
    cdef uint64_t x
    cdef uint64_t y
    while n >= 8:
        memcpy(&x, a, 8)
        memcpy(&y, b, 8)
        if x != y:
            return False
        a += 8
        b += 8
        n -= 8
    while n:
        if a[0] != b[0]:
            return False
        a += 1
        b += 1
        n -= 1
    return True


cdef const char* _express(Core* k, Conn* c, const char* p, const char* e, size_t verb) noexcept nogil:
    """The same subject as last time, no reply, everything there and nothing unusual: most messages of a busy
    publisher. The end of the operation; NULL: not that, nothing was done."""
    cdef Plan* plan = c.last_plan
    cdef const char* q
    cdef const char* first
    cdef uint32_t size = 0
    cdef Msg* m = &k.express
    if plan == NULL or c.last_epoch != c.account.plan_epoch or plan.generation != c.account.generation \
            or c.flags & (VERBOSE | PEDANTIC | TRACE | CLOSING):
        return NULL
    q = p + verb
    if e - q < plan.subject_len + 6 or q[plan.subject_len] != c' ' or not _same(q, &plan.subject[0], plan.subject_len):
        return NULL
    m.subject, m.subject_len = q, plan.subject_len
    q += plan.subject_len + 1
    first = q
    while q < e and c'0' <= q[0] <= c'9' and q - first < 9:
        size = size * 10 + <uint32_t>(q[0] - 48)
        q += 1
    if q == first or e - q < 2 or q[0] != c'\r' or q[1] != c'\n' or q - p > k.max_control_line or size > c.max_payload:
        return NULL
    m.body = q + 2
    if <size_t>(e - m.body) < <size_t>size + 2 or m.body[size] != c'\r' or m.body[size + 1] != c'\n':
        return NULL
    if c.permits != NULL and not (plan.permit_id[0] == c.permits.id and plan.permit_ok[0]) \
            and not (plan.permit_id[1] == c.permits.id and plan.permit_ok[1]):
        return NULL
    c.in_msgs += 1
    c.in_bytes += size
    k.in_msgs += 1
    k.in_bytes += size
    c.last_ns = c.last_in_ns = k.now_ns
    if plan.ntargets or plan.nlinks or plan.ngroups or plan.nforeign:
        m.tail = m.sizes = first
        m.sizes_len = <uint32_t>(q - first)
        m.size = size
        m.tail_len = <uint32_t>(m.body + size + 2 - first)
        deliver(k, c, m, plan)
    return m.body + size + 2


cdef void _from_client(Core* k, Conn* c, Msg* m) noexcept nogil:
    cdef Plan* plan
    cdef uint32_t done
    cdef bint mapped
    if c.flags & PEDANTIC and not valid_subject(m.subject, m.subject_len, True):
        complain(k, c, b"Invalid Publish Subject", 23)
    mapped = c.account.mappings != NULL and map_message(k, c, m)
    plan = plan_for(k, c.account, c, m.subject, m.subject_len)
    if mapped:
        c.last_plan = NULL  # it is not the plan of what the publisher writes
    if not may_publish(k, c, m.subject, m.subject_len, plan) or reserved_subject(c, m):
        c.last_plan = NULL  # the express lane must not take what is denied here
        deny(k, c, b"Publish to ", 11, m.subject, m.subject_len, b"", 0, False)
        return
    if m.reply_len and reserved_reply(m):
        deny(k, c, b"Publish with Reply of ", 22, m.reply, m.reply_len, b"", 0, False)
        return
    ok(k, c)
    done = deliver(k, c, m, plan)
    if done == 0 and m.reply_len and c.flags & NO_RESPONDERS:
        no_responders(k, c, m)


cdef inline bint _servers_reply(const char* subject, uint32_t n) noexcept nogil:
    """Replies between servers pass every list: to service imports, and acknowledgements."""
    return starts_with(subject, n, b"_R_.", 4) or starts_with(subject, n, b"$JS.ACK.", 8)


cdef inline bint _stays_home(const char* subject, uint32_t n) noexcept nogil:
    """JetStream's own subjects belong to one server and do not cross links (wire 2.7)."""
    return starts_with(subject, n, b"$JS.API.", 8) or starts_with(subject, n, b"$KV.", 4) \
        or starts_with(subject, n, b"$OBJ.", 5)


cdef void _from_leaf(Core* k, Conn* c, Msg* m) noexcept nogil:
    cdef const char* wire = m.subject
    cdef uint32_t n = m.subject_len
    cdef bint mapped = c.account.mappings != NULL and map_message(k, c, m)
    cdef Plan* plan = plan_for(k, c.account, c, m.subject, m.subject_len)
    if mapped:
        c.last_plan = NULL
        m.any_queue = not m.has_queues
    if not may_publish(k, c, wire, n, NULL if mapped else plan) and not _servers_reply(wire, n):
        # what a hub sends against our own rules is dropped, and so is what links never carry; the link is fine
        if not c.flags & SPOKE and not _stays_home(wire, n):
            deny(k, c, b"Publish to ", 11, wire, n, b"", 0, True)
        return
    if m.reply_len > 8 and m.reply[0] == c'$':
        _jetstream_reply(m)
    deliver(k, c, m, plan)


# --- the rest --------------------------------------------------------------------------------------


cdef void _ping(Core* k, Conn* c) noexcept nogil:
    c.last_in_ns = k.now_ns
    out(k, c, b"PONG\r\n", 6, b"", 0)
    if c.first_info != NULL and c.flags & CONNECTED:
        out(k, c, c.first_info, c.first_info_len, b"", 0)
        free(c.first_info)
        c.first_info = NULL
        c.flags |= FIRST_PING


cdef void _pong(Core* k, Conn* c) noexcept nogil:
    if c.pings_out and c.ping_sent_ns:
        c.rtt_ns = k.now_ns - c.ping_sent_ns if k.now_ns > c.ping_sent_ns else 1
        c.ping_sent_ns = 0
        if c.pack != NULL:
            pack_adapt(c)
    c.pings_out = 0


cdef void _ask(Core* k, Conn* c, int type, const char* p, const char* e) noexcept nogil:
    """Hands ``p`` to ``e`` to Python and stands still until it has decided."""
    emit(k, c, type, p, e - p)
    c.flags |= WAITING
    watch(k, c)


cdef inline bint _verb(const char* p, const char* e, const char* verb, size_t n) noexcept nogil:
    """``verb`` and a blank after it."""
    return is_verb(p, e, verb, n) and p + n < e and is_blank(p[n])


cdef inline size_t _known(Conn* c, const char* p, const char* e, const char* verb, size_t n) noexcept nogil:
    """How much of an incomplete line could still become ``verb``: its whole length there means yes."""
    cdef size_t have = e - p
    return is_verb(p, e, verb, have if have < n else n)


cdef bint _possible(Conn* c, const char* p, const char* e) noexcept nogil:
    """Whether the start of a line that has not ended yet is the start of any operation."""
    if _known(c, p, e, b"PING", 4) or _known(c, p, e, b"PONG", 4) or _known(c, p, e, b"CONNECT", 7) \
            or _known(c, p, e, b"INFO", 4) or _known(c, p, e, b"+OK", 3) or _known(c, p, e, b"-ERR", 4):
        return True
    if c.kind == LEAF:
        return _known(c, p, e, b"LMSG ", 5) or _known(c, p, e, b"HMSG ", 5) or _known(c, p, e, b"LS+ ", 4) \
            or _known(c, p, e, b"LS- ", 4) or _tabbed(c, p, e)
    return _known(c, p, e, b"PUB ", 4) or _known(c, p, e, b"HPUB ", 5) or _known(c, p, e, b"SUB ", 4) \
        or _known(c, p, e, b"UNSUB ", 6) or _tabbed(c, p, e)


cdef bint _tabbed(Conn* c, const char* p, const char* e) noexcept nogil:
    """A TAB may follow a verb, too; rare enough to look only when nothing else fits."""
    if c.kind == LEAF:
        return is_verb(p, e, b"LMSG\t", 5) or is_verb(p, e, b"HMSG\t", 5) or is_verb(p, e, b"LS+\t", 4) \
            or is_verb(p, e, b"LS-\t", 4)
    return is_verb(p, e, b"PUB\t", 4) or is_verb(p, e, b"HPUB\t", 5) or is_verb(p, e, b"SUB\t", 4) \
        or is_verb(p, e, b"UNSUB\t", 6)


cdef inline size_t _line_max(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    if c.kind == CLIENT:
        return k.max_control_line
    return INFO_LINE_MAX if is_verb(p, e, b"INFO", 4) and not c.flags & MUST_AUTH else LEAF_LINE_MAX


cdef inline bint _may_begin(Core* k, Conn* c, const char* p) noexcept nogil:
    """Whether this verb may come now; before CONNECT, if that is needed, none may."""
    if not c.flags & (MUST_AUTH | STAND_IN) or c.flags & CONNECTED or p[0] == c'C' or p[0] == c'c':
        return True
    if c.flags & MAY_AGREE and (p[0] == c'I' or p[0] == c'i'):
        return True
    if c.flags & MUST_AUTH:
        fail(k, c, b"Authorization Violation", 23, AUTHENTICATION_VIOLATION)
        return False
    c.flags |= CONNECTED
    c.deadline_ns = 0
    return True


cdef void _partial(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    """Input without an end of line: hopeless verbs and endless lines are refused now."""
    cdef const char* at = p
    if not _may_begin(k, c, p):
        return
    if not _possible(c, p, e):
        _unknown(k, c)
    else:
        while at < e and not is_blank(at[0]):
            at += 1
        while at < e and is_blank(at[0]):
            at += 1
        # a line may still end in CR LF of which only the CR is here
        if <size_t>(e - at) > _line_max(k, c, p, e) + 1 or e - p > INFO_LINE_MAX + 16:
            fail(k, c, b"maximum control line exceeded", 29, MAX_CONTROL_LINE)


cdef const char* _operation(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    """Carries out the operation at ``p``; where the next one begins, or NULL if this one is not all there."""
    cdef const char* nl = <const char*>memchr(p, c'\n', e - p)
    cdef const char* a
    cdef const char* line
    cdef bint client = c.kind == CLIENT
    if nl == NULL:
        _partial(k, c, p, e)
        return NULL
    if not _may_begin(k, c, p):
        return NULL
    line = nl - 1 if nl > p and (nl - 1)[0] == c'\r' else nl
    a = p
    while a < line and not is_blank(a[0]) and a[0] != c'{':
        a += 1
    while a < line and is_blank(a[0]):
        a += 1
    if <size_t>(line - a) > _line_max(k, c, p, e):
        if not _possible(c, p, line):  # that is seen first where the line comes in pieces
            _unknown(k, c)
            return NULL
        fail(k, c, b"maximum control line exceeded", 29, MAX_CONTROL_LINE)
        return NULL
    if client and _verb(p, nl, b"PUB", 3):
        return _message(k, c, p, a, nl, e, False)
    if client and _verb(p, nl, b"HPUB", 4):
        return _message(k, c, p, a, nl, e, True)
    if not client and _verb(p, nl, b"LMSG", 4):
        return _message(k, c, p, a, nl, e, False)
    if not client and _verb(p, nl, b"HMSG", 4):
        return _message(k, c, p, a, nl, e, True)
    if c.flags & TRACE:
        emit(k, c, EV_TRACE_IN, p, line - p)
    if is_verb(p, nl, b"PING", 4):
        _ping(k, c)
    elif is_verb(p, nl, b"PONG", 4):
        _pong(k, c)
    elif client and _verb(p, nl, b"SUB", 3):
        client_sub(k, c, a, line)
    elif client and _verb(p, nl, b"UNSUB", 5):
        client_unsub(k, c, a, line)
    elif not client and _verb(p, nl, b"LS+", 3):
        leaf_sub(k, c, a, line)
    elif not client and _verb(p, nl, b"LS-", 3):
        leaf_unsub(k, c, a, line)
    elif is_verb(p, nl, b"CONNECT", 7):
        _ask(k, c, EV_CONNECT, a, line)
    elif is_verb(p, nl, b"INFO", 4):
        if not client:
            c.flags &= ~<uint32_t>MAY_AGREE
            _ask(k, c, EV_INFO, a, line)
    elif is_verb(p, nl, b"-ERR", 4):
        if client:
            doom(k, c, CLIENT_CLOSED)
        else:
            _ask(k, c, EV_ERR, a, line)
    elif not is_verb(p, nl, b"+OK", 3):
        _unknown(k, c)
        return NULL
    return nl + 1


cdef void _hold(Core* k, Conn* c) noexcept nogil:
    """A receiver of ``c`` is far behind: ``c`` is not read for a short while."""
    cdef Conn* receiver = k.stall_on
    k.stall_on = NULL
    if not k.stall_enabled or c.flags & (STALLED | CLOSING) or receiver.flags & CLOSING:
        return
    c.flags |= STALLED
    c.stall_for = receiver
    c.stalls += 1
    k.stalled_clients += 1
    k.stalled = <Conn**>grow(k.stalled, &k.stalled_cap, k.nstalled + 1, sizeof(Conn*))
    k.stalled[k.nstalled] = c
    k.nstalled += 1
    watch(k, c)


cdef void _say(Core* k) noexcept nogil:
    """Answers go out before the rest of the input is looked at, so that whoever asked works on them meanwhile."""
    k.say_soon = 0
    if k.say == NULL or k.working:
        return
    k.working = 1
    k.say(k.work_context, k)
    k.working = 0
    flush_dirty(k)


cdef const char* parse(Core* k, Conn* c, const char* p, const char* e) noexcept nogil:
    """Carries out the whole operations at the front of ``p`` to ``e``; how far it came."""
    cdef const char* next
    while p < e and not c.flags & (WAITING | STALLED | CLOSING):
        if <size_t>(e - p) < c.need:
            break
        c.need = 0
        next = NULL
        if c.last_plan != NULL and e - p > 5:
            if c.kind == CLIENT:
                if memcmp(p, b"PUB ", 4) == 0:
                    next = _express(k, c, p, e, 4)
            elif memcmp(p, b"LMSG ", 5) == 0:
                next = _express(k, c, p, e, 5)
        if next == NULL:
            next = _operation(k, c, p, e)
        if next == NULL:
            break
        p = next
        if k.nexpired:
            subs_expire(k)
        if k.stall_on != NULL:
            _hold(k, c)
        if k.say_soon:
            _say(k)
    return p
