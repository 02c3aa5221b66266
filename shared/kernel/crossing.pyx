"""The owner of an account's subscriptions that lead elsewhere: service imports, replies, marks of mappings.

One connection for each account that has any, so that what is remembered for it, such as the last plan, is of that
account. Leaf links are told of these subscriptions like of any other.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from .interest cimport sub_add, subs_clear
from .sublist cimport must
from .text cimport put_number
from .types cimport *


cdef Conn* crossing_conn(Core* k, AccountState* a) noexcept nogil:
    """Made on first use."""
    if a.crossing == NULL:
        a.crossing = <Conn*>must(calloc(1, sizeof(Conn)))
        a.crossing.fd = -1
        a.crossing.kind = SYSTEM
        a.crossing.flags = CONNECTED | ECHO | HEADERS
        a.crossing.account = a
    return a.crossing


cdef Sub* crossing_sub(Core* k, AccountState* a, const char* subject, uint32_t n) noexcept nogil:
    cdef char sid[24]
    cdef size_t length
    k.serial += 1
    length = put_number(sid, k.serial)
    return sub_add(k, crossing_conn(k, a), subject, n, b"", 0, sid, length, 1)


cdef void crossing_free(Core* k, AccountState* a) noexcept nogil:
    if a.crossing != NULL:
        subs_clear(k, a.crossing)
        free(a.crossing)
        a.crossing = NULL
