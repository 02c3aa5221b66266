"""The engine: what happens at the end of each round, and the Python face of streams (engine.pyi).

The order of a round's work is a promise: what the disk has finished is noted; the next batch is handed to it, so that
disk and network work side by side; answers that are safe go out; consumers are told what has become visible and hand
out messages. Nothing is visible, and nothing is acknowledged, before its batch is safe.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from phloem.shared.kernel.output cimport due
from phloem.shared.kernel.reactor cimport Account, Kernel
from phloem.shared.kernel.sublist cimport must
from phloem.shared.kernel.types cimport ECHO, CONNECTED, HEADERS, SYSTEM, Conn, Core, Msg
from phloem.shared.store.journal cimport journal_reap, journal_submit, journal_sync
from phloem.shared.store.log cimport Log_
from phloem.shared.store.store cimport Store
from phloem.shared.store.types cimport SEQ_GIVEN_MAX

from . cimport types
from .answers cimport answer_ack, answer_duplicate, answer_durable, answer_message, answers_forget, answers_free, answers_send
from .direct cimport api_take, direct_take
from .consumer cimport ack_take, consumers_work, consumers_write_notes, flow_take
from .message_ids cimport MessageIds, ids_join, ids_leave, ids_work
from .stream cimport stream_acked, stream_fits, stream_forget_unwanted, stream_limits, stream_news, stream_removed, stream_store, stream_take, stream_visible, stream_wanted

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t write(int fd, const void* buf, size_t n)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

LIMITS, INTEREST, WORK_QUEUE = types.LIMITS, types.INTEREST, types.WORK_QUEUE


cdef void _system(Conn* c) noexcept nogil:
    """A source of messages that is no connection."""
    memset(c, 0, sizeof(Conn))
    c.kind = SYSTEM
    c.fd = -1
    c.flags = CONNECTED | ECHO | HEADERS


cdef void wake(types.Engine* g) noexcept nogil:
    """Another round comes soon, whether or not anything arrives."""
    cdef uint64_t one = 1
    if not g.woken:
        g.woken = 1
        write(g.wake_fd, &one, 8)


cdef void _sync_in_time(types.Engine* g, uint64_t now) noexcept nogil:
    if not g.journal.unsynced:
        g.unsynced_ns = 0
    elif g.unsynced_ns == 0:
        g.unsynced_ns = now
    elif now >= g.unsynced_ns + g.sync_interval_ns:
        g.unsynced_ns = 0
        journal_sync(g.journal)
        return
    if g.unsynced_ns:
        due(g.core, g.unsynced_ns + g.sync_interval_ns)


cdef void _work(void* context, Core* k) noexcept nogil:
    cdef types.Engine* g = <types.Engine*>context
    cdef uint32_t i
    cdef uint32_t kept = 0
    cdef types.Stream* s
    g.woken = 0
    if g.journal != NULL:
        journal_reap(g.journal)
        _sync_in_time(g, k.now_ns)
        consumers_write_notes(g)
        journal_submit(g.journal)
        g.gate.pending = g.journal.pending_bytes
    answers_send(g)
    for i in range(g.nnews):
        s = g.news[i]
        stream_visible(s)
        if s.told_seq < s.log.last_seq and not s.gone:
            g.news[kept] = s
            kept += 1
        else:
            s.news = 0
    g.nnews = kept
    consumers_work(g)
    ids_work(g)
    if g.nevents:
        with gil:
            (<Engine>g.owner)._tell()
    if g.more:
        g.more = 0
        wake(g)


cdef void _say(void* context, Core* k) noexcept nogil:
    answers_send(<types.Engine*>context)


cdef class Engine:
    def __init__(self, Kernel kernel not None, store=None):
        self.kernel = kernel
        self.store = store
        self.streams = set()
        self.told = []
        memset(&self.g, 0, sizeof(types.Engine))
        self.g.core = &kernel.k
        self.g.owner = <void*>self
        _system(&self.g.source)
        _system(&self.g.gate)
        self.g.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.g.wake_fd < 0:
            raise OSError(errno, "eventfd")
        kernel.watch(self.g.wake_fd)
        if store is not None:
            self.g.journal = &(<Store>store).j
            kernel.watch(store.fileno())
            kernel.watch(store.timer_fileno())
        kernel.employ(_work, _say, &self.g)

    cdef void _tell(self) noexcept:
        """What consumers have to say; a fault in one handler is the loop's to report, the others are told all the same."""
        cdef types.Event* list = self.g.events
        cdef uint32_t i
        cdef uint32_t n = self.g.nevents
        self.g.events = NULL
        self.g.nevents = self.g.event_cap = 0
        for i in range(n):
            if list[i].consumer == NULL:
                continue
            self.told.append((<object>list[i].consumer.owner, list[i].what, list[i].stream_seq, list[i].consumer_seq,
                              list[i].deliveries, list[i].ns))
        free(list)

    def leave_direct_gets(self, uint32_t ident):
        self.kernel.sink(ident, api_take, NULL)

    def take_events(self):
        told, self.told = self.told, []
        return told

    def hear(self, Account account not None, callback):
        """Acknowledgements and flow control of an account's consumers."""
        cdef Kernel kernel = self.kernel
        for subject, sink in ((b"$JS.ACK.>", 0), (b"$JS.FC.>", 1)):
            ident = kernel.subscribe(account, subject, None, callback)
            if sink == 0:
                kernel.sink(ident, ack_take, &self.g)
            else:
                kernel.sink(ident, flow_take, &self.g)

    def wake(self):
        wake(&self.g)

    def set_sync_interval(self, uint64_t ns):
        self.g.sync_interval_ns = ns

    def set_scoped_replies(self, bint on):
        self.g.scoped_replies = on

    def set_clock(self, int64_t wall_offset_ns):
        self.g.wall_offset_ns = wall_offset_ns

    def answer(self, Account account not None, bytes subject not None, bytes header not None, bytes payload not None,
               Log_ log=None, *, bint durable=False):
        if durable:
            answer_durable(&self.g, account.a, subject, <uint32_t>len(subject), header, <uint32_t>len(header), payload,
                           <uint32_t>len(payload))
            wake(&self.g)
            return
        answer_message(&self.g, NULL if log is None else log.l, account.a, subject, <uint32_t>len(subject), header,
                       <uint32_t>len(header), payload, <uint32_t>len(payload))
        wake(&self.g)

    def close(self):
        if self.g.wake_fd < 0:
            return
        for stream in list(self.streams):
            stream.close()
        self.kernel.employ(NULL, NULL, NULL)
        close(self.g.wake_fd)
        self.g.wake_fd = -1

    def __dealloc__(self):
        answers_free(&self.g)
        free(self.g.news)
        free(self.g.busy)
        free(self.g.noting)
        free(self.g.consumers)
        free(self.g.by_name)
        free(self.g.events)
        free(self.g.scratch)
        free(self.g.lent)


