# The kernel's Python objects: Kernel, Account, Permissions, Connection. Part of reactor.pyx; their typed contract
# is reactor.pyi.


cdef class Permissions:
    def __cinit__(self):
        memset(&self.p, 0, sizeof(Permits))

    def __init__(self, Kernel kernel not None, *, pub_allow=None, pub_deny=(), sub_allow=None, sub_deny=(),
                 int64_t response_max=0, int64_t response_ttl_ns=0):
        cdef Sublist* lists[4]
        cdef int i
        lists[0], lists[1], lists[2], lists[3] = &self.p.pub_allow, &self.p.pub_deny, &self.p.sub_allow, &self.p.sub_deny
        for i in range(4):
            sublist_clear(lists[i])
            sublist_init(lists[i], kernel.k.seed)
        kernel.permits_made += 1
        self.p.id = kernel.permits_made
        self.p.has_pub_allow = pub_allow is not None or response_max != 0
        self.p.has_pub_deny = bool(pub_deny)
        self.p.has_sub_allow = sub_allow is not None
        self.p.has_sub_deny = bool(sub_deny)
        self.p.response_max = response_max
        self.p.response_ttl_ns = response_ttl_ns
        for i, entries in enumerate((pub_allow or (), pub_deny, sub_allow or (), sub_deny)):
            for entry in entries:
                self._add(i, entry)

    cdef _add(self, int which, entry):
        cdef bytes subject
        cdef bytes queue
        if len(entry) > NAME_MAX:
            raise ValueError("the entry is too long")
        subject, _, queue = (entry if isinstance(entry, bytes) else entry.encode()).partition(b" ")
        queue = queue.strip()
        permits_add(&self.p, which, subject, len(subject), queue, len(queue))

    def __dealloc__(self):
        permits_clear(&self.p)


cdef inline uint32_t _bound(int64_t limit) noexcept:
    """A limit as a connection keeps it; negative: none."""
    return <uint32_t>(0xFFFFFFFF if limit < 0 or limit > 0xFFFFFFFF else limit)


