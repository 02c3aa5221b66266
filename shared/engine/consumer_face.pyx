"""The Python face of consumers: creation, requests, rare kinds of acknowledgements, state that outlives the process.

A snapshot is a format number, positions and floors, and what is pending; a note (consumer.pyx) is what was handed out
and acknowledged since. Restoring applies the notes in order.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.kernel.types cimport CONNECTED, ECHO, HEADERS, SYSTEM
from phloem.shared.store.log cimport filter_add, filter_clear
from phloem.shared.store.types cimport Filter
from phloem.shared.store.varint cimport get_varint, put_varint

from . cimport types
from .consumer cimport (
    consumer_ack, consumer_apply_ack, consumer_enter, consumer_kick, consumer_leave, consumer_nak, consumer_note,
    consumer_recount, consumer_used, due_after,
)
from .engine cimport Engine, Stream, wake
from .pending cimport given_up_add, pending_add, pending_clear, pending_find, wait_until
from .pull cimport somebody_listens, pull_join, pull_leave, pull_new, pulls_end, say_status, soon, unpin

ACK_NONE, ACK_ALL, ACK_EXPLICIT, ACK_FLOW = types.ACK_NONE, types.ACK_ALL, types.ACK_EXPLICIT, types.ACK_FLOW
NO_PRIORITY, OVERFLOW, PINNED, PRIORITIZED = types.NO_PRIORITY, types.OVERFLOW, types.PINNED, types.PRIORITIZED
INACTIVE, MAX_DELIVERIES, NAKED, TERMINATED = types.INACTIVE, types.MAX_DELIVERIES, types.NAKED, types.TERMINATED
ACKED, PIN_SET, PIN_LOST, RESUMED = types.ACKED, types.PIN_SET, types.PIN_LOST, types.RESUMED

cdef enum:
    FORMAT = 1


cdef char* _copy(bytes text) except NULL:
    cdef char* to = <char*>must(malloc(len(text) + 1))
    memcpy(to, PyBytes_AS_STRING(text), len(text))
    return to


cdef class Consumer:
    def __init__(self, Stream stream not None, bytes name not None, uint32_t ident, *, uint64_t start_seq,
                 last_seqs=(), bint durable_state):
        cdef types.Consumer* c = &self.c
        cdef bytes head = b"$JS.ACK." + stream.name + b"." + name + b"."
        cdef uint64_t i
        if len(head) > 600:
            raise ValueError("names of streams and consumers have at most 255 bytes")
        memset(c, 0, sizeof(types.Consumer))
        self.engine, self.stream, self.name = stream.engine, stream, name
        c.stream = &stream.s
        c.owner = <void*>self
        c.ident = ident
        c.name, c.name_len = _copy(name), <uint32_t>len(name)
        c.ack_head, c.ack_head_len = _copy(head), <uint32_t>len(head)
        c.source.kind, c.source.fd, c.source.flags = SYSTEM, -1, CONNECTED | ECHO | HEADERS
        c.source.account = stream.account.a
        c.durable_state = durable_state
        c.next_seq = start_seq if start_seq else 1
        c.delivered_stream = c.floor_stream = c.next_seq - 1
        c.nlast = len(last_seqs)
        c.last_seqs = <uint64_t*>must(malloc((c.nlast + 1) * sizeof(uint64_t)))
        for i, seq in enumerate(last_seqs):
            c.last_seqs[i] = seq
        if c.nlast:
            c.delivered_stream = c.floor_stream = last_seqs[0] - 1
        c.window = 2 << 20
        c.last_used_ns = c.noted_ns = self.engine.g.core.now_ns
        c.stream.consumers = <types.Consumer**>grow(c.stream.consumers, &c.stream.consumer_cap, c.stream.nconsumers + 1,
                                                    sizeof(types.Consumer*))
        c.stream.consumers[c.stream.nconsumers] = c
        c.stream.nconsumers += 1
        consumer_enter(&self.engine.g, c)
        self.open = True

    def configure(self, *, filters, int ack_policy, uint64_t ack_wait_ns, backoff_ns, int64_t max_deliver,
                  int64_t max_ack_pending, int64_t max_waiting, bytes deliver_subject not None,
                  bytes deliver_group not None, bint headers_only, bint replay_original, bint flow_control,
                  uint64_t heartbeat_ns, uint64_t rate_bytes, uint64_t inactive_ns, int priority_policy,
                  uint64_t pin_ttl_ns, bint samples):
        cdef types.Consumer* c = &self.c
        cdef uint32_t i
        filter_clear(&c.filter)
        for one in filters:
            filter_add(&c.filter, one, len(one))
        c.ack_policy = <unsigned char>ack_policy
        c.ack_wait_ns = ack_wait_ns
        free(c.backoff_ns)
        c.nbackoff = <uint32_t>len(backoff_ns)
        c.backoff_ns = <uint64_t*>must(malloc((c.nbackoff + 1) * sizeof(uint64_t)))
        for i, wait in enumerate(backoff_ns):
            c.backoff_ns[i] = wait
        c.max_deliver, c.max_ack_pending, c.max_waiting = max_deliver, max_ack_pending, max_waiting
        free(c.deliver_subject)
        free(c.deliver_group)
        c.deliver_subject, c.deliver_len = _copy(deliver_subject), <uint32_t>len(deliver_subject)
        c.deliver_group, c.group_len = _copy(deliver_group), <uint32_t>len(deliver_group)
        c.push = len(deliver_subject) > 0
        c.headers_only, c.replay_original, c.flow_control = headers_only, replay_original, flow_control
        c.heartbeat_ns, c.rate_bytes, c.inactive_ns = heartbeat_ns, rate_bytes, inactive_ns
        c.priority_policy = <unsigned char>priority_policy
        c.pin_ttl_ns, c.samples = pin_ttl_ns, samples
        c.changes = 0
        if inactive_ns:
            soon(&c.due_ns, c.last_used_ns + inactive_ns)
        if heartbeat_ns:
            soon(&c.due_ns, self.engine.g.core.now_ns + heartbeat_ns)
        soon(&self.engine.g.due_ns, c.due_ns)
        consumer_recount(c)
        self._kick()

    cdef _kick(self):
        consumer_kick(&self.c)
        wake(&self.engine.g)

    def status(self, bytes reply not None, bytes status not None):
        if len(status) < 256:
            say_status(&self.c, reply, <uint32_t>len(reply), status, NULL)
            wake(&self.engine.g)

    def pull(self, bytes reply not None, *, int64_t batch, uint64_t expires_ns, bint no_wait, int64_t max_bytes,
             uint64_t heartbeat_ns, uint64_t min_pending, uint64_t min_ack_pending, int priority, bytes pin not None):
        cdef types.Consumer* c = &self.c
        cdef uint64_t now = self.engine.g.core.now_ns
        cdef uint64_t there
        cdef types.Pull* p
        consumer_used(c)
        if c.priority_policy == types.PINNED and pin and c.pin[0] and pin != bytes(c.pin[:22]):
            self.status(reply, b"423 Nats-Pin-Id mismatch")
            return
        if c.max_waiting > 0 and c.npulls >= <uint64_t>c.max_waiting:
            self._drop_deaf()
            if c.npulls >= <uint64_t>c.max_waiting:
                if not heartbeat_ns:
                    self.status(reply, b"409 Exceeded MaxWaiting")
                return
        if no_wait:
            there = c.num_pending + c.queued
            if there == 0 and not expires_ns:
                self.status(reply, b"404 No Messages")
                return
            if there and c.npulls:
                self._drop_deaf()
                if there < self._asked_for():
                    self.status(reply, b"408 Requests Pending")
                    return
        p = pull_new(c, reply, <uint32_t>len(reply))
        p.batch = batch if batch > 0 else 1
        p.max_bytes = max_bytes if max_bytes > 0 else -1
        p.expires_ns = now + expires_ns if expires_ns else 0
        p.heartbeat_ns = heartbeat_ns
        p.heartbeat_due_ns = now + heartbeat_ns if heartbeat_ns else 0
        p.min_pending, p.min_ack_pending = min_pending, min_ack_pending
        p.no_wait, p.priority = no_wait, <unsigned char>priority
        if pin:
            p.claims = 1
            p.pinned = c.pin[0] != 0
            if p.pinned:
                c.pin_due_ns = now + c.pin_ttl_ns
        pull_join(c, p)
        soon(&c.due_ns, p.expires_ns)
        soon(&c.due_ns, p.heartbeat_due_ns)
        soon(&self.engine.g.due_ns, c.due_ns)
        self._kick()

    cdef uint64_t _asked_for(self):
        cdef types.Pull* p = self.c.pulls
        cdef uint64_t total = 0
        while p != NULL:
            total += <uint64_t>p.batch
            p = p.next
        return total

    cdef _drop_deaf(self):
        """Requests that nobody waits for any more make room."""
        cdef types.Pull* p = self.c.pulls
        cdef types.Pull* following
        while p != NULL:
            following = p.next
            if not somebody_listens(&self.c, &p.reply[0], p.reply_len):
                pull_leave(&self.c, p)
            p = following

    def ack(self, uint64_t seq):
        consumer_ack(&self.c, seq, False)
        wake(&self.engine.g)

    def nak(self, uint64_t seq, uint64_t delay_ns=0):
        cdef bint done = consumer_nak(&self.c, seq, delay_ns)
        wake(&self.engine.g)
        return done

    def term(self, uint64_t seq):
        cdef types.Pending* p = pending_find(&self.c, seq)
        if p == NULL:
            return None
        found = p.last_seq, p.deliveries
        consumer_ack(&self.c, seq, True)
        wake(&self.engine.g)
        return found

    def pause(self, uint64_t until_ns):
        self.c.paused_until_ns = until_ns
        soon(&self.c.due_ns, until_ns)
        soon(&self.engine.g.due_ns, until_ns)
        self._kick()

    def reset(self, uint64_t start_seq):
        cdef types.Consumer* c = &self.c
        pending_clear(c)
        c.ngiven = 0
        c.nlast = c.last_at = 0
        c.next_seq = start_seq if start_seq else 1
        c.delivered_consumer = c.floor_consumer = c.last_ack_ns = 0
        c.delivered_stream = c.floor_stream = c.next_seq - 1
        c.nspans = c.nacked = 0
        c.hold_ns = c.replay_ts = 0
        consumer_recount(c)
        self._kick()

    def pass_over(self, uint64_t first_seq):
        cdef types.Consumer* c = &self.c
        if c.last_at < c.nlast or c.next_seq >= first_seq and c.delivered_stream >= c.next_seq - 1:
            return
        if c.next_seq < first_seq:
            c.next_seq = first_seq
        if c.npending == 0:
            c.floor_consumer = c.delivered_consumer
            c.delivered_stream = c.floor_stream = c.next_seq - 1
        consumer_recount(c)
        if c.durable_state:
            consumer_note(c)

    def unpin(self):
        unpin(&self.c, True)
        self._kick()

    @property
    def numbers(self):
        cdef types.Consumer* c = &self.c
        return {
            "delivered_consumer": c.delivered_consumer, "delivered_stream": c.delivered_stream,
            "floor_consumer": c.floor_consumer, "floor_stream": c.floor_stream, "num_ack_pending": c.npending,
            "num_redelivered": c.redelivered if c.max_deliver != 1 else 0, "num_waiting": c.npulls,
            "num_pending": c.num_pending, "last_sent_ns": c.last_sent_ns if c.delivered_consumer else 0,
            "last_ack_ns": c.last_ack_ns, "push_bound": bool(c.push and c.active), "paused_until_ns": c.paused_until_ns,
            "pin": bytes(c.pin[:22]) if c.pin[0] else b"", "pinned_ns": c.pinned_ns if c.pin[0] else 0,
        }

    def pending(self):
        cdef types.Pending* p = self.c.oldest
        found = []
        while p != NULL:
            found.append((p.stream_seq, p.consumer_seq, p.deliveries))
            p = p.after
        return found

    # --- what outlives the process ---------------------------------------------------------------

    def snapshot(self):
        cdef types.Consumer* c = &self.c
        cdef char text[24]
        cdef types.Pending* p = c.oldest
        cdef uint64_t value
        cdef uint64_t i
        parts = [FORMAT, c.delivered_consumer, c.delivered_stream, c.floor_consumer, c.floor_stream, c.next_seq,
                 c.nlast - c.last_at]
        for i in range(c.last_at, c.nlast):
            parts.append(c.last_seqs[i])
        parts.append(c.npending)
        while p != NULL:
            parts += (p.stream_seq, p.consumer_seq, p.deliveries)
            p = p.after
        parts.append(c.ngiven)
        for i in range(c.ngiven):
            parts.append(c.given_up[i])
        data = bytearray()
        for value in parts:
            data += text[:put_varint(text, value) - &text[0]]
        c.nspans = c.nacked = 0
        return bytes(data)

    def adopt(self, delivered_consumer, delivered_stream, floor_consumer, floor_stream, pending):
        cdef char text[24]
        cdef uint64_t value
        parts = [FORMAT, delivered_consumer, delivered_stream, floor_consumer, floor_stream, delivered_stream + 1, 0,
                 len(pending)]
        for one in pending:
            parts += one
        data = bytearray()
        for value in parts:
            data += text[:put_varint(text, value) - &text[0]]
        self.restore(bytes(data), ())

    def recount(self):
        consumer_recount(&self.c)
        self._kick()

    def restore(self, state, notes):
        if state is not None:
            self._restore(numbers_of(state))
        for note in notes:
            self._apply(numbers_of(note))
        consumer_recount(&self.c)
        self._all_again()
        self._kick()

    def _restore(self, values):
        cdef types.Consumer* c = &self.c
        cdef types.Pending* p
        cdef uint64_t i
        take = iter(values)
        try:
            if next(take) != FORMAT:
                raise ValueError("the consumer's state has a format that this version does not know")
            c.delivered_consumer, c.delivered_stream = next(take), next(take)
            c.floor_consumer, c.floor_stream, c.next_seq = next(take), next(take), next(take)
            c.nlast, c.last_at = next(take), 0
            free(c.last_seqs)
            c.last_seqs = <uint64_t*>must(malloc((c.nlast + 1) * sizeof(uint64_t)))
            for i in range(c.nlast):
                c.last_seqs[i] = next(take)
            for _ in range(next(take)):
                p = pending_add(c, next(take), next(take))
                p.deliveries = next(take)
                if p.deliveries > 1:
                    c.redelivered += 1
            for _ in range(next(take, 0)):  # older states end before this
                given_up_add(c, next(take))
        except StopIteration:
            raise ValueError("the consumer's state is cut off") from None

    def _apply(self, values):
        """One note: what was handed out, what was acknowledged."""
        cdef types.Consumer* c = &self.c
        cdef uint64_t seq, number, count, i
        take = iter(values)
        try:
            for _ in range(next(take)):
                seq, number, count = next(take), next(take), next(take)
                for i in range(count):
                    if c.ack_policy != types.ACK_NONE and pending_find(c, seq + i) == NULL:
                        pending_add(c, seq + i, number + i)
                c.delivered_consumer, c.delivered_stream = number + count - 1, max(c.delivered_stream, seq + count - 1)
                while c.last_at < c.nlast and c.last_seqs[c.last_at] < seq + count:
                    c.last_at += 1
                if seq + count > c.next_seq:
                    c.next_seq = seq + count
                if c.ack_policy == types.ACK_NONE:
                    c.floor_consumer, c.floor_stream = c.delivered_consumer, c.delivered_stream
            for _ in range(next(take)):
                consumer_apply_ack(c, next(take))
        except StopIteration:
            raise ValueError("a consumer's note is cut off") from None

    cdef _all_again(self):
        """After a restart nobody knows how long they have been out: each has its whole wait."""
        cdef types.Consumer* c = &self.c
        cdef types.Pending* p = c.oldest
        while p != NULL:
            p.sent_ns = self.engine.g.core.now_ns
            wait_until(c, p, due_after(c, p.deliveries, p.sent_ns))
            soon(&c.pending_due_ns, p.due_ns)
            soon(&c.due_ns, p.due_ns)
            p = p.after
        soon(&self.engine.g.due_ns, c.due_ns)

    def close(self, bytes status=b""):
        cdef types.Consumer* c = &self.c
        cdef uint32_t i
        cdef uint32_t kept = 0
        if not self.open:
            return
        self.open = False
        if status:
            pulls_end(c, status)
        else:
            pulls_end(c, NULL)
        consumer_note(c)
        c.gone = 1
        for i in range(c.stream.nconsumers):
            if c.stream.consumers[i] is not c:
                c.stream.consumers[kept] = c.stream.consumers[i]
                kept += 1
        c.stream.nconsumers = kept
        consumer_leave(&self.engine.g, c)
        wake(&self.engine.g)

    def __dealloc__(self):
        cdef types.Consumer* c = &self.c
        pending_clear(c)
        filter_clear(&c.filter)
        while c.pulls != NULL:
            pull_leave(c, c.pulls)
        for pointer in (<size_t>c.name, <size_t>c.ack_head, <size_t>c.backoff_ns, <size_t>c.deliver_subject,
                        <size_t>c.deliver_group, <size_t>c.last_seqs, <size_t>c.table, <size_t>c.again, <size_t>c.spans,
                        <size_t>c.acked, <size_t>c.given_up):
            free(<void*><size_t>pointer)


def numbers_of(bytes data not None):
    """The varints in ``data``."""
    cdef const char* p = PyBytes_AS_STRING(data)
    cdef const char* end = p + PyBytes_GET_SIZE(data)
    cdef uint64_t value
    found = []
    while p < end:
        p = get_varint(p, end, &value)
        if p == NULL:
            raise ValueError("a number is cut off")
        found.append(value)
    return found
