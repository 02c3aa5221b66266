# An account's Python object, and how what is in imports.py becomes the kernel's structures. Part of reactor.pyx.

WHAT = {
    "literal": LITERAL, "wildcard": TOKEN, "partition": PARTITION, "random": RANDOM, "split": SPLIT,
    "splitfromleft": SPLIT_FROM_LEFT, "splitfromright": SPLIT_FROM_RIGHT, "slicefromleft": SLICE_FROM_LEFT,
    "slicefromright": SLICE_FROM_RIGHT, "left": LEFT, "right": RIGHT, "rest": REST,
}


cdef _demand(bint right, str text):
    if not right:
        raise ValueError(text)


cdef Transform* _transform(steps) except? NULL:
    """NULL for None. Everything is looked at before anything is made."""
    cdef Transform* t
    cdef Step* s
    cdef uint32_t i
    cdef uint32_t at
    cdef bytes text
    if steps is None:
        return NULL
    _demand(0 < len(steps) <= NAME_MAX, "a transform has between 1 and 65,000 steps")
    for step in steps:
        _demand(step.what in WHAT, "an unknown step of a transform")
        _demand(len(step.text) <= NAME_MAX and len(step.tokens) <= NAME_MAX, "a step of a transform is too long")
        _demand(all(0 <= token <= NAME_MAX for token in step.tokens), "a step names a token that cannot be")
        _demand(bool(step.tokens) or WHAT[step.what] in (LITERAL, PARTITION, RANDOM), "a step without a token")
        _demand(0 <= step.number < 1 << 32, "a number is too large")
    t = transform_new(<uint32_t>len(steps))
    for i, step in enumerate(steps):
        s = &t.steps[i]
        s.what = WHAT[step.what]
        s.number = step.number
        text = step.text
        s.text_len = <unsigned short>len(text)
        s.text = <char*>must(malloc(len(text) + 1))
        memcpy(s.text, PyBytes_AsString(text), len(text))
        s.ntokens = <unsigned short>len(step.tokens)
        s.tokens = <unsigned short*>must(malloc((s.ntokens + 1) * sizeof(unsigned short)))
        for at, token in enumerate(step.tokens):
            s.tokens[at] = token
        t.random |= s.what == RANDOM
    return t


cdef bytes _names(entry):
    """The texts of an import behind one another."""
    for name in (entry.subject, entry.local):
        _demand(valid_subject(name, len(name), False) and len(name) <= NAME_MAX, f"not a subject: {name!r}")
    _demand(len(entry.spelling) <= NAME_MAX, "an import's local subject is too long")
    return entry.subject + entry.local + entry.spelling


cdef StreamImport* _stream_import(entry) except NULL:
    cdef StreamImport* im
    cdef Account exporter = entry.exporter
    cdef bytes text = _names(entry)
    cdef Transform* forth = NULL
    cdef Transform* back = NULL
    forth = _transform(entry.forth)
    try:
        back = _transform(entry.back)
    except BaseException:
        transform_free(forth)
        raise
    im = <StreamImport*>must(calloc(1, sizeof(StreamImport) + len(text)))
    im.exporter = exporter.a
    im.forth, im.back = forth, back
    im.same = forth == NULL and entry.subject == entry.local
    im.from_len, im.to_len = <unsigned short>len(entry.subject), <unsigned short>len(entry.local)
    im.spelling_len = <unsigned short>len(entry.spelling)
    memcpy(&im.text[0], PyBytes_AsString(text), len(text))
    return im


cdef Service* _service_import(entry) except NULL:
    cdef Service* s
    cdef Account exporter = entry.exporter
    cdef bytes text = _names(entry)
    cdef Transform* forth
    cdef uint64_t threshold_ns = max(entry.threshold_ns, 1)
    cdef uint32_t export_id = entry.export_id
    cdef int32_t sampling = entry.sampling
    cdef unsigned char reply_kind = entry.reply_kind
    _demand(reply_kind <= CHUNKED, "an unknown kind of reply")
    forth = _transform(entry.forth)
    s = <Service*>must(calloc(1, sizeof(Service) + len(text)))
    s.exporter = exporter.a
    s.forth = forth
    s.same = forth == NULL and entry.subject == entry.local
    s.threshold_ns, s.export_id, s.sampling, s.reply_kind = threshold_ns, export_id, sampling, reply_kind
    s.share, s.to_system = bool(entry.share), exporter.a.is_system
    # the local subject comes first: it is what is subscribed to
    s.from_len, s.to_len = <unsigned short>len(entry.local), <unsigned short>len(entry.subject)
    s.spelling_len = <unsigned short>len(entry.spelling)
    text = entry.local + entry.subject + entry.spelling
    memcpy(&s.text[0], PyBytes_AsString(text), len(text))
    return s


