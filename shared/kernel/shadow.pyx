"""Stream imports: a subscription gets a stand-in in the sublist of each account whose stream it imports.

A message published there finds the stand-in like any other subscription, so that it costs nothing more: what the
subscriber sees instead of the exporter's subject is in the plan's text. The stand-in is of the exporter's subject as
far as the subscription and the import overlap (nats-server's ``addShadowSubscriptions``).

A new list of imports replaces the old one while the account lives; what is in both stays as it is.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .plan cimport plans_stale
from .sublist cimport grow, must, node_group, node_subject, sublist_insert, sublist_node, sublist_prune, sublist_remove
from .telling cimport is_lds, tell_change
from .text cimport covers, equals, has_wildcard
from .transform cimport SUBJECT_MAX, transform, transform_free
from .types cimport *

cdef enum:
    LINE_MAX = 65536  # the longest subject in a sublist

cdef struct Subs:  # all of an account, gathered before anything changes
    Sub** list
    uint32_t count
    uint32_t cap


cdef inline size_t _token(const char* p, size_t n) noexcept nogil:
    cdef size_t i = 0
    while i < n and p[i] != c'.':
        i += 1
    return i


cdef inline bint _is(const char* p, size_t n, char what) noexcept nogil:
    return n == 1 and p[0] == what


cdef uint32_t _narrow(const char* subject, size_t n, const char* pattern, size_t m, char* to) noexcept nogil:
    """``subject`` with the tokens of ``pattern`` for its wildcards; its length."""
    cdef char* at = to
    cdef size_t i
    cdef size_t j
    cdef bint ended = False
    while True:
        i = _token(subject, n)
        j = 0 if ended else _token(pattern, m)
        if _is(subject, i, c'>') and not ended:
            memcpy(at, pattern, m)
            return <uint32_t>(at + m - to)
        if _is(subject, i, c'*') and not ended and not _is(pattern, j, c'>'):
            memcpy(at, pattern, j)
            at += j
        else:
            memcpy(at, subject, i)
            at += i
        if i == n:
            return <uint32_t>(at - to)
        at[0] = c'.'
        at += 1
        subject += i + 1
        n -= i + 1
        if not ended:
            ended = j == m
            if not ended:
                pattern += j + 1
                m -= j + 1


cdef uint32_t _backwards(Core* k, StreamImport* im, const char* pattern, uint32_t n, const char** to) noexcept nogil:
    """What the exporter calls a part of what is imported."""
    if im.same:
        to[0] = pattern
        return n
    if im.back == NULL:
        to[0] = &im.text[0]
        return im.from_len
    to[0] = k.local_buf
    return transform(k, im.back, pattern, n, k.local_buf)


cdef void _stand_in(Core* k, Sub* main, StreamImport* im, const char* subject, uint32_t n) noexcept nogil:
    cdef AccountState* e = im.exporter
    cdef Sub* s
    cdef Shadow* h
    cdef Node* node
    cdef Group* group = NULL
    if n == 0:
        return
    s = <Sub*>must(calloc(1, sizeof(Sub)))
    h = <Shadow*>must(calloc(1, sizeof(Shadow)))
    s.conn = main.conn
    s.weight = main.weight
    s.stands_in = 1
    s.shadows = h
    h.main, h.sub, h.account, h.via = main, s, e, im
    h.next = main.shadows
    main.shadows = h
    node = sublist_node(&e.subs, subject, n, True)
    if main.group != NULL:
        group = node_group(&e.subs, node, &main.group.name[0], main.group.name_len, True)
    sublist_insert(&e.subs, s, node, group, s.conn.kind != LEAF)
    k.subs += 1
    e.inserts += 1
    e.shadows += 1
    plans_stale(e, subject, n)
    if e.nlinks:
        tell_change(k, e, s, subject, n, 0, s.weight)


cdef void _add(Core* k, Sub* main, StreamImport* im, const char* subject, uint32_t n) noexcept nogil:
    """The stand-in for what ``main`` and the import have in common, if that is anything."""
    cdef const char* local = &im.text[0] + im.from_len
    cdef const char* to
    cdef char* common
    cdef uint32_t length
    if equals(subject, n, local, im.to_len):
        _stand_in(k, main, im, &im.text[0], im.from_len)
    elif covers(local, im.to_len, subject, n):
        length = _backwards(k, im, subject, n, &to)
        _stand_in(k, main, im, to, length)
    elif not has_wildcard(subject, n):
        return
    elif covers(subject, n, local, im.to_len):
        _stand_in(k, main, im, &im.text[0], im.from_len)
    else:
        common = <char*>must(malloc(<size_t>n + im.to_len + 2))
        length = _narrow(subject, n, local, im.to_len, common)
        if length <= SUBJECT_MAX and covers(local, im.to_len, common, length):
            length = _backwards(k, im, common, length, &to)
            _stand_in(k, main, im, to, length)
        free(common)


cdef inline void _make_room(Core* k) noexcept nogil:
    if k.local_buf == NULL:
        k.local_buf = <char*>must(malloc(SUBJECT_MAX))


cdef void shadows_add(Core* k, AccountState* a, Sub* main, const char* subject, uint32_t n) noexcept nogil:
    """``main`` is new in ``a``, which imports streams."""
    cdef StreamImport* im = a.streams
    _make_room(k)
    while im != NULL:
        _add(k, main, im, subject, n)
        im = im.next


cdef void _end(Core* k, Shadow* h) noexcept nogil:
    """Takes a stand-in out of its sublist and frees it; its place in the list is the caller's."""
    cdef AccountState* e = h.account
    cdef Sub* s = h.sub
    cdef Node* node = s.node
    cdef char few[512]
    cdef char* subject = few
    cdef size_t n = node_subject(node, few, sizeof(few))
    if n == 0:
        subject = <char*>must(malloc(LINE_MAX))
        n = node_subject(node, subject, LINE_MAX)
    k.subs -= 1
    e.removes += 1
    e.shadows -= 1
    plans_stale(e, subject, n)
    if e.nlinks:
        tell_change(k, e, s, subject, n, s.weight, 0)
    sublist_remove(&e.subs, s, s.conn.kind != LEAF)
    sublist_prune(&e.subs, node)
    if subject != few:
        free(subject)
    free(s)
    free(h)


