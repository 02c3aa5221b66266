"""What a user may publish, subscribe to and receive."""

from libc.stdint cimport uint8_t, uint32_t

from .text cimport starts_with
from .types cimport Conn, Core, Group, Msg, Permits, Plan

cdef bint may_publish(Core* k, Conn* c, const char* subject, size_t n, Plan* plan) noexcept nogil
cdef bint may_subscribe(Core* k, Permits* p, const char* subject, size_t n, const char* queue, size_t qn,
                        bint leaf, uint8_t* filtered) noexcept nogil
cdef bint is_denied(Core* k, Permits* p, const char* subject, size_t n, Group* group) noexcept nogil
cdef bint may_receive(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil
cdef bint may_advertise(Core* k, Permits* p, const char* subject, size_t n) noexcept nogil
cdef void track_reply(Core* k, Conn* c, const char* reply, size_t n) noexcept nogil
cdef void forget_replies(Conn* c) noexcept nogil
cdef void permits_add(Permits* p, int which, const char* subject, size_t n, const char* queue, size_t qn) noexcept nogil
cdef void permits_clear(Permits* p) noexcept nogil


cdef inline bint reserved_subject(Conn* c, Msg* m) noexcept nogil:
    """Reply subjects of gateways and Raft groups are not for clients."""
    if m.subject[0] == c'_':
        return starts_with(m.subject, m.subject_len, b"_GR_.", 5)
    if m.subject[0] == c'$':
        return not c.account.is_system and starts_with(m.subject, m.subject_len, b"$NRG.", 5)
    return False


cdef inline bint reserved_reply(Msg* m) noexcept nogil:
    """Replies that only servers make: service imports, acknowledgements, gateways."""
    if m.reply[0] == c'_':
        return starts_with(m.reply, m.reply_len, b"_R_.", 4) or starts_with(m.reply, m.reply_len, b"_GR_.", 5)
    return m.reply[0] == c'$' and starts_with(m.reply, m.reply_len, b"$JS.ACK.", 8)
