"""The store: one folder with ``data.mdb`` (LMDB) and the journal's generations.

Opening: LMDB names the last generation it holds as a whole. Later generations are read from their files, oldest first,
and then moved at once, so that work begins with an empty journal. A frame that is broken ends its generation, unless
valid frames of the same generation stand behind it: then something between them was damaged, which is told.

A generation ends when it has reached ``generation_bytes``: its last batch is closed with what ``on_freeze`` puts in,
every log's Table is frozen, and when that batch is on the disk the mover's thread writes everything into LMDB. The file
is used again for the generation after next, so that a commit writes into space that the file has already.
"""

import contextlib
import errno as errors
import fcntl
import os
import threading
import time

import zstandard

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from phloem.shared.kernel.sublist cimport grow, must
from phloem.shared.store.folder import make_folder, sync_folder
from phloem.shared.store.frames import frames, open_batch
from phloem.shared.store.pages import file_sound

from .disk cimport (
    SEAL_PAIRS, LogState, disk_close, disk_generation, disk_log, disk_log_free, disk_open, disk_refresh, disk_state, unseal,
)
from .flush cimport Flush, flush_abort, flush_begin, flush_commit, flush_drop, flush_log, flush_pair
from .journal cimport (
    FRAME, R_DROPPED, R_MESSAGE, R_NOTE, R_PAIR, R_PURGED, R_REMOVED, R_SKIPPED, journal_dropped,
    journal_freeze, journal_note, journal_pair, journal_reap, journal_submit, writer_free, writer_loop, writer_new,
    writer_stop,
)
from .lmdb cimport MDB_MAP_FULL, MDB_NEXT, MDB_SET_RANGE, MDB_val, lmdb
from .log cimport Filter, Log_, log_append, log_free, log_new, log_purge, log_remove_range, log_skip, log_thaw
from .types cimport *
from .varint cimport get_varint, unzigzag

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void* buf, size_t n)

cdef enum:
    REPLAY_MAX = 0x7FFFFFFF  # a journal file that is larger is not one of ours


class StoreError(Exception):
    pass


cdef void _attend(void* owner) noexcept nogil:
    with gil:
        (<Store>owner)._attend()


