"""What a store holds, in memory and in LMDB: logs by number, pairs of key and value, and for each owner a state with the
notes that are newer. Whatever changes is a record in the journal's filling batch at once.

A pair is looked for in what this generation changed, then in the generation that is being moved, then in LMDB.
"""

import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from phloem.shared.kernel.sublist cimport grow

from .disk cimport disk_log, disk_state
from .environment cimport disk_absent, disk_begins, disk_find, disk_value
from .journal cimport journal_dropped, journal_note, journal_pair, journal_sync
from .keys cimport ANY_KEY, META_KEY, SEAL_META, SEAL_PAIRS, LogState, pair_key, pair_prefix, unseal, unseal_pair
from .lmdb cimport MDB_CORRUPTED, MDB_FIRST, MDB_NEXT, MDB_NOTFOUND, MDB_SET_RANGE, MDB_val, lmdb
from .log cimport Log_, log_new, log_touch

STATE, NOTES = b"\x01state", b"\x01notes"  # keys of an owner's state and of notes that are newer
MARK = struct.Struct("<QQ")  # first and last sequence that a mark speaks of; its text follows


def mark_of(bytes mark not None):
    first, last = MARK.unpack_from(mark)
    return first, last, mark[MARK.size:].decode(errors="replace")


class StoreError(Exception):
    pass


class StoreDamaged(StoreError):
    pass


