"""The token trie that holds an account's subscriptions.

A Node is one token; ``*`` and ``>`` have slots of their own, so a literal ``*`` in a published subject is just
text that the ``*`` slot matches. Children are found by open addressing. Matching tokenizes the subject once and
walks every branch that fits; its cost is bounded by the number of Nodes at each depth, its recursion by the
number of tokens, and both by the length of a control line.

``Trie`` at the end is the same code with a Python face, for property tests and fuzzing.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport abort, calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from .text cimport equals, hash_bytes
from .types cimport Core, Group, Node, Sub, Sublist, Token

cdef enum:
    TOKENS_MAX = 33000  # a leaf's control line (65,536 bytes) holds no more
    FEW_GROUPS = 8  # as many on one Node before a table is made


cdef void* must(void* p) noexcept nogil:
    """Memory for bookkeeping has to be there; without it no promise could be kept."""
    if p == NULL:
        abort()
    return p


cdef void* grow(void* p, uint32_t* cap, uint32_t want, size_t item) noexcept nogil:
    """``p`` with room for ``want`` items, doubling; the new part is not initialised."""
    cdef uint32_t size = cap[0]
    if want <= size:
        return p
    while size < want:
        size = size * 2 if size else 4
    cap[0] = size
    return must(realloc(p, size * item))


cdef void sublist_init(Sublist* s, unsigned long long seed) noexcept nogil:
    memset(s, 0, sizeof(Sublist))
    s.seed = seed


cdef void _free_node(Node* node) noexcept nogil:
    cdef uint32_t i
    cdef Group* g
    for i in range(node.child_cap):
        if node.children[i] != NULL:
            _free_node(node.children[i])
            free(node.children[i])
    free(node.children)
    if node.pwc != NULL:
        _free_node(node.pwc)
        free(node.pwc)
    if node.fwc != NULL:
        _free_node(node.fwc)
        free(node.fwc)
    while node.groups != NULL:
        g = node.groups
        node.groups = g.next
        free(g.members)
        free(g)
    free(node.group_table)
    free(node.subs)


cdef void sublist_clear(Sublist* s) noexcept nogil:
    """Frees the trie, not the Subs in it."""
    cdef uint64_t seed = s.seed
    _free_node(&s.root)
    sublist_init(s, seed)


cdef Node* _new_node(Node* parent, const char* token, size_t n, uint32_t h) noexcept nogil:
    cdef Node* node = <Node*>must(calloc(1, sizeof(Node) + n))
    node.parent = parent
    node.hash = h
    node.token_len = <unsigned short>n
    memcpy(&node.token[0], token, n)
    return node


cdef void _place(Node** table, uint32_t cap, Node* node) noexcept nogil:
    cdef uint32_t i = node.hash & (cap - 1)
    while table[i] != NULL:
        i = (i + 1) & (cap - 1)
    table[i] = node


cdef void _resize(Node* node, uint32_t cap) noexcept nogil:
    cdef Node** old = node.children
    cdef uint32_t old_cap = node.child_cap
    cdef uint32_t i
    node.children = <Node**>must(calloc(cap, sizeof(Node*)))
    node.child_cap = cap
    for i in range(old_cap):
        if old[i] != NULL:
            _place(node.children, cap, old[i])
    free(old)


cdef inline Node* _child(Node* node, const char* token, size_t n, uint32_t h) noexcept nogil:
    cdef uint32_t i
    cdef Node* c
    if node.child_cap == 0:
        return NULL
    i = h & (node.child_cap - 1)
    while True:
        c = node.children[i]
        if c == NULL:
            return NULL
        if c.hash == h and c.token_len == n and memcmp(&c.token[0], token, n) == 0:
            return c
        i = (i + 1) & (node.child_cap - 1)


cdef Node* sublist_node(Sublist* s, const char* subject, size_t n, bint create) noexcept nogil:
    """The Node of exactly this pattern (already known to be valid); NULL if absent and not created."""
    cdef Node* node = &s.root
    cdef Node* down
    cdef size_t start = 0
    cdef size_t i
    cdef size_t length
    cdef uint32_t h
    for i in range(n + 1):
        if i != n and subject[i] != c'.':
            continue
        length = i - start
        if length == 1 and subject[start] == c'*':
            if node.pwc == NULL:
                if not create:
                    return NULL
                node.pwc = _new_node(node, b"*", 1, 0)
            node = node.pwc
        elif length == 1 and subject[start] == c'>':
            if node.fwc == NULL:
                if not create:
                    return NULL
                node.fwc = _new_node(node, b">", 1, 0)
            node = node.fwc
        else:
            h = hash_bytes(subject + start, length, s.seed)
            down = _child(node, subject + start, length, h)
            if down == NULL:
                if not create:
                    return NULL
                if (node.child_count + 1) * 4 > node.child_cap * 3:
                    _resize(node, node.child_cap * 2 if node.child_cap else 2)
                down = _new_node(node, subject + start, length, h)
                _place(node.children, node.child_cap, down)
                node.child_count += 1
            node = down
        start = i + 1
    return node


cdef void _unlink_child(Node* parent, Node* node) noexcept nogil:
    """Removes ``node`` from the table and closes the gap (linear probing without tombstones)."""
    cdef uint32_t mask = parent.child_cap - 1
    cdef uint32_t i = node.hash & mask
    cdef uint32_t j
    cdef uint32_t ideal
    while parent.children[i] != node:
        i = (i + 1) & mask
    parent.children[i] = NULL
    parent.child_count -= 1
    j = (i + 1) & mask
    while parent.children[j] != NULL:
        ideal = parent.children[j].hash & mask
        if ((j - ideal) & mask) >= ((j - i) & mask):
            parent.children[i] = parent.children[j]
            parent.children[j] = NULL
            i = j
        j = (j + 1) & mask
    if parent.child_count == 0:
        free(parent.children)
        parent.children = NULL
        parent.child_cap = 0
    elif parent.child_cap > 8 and parent.child_count * 8 < parent.child_cap:
        _resize(parent, parent.child_cap // 4)


cdef void sublist_prune(Sublist* s, Node* node) noexcept nogil:
    """Frees ``node`` and its ancestors as far as nothing hangs on them."""
    cdef Node* parent
    while node != &s.root and node.nsubs == 0 and node.groups == NULL and node.child_count == 0 \
            and node.pwc == NULL and node.fwc == NULL:
        parent = node.parent
        if parent.pwc == node:
            parent.pwc = NULL
        elif parent.fwc == node:
            parent.fwc = NULL
        else:
            _unlink_child(parent, node)
        free(node.subs)
        free(node.children)
        free(node)
        node = parent


cdef void _tabulate(Node* node, uint32_t cap) noexcept nogil:
    """A table of the Node's groups, so that thousands of them on one subject are found as fast as one."""
    cdef Group* g = node.groups
    free(node.group_table)
    node.group_table = <Group**>must(calloc(cap, sizeof(Group*)))
    node.group_cap = cap
    while g != NULL:
        g.chain = node.group_table[g.hash & (cap - 1)]
        node.group_table[g.hash & (cap - 1)] = g
        g = g.next


