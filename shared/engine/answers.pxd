"""Answers that wait for the disk (answers.pyx)."""

from libc.stdint cimport uint32_t, uint64_t

from phloem.shared.kernel.types cimport AccountState, Conn, Core, Msg

from .types cimport *

cdef void answer_ack(Engine* g, Stream* s, uint64_t seq, const char* reply, uint32_t n) noexcept nogil
cdef void answer_duplicate(Engine* g, Stream* s, uint64_t seq, const char* reply, uint32_t n) noexcept nogil
cdef void answer_message(Engine* g, Log* l, AccountState* a, const char* subject, uint32_t n, const char* header,
                         uint32_t hn, const char* payload, uint32_t pn) noexcept nogil
cdef void answer_durable(Engine* g, AccountState* account, const char* subject, uint32_t n, const char* header,
                         uint32_t hn, const char* payload, uint32_t pn) noexcept nogil
cdef void answers_send(Engine* g) noexcept nogil
cdef void answers_forget(Engine* g, Stream* s) noexcept nogil
cdef void answers_free(Engine* g) noexcept nogil
cdef uint32_t send_message(Engine* g, Conn* source, AccountState* a, const char* subject, uint32_t n,
                           const char* reply, uint32_t rn, const char* whole, uint32_t header_len,
                           uint32_t size) noexcept nogil