cdef Mapping* _mapping(entry) except NULL:
    cdef Mapping* g
    cdef Transform* forth
    cdef bytes source = entry.source
    cdef uint32_t count = <uint32_t>len(entry.destinations)
    cdef uint32_t i
    _demand(valid_subject(source, len(source), False) and len(source) <= NAME_MAX, f"not a subject: {source!r}")
    _demand(all(0 <= d.below <= 100 for d in entry.destinations), "a weight is beyond 100")
    g = <Mapping*>must(calloc(1, sizeof(Mapping) + len(source)))
    g.destinations = <Destination*>must(calloc(count + 1, sizeof(Destination)))
    try:
        for i, destination in enumerate(entry.destinations):
            forth = _transform(destination.forth)
            g.destinations[i].forth = forth
            g.destinations[i].below = destination.below
            g.ndestinations += 1
    except BaseException:
        mapping_free(g)
        raise
    g.wild = has_wildcard(source, len(source))
    g.length = <unsigned short>len(source)
    memcpy(&g.source[0], PyBytes_AsString(source), len(source))
    return g


cdef class Account:
    def __init__(self):
        raise TypeError("use Kernel.account")

    def set_loop_subject(self, bytes subject not None):
        if self.a.lds != NULL:
            raise ValueError("the account has its loop detection subject already")
        self.a.lds = <char*>must(malloc(len(subject) + 1))
        self.a.lds_len = <uint32_t>len(subject)
        memcpy(self.a.lds, PyBytes_AsString(subject), len(subject))
        self.kernel.subscribe(self, subject, None, None)

    cdef _name_as_json(self):
        """Written as nats-server writes it."""
        text = json.dumps(self.name, ensure_ascii=False)
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
        cdef bytes data = text.encode("utf-8", "replace")
        self.a.json_len = <uint32_t>len(data)
        self.a.json = <char*>must(malloc(len(data)))
        memcpy(self.a.json, PyBytes_AsString(data), len(data))

    def set_stream_imports(self, imports):
        cdef StreamImport* first = NULL
        cdef StreamImport* im
        try:
            for entry in imports:
                im = _stream_import(entry)
                im.next = first
                first = im
        except BaseException:
            while first != NULL:
                im = first
                first = im.next
                stream_import_free(im)
            raise
        streams_replace(&self.kernel.k, self.a, first)
        self.kernel._after()

    def set_service_imports(self, imports):
        cdef Service* first = NULL
        cdef Service* s
        try:
            for entry in imports:
                s = _service_import(entry)
                s.next = first
                first = s
        except BaseException:
            while first != NULL:
                s = first
                first = s.next
                service_free(s)
            raise
        services_replace(&self.kernel.k, self.a, first)
        self.kernel._after()

    def set_mappings(self, mappings):
        cdef Mapping* first = NULL
        cdef Mapping** last = &first
        cdef Mapping* g
        try:
            for entry in mappings:
                last[0] = g = _mapping(entry)
                last = &g.next
        except BaseException:
            while first != NULL:
                g = first
                first = g.next
                mapping_free(g)
            raise
        mappings_replace(&self.kernel.k, self.a, first)
        self.kernel._after()

    def __dealloc__(self):
        if self.a != NULL:
            streams_free(self.a)
            plans_clear(self.a)
            sublist_clear(&self.a.subs)
            free(self.a.lds)
            free(self.a.links)
            free(self.a.waiting)
            free(self.a.json)
            free(self.a)

    @property
    def stats(self):
        cdef AccountState* a = self.a
        return {
            "subscriptions": a.subs.count, "cache": a.plan_count, "cache_bytes": a.plan_bytes, "inserts": a.inserts,
            "removes": a.removes, "matches": a.matches, "cache_hits": a.cache_hits, "links": a.nlinks,
            "shadows": a.shadows, "replies": a.reply_count, "waiting": a.waiting_count,
            "crossings": 0 if a.crossing == NULL else a.crossing.sub_count,
        }