cdef Group* node_group(Sublist* s, Node* node, const char* name, size_t n, bint create) noexcept nogil:
    cdef uint32_t h = hash_bytes(name, n, s.seed)
    cdef Group* g = node.group_table[h & (node.group_cap - 1)] if node.group_cap else node.groups
    while g != NULL:
        if g.hash == h and equals(&g.name[0], g.name_len, name, n):
            return g
        g = g.chain if node.group_cap else g.next
    if not create:
        return NULL
    g = <Group*>must(calloc(1, sizeof(Group) + n))
    g.hash = h
    g.name_len = <unsigned short>n
    memcpy(&g.name[0], name, n)
    g.next = node.groups
    g.at = &node.groups
    if g.next != NULL:
        g.next.at = &g.next
    node.groups = g
    node.group_count += 1
    if node.group_count > node.group_cap and node.group_count > FEW_GROUPS:
        _tabulate(node, node.group_cap * 2 if node.group_cap else FEW_GROUPS * 2)
    elif node.group_cap:
        g.chain = node.group_table[h & (node.group_cap - 1)]
        node.group_table[h & (node.group_cap - 1)] = g
    return g


cdef void _drop_group(Node* node, Group* g) noexcept nogil:
    cdef Group** link
    g.at[0] = g.next
    if g.next != NULL:
        g.next.at = g.at
    if node.group_cap:
        link = &node.group_table[g.hash & (node.group_cap - 1)]
        while link[0] != g:
            link = &link[0].chain
        link[0] = g.chain
    node.group_count -= 1
    if node.groups == NULL:
        free(node.group_table)
        node.group_table = NULL
        node.group_cap = 0
    free(g.members)
    free(g)


