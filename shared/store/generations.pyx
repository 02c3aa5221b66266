"""How generations of the journal begin and end.

A generation ends when it has reached ``generation_bytes``: its last batch is closed with what ``on_freeze`` puts in,
every log's Table is frozen, and when that batch is on the disk the mover's thread writes everything into LMDB. The file
is used again for the generation after next, so that a commit writes into space that the file has already.

Without space nothing is lost and nothing new is taken: what could not be moved or made is tried again every second, from
the start on; what is there is read meanwhile.

LMDB must not be let at a damaged file, and one can be damaged while it is in use. So before a generation is moved the
file's heads are compared with what was written, and its trees are looked at, at most a small part of the time. If they
are not sound, or if LMDB refuses twice, the file is made anew (mending.py) while the next generation goes on taking what
comes; then it is opened in the old one's place, and the generation is moved.
"""

import errno as errors
import os
import threading
import time
from pathlib import Path

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from phloem.shared.store.folder import make_file, sync_name, written_by_this_thread

from phloem.shared.store.pages import Stop, file_sound

from .contents import MARK, StoreDamaged, StoreError

from phloem.shared.kernel.heap cimport give_back

from .contents cimport Contents
from .disk cimport disk_log_anew, disk_log_free, disk_state
from .entries cimport Flush, flush_drop, flush_meta, flush_pair
from .environment cimport HEADS, disk_heads, disk_let_go, disk_mend_heads, disk_refresh, disk_reopen
from .flush cimport flush_abort, flush_begin, flush_commit, flush_log, flush_step
from .journal cimport BEHIND_MAX, journal_freeze, journal_submit, journal_sync
from .keys cimport LogState, Place
from .lmdb cimport MDB_MAP_FULL, lmdb
from .log cimport Log_, log_free, log_thaw
from .replay cimport log_again
from .types cimport *

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void* buf, size_t n)

RETRY_S = 1.0  # between tries of what there was no space for
NO_SPACE = (errors.ENOSPC, errors.EDQUOT, errors.EFBIG)
COMMIT_SYNCS = 2  # LMDB syncs the pages, then the page that names their root
LOOK_SHARE = 20  # the trees are looked at for at most one part in so many of the time
MENDS_MAX = 5  # in a row; then the device is to blame, and nothing new is taken
MENDS_FORGOTTEN_S = 600  # after so long without damage another mend is the first one again
MEND_PAUSE_S = 2.0  # before the second mend in a row; twice as long before each further one
MEND_PAUSE_MAX_S = 300.0
GLANCE_NS = 300_000_000_000  # a file that nothing is moved to is looked at after so long,
GLANCE_SHARE = 1000  # and for at most one part in so many of the time
FORCED_NS = 60_000_000_000  # between looks because of what a reader met, if the first one found nothing
NO_DAMAGE = (MDB_MAP_FULL, -30788, -30785, errors.EIO, *NO_SPACE)  # LMDB's "full" and "resized", and the system's: not