cdef void shadows_drop(Core* k, Sub* main) noexcept nogil:
    cdef Shadow* h
    while main.shadows != NULL:
        h = main.shadows
        main.shadows = h.next
        _end(k, h)


cdef void shadows_weigh(Core* k, Sub* main, uint32_t old) noexcept nogil:
    """A link has told a new weight for a queue group."""
    cdef Shadow* h = main.shadows
    cdef char* subject
    cdef size_t n
    while h != NULL:
        subject = <char*>must(malloc(LINE_MAX))
        n = node_subject(h.sub.node, subject, LINE_MAX)
        h.sub.weight = main.weight
        plans_stale(h.account, subject, n)
        if h.account.nlinks:
            tell_change(k, h.account, h.sub, subject, n, old, main.weight)
        free(subject)
        h = h.next


# --- a list that replaces another -----------------------------------------------------------------


cdef void stream_import_free(StreamImport* im) noexcept nogil:
    transform_free(im.forth)
    transform_free(im.back)
    free(im)


cdef inline size_t _length(StreamImport* im) noexcept nogil:
    return <size_t>im.from_len + im.to_len + im.spelling_len


cdef bint _same_import(StreamImport* a, StreamImport* b) noexcept nogil:
    return a.exporter is b.exporter and a.same == b.same and a.from_len == b.from_len \
        and a.to_len == b.to_len and equals(&a.text[0], _length(a), &b.text[0], _length(b))


cdef void _gather(Subs* all, Node* node) noexcept nogil:
    cdef uint32_t i
    cdef Group* g = node.groups
    for i in range(node.nsubs):
        all.list = <Sub**>grow(all.list, &all.cap, all.count + 1, sizeof(Sub*))
        all.list[all.count] = node.subs[i]
        all.count += 1
    while g != NULL:
        for i in range(g.count):
            all.list = <Sub**>grow(all.list, &all.cap, all.count + 1, sizeof(Sub*))
            all.list[all.count] = g.members[i]
            all.count += 1
        g = g.next
    for i in range(node.child_cap):
        if node.children[i] != NULL:
            _gather(all, node.children[i])
    if node.pwc != NULL:
        _gather(all, node.pwc)
    if node.fwc != NULL:
        _gather(all, node.fwc)


cdef void _drop_stale(Core* k, Sub* main) noexcept nogil:
    cdef Shadow** at = &main.shadows
    cdef Shadow* h
    while at[0] != NULL:
        h = at[0]
        if h.via.stale:
            at[0] = h.next
            _end(k, h)
        else:
            at = &h.next


cdef void _apply(Core* k, AccountState* a, StreamImport* fresh) noexcept nogil:
    """New stand-ins first, then the old ones go: a link is not told of an end that is none."""
    cdef Subs all
    cdef uint32_t i
    cdef size_t n
    cdef Sub* s
    cdef StreamImport* im
    cdef char* subject = <char*>must(malloc(LINE_MAX))
    all.list, all.count, all.cap = NULL, 0, 0
    _gather(&all, &a.subs.root)
    for i in range(all.count):
        s = all.list[i]
        n = node_subject(s.node, subject, LINE_MAX)
        if s.stands_in or s.conn is a.crossing or is_lds(subject, n):
            continue
        im = fresh
        while im != NULL:
            _add(k, s, im, subject, <uint32_t>n)
            im = im.next
        _drop_stale(k, s)
    free(all.list)
    free(subject)


cdef void streams_replace(Core* k, AccountState* a, StreamImport* wanted) noexcept nogil:
    """``wanted`` is what ``a`` imports from now on; takes it over. What was imported before goes on unbroken."""
    cdef StreamImport* old = a.streams
    cdef StreamImport* kept = NULL
    cdef StreamImport* fresh = NULL
    cdef StreamImport* im
    cdef StreamImport** at
    _make_room(k)
    while wanted != NULL:
        im = wanted
        wanted = im.next
        at = &old
        while at[0] != NULL and not _same_import(at[0], im):
            at = &at[0].next
        if at[0] == NULL:
            im.next = fresh
            fresh = im
            continue
        stream_import_free(im)
        im = at[0]
        at[0] = im.next
        im.next = kept
        kept = im
    im = old
    while im != NULL:
        im.stale = 1
        im = im.next
    if fresh != NULL or old != NULL:
        _apply(k, a, fresh)
    while old != NULL:
        im = old
        old = im.next
        stream_import_free(im)
    a.streams = kept
    at = &a.streams
    while at[0] != NULL:
        at = &at[0].next
    at[0] = fresh


cdef void streams_free(AccountState* a) noexcept nogil:
    """At the end, when no subscription is left."""
    cdef StreamImport* im
    while a.streams != NULL:
        im = a.streams
        a.streams = im.next
        stream_import_free(im)


cdef void streams_stale(AccountState* a) noexcept nogil:
    """What this account's subscribers may receive has changed: plans of exporters hold them, too."""
    cdef StreamImport* im = a.streams
    while im != NULL:
        im.exporter.generation += 1
        im = im.next