cdef void sublist_insert(Sublist* s, Sub* sub, Node* node, Group* group, bint local) noexcept nogil:
    sub.node = node
    sub.group = group
    if group != NULL:
        group.members = <Sub**>grow(group.members, &group.cap, group.count + 1, sizeof(Sub*))
        sub.index = group.count
        group.members[group.count] = sub
        group.count += 1
        group.nlocal += local
    else:
        node.subs = <Sub**>grow(node.subs, &node.sub_cap, node.nsubs + 1, sizeof(Sub*))
        sub.index = node.nsubs
        node.subs[node.nsubs] = sub
        node.nsubs += 1
        node.nlocal += local
    s.count += 1


cdef void sublist_remove(Sublist* s, Sub* sub, bint local) noexcept nogil:
    """Takes ``sub`` out of its Node. The Node stays until ``sublist_prune``."""
    cdef Node* node = sub.node
    cdef Group* group = sub.group
    s.count -= 1
    if group == NULL:
        node.nsubs -= 1
        node.subs[sub.index] = node.subs[node.nsubs]
        node.subs[sub.index].index = sub.index
        node.nlocal -= local
        return
    group.count -= 1
    group.members[sub.index] = group.members[group.count]
    group.members[sub.index].index = sub.index
    group.nlocal -= local
    if group.count == 0:
        _drop_group(node, group)
        sub.group = NULL


cdef void _found(Core* k, Node* node) noexcept nogil:
    if node.nsubs or node.groups != NULL:
        k.matched = <Node**>grow(k.matched, &k.matched_cap, k.nmatched + 1, sizeof(Node*))
        k.matched[k.nmatched] = node
        k.nmatched += 1


cdef void _walk(Core* k, Node* node, Token* t, uint32_t left, bint subset) noexcept nogil:
    cdef Node* down
    while True:
        if node.fwc != NULL:
            _found(k, node.fwc)
        if node.pwc != NULL and not (subset and t.length == 1 and t.text[0] == c'>'):
            if left == 1:
                _found(k, node.pwc)
            else:
                _walk(k, node.pwc, t + 1, left - 1, subset)
        down = _child(node, t.text, t.length, t.hash)
        if down == NULL:
            return
        if left == 1:
            _found(k, down)
            return
        node = down
        t += 1
        left -= 1