cdef class Store:
    def __init__(self, str folder not None, *, uint64_t seed, uint64_t generation_bytes, on_freeze=None, on_problem=None):
        self.folder = folder
        self.seed = seed
        self.on_freeze, self.on_problem = on_freeze, on_problem
        self.logs, self.fresh, self.frozen_pairs = {}, {}, {}
        self.dropped, self.frozen_dropped, self.graveyard, self.damage = [], [], [], []
        self.notes_of = {}
        self.figures = {"flushes": 0, "flush_ns": 0, "moved_messages": 0, "moved_bytes": 0, "replayed": 0}
        self.event_fd = self.old_fd = self.lock_fd = -1
        self.told = ""
        self.stopping = threading.Event()
        self.j.generation_bytes = generation_bytes
        self.j.timer_fd = -1

    # --- life cycle ------------------------------------------------------------------------------

    def open(self):
        cdef bytes path = os.path.join(self.folder, "data.mdb").encode()
        cdef int error
        try:
            make_folder(self.folder)
            self.lock_fd = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._let_go()
            raise StoreError(f"{self.folder} is used by another server; give this one a store_dir of its own") from None
        except OSError as error_:
            self._let_go()
            raise StoreError(f"{self.folder} cannot be used: {error_.strerror}") from error_
        if os.path.exists(path) and not file_sound(path):
            self._let_go()
            raise StoreError(f"{self.folder}/data.mdb is damaged; try: phloem store repair {self.folder}")
        error = self._create(path) or disk_open(&self.disk, path, False)
        if error:
            self._let_go()
            raise StoreError(f"{self.folder}/data.mdb cannot be opened: {lmdb.strerror_fn(error).decode()}; "
                             f"try: phloem store check {self.folder}")
        self._codec()
        self.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.j.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        self.w = writer_new(self.event_fd)
        self.j.writer = self.w
        self.j.attend, self.j.owner = _attend, <void*>self
        self.opened = True
        try:
            self._recover()
        except OSError as error_:
            self._end()
            raise StoreError(f"{self.folder} cannot be used: {error_.strerror}") from error_
        except BaseException:
            self._end()
            raise
        # Nobody outside can guess the number, so no payload can pass for a frame (frames.pyx)
        self.j.batch = 1 + ((self.seed * <uint64_t>0x9E3779B97F4A7C15) >> 1)
        self.j.written = self.j.durable = self.j.batch - 1
        self.writer_thread = threading.Thread(target=self._write, name="phloem-journal", daemon=True)
        self.writer_thread.start()
        return self.damage

    def _create(self, bytes path):
        """A new data.mdb is complete before it has its name: a power cut leaves none or a whole one."""
        cdef bytes new = path + b".new"
        if os.path.exists(path):
            return 0
        if os.path.exists(new):
            os.unlink(new)
        if error := disk_open(&self.disk, new, False):
            return error
        disk_close(&self.disk)
        os.unlink(new + b"-lock")
        os.rename(new, path)
        sync_folder(self.folder)
        return 0

    def _codec(self):
        squeeze = zstandard.ZstdCompressor(level=1).compress
        expander = zstandard.ZstdDecompressor()

        def expand(data, size):
            if zstandard.frame_content_size(data) != size:  # else it is what decides about memory
                raise ValueError("not the size that the block's head says")
            return expander.decompress(data)

        self._functions = (squeeze, expand)
        self.disk.squeeze, self.disk.expand = <void*>squeeze, <void*>expand

    def _write(self):
        with nogil:
            writer_loop(self.w)

    def _let_go(self):
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def close(self):
        if not self.opened:
            return
        try:
            if not self.j.failed:
                self._settle()
            if not self.j.failed and not self.j.full:  # else the journal keeps what it has
                self._move_all()
        finally:
            self._end()

    def _end(self):
        cdef Log_ log
        self.opened = False
        self.stopping.set()
        if self.mover is not None:
            self.mover.join()
            self.mover = None
        if self.writer_thread is not None:
            writer_stop(self.w)
            self.writer_thread.join()
        for log in [*self.logs.values(), *self.graveyard]:
            if log.l != NULL:
                disk_log_free(log.l.disk)
                log_free(log.l)
                log.l = NULL
        self.logs, self.graveyard = {}, []
        disk_close(&self.disk)
        for fd in (self.w.fd, self.w.next_fd, self.w.old_fd, self.old_fd, self.event_fd, self.j.timer_fd):
            if fd >= 0:
                os.close(fd)
        self.w.fd = self.w.next_fd = self.old_fd = self.event_fd = self.j.timer_fd = -1
        writer_free(self.w)
        free(self.j.filling.data)
        free(self.j.logs)
        free(self.j.dirty)
        free(self.j.under)
        free(self.j.frozen)
        memset(&self.j, 0, sizeof(Journal))
        self.j.timer_fd = -1
        self.w = NULL
        self._let_go()

    # --- generations -----------------------------------------------------------------------------

    def _path(self, generation):
        return os.path.join(self.folder, f"journal-{generation:08d}")

    def _file(self, generation):
        """A file for a generation: an old one if there is one, else a new one with its space."""
        path = self._path(generation)
        if self.old_fd >= 0:
            fd, self.old_fd = self.old_fd, -1
            os.rename(self._old_path, path)
        else:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self.j.generation_bytes + (self.j.generation_bytes >> 3))
            except OSError as error:
                os.close(fd)
                os.unlink(path)
                raise error
        os.fsync(fd)
        sync_folder(self.folder)
        return fd

    def _keep_notes(self):
        """Notes of generations that are moved now outlive them as pairs, until their owner puts its state."""
        for owner, notes in self.notes_of.items():
            key = NOTES + owner.to_bytes(4)
            old = self.get(key) or b""
            self.fresh[key] = old + b"".join(len(note).to_bytes(4) + note for note in notes)
        self.notes_of = {}

    def _recover(self):
        cdef uint64_t applied
        if disk_generation(&self.disk, &applied) == DAMAGED:
            raise StoreError(f"{self.folder}: its head is damaged; try: phloem store repair {self.folder}")
        found = sorted(int(name[8:]) for name in os.listdir(self.folder)
                       if name.startswith("journal-") and name[8:].isdigit())
        if applied == 0 and found and found[0] > 1:
            raise StoreError(f"{self.folder}/data.mdb is empty, and the journal goes on from what should be there; put it "
                             f"back, or keep what the journal has: phloem store repair {self.folder}")
        last = applied
        for generation in found:
            if generation > applied:
                self._replay(generation)
                last = generation
        self.j.generation = last
        if last > applied:
            self._keep_notes()
            self._move(last)
        for generation in found:
            os.unlink(self._path(generation))
        self.j.generation = last + 1
        self.w.fd = self._file(last + 1)
        self.w.next_fd = self._file(last + 2)

    def _attend(self):
        """The journal asks: a generation ends, is to be moved, has been moved."""
        if self.j.flush_state == LAST_BATCH:
            if self.on_freeze is not None:
                self.on_freeze()
            self._freeze()
        elif self.j.flush_state == FROZEN:
            self.j.flush_state = MOVING
            self.mover = threading.Thread(target=self._mover, args=(self.j.generation - 1,), name="phloem-mover")
            self.mover.start()
        elif self.j.flush_state == MOVED:
            self._moved()

    def _freeze(self):
        journal_freeze(&self.j)
        self.frozen_pairs, self.fresh = self.fresh, {}
        self.frozen_dropped, self.dropped = self.dropped, []

    def _mover(self, generation):
        cdef uint64_t one = 1
        problem = None
        begin = time.monotonic_ns()
        try:
            self._flush(generation)
        except Exception as error:
            problem = error
        self.figures["flush_ns"] += time.monotonic_ns() - begin
        self.moved = problem
        self.j.flush_state = MOVED
        write(self.event_fd, &one, 8)

    def _flush(self, uint64_t generation):
        """One transaction. Raises StoreError; then nothing has changed."""
        cdef Flush f
        cdef int error
        cdef uint32_t i
        cdef FrozenLog* frozen = self.j.frozen
        cdef uint32_t n = self.j.nfrozen
        cdef bytes key, value
        error = flush_begin(&f, &self.disk)
        if error:
            raise StoreError(f"LMDB: {lmdb.strerror_fn(error).decode()}")
        for ident in self.frozen_dropped:
            error = error or flush_drop(&f, ident)
        with nogil:
            for i in range(n):
                if error == 0:
                    error = flush_log(&f, &frozen[i])
        for key, pair in self.frozen_pairs.items():
            if error:
                break
            value = pair or b""
            error = flush_pair(&f, key, len(key), value, len(value), pair is None)
        if error == 0:
            with nogil:
                error = flush_commit(&f, generation)
        else:
            flush_abort(&f)
        if error:
            raise StoreError(f"moving messages to {self.folder}/data.mdb failed: {lmdb.strerror_fn(error).decode()}")
        self.figures["flushes"] += 1
        self.figures["moved_messages"] += f.messages
        self.figures["moved_bytes"] += f.bytes

    def _moved(self):
        """The generation is in LMDB, or could not be: then it stays in memory and in its file, and is tried again."""
        self.mover.join()
        self.mover = None
        generation = self.j.generation - 1
        if self.moved is not None:
            self._problem(str(self.moved))
            self._retry(self._mover)
            return
        if self.w.old_fd < 0:  # only the next file was missing
            self._prepare()
            return
        self._thaw()
        self._old_path = self._path(generation)
        self.old_fd, self.w.old_fd = self.w.old_fd, -1
        self._prepare()

    def _retry(self, work):
        """No space: nothing new is taken until ``work`` has been tried again with success."""
        self.j.full |= FULL_STORE
        self.j.flush_state = MOVING
        self.mover = threading.Thread(target=self._later, args=(work, self.j.generation - 1), name="phloem-mover")
        self.mover.start()

    def _later(self, work, generation):
        self.stopping.wait(RETRY_S)
        work(generation)

    def _wait_only(self, generation):
        cdef uint64_t one = 1
        self.moved = None
        self.j.flush_state = MOVED
        write(self.event_fd, &one, 8)

    def _prepare(self):
        """The file of the next generation."""
        try:
            self.w.next_fd = self._file(self.j.generation + 1)
        except OSError as error:
            self._problem(f"no space for the journal in {self.folder}: {error.strerror}")
            self._retry(self._wait_only)
        else:
            self.j.full &= ~FULL_STORE
            self.told = ""
            self.j.flush_state = NO_FLUSH

    def _thaw(self):
        cdef uint32_t i
        cdef Log_ log
        disk_refresh(&self.disk)
        for i in range(self.j.nfrozen):
            log_thaw(self.j.frozen[i].log)
        self.j.nfrozen = 0
        self.frozen_pairs, self.frozen_dropped = {}, []
        for log in self.graveyard:
            disk_log_free(log.l.disk)
            log_free(log.l)
            log.l = NULL
        self.graveyard = []

    def _move(self, generation):
        """Freezes and moves in one go, on this thread. Raises StoreError."""
        self._freeze()
        self._flush(generation)
        self._thaw()

    def _move_all(self):
        """Shutting down: nothing is under way and everything is durable."""
        if self.on_freeze is not None:
            self.on_freeze()
            self._settle()
        self._move(self.j.generation)
        for generation in (self.j.generation, self.j.generation + 1):
            with contextlib.suppress(OSError):
                os.unlink(self._path(generation))
        sync_folder(self.folder)

    def _tell_damage(self):
        what = f"message {self.disk.damaged_seq}" if self.disk.damaged_seq else "the index of subjects"
        self._problem(f"{self.folder}: {what} of log {self.disk.damaged_ident} is damaged and not used "
                      f"({self.disk.damaged} times something was); try: phloem store check {self.folder}")
        self.disk.damaged_ident = 0

    def _problem(self, text):
        if self.on_problem is not None and text != self.told:
            self.told = text
            self.on_problem(text)

    # --- working ---------------------------------------------------------------------------------

    def fileno(self):
        return self.event_fd

    def timer_fileno(self):
        return self.j.timer_fd

    def work(self):
        journal_reap(&self.j)
        journal_submit(&self.j)
        if self.disk.damaged_ident:
            self._tell_damage()
        if self.j.failed:
            self._problem(f"writing to {self.folder} failed: {os.strerror(self.j.error)}; nothing is acknowledged any "
                          "more until the server is started again")
        elif self.j.full & FULL_JOURNAL:
            self._problem(f"no space for the journal in {self.folder}; nothing new is taken until there is")

    @property
    def settled(self):
        return not self.j.busy and self.j.filling.length == 0 and self.j.removed_ident == 0

    @property
    def failed(self):
        return self.j.error if self.j.failed else 0

    def _settle(self):
        while not self.settled or (self.j.flush_state != NO_FLUSH and not self.j.full):
            self.j.holding = 0
            self.j.followed = 0
            self.work()
            if self.j.failed:
                raise StoreError(f"writing to {self.folder} failed: {os.strerror(self.j.error)}")
            if self.j.full:
                raise StoreError(f"{self.folder}: {self.told}")
            time.sleep(0.0001)

    def wait(self):
        self._settle()

    # --- logs ------------------------------------------------------------------------------------

    def open_log(self, uint32_t ident, *, bint relaxed=False, bint compress=False):
        cdef Log_ log = self.logs.get(ident)
        if log is None:
            log = self._attach(ident)
        log.l.relaxed, log.l.compress = relaxed, compress
        return log

    cdef Log_ _attach(self, uint32_t ident):
        cdef Log_ log = Log_.__new__(Log_)
        cdef LogState s
        cdef Journal* j = &self.j
        log.l = log_new(self.seed, j, ident, False)
        log.l.owner = <void*>log
        log.l.disk = disk_log(&self.disk)
        found = disk_state(&self.disk, ident, &s)
        if found == DAMAGED:
            raise StoreError(f"{self.folder}: the counters of log {ident} are damaged; try: phloem store repair {self.folder}")
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
        log.l.relaxed, log.l.compress = relaxed, compress

    def drop_log(self, uint32_t ident):
        cdef Log_ log = self.logs.get(ident)
        if log is None:
            return
        journal_dropped(&self.j, ident)
        self._forget(ident)

    cdef _forget(self, uint32_t ident):
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
        self.dropped.append(ident)
        self.graveyard.append(log)

    # --- pairs and notes -------------------------------------------------------------------------

    def get(self, bytes key not None):
        cdef MDB_val k, v
        for changed in (self.fresh, self.frozen_pairs):
            if key in changed:
                return changed[key]
        k.mv_data, k.mv_size = PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
        if lmdb.get(self.disk.reader, self.disk.pairs, &k, &v) != 0:
            return None
        if not unseal(SEAL_PAIRS, &k, &v):
            self._damaged_pair(key)
            return None
        return PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)

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
        cdef void* cursor = NULL
        cdef MDB_val k, v
        cdef int error
        found = {}
        if lmdb.cursor_open(self.disk.reader, self.disk.pairs, &cursor) == 0:
            k.mv_data, k.mv_size = PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix)
            error = lmdb.cursor_get(cursor, &k, &v, MDB_SET_RANGE)
            while error == 0 and k.mv_size >= <size_t>len(prefix) \
                    and memcmp(k.mv_data, <const char*>prefix, len(prefix)) == 0:
                key = PyBytes_FromStringAndSize(<char*>k.mv_data, k.mv_size)
                if unseal(SEAL_PAIRS, &k, &v):
                    found[key] = PyBytes_FromStringAndSize(<char*>v.mv_data, v.mv_size)
                else:
                    self._damaged_pair(key)
                error = lmdb.cursor_get(cursor, &k, &v, MDB_NEXT)
            lmdb.cursor_close(cursor)
        for changed in (self.frozen_pairs, self.fresh):
            for key, value in changed.items():
                if key.startswith(prefix):
                    found[key] = value
        return iter(sorted((key, value) for key, value in found.items() if value is not None))

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

    @property
    def stats(self):
        cdef Journal* j = &self.j
        return {
            "batches": j.batches, "syncs": j.syncs, "sync_ns": j.sync_ns, "sync_ns_max": j.sync_ns_max,
            "journal_bytes": j.bytes_written, "last_batch_bytes": j.last_batch_bytes, "pending_bytes": j.pending_bytes,
            "generation": j.generation, "generation_bytes": j.offset, "damaged": self.disk.damaged,
            "full": j.full, "failed": j.failed, **self.figures,
        }

    # --- replay ----------------------------------------------------------------------------------

    def _replay(self, generation):
        path = self._path(generation)
        with open(path, "rb") as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, REPLAY_MAX))  # as much memory, and no more
        found = frames(data, generation)
        for at in found.frames:
            if open_batch(data, at):
                self._apply(data, at)
            else:
                self.damage.append(f"{path}: the batch at {at} cannot be read; what it had is lost")
        for at, following, before, after in found.damaged:
            self.damage.append(f"{path}: bytes {at} to {following} are damaged; what was stored in "
                               f"the batches between {before} and {after} is lost")

    cdef Log_ _log(self, uint64_t ident):
        cdef Log_ log = self.logs.get(ident)
        if log is None:
            log = self._attach(<uint32_t>ident)
        return log

    def _apply(self, bytes data, size_t at):
        cdef const char* p = PyBytes_AS_STRING(data) + at
        cdef const char* end
        cdef uint32_t length
        cdef int64_t base
        memcpy(&length, p + 4, 4)
        memcpy(&base, p + 24, 8)
        p += FRAME
        end = p + length
        while p != NULL and p < end:
            p = self._record(p, end, base)
            self.figures["replayed"] += 1

    cdef const char* _record(self, const char* p, const char* end, int64_t base) except? NULL:
        cdef int type = p[0]
        cdef uint64_t a, b, c
        cdef Log_ log
        if type == R_MESSAGE:
            return self._message(p + 1, end, base)
        p = get_varint(p + 1, end, &a)
        if type == R_DROPPED:
            if a in self.logs:
                self._forget(<uint32_t>a)
            else:
                self.dropped.append(a)
            return p
        p = get_varint(p, end, &b)
        if type == R_NOTE:
            self.notes_of.setdefault(a, []).append(PyBytes_FromStringAndSize(p, b))
            return p + b
        if type == R_PAIR:
            key = PyBytes_FromStringAndSize(p, a)
            self.fresh[key] = PyBytes_FromStringAndSize(p + a, b - 1) if b else None
            if key.startswith(STATE):  # what was noted before is in it
                self.notes_of.pop(int.from_bytes(key[len(STATE):]), None)
                self.fresh[NOTES + key[len(STATE):]] = None
            return p + a + (b - 1 if b else 0)
        log = self._log(a)
        log.l.journal = NULL
        if type == R_REMOVED:
            p = get_varint(p, end, &c)
            log_remove_range(log.l, b, c)
        elif type == R_PURGED:
            log_purge(log.l, NULL, b, 0)
        elif type == R_SKIPPED:
            log_skip(log.l, b)
            log.l.visible_seq = log.l.last_seq
        log.l.journal = &self.j
        return p

    cdef const char* _message(self, const char* p, const char* end, int64_t base) except? NULL:
        cdef uint64_t ident, seq, ts, n, header_len, size
        cdef Log_ log
        p = get_varint(p, end, &ident)
        p = get_varint(p, end, &seq)
        p = get_varint(p, end, &ts)
        p = get_varint(p, end, &n)
        p = get_varint(p, end, &header_len)
        p = get_varint(p, end, &size)
        log = self._log(ident)
        if seq > log.l.last_seq:
            log.l.journal = NULL
            log_append(log.l, seq, base + unzigzag(ts), p + 4, <uint32_t>n, p + 4 + n, <uint32_t>header_len, <uint32_t>size)
            log.l.journal = &self.j
        return p + 4 + n + size


RETRY_S = 1.0  # between tries of a flush that failed
STATE, NOTES = b"\x01state", b"\x01notes"  # keys of an owner's state and of notes that are newer
