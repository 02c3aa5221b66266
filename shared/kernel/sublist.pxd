"""The token trie: insert, remove, match."""

from libc.stdint cimport uint32_t

from .types cimport Core, Group, Node, Sub, Sublist, Token

cdef void* must(void* p) noexcept nogil
cdef void* grow(void* p, uint32_t* cap, uint32_t want, size_t item) noexcept nogil
cdef void sublist_init(Sublist* s, unsigned long long seed) noexcept nogil
cdef void sublist_clear(Sublist* s) noexcept nogil
cdef Node* sublist_node(Sublist* s, const char* subject, size_t n, bint create) noexcept nogil
cdef void sublist_prune(Sublist* s, Node* node) noexcept nogil
cdef Group* node_group(Sublist* s, Node* node, const char* name, size_t n, bint create) noexcept nogil
cdef void sublist_insert(Sublist* s, Sub* sub, Node* node, Group* group, bint local) noexcept nogil
cdef void sublist_remove(Sublist* s, Sub* sub, bint local) noexcept nogil
cdef uint32_t sublist_match(Core* k, Sublist* s, const char* subject, size_t n, bint subset) noexcept nogil
cdef size_t node_subject(Node* node, char* to, size_t cap) noexcept nogil
