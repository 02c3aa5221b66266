"""Plans: for one subject of one account, who gets a message and in which form.

A plan is one block of memory: receivers, leaf links, queue groups, and the text that precedes each delivery. It
points at Subs and Conns, so it is used only while its generation is the account's: any change of interest either
makes the one plan of a literal subject stale or, for a wildcard, moves the generation on.

The cache is bounded in entries and bytes. A subject is kept when it is published for the second time within a
while (``seen`` holds fingerprints); what is used once, such as the inbox of a request, is built in a scratch
buffer and costs no allocation.
"""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from .permits cimport is_denied, may_receive
from .sublist cimport must, sublist_match
from .text cimport equals, has_wildcard, hash_bytes
from .transform cimport local_subject
from .types cimport *

cdef enum:
    PLANS_MAX = 1 << 18  # entries of one account's cache; its bytes are bounded by plan_bytes_max
    SEEN = 1 << 16  # fingerprints of recent subjects, 2 bytes each
    TEXT_MAX = 4 << 20  # a plan with more text than this composes heads while delivering
    ALIGN = 16

cdef struct Shape:  # what a plan will hold, counted before memory is reserved
    uint32_t targets
    uint32_t link_text
    uint32_t links
    uint32_t groups
    uint32_t members
    uint64_t text


cdef inline bint _fresh(Plan* p, AccountState* a) noexcept nogil:
    return p.generation == a.generation


cdef Plan* plan_for(Core* k, AccountState* a, Conn* c, const char* subject, size_t n) noexcept nogil:
    """The plan of ``subject``; valid until the next call or the next change of interest."""
    cdef Plan* p = c.last_plan
    cdef Plan** at
    cdef uint32_t h
    cdef uint16_t print
    if p != NULL and c.last_epoch == a.plan_epoch and _fresh(p, a) \
            and equals(&p.subject[0], p.subject_len, subject, n):
        a.cache_hits += 1
        return p
    a.matches += 1
    h = hash_bytes(subject, n, a.subs.seed)
    at = NULL
    if a.plan_cap:
        at = &a.plans[h & (a.plan_cap - 1)]
        while at[0] != NULL:
            p = at[0]
            if p.hash == h and equals(&p.subject[0], p.subject_len, subject, n):
                if not _fresh(p, a):
                    at[0] = p.chain  # unlinked first: building must not find it
                    a.plan_count -= 1
                    a.plan_bytes -= p.size
                    a.plan_epoch += 1
                    free(p)
                    p = _keep(k, a, _build(k, a, subject, n, h, True))
                else:
                    a.cache_hits += 1
                c.last_plan = p
                c.last_epoch = a.plan_epoch
                return p
            at = &p.chain
    if k.seen == NULL:
        k.seen = <uint16_t*>must(calloc(SEEN, sizeof(uint16_t)))
    print = <uint16_t>((h >> 16) | 1)
    if k.seen[h & (SEEN - 1)] != print:
        k.seen[h & (SEEN - 1)] = print
        c.last_plan = NULL
        return _build(k, a, subject, n, h, False)
    p = _keep(k, a, _build(k, a, subject, n, h, True))
    c.last_plan = p
    c.last_epoch = a.plan_epoch
    return p


cdef void plans_stale(AccountState* a, const char* pattern, size_t n) noexcept nogil:
    """Interest in ``pattern`` has changed."""
    cdef Plan* p
    cdef uint32_t h
    if has_wildcard(pattern, n):
        a.generation += 1
        return
    if a.plan_cap == 0:
        return
    h = hash_bytes(pattern, n, a.subs.seed)
    p = a.plans[h & (a.plan_cap - 1)]
    while p != NULL:
        if p.hash == h and equals(&p.subject[0], p.subject_len, pattern, n):
            p.generation = 0  # the account's starts at 1
            return
        p = p.chain


cdef void plans_clear(AccountState* a) noexcept nogil:
    cdef uint32_t i
    cdef Plan* p
    for i in range(a.plan_cap):
        while a.plans[i] != NULL:
            p = a.plans[i]
            a.plans[i] = p.chain
            free(p)
    free(a.plans)
    a.plans = NULL
    a.plan_cap = a.plan_count = 0
    a.plan_bytes = 0
    a.plan_epoch += 1