cdef class Connection:
    def __init__(self):
        raise TypeError("use Kernel.attach")

    @property
    def closed(self):
        return self.c == NULL or self.c.flags & CLOSING != 0

    def send(self, bytes data not None):
        if self.closed:
            return
        out(&self.kernel.k, self.c, data, len(data), b"", 0)
        self.kernel._after()

    def complain(self, bytes text not None):
        if not self.closed:
            complain(&self.kernel.k, self.c, text, len(text))
            self.kernel._after()

    def close(self, int reason, bytes text=b""):
        if self.closed:
            return
        fail(&self.kernel.k, self.c, text, len(text), reason)
        self.kernel._after()

    def configure(self, *, Account account=None, Permissions permissions=None, bint verbose=False, bint pedantic=False,
                  bint echo=True, bint headers=False, bint no_responders=False, int64_t max_subs=-1,
                  int64_t max_payload=-1, uint32_t peer_max_payload=0, bytes first_info=None, uint64_t ping_due_ns=0,
                  uint32_t origin=0, bint spoke=False, bint isolated=False, bint stand_in=False):
        cdef Conn* c = self.c
        cdef Core* k = &self.kernel.k
        cdef uint32_t on = STAND_IN if stand_in else CONNECTED
        if self.closed:
            return
        # a second CONNECT starts over; what a peer subscribed before the first stays, unless it would be another's
        # account or, of a link, the interest of another role
        if c.flags & CONNECTED or c.kind == LEAF or (account is not None and account.a != c.account):
            link_down(k, c)
            subs_clear(k, c)
            forget_replies(c)
        if account is not None:
            self.account = account
            c.account = account.a
        c.last_plan = NULL
        self.permissions = permissions
        c.permits = NULL if permissions is None else &permissions.p
        for wanted, flag in ((verbose, VERBOSE), (pedantic, PEDANTIC), (echo, ECHO), (headers, HEADERS),
                             (no_responders, NO_RESPONDERS), (spoke, SPOKE), (isolated, ISOLATED)):
            if wanted:
                on |= <uint32_t>flag
        if permissions is not None and permissions.p.response_max:
            on |= TRACK_REPLIES
        c.flags &= ~<uint32_t>(VERBOSE | PEDANTIC | ECHO | HEADERS | NO_RESPONDERS | SPOKE | ISOLATED | TRACK_REPLIES
                                       | STAND_IN)
        c.flags |= on
        c.max_subs = _bound(max_subs)
        if max_payload >= 0:
            c.max_payload = _bound(max_payload)
        c.peer_max_payload = peer_max_payload
        c.origin = origin
        if not stand_in:
            c.deadline_ns = 0
            if c.kind == CLIENT:
                c.estimate_ns = k.now_ns - c.start_ns if k.now_ns > c.start_ns else 1
        c.ping_due_ns = ping_due_ns
        due(k, ping_due_ns)
        if first_info is not None and not c.flags & FIRST_PING:
            free(c.first_info)
            c.first_info = <char*>must(malloc(len(first_info) + 1))
            memcpy(c.first_info, PyBytes_AsString(first_info), len(first_info))
            c.first_info_len = <uint32_t>len(first_info)

    def limit(self, *, int64_t max_payload, int64_t max_subs, bint trace):
        """New limits of a live connection."""
        if self.c != NULL:
            self.c.max_payload = _bound(max_payload)
            self.c.max_subs = _bound(max_subs)
            self.c.flags = self.c.flags | TRACE if trace else self.c.flags & ~<uint32_t>TRACE

    def set_permissions(self, Permissions permissions):
        """Reload: subscriptions that are no longer allowed end with an -ERR."""
        cdef Conn* c = self.c
        cdef Core* k = &self.kernel.k
        cdef Sub* s
        cdef uint8_t filtered
        cdef bytes text
        if self.closed:
            return
        self.permissions = permissions
        c.permits = NULL if permissions is None else &permissions.p
        c.flags &= ~<uint32_t>TRACK_REPLIES
        if permissions is not None and permissions.p.response_max:
            c.flags |= TRACK_REPLIES
        c.account.generation += 1  # plans hold receivers that may no longer be allowed
        streams_stale(c.account)
        for subject, queue, sid, _, _ in self.subscriptions():
            s = sub_find(k, c, sid, len(sid))
            if may_subscribe(k, c.permits, subject, len(subject), queue or b"", len(queue or b""), False, &filtered):
                s.filtered = filtered
                continue
            text = b'Permissions Violation for Subscription to "%b"' % subject
            if queue:
                text += b' using queue "%b"' % queue
            text += b' (sid "%b")' % sid
            complain(k, c, text, len(text))
            sub_remove(k, s)  # nothing is flushed or told before all are looked at: that may end the connection
        self.kernel._after()

    def set_identity(self, bytes head, bytes middle=b"", bytes server=b"", bytes tail=b""):
        cdef Conn* c = self.c
        cdef bytes whole
        if c == NULL:
            return
        free(c.identity)
        c.identity = NULL
        if head is None:
            return
        whole = head + middle + server + tail
        if len(whole) > IDENTITY_MAX:
            raise ValueError("the identity is too long")
        c.identity = <Identity*>must(malloc(sizeof(Identity) + len(whole)))
        c.identity.head_len, c.identity.middle_len = <uint32_t>len(head), <uint32_t>len(middle)
        c.identity.server_len, c.identity.tail_len = <uint32_t>len(server), <uint32_t>len(tail)
        memcpy(&c.identity.text[0], PyBytes_AsString(whole), len(whole))

    def link_up(self):
        if not self.closed:
            link_up(&self.kernel.k, self.c)
            self.kernel._after()

    def set_deadline(self, uint64_t deadline_ns, *, uint64_t ping_due_ns=0):
        if not self.closed:
            self.c.deadline_ns = deadline_ns
            due(&self.kernel.k, deadline_ns)
            if ping_due_ns:
                self.c.ping_due_ns = ping_due_ns
                due(&self.kernel.k, ping_due_ns)

    def set_ping_interval(self, uint64_t interval_ns):
        """PINGs of this connection alone; what is due already stays due."""
        if not self.closed:
            self.c.ping_interval_ns = interval_ns

    def ping(self):
        """Asks now, unless an answer is still to come; whether it did."""
        if self.closed or self.c.pings_out:
            return False
        _ask_peer(&self.kernel.k, self.c, self.kernel.k.now_ns)
        self.kernel._after()
        return True

    def tcp_info(self):
        """What the system says of the socket, as ``getsockopt(TCP_INFO)`` has it; empty if it is no TCP or closed."""
        cdef char text[256]
        cdef socklen_t n = sizeof(text)
        if self.closed or getsockopt(self.c.fd, IPPROTO_TCP, TCP_INFO, text, &n) < 0:
            return b""
        return text[:n]

    def wait(self):
        """Parsing stands still until ``resume``."""
        if not self.closed:
            self.c.flags |= WAITING
            watch(&self.kernel.k, self.c)

    def duplicate(self):
        """A descriptor of the same socket, for whoever shakes hands on it; the caller closes it."""
        cdef int fd
        if self.closed:
            raise ValueError("the connection is closed")
        fd = fcntl(self.c.fd, F_DUPFD_CLOEXEC, 0)
        if fd < 0:
            raise OSError(errno, "dup")
        return fd

    def secure(self, session not None, size_t ssl, size_t into, size_t out_of):
        """From now on this connection speaks TLS. It is waiting, and everything plain is out."""
        cdef Conn* c = self.c
        if self.closed:
            return
        if c.fd < 0 or c.tls != NULL or not c.flags & WAITING or c.pending or c.buf_len:
            raise ValueError("TLS cannot begin here")
        tls_begin(&self.kernel.k, c, ssl, into, out_of)
        self.session = session

    def compress(self, int level, limits_ns=()):
        cdef Conn* c = self.c
        cdef int i
        if not 0 <= level <= 3 or len(limits_ns) > 4 or any(limit < 0 for limit in limits_ns):
            raise ValueError("no such level, or no such limits")
        if self.closed:
            return
        if c.pack == NULL:
            if c.fd < 0 or not c.flags & WAITING:
                raise ValueError("compression cannot begin here")
            pack_begin(&self.kernel.k, c)
        c.pack.level = level
        for i in range(len(limits_ns)):
            c.pack.limits[i] = limits_ns[i]
        c.pack.nlimits = <uint8_t>len(limits_ns)

    @property
    def level(self):
        return None if self.c == NULL or self.c.pack == NULL else self.c.pack.level

    @property
    def carried(self):
        cdef Conn* c = self.c
        if c == NULL:
            return self.final_carried
        return {
            "in_plain": c.in_plain, "in_packed": c.in_packed, "in_socket": c.in_socket,
            "out_plain": c.out_plain, "out_packed": c.out_packed, "out_socket": c.out_socket,
        }

    @property
    def secured(self):
        """Whether it speaks TLS."""
        return self.session is not None

    def resume(self):
        if self.closed or not self.c.flags & WAITING:
            return
        self.c.flags &= ~<uint32_t>WAITING
        watch(&self.kernel.k, self.c)
        with nogil:
            _parse_kept(&self.kernel.k, self.c)
        self.kernel._after()

    def feed(self, bytes data not None):
        cdef Conn* c = self.c
        cdef const char* p = data
        cdef size_t n = len(data)
        if self.closed:
            return
        c.buf = <char*>must(realloc(c.buf, c.buf_len + n + 1))
        memcpy(c.buf + c.buf_len, p, n)
        c.buf_len += n
        c.buf_cap = c.buf_len + 1
        with nogil:
            _parse_kept(&self.kernel.k, c)
        self.kernel._after()

    def output(self):
        """Takes what waits for the peer of a connection without a socket."""
        cdef Chunk* t
        if self.c == NULL:
            data, self.left = self.left, b""
            return data
        parts = []
        t = self.c.out_head
        while t != NULL:
            parts.append(PyBytes_FromStringAndSize(<char*>(t + 1) + t.start, t.end - t.start))
            t = t.next
        release_output(&self.kernel.k, self.c)
        if self.c.flags & CLOSING or self.kernel.k.nstalled:  # whoever was held for this one may go on
            self.kernel._after()
        return b"".join(parts)

    @property
    def stats(self):
        """Counters as a dict; after the end, those of the end."""
        cdef Conn* c = self.c
        if c == NULL:
            return self.final
        return {
            "in_msgs": c.in_msgs, "in_bytes": c.in_bytes, "out_msgs": c.out_msgs, "out_bytes": c.out_bytes,
            "subscriptions": c.sub_count, "pending_bytes": c.pending, "rtt_ns": c.rtt_ns if c.rtt_ns else c.estimate_ns, "start_ns": c.start_ns,
            "last_ns": c.last_ns if c.last_ns > c.last_in_ns else c.last_in_ns, "stalls": c.stalls,
            "in_ns": c.last_in_ns, "pings_out": c.pings_out,
        }

    @property
    def out_msgs(self):
        """As in ``stats``, for whoever looks at many connections."""
        return self.c.out_msgs if self.c != NULL else self.final["out_msgs"]

    def subscriptions(self):
        """A list of (subject, queue, sid, delivered, max)."""
        cdef uint32_t i
        cdef Sub* s
        result = []
        if self.c != NULL:
            for i in range(self.c.sid_cap):
                s = self.c.sids[i]
                while s != NULL:
                    result.append(_describe(s))
                    s = s.next_sid
        return result