cdef class Generations(Contents):
    def __init__(self, str folder not None, uint64_t seed, uint64_t generation_bytes, on_freeze, on_problem):
        Contents.__init__(self, folder, seed, on_problem)
        self.on_freeze = on_freeze
        self.frozen_dropped, self.frozen_marks, self.left = [], [], []
        self.figures = {"flushes": 0, "flush_ns": 0, "moved_messages": 0, "moved_bytes": 0, "replayed": 0,
                        "lmdb_bytes": 0, "lmdb_syncs": 0, "thinned_bytes": 0, "unsynced_lost": 0, "looks": 0,
                        "look_ns": 0, "mends": 0}
        self.event_fd = self.old_fd = -1
        self.broken = set()
        self.met = []
        self.stopping = threading.Event()
        self.heads = self.mended = None
        self.place = (0, 0)
        self.mending = ""
        self.on_mended = None
        self.look_at_ns = self.refusal = self.refused = 0
        self.glance = self.glance_stop = None
        self.glanced = self.forced = False
        self.glance_at_ns = self.forced_at_ns = self.looked_at_ns = self.glance_took_ns = 0
        self.mends_in_row, self.mended_at_s, self.pausing = 0, 0.0, False
        self.j.generation_bytes = generation_bytes
        self.j.timer_fd = -1

    def _path(self, generation):
        return os.path.join(self.folder, f"journal-{generation:08d}")

    def _file(self, generation):
        """A file for a generation: an old one if there is one, else a new one with its space. Raises OSError."""
        path = self._path(generation)
        if self.old_fd < 0:
            return make_file(path, self.j.generation_bytes + (self.j.generation_bytes >> 3))
        if self.old_path != path:
            os.rename(self.old_path, path)
            self.old_path = path  # what follows may fail and be tried again
        sync_name(path, self.old_fd)
        fd, self.old_fd = self.old_fd, -1
        return fd

    # --- the loop's thread -----------------------------------------------------------------------

    def _attend(self):
        """The journal asks: a generation ends, is to be moved, has been moved."""
        if self.j.flush_state == LAST_BATCH:
            if self._asked():
                self.freeze(self.j.batch)
        elif self.j.flush_state == FROZEN:
            self._begin_moving(self._mover)
        elif self.j.flush_state == MOVED:
            self._moved()

    def _begin_moving(self, work):
        self.end_glance()
        self.j.flush_state = MOVING
        self.mover, self.unbegun = threading.Thread(target=work, args=(self.j.generation - 1,), name="phloem-mover"), None
        try:
            self.mover.start()
        except (RuntimeError, MemoryError) as error:  # no thread to be had: tried again in the next round
            self.mover, self.unbegun = None, work
            self.j.full |= FULL_STORE
            self.j.flush_state = MOVED
            self._problem(f"moving messages to {self.folder}/data.mdb cannot begin: {error}; nothing new is taken until "
                          "it can")

    def _asked(self):
        """What shall be in the generation's last batch is; False: that failed, and the generation goes on."""
        try:
            if self.on_freeze is not None:
                self.on_freeze()
        except Exception as error:
            self.j.flush_state = NO_FLUSH
            self._problem(f"{self.folder}: a generation of the journal cannot end: {error!r}")
            if self.j.offset > BEHIND_MAX:  # it would grow further than can be read back
                self.j.failed, self.j.error = 1, errors.EIO
            return False
        return True

    cdef freeze(self, uint64_t batch):
        """What there is belongs to the generation that ends with this batch."""
        cdef Log_ log
        journal_freeze(&self.j)
        if self.j.generation_bytes == 0:
            self.j.generation_bytes = self.whole_generation
        self.frozen_batch = batch
        self.frozen_pairs, self.fresh = self.fresh, {}
        self.frozen_dropped, self.dropped = self.dropped, []
        self.frozen_marks = [(ident, self.marks[ident]) for ident, log in self.logs.items()
                             if log.l.suspect and ident in self.marks]

    def _moved(self):
        """The generation is in LMDB, or could not be: then it stays in memory and in its file, and is tried again."""
        if self.mover is None:
            self._begin_moving(self.unbegun)
            return
        self.mover.join()
        self.mover = None
        if self.mended is not None:
            self._go_on_mended()
        elif isinstance(self.moved, StoreDamaged):
            self._begin_mending()
        elif self.moved is not None and self.mending:
            self._not_mended()
        elif self.moved is not None:
            self.later(str(self.moved))
        elif self.w.fd < 0:  # the first one of this run, or only its file was missing
            if self.thaw():
                self._ready_now()
        elif self.w.old_fd < 0:  # only the next file was missing
            self._prepare()
        elif self.thaw():
            self.old_path = self._path(self.j.generation - 1)
            self.old_fd, self.w.old_fd = self.w.old_fd, -1
            self._prepare()

    cdef later(self, text):
        """No space to move what is in memory."""
        self._problem(text)
        self._retry(self._mover)

    def _retry(self, work):
        """Nothing new is taken until ``work`` has been tried again with success."""
        self.j.full |= FULL_STORE
        self.retry_with = work
        self._begin_moving(self._after_a_while)

    cdef ready(self):
        """LMDB has what the last run left: its files go, this run's are made. Raises OSError if that is refused."""
        while self.left:
            if self.left[0] in self.broken:
                os.rename(self.left[0], self.left[0] + ".damaged")
            else:
                os.unlink(self.left[0])
            del self.left[0]
        try:
            self.w.fd = self._file(self.j.generation)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self._no_file(error)
        else:
            self._prepare()

    def _ready_now(self):
        try:
            self.ready()
        except OSError as error:
            self._no_file(error)

    def _prepare(self):
        """The file of the next generation."""
        try:
            self.w.next_fd = self._file(self.j.generation + 1)
        except OSError as error:
            self._no_file(error)
        else:
            self.j.full &= ~(FULL_STORE | FULL_BEHIND)
            self.told = ""
            self.j.flush_state = NO_FLUSH

    def _no_file(self, error):
        self._problem(f"no space for the journal in {self.folder}: {error.strerror}")
        self._retry(self._nothing)

    cdef bint thaw(self):
        """What was frozen is read from LMDB now; False: LMDB cannot be read, and nothing is acknowledged any more."""
        cdef uint32_t i
        cdef Log_ log
        if disk_refresh(&self.disk) != 0:
            self.j.failed, self.j.error = 1, errors.EIO
            self.j.flush_state = MOVING  # for good: what is frozen stays where it can be read
            return False
        for i in range(self.j.nfrozen):
            log_thaw(self.j.frozen[i].log)
        self.j.nfrozen = 0
        self.frozen_pairs, self.frozen_dropped = {}, []
        for log in self.graveyard:
            disk_log_free(log.l.disk)
            log_free(log.l)
            log.l = NULL
        self.graveyard = []
        self.j.doubtful = 0  # the file was looked at since: what cannot be read will not be there again
        if self.disk.sparing:
            with nogil:
                disk_let_go(&self.disk)
                give_back()
        return True

    cdef move(self, uint64_t generation, uint64_t batch):
        """Freezes and moves in one go, on this thread. Raises StoreError."""
        self.freeze(batch)
        self.flush(generation)
        self._see_moved()

    def _see_moved(self):
        if not self.thaw():
            raise StoreError(f"{self.folder}/data.mdb cannot be read any more")

    # --- a file that was damaged while it is in use ----------------------------------------------

    def _begin_mending(self):
        """What comes is taken meanwhile; what is asked for is read from the file as it is."""
        if time.monotonic() - self.mended_at_s > MENDS_FORGOTTEN_S:
            self.mends_in_row = 0
        self.mending = str(self.moved)
        if self.mends_in_row < MENDS_MAX:
            self._problem(f"{self.mending}; what is readable in it is kept now, new messages are taken meanwhile")
            self._begin_moving(self._mender)
            return
        self.j.full |= FULL_STORE
        self.j.flush_state = MOVING  # for good: what is frozen stays in memory and in the journal
        self._problem(f"{self.mending}, and was mended {self.mends_in_row} times already: nothing new is taken any more, "
                      "the journal has what is not in it; replace the disk, then start the server again")

    def _not_mended(self):
        self.mends_in_row += 1
        self._problem(f"{self.mending}; it could not be mended: {self.moved}; nothing new is taken until it can, which is "
                      f"tried again; or stop the server and try: phloem store repair {self.folder}")
        self._retry(self._mender)

    cdef _go_on_mended(self):
        """Opens the new file, puts right what is in memory over it, and moves the generation."""
        cdef Log_ log
        mended, self.mended = self.mended, None
        if disk_reopen(&self.disk, os.fsencode(os.path.join(self.folder, "data.mdb"))) != 0:
            self.j.failed, self.j.error = 1, errors.EIO
            self.j.flush_state = MOVING  # for good, as in ``thaw``
            return
        self.see_heads()
        self.j.doubtful = 0
        for log in [*self.logs.values(), *self.graveyard]:
            disk_log_anew(log.l.disk)
            log.l.damaged_first = log.l.damaged_last = 0
        for ident, mark in mended.marks.items():
            self._take_mark(ident, *mark)
        for ident in mended.changed:
            self._read_again(ident)
        self.figures["mends"] += 1
        self.mends_in_row += 1
        self.mended_at_s = time.monotonic()
        self.refused, self.mending, self.told = 0, "", ""
        for text in mended.lost:
            self._problem(text)
        self._problem(f"{self.folder}/data.mdb was made anew{'' if mended.lost else ': nothing is lost'}; the damaged one is "
                      f"in {mended.damaged}")
        self._begin_moving(self._mover)
        if self.on_mended is not None:
            try:
                self.on_mended(mended.loose)
            except Exception as error:
                self._problem(f"{self.folder}: after data.mdb was mended: {error!r}")

    def _take_mark(self, ident, first, last, text):
        """Nothing is added to a log that has lost something, as at the start; unless all of it was purged since."""
        cdef Log_ log = self.logs.get(ident)
        if ident in self.dropped or ident in self.frozen_dropped:
            return
        if log is not None and (log.l.dead.below or (log.l.frozen_dead != NULL and log.l.frozen_dead.below)):
            return
        self.marks[ident] = MARK.pack(first, last) + text.encode()
        if log is not None:
            log.l.suspect = 1

    def _read_again(self, ident):
        cdef Log_ log = self.logs.get(ident)
        cdef LogState s
        cdef FrozenLog* f = NULL
        cdef uint32_t i
        if log is None:
            return
        if disk_state(&self.disk, <uint32_t>ident, &s) != FOUND:
            memset(&s, 0, sizeof(LogState))
            s.first_seq = 1
        for i in range(self.j.nfrozen):
            if self.j.frozen[i].log is log.l:
                f = &self.j.frozen[i]
        with nogil:
            log_again(log.l, &s, f)

    cdef see_heads(self):
        """What LMDB has written last on the first two pages of its file."""
        cdef char heads[2 * HEADS]
        self.heads = heads[:2 * HEADS] if disk_heads(&self.disk, heads) else None

    cdef look_soon(self):
        """LMDB refused to read, or what it says cannot be. The generation ends with a batch, an empty one if nothing is
        stored, and the mover looks at the file first. Not again soon if that found nothing."""
        if time.monotonic_ns() < self.forced_at_ns:
            return
        self.look_at_ns, self.forced = 0, True
        if self.j.flush_state == NO_FLUSH and self.j.generation_bytes:
            self.whole_generation, self.j.generation_bytes = self.j.generation_bytes, 0
            journal_sync(&self.j)
            journal_submit(&self.j)

    # --- a store that nobody writes to -----------------------------------------------------------

    def glance_due(self, now_ns):
        """Begins to look at the file in a thread of its own if it is time: nothing has been moved for long. Looking takes
        a small share of the time, reads what the look before a move reads, and writes nothing."""
        if self.glance is not None or self.j.flush_state != NO_FLUSH or self.mending or self.j.failed:
            return False
        if now_ns < max(self.glance_at_ns, self.looked_at_ns + GLANCE_NS):
            return False
        self.glance_at_ns = now_ns + GLANCE_NS
        self.glance_stop = Stop()
        self.glance = threading.Thread(target=self._glancer, args=(self.glance_stop,), name="phloem-glance")
        try:
            self.glance.start()
        except (RuntimeError, MemoryError):
            self.glance = None  # the next time
            return False
        return True

    def _glancer(self, stop):
        cdef uint64_t one = 1
        begin = time.monotonic_ns()
        try:
            self.glanced = not file_sound(os.path.join(self.folder, "data.mdb"), self.vault, stop)
        except OSError:
            self.glanced = False  # whoever needs the file next is told
        self.glance_took_ns = time.monotonic_ns() - begin
        write(self.event_fd, &one, 8)

    cdef see_glance(self):
        """What the thread has found counts if the file has been left alone meanwhile."""
        if self.glance is None or self.glance.is_alive():
            return
        self.glance.join()
        self.glance = None
        self.figures["looks"] += 1
        self.figures["look_ns"] += self.glance_took_ns
        self.glance_at_ns += GLANCE_SHARE * self.glance_took_ns
        if self.glanced and not self.glance_stop.stopped and self.j.flush_state == NO_FLUSH:
            self.forced_at_ns = 0
            self.look_soon()

    cdef end_glance(self):
        """Before the file is written to, and before the store closes."""
        if self.glance is not None:
            self.glance_stop.set()


    # --- the mover's thread ----------------------------------------------------------------------

    def _after_a_while(self, generation):
        self.stopping.wait(RETRY_S)
        self.retry_with(generation)

    def _nothing(self, generation):
        self._done(None)

    def _mover(self, generation):
        problem = None
        begin = time.monotonic_ns()
        try:
            self.flush(generation)
        except StoreDamaged as error:
            problem = error
        except StoreError as error:
            problem = self._judged(error)
        except Exception as error:
            problem = error
        self.figures["flush_ns"] += time.monotonic_ns() - begin
        self._done(problem)

    def _done(self, problem):
        cdef uint64_t one = 1
        self.moved = problem
        self.j.flush_state = MOVED
        write(self.event_fd, &one, 8)

    def _judged(self, problem):
        """What LMDB refused to do, as StoreDamaged if its file is to blame."""
        if self.refusal in NO_DAMAGE:
            return problem
        self.refused += 1
        try:
            if self._sound() and (self.refusal >= 0 or self.refused < 2):
                return problem
        except OSError:
            return problem
        return StoreDamaged(f"{self.folder}/data.mdb is damaged ({problem})")

    def _sound(self):
        begin = time.monotonic_ns()
        sound = file_sound(os.path.join(self.folder, "data.mdb"), self.vault)
        end = time.monotonic_ns()
        self.look_at_ns = end + LOOK_SHARE * (end - begin)
        self.looked_at_ns = end
        self.figures["looks"] += 1
        self.figures["look_ns"] += end - begin
        if self.forced and sound:
            self.forced_at_ns = end + FORCED_NS
        self.forced = False
        return sound

    cdef look(self):
        """Before LMDB writes. A head that is not what it was is written again. Raises StoreDamaged and OSError."""
        self._heads_right()
        if time.monotonic_ns() >= self.look_at_ns and not self._sound():
            raise StoreDamaged(f"{self.folder}/data.mdb was damaged while it is in use")

    def _heads_right(self):
        cdef char heads[2 * HEADS]
        if self.heads is not None and disk_heads(&self.disk, heads) and heads[:2 * HEADS] != self.heads:
            self.met.append(0)
            if not disk_mend_heads(&self.disk, self.heads):
                raise StoreError(f"{self.folder}/data.mdb: its head is damaged and cannot be written again")

    def _mender(self, generation):
        """Makes the file anew. The more often in a row, the later: a device that damages all it is given is left alone."""
        problem = None
        self.pausing = self.mends_in_row > 0
        if self.pausing:
            self.stopping.wait(min(MEND_PAUSE_S * (1 << (self.mends_in_row - 1)), MEND_PAUSE_MAX_S))
        self.pausing = False
        try:
            if self.stopping.is_set():
                raise StoreError("the server stops")
            from phloem.shared.store.mending import mend_open  # seldom needed, and large

            self._heads_right()
            self.mended = mend_open(Path(self.folder), self.vault, self.place)
        except Exception as error:
            problem = StoreError(str(error))
        self._done(problem)

    cdef flush(self, uint64_t generation):
        """One transaction. Raises StoreError; then nothing has changed."""
        cdef Flush f
        cdef Place place
        cdef int error
        cdef uint32_t i
        cdef uint64_t before = written_by_this_thread()
        cdef FrozenLog* frozen = self.j.frozen
        cdef uint32_t n = self.j.nfrozen
        place.generation, place.batch = generation, self.frozen_batch
        self.refusal = 0
        self.look()
        error = flush_begin(&f, &self.disk)
        self.refusal = error
        if error:
            raise StoreError(f"LMDB: {lmdb.strerror_fn(error).decode()}")
        for ident in self.frozen_dropped:
            error = error or flush_drop(&f, <uint32_t>ident)
        with nogil:
            for i in range(n):
                if error == 0:
                    error = flush_log(&f, &frozen[i])
        try:
            error = error or _write_pairs(self, &f)
        except BaseException:
            flush_abort(&f)
            raise
        if error == 0:
            with nogil:
                error = flush_commit(&f, &place)
        else:
            flush_abort(&f)
        self.refusal = error
        if error:
            raise StoreError(f"moving messages to {self.folder}/data.mdb failed: {lmdb.strerror_fn(error).decode()}")
        self.place, self.refused = (generation, self.frozen_batch), 0
        if f.bad_page:
            self.met.append(f.bad_page)
        with nogil:
            flush_step(&self.disk, &place)  # if it fails the next one takes more space, that is all
        self.see_heads()
        _count(self, &f, written_by_this_thread() - before)


cdef int _write_pairs(Generations g, Flush* f) except? -1:
    cdef bytes key, value
    cdef int error = 0
    for key, pair in g.frozen_pairs.items():
        value = pair or b""
        error = error or flush_pair(f, key, <size_t>len(key), value, <size_t>len(value), pair is None)
    for ident, mark in g.frozen_marks:
        key, value = b"bad:" + ident.to_bytes(4, "little"), mark
        error = error or flush_meta(f, key, <size_t>len(key), value, <size_t>len(value))
    return error


cdef _count(Generations g, Flush* f, uint64_t written):
    g.figures["flushes"] += 1
    g.figures["moved_messages"] += f.messages
    g.figures["moved_bytes"] += f.bytes
    g.figures["thinned_bytes"] += f.thinned
    g.figures["lmdb_bytes"] += written or f.bytes
    g.figures["lmdb_syncs"] += 2 * COMMIT_SYNCS