cdef uint32_t sublist_match(Core* k, Sublist* s, const char* subject, size_t n, bint subset) noexcept nogil:
    """Fills ``k.matched`` with the Nodes whose pattern covers ``subject``; their count.

    A subject with an empty token matches nothing. With ``subset`` the subject may itself be a pattern and only
    those Nodes count that cover all of it: ``*`` does not cover ``>``.
    """
    cdef size_t start = 0
    cdef size_t i
    cdef size_t length
    cdef uint32_t count = 0
    k.nmatched = 0
    if k.tokens == NULL:
        k.tokens = <Token*>must(malloc(TOKENS_MAX * sizeof(Token)))
    for i in range(n + 1):
        if i != n and subject[i] != c'.':
            continue
        length = i - start
        if length == 0 or count == TOKENS_MAX or length > 65535:
            return 0
        k.tokens[count].text = subject + start
        k.tokens[count].length = <unsigned short>length
        k.tokens[count].hash = hash_bytes(subject + start, length, s.seed)
        count += 1
        start = i + 1
    _walk(k, &s.root, k.tokens, count, subset)
    return k.nmatched


cdef size_t node_subject(Node* node, char* to, size_t cap) noexcept nogil:
    """Writes the pattern of ``node``; its length, or 0 if ``cap`` is too small."""
    cdef size_t length = 0
    cdef Node* up = node
    cdef size_t at
    while up.parent != NULL:
        length += up.token_len + 1
        up = up.parent
    if length == 0 or length - 1 > cap:
        return 0
    at = length - 1
    up = node
    while up.parent != NULL:
        at -= up.token_len
        memcpy(to + at, &up.token[0], up.token_len)
        if at:
            at -= 1
            to[at] = c'.'
        up = up.parent
    return length - 1


cdef class Trie:
    """The sublist with a Python face: patterns with integer ids, for tests and fuzzing.

    ``insert(pattern, id, queue)`` takes valid patterns only; ``match(subject)`` gives the sorted ids.
    """

    cdef Sublist s
    cdef Core k
    cdef dict held

    def __cinit__(self, unsigned long long seed=1):
        memset(&self.k, 0, sizeof(Core))
        sublist_init(&self.s, seed)
        self.held = {}

    def insert(self, bytes pattern not None, unsigned int ident, bytes queue=None):
        cdef Node* node = sublist_node(&self.s, pattern, len(pattern), True)
        cdef Sub* sub = <Sub*>must(calloc(1, sizeof(Sub)))
        cdef Group* group = NULL
        if queue is not None:
            group = node_group(&self.s, node, queue, len(queue), True)
        sub.callback = ident
        sublist_insert(&self.s, sub, node, group, True)
        self.held.setdefault(ident, []).append(<size_t>sub)

    def remove(self, unsigned int ident):
        cdef Sub* sub
        cdef Node* node
        for address in self.held.pop(ident):
            sub = <Sub*><size_t>address
            node = sub.node
            sublist_remove(&self.s, sub, True)
            sublist_prune(&self.s, node)
            free(sub)

    def match(self, bytes subject not None, bint subset=False):
        cdef uint32_t i, j
        cdef Group* g
        found = []
        for i in range(sublist_match(&self.k, &self.s, subject, len(subject), subset)):
            for j in range(self.k.matched[i].nsubs):
                found.append(self.k.matched[i].subs[j].callback)
            g = self.k.matched[i].groups
            while g != NULL:
                for j in range(g.count):
                    found.append(g.members[j].callback)
                g = g.next
        return sorted(found)

    def patterns(self):
        """The pattern of every held id, read back from the trie."""
        cdef char buf[4096]
        cdef Sub* sub
        result = {}
        for ident, addresses in self.held.items():
            for address in addresses:
                sub = <Sub*><size_t>address
                result.setdefault(ident, []).append(buf[:node_subject(sub.node, buf, 4096)])
        return result

    def empty(self):
        """Whether nothing is left: no child, no wildcard slot."""
        return self.s.count == 0 and self.s.root.child_count == 0 and self.s.root.pwc == NULL \
            and self.s.root.fwc == NULL

    def __dealloc__(self):
        for addresses in (self.held or {}).values():
            for address in addresses:
                free(<Sub*><size_t>address)
        sublist_clear(&self.s)
        free(self.k.matched)
        free(self.k.tokens)
