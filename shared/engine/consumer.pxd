"""Consumers, as streams and the engine see them (consumer.pyx)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from phloem.shared.kernel.types cimport Conn, Core, Msg

from .types cimport *

cdef uint64_t GIVEN_UP  # this bit of a noted sequence: handed out as often as allowed, not acknowledged

cdef bint consumer_wants(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void consumer_removed(Consumer* c, uint64_t seq, const char* subject, uint32_t n) noexcept nogil
cdef void consumers_news(Stream* s, uint64_t start, uint64_t end) noexcept nogil
cdef void consumers_work(Engine* g) noexcept nogil
cdef void consumers_write_notes(Engine* g) noexcept nogil
cdef void consumers_sweep(Engine* g, uint64_t now) noexcept nogil
cdef void consumer_kick(Consumer* c) noexcept nogil
cdef void consumer_recount(Consumer* c) noexcept nogil
cdef void consumer_used(Consumer* c) noexcept nogil
cdef uint64_t due_after(Consumer* c, uint32_t deliveries, uint64_t now) noexcept nogil
cdef bint ack_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
cdef bint flow_take(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
cdef void consumer_ack(Consumer* c, uint64_t seq, bint terminated) noexcept nogil
cdef bint consumer_nak(Consumer* c, uint64_t seq, uint64_t delay_ns) noexcept nogil
cdef void consumer_apply_ack(Consumer* c, uint64_t seq) noexcept nogil
cdef void consumer_note_ack(Consumer* c, uint64_t seq) noexcept nogil
cdef void consumer_note(Consumer* c) noexcept nogil
cdef Consumer* consumer_by_name(Engine* g, void* account, const char* stream, uint32_t sn, const char* name,
                                uint32_t n) noexcept nogil
cdef void consumer_enter(Engine* g, Consumer* c) noexcept nogil
cdef void consumer_leave(Engine* g, Consumer* c) noexcept nogil