cdef void _forget_dirty(Core* k, Conn* c) noexcept nogil:
    cdef uint32_t i
    if c.flags & DIRTY:
        for i in range(k.ndirty):
            if k.dirty[i] is c:
                k.ndirty -= 1
                k.dirty[i] = k.dirty[k.ndirty]
                return


cdef dict _served(bytes data):
    """What ``tell_served`` has put together."""
    cdef ServedEvent* e = <ServedEvent*>PyBytes_AsString(data)
    return {
        "export_id": e.export_id, "status": e.status, "share": e.share != 0, "requester": e.requester,
        "responder": e.responder, "start_ns": e.start_ns, "end_ns": e.end_ns, "header": data[sizeof(ServedEvent):],
    }


cdef tuple _describe(Sub* s):
    cdef char* buf = <char*>must(malloc(65536))
    cdef size_t n = node_subject(s.node, buf, 65536)
    subject = PyBytes_FromStringAndSize(buf, n)
    free(buf)
    queue = PyBytes_FromStringAndSize(&s.group.name[0], s.group.name_len) if s.group != NULL else None
    return subject, queue, PyBytes_FromStringAndSize(&s.sid[0], s.sid_len), s.delivered, s.max


cdef uint32_t _publish(Kernel kernel, Account account, bytes subject, bytes reply, bytes header,
                       bytes body) except? 0xFFFFFFFF:
    """What it causes happens when the caller says so."""
    cdef Msg m
    cdef Core* k = &kernel.k
    cdef bytes whole = header + body
    cdef bytes sizes
    cdef uint32_t done
    if max(len(subject), len(reply)) > NAME_MAX or len(whole) >= 1 << 31:
        raise ValueError("subject, reply or message is too long")
    memset(&m, 0, sizeof(Msg))
    m.subject, m.subject_len = subject, <uint32_t>len(subject)
    m.reply, m.reply_len = reply, <uint32_t>len(reply)
    m.client_reply_len = m.reply_len
    m.body, m.size = whole, <uint32_t>len(whole)
    m.header_len = <uint32_t>len(header)
    m.has_header = m.header_len > 0
    sizes = b"%d %d" % (m.header_len, m.size) if m.header_len else b"%d" % m.size
    m.sizes, m.sizes_len = sizes, <uint32_t>len(sizes)
    k.internal.account = account.a
    k.internal.last_plan = NULL
    done = deliver(k, &k.internal, &m, plan_for(k, account.a, &k.internal, m.subject, m.subject_len))
    k.internal.last_plan = NULL
    subs_expire(k)
    k.stall_on = NULL
    return done