cdef class Contents:
    def __init__(self, str folder not None, uint64_t seed, on_problem):
        self.folder, self.seed, self.on_problem = folder, seed, on_problem
        self.logs, self.marks, self.fresh, self.frozen_pairs, self.notes_of = {}, {}, {}, {}, {}
        self.dropped, self.graveyard = [], []
        self.told = ""
        self.bad_pages = set()

    def _problem(self, text):
        if self.on_problem is not None and text != self.told:
            self.told = text
            self.on_problem(text)

    def _tell_damage(self):
        ident = self.disk.damaged_ident
        self.disk.damaged_ident = 0
        what = f"message {self.disk.damaged_seq}" if self.disk.damaged_seq else "the index of subjects"
        log = f"log {ident}" + (f" (stream {name})" if (name := self.name_of(ident)) else "")
        self._problem(f"{self.folder}: {what} of {log} is damaged and not used "
                      f"({self.disk.damaged} times something was); try: phloem store check {self.folder}")

    cdef tell_head(self, uint64_t page):
        """Told once: what begins there is met each time that it is read."""
        if page not in self.bad_pages:
            self.bad_pages.add(page)
            self.disk.damaged += 1
            if page == 0:
                self.bad_pages.discard(page)
                self._problem(f"{self.folder}: a head of data.mdb was damaged while it is in use, and was written again: "
                              "nothing is lost, and nothing has to be done; if it happens again, replace the disk")
                return
            self._problem(f"{self.folder}: page {page} of data.mdb is damaged where a large value begins; what of it proves "
                          f"itself is used, and its space is not used again; try: phloem store repair {self.folder}")

    # --- logs ------------------------------------------------------------------------------------

    def open_log(self, uint32_t ident, *, bint relaxed=False, bint compress=False, str name=""):
        cdef Log_ log = self.log(ident)
        log.l.relaxed, log.l.compress = relaxed, compress
        if name:
            log.name = name
        return log

    def name_of(self, ident):
        cdef Log_ log = self.logs.get(ident)
        return log.name or "" if log is not None else ""

    cdef Log_ log(self, uint64_t ident):
        cdef Log_ log = self.logs.get(ident)
        cdef LogState s
        cdef Journal* j = &self.j
        if log is not None:
            return log
        found = disk_state(&self.disk, <uint32_t>ident, &s)
        if found == DAMAGED:
            raise StoreDamaged(f"{self.folder}: the counters of log {ident} are damaged; "
                               f"try: phloem store repair {self.folder}")
        log = Log_.__new__(Log_)
        log.l = log_new(self.seed, j, <uint32_t>ident, False)
        log.l.owner = <void*>log
        log.l.disk = disk_log(&self.disk)
        log.l.suspect = ident in self.marks
        if found == FOUND:
            log.l.first_seq, log.l.last_seq, log.l.last_ts = s.first_seq, s.last_seq, s.last_ts
            log.l.visible_seq = log.l.disk_last = s.last_seq
            log.l.messages, log.l.bytes, log.l.subjects = s.messages, s.bytes, s.subjects
        j.logs = <Log**>grow(j.logs, &j.log_cap, j.nlogs + 1, sizeof(Log*))
        j.logs[j.nlogs] = log.l
        j.nlogs += 1
        self.logs[ident] = log
        return log

    def configure_log(self, uint32_t ident, *, bint relaxed, bint compress):
        cdef Log_ log = self.logs[ident]
        if log.l.relaxed and not relaxed:  # what was only written, or is on its way, is synced and shown
            log_touch(log.l)
            journal_sync(&self.j)
        log.l.relaxed, log.l.compress = relaxed, compress

    def drop_log(self, uint32_t ident):
        if ident in self.logs:
            journal_dropped(&self.j, ident)
            self.forget(ident)

    cdef forget(self, uint32_t ident):
        cdef Log_ log = self.logs.pop(ident)
        cdef Journal* j = &self.j
        cdef uint32_t i
        log.l.deleted = 1
        for i in range(j.nlogs):
            if j.logs[i] is log.l:
                j.nlogs -= 1
                j.logs[i] = j.logs[j.nlogs]
                break
        for i in range(j.ndirty):
            if j.dirty[i] is log.l:
                j.ndirty -= 1
                j.dirty[i] = j.dirty[j.ndirty]
                break
        for i in range(j.nunder):
            if j.under[i] is log.l:
                j.under[i] = NULL
        log.l.journal = NULL
        self.marks.pop(ident, None)
        self.dropped.append(ident)
        self.graveyard.append(log)

    cdef read_marks(self):
        """What was lost of which log; that every counter is what was written. Raises StoreDamaged."""
        cdef void* cursor = NULL
        cdef MDB_val k, v
        cdef uint32_t ident
        cdef int error
        if lmdb.cursor_open(self.disk.reader, self.disk.meta, &cursor) != 0:
            return
        k.mv_data, k.mv_size = <char*>b"a", 1
        error = lmdb.cursor_get(cursor, &k, &v, MDB_SET_RANGE)
        sound = True
        while error == 0:
            sound = sound and unseal(&self.disk.opener, SEAL_META, &k, &v)
            if sound and k.mv_size == META_KEY and memcmp(k.mv_data, b"bad:", 4) == 0 and v.mv_size >= <size_t>MARK.size:
                memcpy(&ident, <char*>k.mv_data + 4, 4)
                self.marks[ident] = PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)
            error = lmdb.cursor_get(cursor, &k, &v, MDB_NEXT)
        lmdb.cursor_close(cursor)
        if not sound:
            raise StoreDamaged(f"{self.folder}: counters are damaged; try: phloem store repair {self.folder}")

    def mark(self, uint32_t ident, uint64_t first, uint64_t last, str text not None):
        cdef Log_ log = self.log(ident)
        log.l.suspect = 1
        self.marks[ident] = MARK.pack(first, last) + text.encode()

    def lost(self, uint32_t ident):
        cdef Log_ log = self.logs.get(ident)
        if log is None or not log.l.suspect or ident not in self.marks:
            return None
        return mark_of(self.marks[ident])

    # --- pairs and notes -------------------------------------------------------------------------

    def get(self, bytes key not None):
        cdef char stored[ANY_KEY]
        cdef MDB_val k, v, its
        cdef uint64_t bad
        cdef int error
        for changed in (self.fresh, self.frozen_pairs):
            if key in changed:
                return changed[key]
        if PyBytes_GET_SIZE(key) > ANY_KEY:
            return None
        k.mv_size = pair_key(self.disk.vault, stored, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        k.mv_data = stored
        error = disk_find(&self.disk, self.disk.reader, self.disk.pairs, self.disk.pages, &k, &v, &bad)
        if error:
            if error != MDB_NOTFOUND or not disk_absent(&self.disk, self.disk.pairs, SEAL_PAIRS, &k):
                self._doubtful_pair(key)
            return None
        if bad:
            self.tell_head(bad)
        if not unseal_pair(&self.disk.opener, &k, &v, &its):
            self._damaged_pair(key)
            return None
        return PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)

    def _doubtful_pair(self, key):
        """Nothing is found under a key, where what is beside it is not what was written: the file is looked at."""
        self._damaged_pair(key)
        self.disk.error = MDB_CORRUPTED

    def _damaged_pair(self, key):
        self.disk.damaged += 1
        self._problem(f"{self.folder}: what was kept under {key!r} is damaged and not used; try: phloem store check")

    def put(self, bytes key not None, bytes value not None):
        if not 0 < len(key) <= 500:
            raise ValueError("a key has 1 to 500 bytes")
        journal_pair(&self.j, key, <uint32_t>len(key), value, len(value))
        self.fresh[key] = value

    def delete(self, bytes key not None):
        journal_pair(&self.j, key, <uint32_t>len(key), NULL, -1)
        self.fresh[key] = None

    def scan(self, bytes prefix not None):
        found = {}
        if PyBytes_GET_SIZE(prefix) <= ANY_KEY:
            self._scan_disk(prefix, found)
        for changed in (self.frozen_pairs, self.fresh):
            for key, value in changed.items():
                if key.startswith(prefix):
                    found[key] = value
        return iter(sorted((key, value) for key, value in found.items() if value is not None))

    cdef _scan_disk(self, bytes prefix, dict found):
        cdef void* cursor = NULL
        cdef char beginning[ANY_KEY]
        cdef size_t n = pair_prefix(self.disk.vault, beginning, PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
        cdef MDB_val k, v, its
        cdef uint64_t bad
        cdef unsigned int step = MDB_SET_RANGE if n else MDB_FIRST
        if lmdb.cursor_open(self.disk.reader, self.disk.pairs, &cursor) != 0:
            return
        k.mv_data, k.mv_size = beginning, n
        if n and not disk_begins(&self.disk, self.disk.pairs, SEAL_PAIRS, &k):
            self._doubtful_pair(prefix)
        while lmdb.cursor_get(cursor, &k, NULL, step) == 0 \
                and disk_value(&self.disk, cursor, self.disk.pages, &k, &v, &bad) == 0:
            if k.mv_size < n or memcmp(k.mv_data, beginning, n) != 0:
                if not unseal_pair(&self.disk.opener, &k, &v, &its):
                    self._doubtful_pair(prefix)
                break
            step = MDB_NEXT
            if bad:
                self.tell_head(bad)
            if not unseal_pair(&self.disk.opener, &k, &v, &its):
                self._damaged_pair(PyBytes_FromStringAndSize(<char*>k.mv_data, k.mv_size))
                continue
            key = PyBytes_FromStringAndSize(<char*>its.mv_data, its.mv_size)
            if key.startswith(prefix):
                found[key] = PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)
        lmdb.cursor_close(cursor)

    def note(self, uint32_t owner, bytes data not None):
        journal_note(&self.j, owner, data, <uint32_t>len(data))

    def put_state(self, uint32_t owner, bytes value not None):
        self.put(STATE + owner.to_bytes(4), value)
        if self.get(NOTES + owner.to_bytes(4)) is not None:
            self.delete(NOTES + owner.to_bytes(4))

    def state(self, uint32_t owner):
        cdef size_t at = 0
        whole = self.get(NOTES + owner.to_bytes(4)) or b""
        notes = []
        while at < <size_t>len(whole):
            n = int.from_bytes(whole[at:at + 4])
            notes.append(whole[at + 4:at + 4 + n])
            at += 4 + n
        return self.get(STATE + owner.to_bytes(4)), notes

    def drop_state(self, uint32_t owner):
        for prefix in (STATE, NOTES):
            if self.get(prefix + owner.to_bytes(4)) is not None:
                self.delete(prefix + owner.to_bytes(4))

    cdef keep_notes(self):
        """Notes of generations that are moved now outlive them as pairs, until their owner puts its state."""
        for owner, notes in self.notes_of.items():
            key = NOTES + owner.to_bytes(4)
            old = self.get(key) or b""
            self.fresh[key] = old + b"".join(len(note).to_bytes(4) + note for note in notes)
        self.notes_of = {}