cdef void _make_room(Core* k, AccountState* a, size_t want) noexcept nogil:
    """Frees a quarter of the cache and as much as ``want`` needs, walking on from where the last sweep stopped."""
    cdef Plan* p
    cdef size_t fits = k.plan_bytes_max - want if want < k.plan_bytes_max else 0
    cdef size_t bytes = min(a.plan_bytes - a.plan_bytes // 4, fits)
    cdef uint32_t count = a.plan_count - a.plan_count // 4
    cdef uint32_t left = a.plan_cap
    while left and (a.plan_bytes > bytes or a.plan_count > count):
        left -= 1
        a.sweep_hand = (a.sweep_hand + 1) & (a.plan_cap - 1)
        while a.plans[a.sweep_hand] != NULL:
            p = a.plans[a.sweep_hand]
            a.plans[a.sweep_hand] = p.chain
            a.plan_count -= 1
            a.plan_bytes -= p.size
            free(p)
    a.plan_epoch += 1


cdef void _rehash(AccountState* a, uint32_t cap) noexcept nogil:
    cdef Plan** table = <Plan**>must(calloc(cap, sizeof(Plan*)))
    cdef Plan* p
    cdef uint32_t i
    for i in range(a.plan_cap):
        while a.plans[i] != NULL:
            p = a.plans[i]
            a.plans[i] = p.chain
            p.chain = table[p.hash & (cap - 1)]
            table[p.hash & (cap - 1)] = p
    free(a.plans)
    a.plans = table
    a.plan_cap = cap


cdef Plan* _keep(Core* k, AccountState* a, Plan* p) noexcept nogil:
    if a.plan_count >= PLANS_MAX or a.plan_bytes + p.size > k.plan_bytes_max:
        if a.plan_count:
            _make_room(k, a, p.size)
    if a.plan_count >= a.plan_cap:
        _rehash(a, a.plan_cap * 2 if a.plan_cap else 256)
    p.chain = a.plans[p.hash & (a.plan_cap - 1)]
    a.plans[p.hash & (a.plan_cap - 1)] = p
    p.kept = 1
    a.plan_count += 1
    a.plan_bytes += p.size
    return p


cdef inline size_t _aligned(size_t n) noexcept nogil:
    return (n + ALIGN - 1) & ~<size_t>(ALIGN - 1)


cdef inline void _count_text(Core* k, Sub* sub, const char* subject, size_t n, Shape* s) noexcept nogil:
    cdef const char* local
    if sub.stands_in:
        n = local_subject(k, sub.shadows.via, subject, <uint32_t>n, &local)
        if sub.conn.kind == LEAF:
            s.link_text += <uint32_t>n + 8
        sub = sub.shadows.main
    s.text += 7 + n + sub.sid_len


cdef void _count(Core* k, uint32_t nodes, const char* subject, size_t n, Shape* s) noexcept nogil:
    """Upper bounds; a receiver that turns out to be denied only leaves a gap."""
    cdef uint32_t i, j
    cdef Node* node
    cdef Group* g
    memset(s, 0, sizeof(Shape))
    for i in range(nodes):
        node = k.plan_nodes[i]
        s.targets += node.nlocal
        s.links += node.nsubs - node.nlocal
        for j in range(node.nsubs):
            _count_text(k, node.subs[j], subject, n, s)
        g = node.groups
        while g != NULL:
            s.groups += 1
            s.targets += g.nlocal
            s.links += g.count - g.nlocal
            s.members += g.count - g.nlocal
            for j in range(g.count):
                _count_text(k, g.members[j], subject, n, s)
            g = g.next
    s.text = s.text if s.text <= TEXT_MAX else 0
    s.link_text += <uint32_t>n + 8


cdef Plan* _build(Core* k, AccountState* a, const char* subject, size_t n, uint32_t h, bint kept) noexcept nogil:
    cdef Shape shape
    cdef Node** swap
    cdef uint32_t cap
    cdef uint32_t nodes = sublist_match(k, &a.subs, subject, n, False)
    cdef size_t size
    cdef char* block
    cdef char* at
    cdef Plan* p
    cdef bint texts
    # permission checks use k.matched: what was found here moves aside
    swap, cap = k.plan_nodes, k.plan_node_cap
    k.plan_nodes, k.plan_node_cap = k.matched, k.matched_cap
    k.matched, k.matched_cap = swap, cap
    _count(k, nodes, subject, n, &shape)
    texts = shape.text > 0 or shape.targets == 0
    size = _aligned(sizeof(Plan) + n) + _aligned(shape.targets * sizeof(Target)) \
        + _aligned(shape.links * sizeof(LinkTarget)) + _aligned(shape.groups * sizeof(PlanGroup)) \
        + _aligned(shape.members * sizeof(Member)) + shape.link_text + shape.text
    if kept:
        block = <char*>must(malloc(size))
    else:
        if size > k.plan_buf_cap:
            k.plan_buf = <char*>must(realloc(k.plan_buf, size))
            k.plan_buf_cap = <uint32_t>size
        block = k.plan_buf
    p = <Plan*>block
    memset(p, 0, sizeof(Plan))
    at = block + _aligned(sizeof(Plan) + n)
    p.targets = <Target*>at
    at += _aligned(shape.targets * sizeof(Target))
    p.links = <LinkTarget*>at
    at += _aligned(shape.links * sizeof(LinkTarget))
    p.groups = <PlanGroup*>at
    at += _aligned(shape.groups * sizeof(PlanGroup))
    p.members = <Member*>at
    p.text = at + _aligned(shape.members * sizeof(Member))
    p.size = size
    p.hash = h
    p.generation = a.generation
    p.subject_len = <uint16_t>n
    memcpy(&p.subject[0], subject, n)
    _fill(k, p, nodes, texts)
    return p


cdef uint32_t _head(Plan* p, const char* verb, const char* subject, uint32_t n, uint32_t at) noexcept nogil:
    """``verb``, of five bytes, and the subject into the plan's text; where it ends."""
    cdef char* to = p.text + at
    memcpy(to, verb, 5)
    memcpy(to + 5, subject, n)
    to[5 + n] = c' '
    return at + 6 + n


cdef uint32_t _target(Core* k, Plan* p, Target* t, Sub* sub, bint texts, uint32_t text) noexcept nogil:
    """The receiver of ``sub``, with ``HMSG subject sid `` in the plan's text (a message without headers starts one byte
    later); where the text ends. ``t.sub`` is NULL if nothing on this subject may go to it."""
    cdef const char* subject = &p.subject[0]
    cdef uint32_t n = p.subject_len
    t.shadow = NULL
    if sub.stands_in:
        t.shadow = sub.shadows
        sub = t.shadow.main
        n = local_subject(k, t.shadow.via, subject, n, &subject)
    t.sub = NULL
    if sub.gone or sub.conn.flags & CLOSING or n == 0 \
            or (sub.filtered and is_denied(k, sub.conn.permits, subject, n, sub.group)):
        return text
    t.sub = sub
    t.conn = sub.conn
    t.head_len = 0
    if texts:
        t.head = text
        text = _head(p, b"HMSG ", subject, n, text)
        memcpy(p.text + text, &sub.sid[0], sub.sid_len)
        p.text[text + sub.sid_len] = c' '
        text += sub.sid_len + 1
        t.head_len = text - t.head
    return text


cdef int32_t _link(Core* k, Plan* p, Sub* sub, uint32_t* text) noexcept nogil:
    """The index of the link in the plan, -1 if nothing on this subject may go to it. A link of an account that imports
    the subject is there once for each import."""
    cdef Conn* c = sub.conn
    cdef StreamImport* via = sub.shadows.via if sub.stands_in else NULL
    cdef const char* subject = &p.subject[0]
    cdef uint32_t n = p.subject_len
    cdef LinkTarget* l
    cdef int32_t i
    if c.link_stamp != k.build_stamp:
        c.link_stamp = k.build_stamp
        c.link_index = <uint32_t>-1
    i = <int32_t>c.link_index
    while i >= 0:
        if p.links[i].via is via:
            return i
        i = p.links[i].further
    if via != NULL:
        n = local_subject(k, via, subject, n, &subject)
    if c.flags & CLOSING or n == 0 or not may_receive(k, c.permits, subject, n):
        return -1
    l = &p.links[p.nlinks]
    l.conn = c
    l.via = via
    l.plain = 0
    l.head = 0
    l.head_len = p.link_head_len
    if via != NULL:
        l.head = text[0]
        text[0] = _head(p, b"LMSG ", subject, n, text[0])
        l.head_len = text[0] - l.head
    l.further = <int32_t>c.link_index
    c.link_index = p.nlinks
    p.nlinks += 1
    return <int32_t>c.link_index


cdef void _fill(Core* k, Plan* p, uint32_t nodes, bint texts) noexcept nogil:
    cdef uint32_t i, j
    cdef uint32_t text
    cdef Node* node
    cdef Sub* sub
    cdef int32_t link
    cdef bint groups = False
    cdef bint foreign = False
    k.build_stamp += 1
    text = _head(p, b"LMSG ", &p.subject[0], p.subject_len, 0)
    p.link_head_len = text
    for i in range(nodes):
        node = k.plan_nodes[i]
        groups = groups or node.groups != NULL
        for j in range(node.nsubs):
            sub = node.subs[j]
            if sub.conn.kind == LEAF:
                link = _link(k, p, sub, &text)
                if link >= 0:
                    p.links[link].plain = 1
            elif sub.stands_in:
                foreign = True
            else:
                text = _target(k, p, &p.targets[p.ntargets], sub, texts, text)
                p.ntargets += p.targets[p.ntargets].sub != NULL
    if foreign:
        text = _fill_foreign(k, p, nodes, texts, text)
    if groups:
        _fill_groups(k, p, nodes, texts, text)


cdef uint32_t _fill_foreign(Core* k, Plan* p, uint32_t nodes, bint texts, uint32_t text) noexcept nogil:
    """Plain receivers of accounts that import the subject."""
    cdef uint32_t i, j
    cdef Node* node
    cdef Target* t
    for i in range(nodes):
        node = k.plan_nodes[i]
        for j in range(node.nsubs):
            if node.subs[j].stands_in and node.subs[j].conn.kind != LEAF:
                t = &p.targets[p.ntargets + p.nforeign]
                text = _target(k, p, t, node.subs[j], texts, text)
                p.nforeign += t.sub != NULL
    return text


cdef PlanGroup* _group(Plan* p, Group** table, uint32_t* where, uint32_t mask, Group* g, uint32_t h) noexcept nogil:
    """The plan's entry of this group name, made on first sight."""
    cdef uint32_t i = h & mask
    while table[i] != NULL:
        if equals(&table[i].name[0], table[i].name_len, &g.name[0], g.name_len):
            return &p.groups[where[i]]
        i = (i + 1) & mask
    table[i] = g
    where[i] = p.ngroups
    memset(&p.groups[p.ngroups], 0, sizeof(PlanGroup))
    p.groups[p.ngroups].name_from = g
    p.ngroups += 1
    return &p.groups[p.ngroups - 1]


cdef void _fill_groups(Core* k, Plan* p, uint32_t nodes, bint texts, uint32_t text) noexcept nogil:
    """Members of one name are gathered over all Nodes: counted first, then placed side by side."""
    cdef uint32_t total = 0
    cdef uint32_t cap = 4
    cdef uint32_t i, j
    cdef Group* g
    cdef Group** table
    cdef uint32_t* where
    cdef PlanGroup* pg
    cdef uint32_t local = p.ntargets + p.nforeign
    cdef uint32_t remote = 0
    for i in range(nodes):
        g = k.plan_nodes[i].groups
        while g != NULL:
            total += 1
            g = g.next
    while cap < total * 2:
        cap *= 2
    table = <Group**>must(calloc(cap, sizeof(Group*) + sizeof(uint32_t)))
    where = <uint32_t*>(table + cap)
    for i in range(nodes):
        g = k.plan_nodes[i].groups
        while g != NULL:
            pg = _group(p, table, where, cap - 1, g, hash_bytes(&g.name[0], g.name_len, k.seed))
            pg.local_count += g.nlocal
            pg.remote_count += g.count - g.nlocal
            g = g.next
    for i in range(p.ngroups):
        pg = &p.groups[i]
        pg.local_start, pg.remote_start = local, remote
        local += pg.local_count
        remote += pg.remote_count
        pg.local_count = pg.remote_count = 0
    for i in range(nodes):
        g = k.plan_nodes[i].groups
        while g != NULL:
            pg = _group(p, table, where, cap - 1, g, hash_bytes(&g.name[0], g.name_len, k.seed))
            for j in range(g.count):
                text = _place_member(k, p, pg, g.members[j], texts, text)
            g = g.next
    free(table)


cdef uint32_t _place_member(Core* k, Plan* p, PlanGroup* pg, Sub* sub, bint texts, uint32_t text) noexcept nogil:
    cdef Target* t
    cdef Member* m
    cdef int32_t link
    if sub.conn.kind == LEAF:
        link = _link(k, p, sub, &text)
        if link >= 0 and sub.weight and not sub.gone:
            m = &p.members[pg.remote_start + pg.remote_count]
            m.link = <uint32_t>link
            m.weight = sub.weight
            m.sub = sub
            pg.remote_count += 1
            pg.remote_weight += sub.weight
    else:
        t = &p.targets[pg.local_start + pg.local_count]
        text = _target(k, p, t, sub, texts, text)
        pg.local_count += t.sub != NULL
    return text