cdef class Quota:
    def __init__(self, int64_t limit):
        self.q.limit = limit

    @property
    def used(self):
        return self.q.used

    @used.setter
    def used(self, int64_t value):
        self.q.used = value

    @property
    def limit(self):
        return self.q.limit

    @limit.setter
    def limit(self, int64_t value):
        self.q.limit = value


cdef class Stream:
    def __init__(self, Engine engine not None, Account account not None, Log_ log not None, bytes name not None,
                 bytes domain not None, bytes account_hash not None, take):
        cdef types.Stream* s = &self.s
        cdef bytes head = b'{"stream":"' + name + b'"'
        if domain:
            head += b',"domain":"' + domain + b'"'
        head += b',"seq":'
        cdef bytes scope = (domain or b"_") + b"." + account_hash
        if len(scope) > 300:
            raise ValueError("a domain has at most 255 bytes")
        memset(s, 0, sizeof(types.Stream))
        self.engine, self.account, self.log, self.name, self.callback = engine, account, log, name, take
        self.listening = {}
        s.engine, s.account, s.log = &engine.g, account.a, log.l
        s.owner = <void*>self
        s.acked = stream_acked
        _system(&s.source)
        s.source.account = account.a
        s.ack_head_len = <uint32_t>len(head)
        s.ack_head = <char*>must(malloc(len(head)))
        memcpy(s.ack_head, <const char*>head, len(head))
        s.scope, s.scope_len = <char*>must(malloc(len(scope))), <uint32_t>len(scope)
        memcpy(s.scope, <const char*>scope, len(scope))
        s.name, s.name_len = PyBytes_AS_STRING(name), <uint32_t>len(name)
        s.max_msgs = s.max_bytes = s.max_per_subject = s.max_msg_size = -1
        s.told_seq = log.l.visible_seq
        self.ids = MessageIds(log, b"" if log.l.memory else os.fsencode(engine.store.folder))
        s.ids = &self.ids.ids
        ids_join(s.engine, s.ids)
        log.l.removed, log.l.removed_context = stream_removed, s
        engine.streams.add(self)

    def configure(self, *, bint slow, int retention, bint no_ack, bint sealed, bint discard_new,
                  bint discard_new_per_subject, int64_t max_msgs, int64_t max_bytes, int64_t max_msgs_per_subject,
                  int64_t max_msg_size, Quota quota):
        cdef types.Stream* s = &self.s
        s.slow = types.SLOW_ALWAYS if slow else 0
        s.retention = <unsigned char>retention
        s.no_ack, s.sealed = no_ack, sealed
        s.discard_new, s.discard_new_per_subject = discard_new, discard_new_per_subject
        s.max_msgs, s.max_bytes, s.max_per_subject, s.max_msg_size = max_msgs, max_bytes, max_msgs_per_subject, max_msg_size
        if self.quota is not None:
            self.quota.q.used -= <int64_t>s.counted_bytes
        self.quota = quota
        s.quota, s.counted_bytes = NULL, 0
        if quota is not None:
            s.quota = &quota.q
        if not sealed:
            stream_limits(s)
        self.changed()

    def listen(self, subjects):
        cdef Kernel kernel = self.engine.kernel
        wanted = set(subjects)
        for subject in [one for one in self.listening if one not in wanted]:
            kernel.unsubscribe(self.listening.pop(subject))
        for subject in wanted.difference(self.listening):
            ident = kernel.subscribe(self.account, subject, None, self.callback)
            kernel.sink(ident, stream_take, &self.s)
            self.listening[subject] = ident

    def serve_direct(self, uint32_t ident):
        self.engine.kernel.sink(ident, direct_take, &self.s)

    def store(self, bytes subject not None, bytes header not None, bytes payload not None, int64_t ts, uint64_t seq=0):
        cdef bytes body = header + payload
        if seq and seq <= self.s.log.last_seq:
            raise ValueError(f"sequence {seq} was given out already, the last is {self.s.log.last_seq}")
        if seq > SEQ_GIVEN_MAX:
            raise ValueError(f"sequence {seq} is above 2^61")
        seq = stream_store(&self.s, seq, ts, subject, <uint32_t>len(subject), body, <uint32_t>len(header),
                           <uint32_t>len(body))
        wake(&self.engine.g)
        return seq

    def take_all(self, messages not None):
        cdef types.Stream* s = &self.s
        cdef Kernel kernel = self.engine.kernel
        cdef uint32_t stored = 0
        cdef Msg m
        cdef bytes subject, header, payload
        memset(&m, 0, sizeof(Msg))
        try:
            for subject, header, payload in messages:
                m.subject, m.subject_len = subject, <uint32_t>len(subject)
                m.header_len, m.size = <uint32_t>len(header), <uint32_t>(len(header) + len(payload))
                if s.slow & types.SLOW_ALWAYS or s.waiting == kernel.k.inbox_serial or not stream_fits(s, &m):
                    break  # before others hear it, who would hear it twice
                s.group = types.GROUP_OPEN
                kernel.pass_on(self.account, subject, header, payload)
                if s.group != types.GROUP_STORED:
                    break
                stored += 1
        finally:
            s.group = types.NO_GROUP
            wake(&self.engine.g)
        return stored

    def full(self, uint64_t size):
        cdef types.Stream* s = &self.s
        if s.max_msgs >= 0 and s.log.messages >= <uint64_t>s.max_msgs:
            return 1
        return 2 if s.max_bytes >= 0 and s.log.bytes + size > <uint64_t>s.max_bytes else 0

    def wanted(self, bytes subject not None):
        return stream_wanted(&self.s, self.s.log.last_seq + 1, subject, <uint32_t>len(subject))

    def release(self, uint64_t seq):
        stream_acked(&self.s, NULL, seq)

    def forget_unwanted(self):
        stream_forget_unwanted(&self.s)
        wake(&self.engine.g)

    def ack(self, uint64_t seq, bytes reply not None, *, bint duplicate=False):
        if duplicate:
            answer_duplicate(&self.engine.g, &self.s, seq, reply, <uint32_t>len(reply))
        else:
            answer_ack(&self.engine.g, &self.s, seq, reply, <uint32_t>len(reply))
        wake(&self.engine.g)

    def changed(self):
        if self.s.quota != NULL:
            self.s.quota.used += <int64_t>self.s.log.bytes - <int64_t>self.s.counted_bytes
            self.s.counted_bytes = self.s.log.bytes
        stream_news(&self.s)
        wake(&self.engine.g)

    def close(self):
        cdef types.Engine* g = &self.engine.g
        cdef uint32_t i
        cdef uint32_t kept = 0
        if self.s.gone:
            return
        self.listen(())
        self.s.gone = 1
        self.log.l.removed = NULL
        ids_leave(g, self.s.ids)
        self.ids.clear()
        answers_forget(g, &self.s)
        for i in range(g.nnews):
            if g.news[i] is not &self.s:
                g.news[kept] = g.news[i]
                kept += 1
        g.nnews = kept
        if self.quota is not None:
            self.quota.q.used -= <int64_t>self.s.counted_bytes
            self.s.counted_bytes = 0
            self.s.quota = NULL
        self.engine.streams.discard(self)

    def __dealloc__(self):
        free(self.s.ack_head)
        free(self.s.scope)
        free(self.s.consumers)