cdef bint _listened(Account account, bytes subject) except -1:
    cdef Node* node = sublist_node(&account.a.subs, subject, len(subject), False)
    return node != NULL and (node.nsubs > 0 or node.groups != NULL)


cdef class Kernel:
    def __cinit__(self):
        memset(&self.k, 0, sizeof(Core))
        self.k.epoll_fd = self.k.timer_fd = -1

    def __init__(self, events, *, uint64_t seed):
        cdef epoll_event ev
        cdef Core* k = &self.k
        self.events = events
        self.accounts = {}
        self.callbacks = {}
        k.seed = seed
        k.random = (seed ^ <uint64_t>0x9E3779B97F4A7C15) | 1
        k.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        k.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if k.epoll_fd < 0 or k.timer_fd < 0:
            raise OSError(errno, "epoll or timerfd")
        memset(&ev, 0, sizeof(ev))
        ev.events = EPOLLIN
        epoll_ctl(k.epoll_fd, EPOLL_CTL_ADD, k.timer_fd, &ev)
        k.scratch = <char*>must(malloc(SCRATCH))
        k.recv_buf = <char*>must(malloc(CARRY_MAX + READ_MAX + 16))
        k.internal.kind = SYSTEM
        k.internal.fd = -1
        k.internal.flags = CONNECTED | ECHO | HEADERS
        k.build_stamp = 1
        k.cross = cross
        k.reply_random = (seed * <uint64_t>0xD1342543DE82EF95 + 1) | 1
        next_random(&k.reply_random)
        k.inbox_serial = 1
        self.open = True
        self.set_limits()

    def set_limits(self, *, uint32_t max_control_line=4096, uint32_t max_sub_tokens=0, uint64_t max_pending=64 << 20,
                   uint64_t write_deadline_ns=10_000_000_000, uint64_t leaf_write_deadline_ns=10_000_000_000,
                   uint64_t ping_interval_ns=120_000_000_000,
                   uint32_t ping_max=2, bint stall=True, size_t stall_bytes=4 << 20, uint64_t stall_ns=5_000_000,
                   size_t plan_bytes_max=48 << 20, uint64_t linger_ns=0, uint32_t replies_max=1 << 16):
        cdef Core* k = &self.k
        if not 1 <= max_control_line <= 65000:
            raise ValueError("max_control_line has to be between 1 and 65000")
        k.max_control_line = max_control_line
        k.max_sub_tokens = max_sub_tokens
        k.max_pending = <size_t>min(max_pending, <uint64_t>PY_SSIZE_T_MAX)  # what a machine of 32 bits can count
        k.write_deadline_ns = write_deadline_ns
        k.leaf_write_deadline_ns = leaf_write_deadline_ns
        k.ping_interval_ns = ping_interval_ns
        k.ping_max = ping_max
        k.stall_enabled = stall
        k.stall_bytes = min(stall_bytes, k.max_pending // 4 * 3)
        k.stall_ns = stall_ns if stall_ns else 1  # a timer set to 0 would never end it
        k.plan_bytes_max = plan_bytes_max
        k.linger_ns = min(linger_ns, 1_000_000)
        k.replies_max = max(replies_max, 1)

    def introduce(self, bytes mark not None, bytes server not None):
        cdef Core* k = &self.k
        if len(mark) != sizeof(k.server_mark) or len(server) > IDENTITY_MAX:
            raise ValueError("the mark has 8 bytes")
        memcpy(k.server_mark, PyBytes_AsString(mark), sizeof(k.server_mark))
        free(k.system_tail)
        k.system_tail = <char*>must(malloc(len(server) + 1))
        k.system_tail_len = <uint32_t>len(server)
        memcpy(k.system_tail, PyBytes_AsString(server), len(server))

    def fileno(self):
        return self.k.epoll_fd

    def account(self, str name not None, *, bint system=False):
        cdef Account account = self.accounts.get(name)
        if account is None:
            account = Account.__new__(Account)
            account.a = <AccountState*>must(calloc(1, sizeof(AccountState)))
            sublist_init(&account.a.subs, self.k.seed)
            account.a.generation = 1
            account.a.index = <uint32_t>len(self.accounts)
            account.a.is_system = system
            account.kernel = self
            account.name = name
            account._name_as_json()
            account.a.next = self.k.accounts
            self.k.accounts = account.a
            self.accounts[name] = account
        return account

    def attach(self, int fd, int kind, uint64_t cid, Account account not None, uint64_t now_ns, *, bint must_auth=False,
               uint64_t deadline_ns=0, uint64_t ping_due_ns=0, uint32_t max_payload=1 << 20, int64_t max_subs=-1,
               bint trace=False, bint may_agree=False):
        cdef Core* k = &self.k
        cdef Connection conn = Connection.__new__(Connection)
        cdef Conn* c
        if not self.open:
            raise ValueError("the kernel is closed")
        c = <Conn*>must(calloc(1, sizeof(Conn)))
        c.fd = fd
        c.kind = <unsigned char>kind
        c.cid = cid
        c.account = account.a
        c.owner = <void*>conn
        c.start_ns = c.last_ns = c.last_in_ns = now_ns
        c.deadline_ns = deadline_ns
        due(k, deadline_ns)
        c.ping_due_ns = ping_due_ns
        due(k, ping_due_ns)
        c.max_payload = max_payload
        c.max_subs = _bound(max_subs)
        c.flags = ECHO
        if kind == CLIENT:
            c.flags |= VERBOSE | PEDANTIC  # what holds for a client that never sends CONNECT
        if must_auth:
            c.flags |= MUST_AUTH
        if trace:
            c.flags |= TRACE
        if may_agree:
            c.flags |= MAY_AGREE
        k.serial += 1
        c.serial = k.serial
        c.next = k.conns
        if k.conns != NULL:
            k.conns.prev = c
        k.conns = c
        k.nconns += 1
        conn.c = c
        conn.kernel = self
        conn.cid = cid
        conn.kind = kind
        conn.account = account
        conn.left = b""
        Py_INCREF(conn)  # the kernel's own reference, given back when the end was reported
        watch(k, c)
        return conn

    def tick(self, uint64_t now_ns):
        cdef size_t total = 0
        cdef size_t n = 0
        cdef int rounds = 0
        cdef int lingers = 0
        cdef bint more
        cdef uint64_t begin = 0
        cdef Core* k = &self.k
        k.now_ns = now_ns
        if k.linger_ns:
            begin = _monotonic_ns()
        self.busy = True
        try:
            while total < TICK_BYTES and rounds < TICK_ROUNDS:
                if begin and rounds + lingers:  # what was waited for has its own time
                    k.now_ns = now_ns + _monotonic_ns() - begin
                with nogil:
                    n = _round(k)
                self._tell()
                if n == 0:
                    if total == 0 or k.linger_ns == 0 or lingers == TICK_LINGERS or not self.open:
                        break
                    lingers += 1
                    with nogil:
                        more = _spin(k)
                    if not more:
                        break
                    continue
                total += n
                rounds += 1
        finally:
            self.busy = False

    def sweep(self, uint64_t now_ns):
        self.k.now_ns = now_ns
        _sweep(&self.k, now_ns)
        self._after()
        return self.k.due_ns

    @property
    def due_ns(self):
        return self.k.due_ns

    def set_now(self, uint64_t now_ns):
        self.k.now_ns = now_ns

    cdef _after(self):
        """Whatever Python did outside of a tick takes effect now; inside, at the tick's end."""
        if not self.busy:
            self.busy = True
            try:
                self._tell()
            finally:
                self.busy = False

    cdef _tell(self):
        """Reports until nothing is left to report; what Python does in answer may make more."""
        cdef Core* k = &self.k
        cdef Conn* c
        problem = None
        while True:
            with nogil:
                _settle(k)
            if k.nevents == 0 and k.closed == NULL and k.ninbox == 0:
                break
            for step in (self._tell_events, self._tell_inbox, self._tell_closed):
                try:
                    step()
                except Exception as error:  # a fault in one handler must not keep the others from being told
                    problem = error
        if problem is not None:
            raise problem

    def _tell_events(self):
        cdef Event* list = self.k.events
        cdef uint32_t count = self.k.nevents
        cdef uint32_t i
        problem = None
        told = []
        self.k.events = NULL
        self.k.nevents = self.k.event_cap = 0
        for i in range(count):  # all first: whoever is told may close the kernel, and the Conns with it
            data = PyBytes_FromStringAndSize(list[i].data, list[i].length)
            free(list[i].data)
            told.append((list[i].type, None if list[i].type == EV_SERVED else <Connection>list[i].conn.owner, data))
        free(list)
        for kind, conn, data in told:
            try:
                self._tell_one(kind, conn, data)
            except Exception as error:
                problem = error
        if problem is not None:
            raise problem

    cdef _tell_one(self, int type, Connection conn, bytes data):
        if type == EV_CONNECT:
            if not conn.closed:
                self.events.on_connect(conn, data)
        elif type == EV_INFO:
            if not conn.closed:
                self.events.on_info(conn, data)
        elif type == EV_ERR:
            self.events.on_err(conn, data)
        elif type == EV_LOOP:
            if not conn.closed:
                self.events.on_loop(conn)
        elif type == EV_ERRORED:
            self.events.on_complaint(conn, data)
        elif type == EV_SERVED:
            self.events.on_served(_served(data))
        else:
            self.events.on_trace(conn, {EV_TRACE_IN: "<<-", EV_TRACE_OUT: "->>"}.get(type, "MSG_PAYLOAD"), data)

    def _tell_inbox(self):
        cdef Inbox* list = self.k.inbox
        cdef uint32_t count = self.k.ninbox
        cdef uint32_t i
        cdef char* p
        problem = None
        self.k.inbox = NULL
        self.k.ninbox = self.k.inbox_cap = 0
        self.k.inbox_bytes = 0
        self.k.inbox_serial += 1
        for i in range(count):
            p = list[i].data
            subject = PyBytes_FromStringAndSize(p, list[i].subject_len)
            p += list[i].subject_len
            reply = PyBytes_FromStringAndSize(p, list[i].reply_len)
            p += list[i].reply_len
            header = PyBytes_FromStringAndSize(p, list[i].header_len)
            body = PyBytes_FromStringAndSize(p + list[i].header_len, list[i].size - list[i].header_len)
            free(list[i].data)
            entry = self.callbacks.get(list[i].callback)
            self.source_cid = list[i].cid
            if entry is None or entry[1] is None:
                continue
            try:
                entry[1](subject, reply, header, body)
            except Exception as error:
                problem = error
        free(list)
        if problem is not None:
            raise problem

    def _tell_closed(self):
        cdef Conn* c
        cdef Connection conn
        problem = None
        while self.k.closed != NULL:
            c = self.k.closed
            self.k.closed = c.next_doomed
            conn = <Connection>c.owner
            conn.final, conn.final_carried = conn.stats, conn.carried
            reason = c.reason
            conn.left = conn.output() if c.fd < 0 else b""
            conn.c = NULL
            _forget_dirty(&self.k, c)
            free(c.first_info)
            free(c.tls)
            pack_free(&self.k, c)
            free(c.identity)
            free(c)
            conn.session = None
            try:
                self.events.on_closed(conn, Reason(reason))
            except Exception as error:
                problem = error
            conn.owner = None
            Py_DECREF(conn)
        if problem is not None:
            raise problem

    def publish(self, Account account not None, bytes subject not None, bytes reply=b"", bytes header=b"", bytes body=b""):
        cdef uint32_t done = _publish(self, account, subject, reply, header, body)
        self._after()
        return done

    def publish_all(self, Account account not None, messages not None):
        try:
            for subject, header, body in messages:
                _publish(self, account, subject, b"", header, body)
        finally:
            self._after()

    def unlistened(self, Account account not None, subjects not None):
        cdef bytes subject
        found = []
        for subject in subjects:
            if not _listened(account, subject):
                found.append(subject)
        return found

    def listened(self, Account account not None, bytes subject not None):
        return _listened(account, subject)

    def interested(self, Account account not None, bytes subject not None):
        cdef Plan* p = plan_for(&self.k, account.a, &self.k.internal, subject, min(len(subject), NAME_MAX))
        self.k.internal.last_plan = NULL
        return p.ntargets + p.nforeign + p.nlinks + p.ngroups > 0

    def subscribe(self, Account account not None, bytes subject not None, bytes queue, callback):
        cdef bytes sid
        cdef Sub* s
        if not valid_subject(subject, len(subject), False) or max(len(subject), len(queue or b"")) > NAME_MAX:
            raise ValueError(f"not a subject to subscribe to: {subject!r}")
        self.callbacks_made += 1
        ident = self.callbacks_made
        sid = b"%d" % ident
        self.k.internal.account = account.a
        s = sub_add(&self.k, &self.k.internal, subject, len(subject), queue or b"", len(queue or b""), sid, len(sid), 1)
        s.callback = ident
        self.callbacks[ident] = (account, callback)
        self._after()  # who hears something in it may subscribe as well
        return ident

    cdef int pass_on(self, Account account, bytes subject, bytes header, bytes body) except -1:
        _publish(self, account, subject, b"", header, body)
        return 0

    cdef void sink(self, uint32_t ident, sink_fn take, void* context):
        cdef bytes sid = b"%d" % ident
        cdef Account account = self.callbacks[ident][0]
        cdef Sub* s
        self.k.internal.account = account.a
        s = sub_find(&self.k, &self.k.internal, sid, len(sid))
        s.sink, s.sink_context = take, context

    cdef void employ(self, work_fn work, work_fn say, void* context):
        self.k.work, self.k.say, self.k.work_context = work, say, context

    def watch(self, int fd):
        cdef epoll_event ev
        memset(&ev, 0, sizeof(ev))
        ev.events = EPOLLIN | EPOLLET  # nobody has to read it
        ev.data.ptr = &self.k
        if epoll_ctl(self.k.epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0:
            raise OSError(errno, "epoll_ctl")

    def settle(self):
        self._after()

    def unsubscribe(self, uint32_t ident):
        cdef Sub* s
        cdef bytes sid = b"%d" % ident
        cdef Account account
        account, _ = self.callbacks.pop(ident)
        self.k.internal.account = account.a
        s = sub_find(&self.k, &self.k.internal, sid, len(sid))
        if s != NULL:
            sub_remove(&self.k, s)
        self._after()

    @property
    def totals(self):
        cdef Core* k = &self.k
        return {
            "in_msgs": k.in_msgs, "in_bytes": k.in_bytes, "out_msgs": k.out_msgs, "out_bytes": k.out_bytes,
            "subscriptions": k.subs, "connections": k.nconns, "slow_clients": k.slow_clients,
            "slow_leafs": k.slow_leafs, "stale_clients": k.stale_clients, "stale_leafs": k.stale_leafs,
            "stalled_clients": k.stalled_clients, "inbox_dropped": k.inbox_dropped,
        }

    def connections(self):
        cdef Conn* c = self.k.conns
        result = []
        while c != NULL:
            result.append(<Connection>c.owner)
            c = c.next
        return result

    def close(self):
        """Closes every connection without further reports and frees everything."""
        cdef Core* k = &self.k
        cdef Conn* c
        cdef uint32_t i
        cdef Account account
        cdef Connection conn
        if not self.open:
            return
        for conn in self.connections():
            conn.close(SERVER_SHUTDOWN)
        self._tell()
        for conn in self.connections():  # sockets that did not take their last bytes
            release_output(k, conn.c)
            _last_words(k, conn.c)
        self._tell()
        self.open = False
        for account in self.accounts.values():
            k.internal.account = account.a
        self._drop_internal()
        for account in self.accounts.values():
            mappings_free(k, account.a)
            services_free(k, account.a)
            replies_free(k, account.a)
            crossing_free(k, account.a)
        for account in self.accounts.values():
            streams_free(account.a)
            plans_clear(account.a)
            sublist_clear(&account.a.subs)
        k.accounts = NULL
        self._free_scratch()
        close(k.epoll_fd)
        close(k.timer_fd)
        k.epoll_fd = k.timer_fd = -1

    cdef _drop_internal(self):
        """Subscriptions of the server itself; each may be of another account."""
        for ident in list(self.callbacks):
            self.unsubscribe(ident)
        free(self.k.internal.sids)
        self.k.internal.sids = NULL
        self.k.internal.sid_cap = 0

    cdef _free_scratch(self):
        cdef Core* k = &self.k
        release_pools(k)
        for pointer in (<size_t>k.scratch, <size_t>k.recv_buf, <size_t>k.seal_buf, <size_t>k.tokens, <size_t>k.matched,
                        <size_t>k.plan_nodes, <size_t>k.plan_buf, <size_t>k.seen, <size_t>k.picks, <size_t>k.dirty,
                        <size_t>k.events, <size_t>k.inbox, <size_t>k.expired, <size_t>k.stalled,
                        <size_t>k.crossings, <size_t>k.system_tail, <size_t>k.local_buf, <size_t>k.mapped_buf,
                        <size_t>k.made_buf, <size_t>k.plain_buf, <size_t>k.gather_buf, <size_t>k.packed_buf,
                        <size_t>k.hash_table, <size_t>k.chains):
            free(<void*><size_t>pointer)
        k.scratch = k.recv_buf = k.seal_buf = NULL
        k.tokens = NULL
        k.matched = k.plan_nodes = NULL
        k.plan_buf = k.system_tail = k.local_buf = k.mapped_buf = k.made_buf = NULL
        k.plain_buf = k.gather_buf = k.packed_buf = NULL
        k.hash_table = NULL
        k.chains = NULL
        k.plain_cap = 0
        k.crossings = NULL
        k.crossing_cap = k.ncrossings = k.system_tail_len = 0
        k.seen = NULL
        k.picks = NULL
        k.dirty = k.stalled = NULL
        k.events = NULL
        k.inbox = NULL
        k.expired = NULL
        k.dirty_cap = k.event_cap = k.inbox_cap = k.expired_cap = k.stalled_cap = 0
        k.matched_cap = k.plan_node_cap = k.plan_buf_cap = k.pick_cap = 0
        k.ndirty = k.nevents = k.ninbox = k.nexpired = k.nstalled = 0

    def __dealloc__(self):
        self._free_scratch()
        if self.k.epoll_fd >= 0:
            close(self.k.epoll_fd)
        if self.k.timer_fd >= 0:
            close(self.k.timer_fd)
