"""The store: one folder with ``data.mdb`` (LMDB) and the journal's generations.

Opening: LMDB names the last generation it holds as a whole, and the last batch of it. Later generations are read from
their files, oldest first (frames.pyx says which batches are believed and what is missing), and then moved at once, so
that work begins with an empty journal. Numbers of batches go on where the last run stopped; the first one is random.
"""

import contextlib
import fcntl
import os
import shutil
import threading
import time

import zstandard

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from phloem.shared.store.folder import make_folder, refusal, reserve, sync_folder
from phloem.shared.store.frames import Journals, generations_in, open_batch
from phloem.shared.store.keyring import has_keys, no_key
from phloem.shared.store.pages import file_sound

from .contents import StoreDamaged, StoreError, mark_of

from .disk cimport disk_log_free, disk_place
from .environment cimport disk_close, disk_free_pages, disk_open, disk_page_size, disk_pages
from .flush cimport flush_step
from .journal cimport SHUT_TAIL, journal_reap, journal_submit, writer_free, writer_loop, writer_new, writer_stop
from .keys cimport Place
from .lmdb cimport lmdb
from .log cimport Log_, log_free
from .replay cimport apply_batch
from .types cimport *
from .vault cimport Vault, Vault_

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initval, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC

REPLAY_MAX = 0x7FFFFFFF  # a journal file that is larger is not one of ours
LMDB_LOCK_BYTES = 8192  # LMDB maps it: without space for it, writing there would end the process


cdef void _attend(void* owner) noexcept nogil:
    with gil:
        (<Store>owner)._attend()


cdef class Store(Generations):
    def __init__(self, str folder not None, *, uint64_t seed, uint64_t generation_bytes, on_freeze=None, on_problem=None,
                 Vault_ vault=None, bint converts=False, bint sparing=False):
        Generations.__init__(self, folder, seed, generation_bytes, on_freeze, on_problem)
        self.vault, self.converts, self.sparing = vault, converts, sparing
        self.damage = []
        self.spaced = 0, (0, 0)
        self.lock_fd = -1

    # --- opening ---------------------------------------------------------------------------------

    def open(self):
        self._take_folder()
        try:
            self._open_disk(os.path.join(self.folder, "data.mdb").encode())
        except BaseException:
            self._let_go()
            raise
        self._codec()
        self.event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.j.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        self.w = writer_new(self.event_fd)
        self.j.writer = self.w
        self.w.vault = self._vault()
        self.j.frame_tail = SHUT_TAIL if self.vault is not None else 0
        self.j.attend, self.j.owner = _attend, <void*>self
        self.opened = True
        try:
            self._recover()
        except OSError as error:
            self._end()
            raise StoreError(f"{self.folder} cannot be used: {error.strerror}") from error
        except BaseException:
            self._end()
            raise
        self._begin_to_write()
        return self.damage

    def _begin_to_write(self):
        thread = threading.Thread(target=self._write, name="phloem-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._end()
            raise StoreError(f"{self.folder} cannot be written to: {error}; a service's TasksMax= or a user's limit of "
                             "processes (ulimit -u) is too low") from error
        self.writer_thread = thread

    def _take_folder(self):
        try:
            if why_not := refusal(self.folder):
                raise StoreError(why_not)
            make_folder(self.folder)
            if self.vault is None and not self.converts and has_keys(self.folder):
                raise StoreError(no_key(self.folder))
            self.lock_fd = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._let_go()
            raise StoreError(f"{self.folder} is used by another server; give this one a store_dir of its own") from None
        except OSError as error:
            self._let_go()
            raise StoreError(f"{self.folder} cannot be used: {error.strerror}") from error

    def _let_go(self):
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def _open_disk(self, bytes path):
        cdef int error
        if os.path.exists(path) and not file_sound(path, self.vault):
            raise StoreDamaged(f"{self.folder}/data.mdb is damaged; try: phloem store repair {self.folder}")
        self.looked_at_ns = time.monotonic_ns()
        try:
            reserve(path + b"-lock", LMDB_LOCK_BYTES)
            if not os.path.exists(path):
                reserve(path + b".new-lock", LMDB_LOCK_BYTES)
        except OSError as problem:
            raise StoreError(f"{self.folder} cannot be used: {problem.strerror}") from problem
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + b".compact")  # of a compaction that was broken off
        shutil.rmtree(os.path.join(self.folder, "mending"), ignore_errors=True)  # of mending.py
        error = self._create(path) or disk_open(&self.disk, path, False, self._vault())
        if error:
            raise StoreError(f"{self.folder}/data.mdb cannot be opened: {lmdb.strerror_fn(error).decode()}; "
                             f"try: phloem store check {self.folder}")
        self.disk.sparing = self.sparing

    cdef Vault* _vault(self):
        return &self.vault.v if self.vault is not None else NULL

    def _create(self, bytes path):
        """A new data.mdb is complete before it has its name: a power cut leaves none or a whole one."""
        cdef bytes new = path + b".new"
        cdef Place place
        cdef int error
        if os.path.exists(path):
            return 0
        if os.path.exists(new):
            os.unlink(new)
        place.generation, place.batch = 0, self._first_batch()
        error = disk_open(&self.disk, new, False, self._vault()) or flush_step(&self.disk, &place)
        disk_close(&self.disk)
        if error:
            return error
        os.unlink(new + b"-lock")
        os.rename(new, path)
        sync_folder(self.folder)
        return 0

    def _first_batch(self):
        """Nobody outside can guess the number, so no payload can pass for a frame (frames.pyx)."""
        return 1 + ((self.seed * <uint64_t>0x9E3779B97F4A7C15) >> 1)

    def _codec(self):
        def expander():
            decompressor = zstandard.ZstdDecompressor()

            def expand(data, size):
                if zstandard.frame_content_size(data) != size:  # else it is what decides about memory
                    raise ValueError("not the size that the block's head says")
                return decompressor.decompress(data)

            return expand

        squeeze, unsqueeze, expand = zstandard.ZstdCompressor(level=1).compress, expander(), expander()
        self.functions = (squeeze, unsqueeze, expand)
        self.disk.squeeze, self.disk.unsqueeze, self.disk.expand = <void*>squeeze, <void*>unsqueeze, <void*>expand

    def _write(self):
        with nogil:
            writer_loop(self.w)

    def _recover(self):
        cdef Place place
        if disk_place(&self.disk, &place) == DAMAGED:
            raise StoreDamaged(f"{self.folder}: its head is damaged; try: phloem store repair {self.folder}")
        self.read_marks()
        found = generations_in(self.folder)
        if place.generation == 0 and found and found[0] > 1:
            raise StoreError(f"{self.folder}/data.mdb is empty, and the journal goes on from what should be there; put it "
                             f"back, or keep what the journal has: phloem store repair {self.folder}")
        self.place = (place.generation, place.batch)
        self.see_heads()
        journals = Journals(place.batch, self.vault)
        last = place.generation
        for generation in found:
            if generation > last:
                self._replay(journals, generation)
                last = generation
        self.damage.extend(journals.damage())
        self.broken = {hole[0] for hole in journals.holes()}
        self.figures["unsynced_lost"] = journals.unsynced
        batch = journals.batch or self._first_batch()
        self.j.batch = batch + 1
        self.j.written = self.j.durable = batch
        self.j.generation = last + 1
        self.left = [self._path(generation) for generation in found]
        self._settle_in(last, batch, last > place.generation or place.batch == 0)

    def _replay(self, journals, generation):
        path = self._path(generation)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > REPLAY_MAX:
                raise StoreError(f"{path} is larger than can be read ({size} bytes); nothing was changed")
            data = file.read(size)
        for at in journals.read(path, data, generation):
            batch, begin = journals.plain(data, at)
            if not open_batch(batch, begin):
                raise StoreError(f"{path}: the batch at {at} is whole, but this version cannot read it; nothing was "
                                 f"changed. To go on without it: phloem store repair {self.folder}")
            apply_batch(self, batch, begin)

    def _settle_in(self, last, batch, moves):
        """LMDB gets what the journal had. If it cannot, what is there is read, and it is tried again."""
        if moves:
            self.keep_notes()
            self.freeze(batch)
            try:
                self.flush(last)
            except StoreError as error:
                self.later(str(error))
                return
            self._see_moved()
        self.ready()

    # --- closing ---------------------------------------------------------------------------------

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

    def _move_all(self):
        """Shutting down: nothing is under way and everything is durable."""
        if self.on_freeze is not None:
            self.on_freeze()
            self._settle()
        self.move(self.j.generation, self.j.batch - 1)
        for generation in (self.j.generation, self.j.generation + 1):
            with contextlib.suppress(OSError):
                os.unlink(self._path(generation))
        sync_folder(self.folder)

    def _end(self):
        cdef Log_ log
        self.opened = False
        self.stopping.set()
        self.end_glance()
        if self.glance is not None:
            self.glance.join()
            self.glance = None
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

    # --- working ---------------------------------------------------------------------------------

    def fileno(self):
        return self.event_fd

    def timer_fileno(self):
        return self.j.timer_fd

    def work(self):
        journal_reap(&self.j)
        journal_submit(&self.j)
        self.tell()

    def tell(self):
        self.see_glance()
        if self.disk.damaged_ident:
            self._tell_damage()
        if self.disk.bad_page:
            self.tell_head(self.disk.bad_page)
            self.disk.bad_page = 0
        if self.disk.error:
            self._problem(f"{self.folder}/data.mdb: LMDB cannot read it ({lmdb.strerror_fn(self.disk.error).decode()}); it "
                          "is looked at now")
            self.disk.error = 0
            self.look_soon()
        while self.met:
            self.tell_head(self.met.pop())
        if self.j.failed:
            self._problem(f"writing to {self.folder} failed: {os.strerror(self.j.error)}; nothing is acknowledged any "
                          "more until the server is started again")
        elif self.j.full & FULL_JOURNAL:
            self._problem(f"no space for the journal in {self.folder}; nothing new is taken until there is")
        elif self.j.full & FULL_BEHIND:
            self._problem(f"moving messages to {self.folder}/data.mdb is behind; nothing new is taken until it is done")

    @property
    def settled(self):
        return not self.j.busy and self.j.filling.length == 0 and self.j.removed_ident == 0

    @property
    def failed(self):
        return self.j.error if self.j.failed else 0

    @property
    def full(self):
        return self.j.full != 0

    @property
    def why_full(self):
        if not self.j.full:
            return ""
        if self.unbegun is not None:
            return "no thread can be begun for the store"
        return "the disk is full" if self.j.full & ~FULL_BEHIND else "the disk is slower than what is stored"

    def _settle(self):
        while not self.settled or (self.j.flush_state != NO_FLUSH and not self.j.full & ~FULL_BEHIND):
            self.j.holding = 0
            self.j.followed = 0
            self.work()
            if self.j.failed:
                raise StoreError(f"writing to {self.folder} failed: {os.strerror(self.j.error)}")
            if self.j.full & ~FULL_BEHIND or self.pausing:
                raise StoreError(f"{self.folder}: {self.told}")
            time.sleep(0.0001)

    def wait(self):
        self._settle()

    @property
    def space(self):
        cdef uint64_t pages, free_pages
        cdef size_t size
        if self.opened and self.spaced[0] != self.disk.serial:
            pages, free_pages, size = disk_pages(&self.disk), disk_free_pages(&self.disk), disk_page_size(&self.disk)
            self.spaced = self.disk.serial, (pages * size, (pages - free_pages) * size)
        return self.spaced[1]

    @property
    def stats(self):
        cdef Journal* j = &self.j
        cdef uint64_t written = j.bytes_written + <uint64_t>self.figures["lmdb_bytes"]
        return {
            "batches": j.batches, "syncs": j.syncs, "sync_ns": j.sync_ns, "sync_ns_max": j.sync_ns_max,
            "messages": j.messages, "written_per_message": written // j.messages if j.messages else 0,
            "journal_bytes": j.bytes_written, "device_bytes": j.device_bytes, "last_batch_bytes": j.last_batch_bytes, "pending_bytes": j.pending_bytes,
            "generation": j.generation, "generation_bytes": j.offset, "damaged": self.disk.damaged,
            "full": j.full, "failed": j.failed, **self.figures,
        }
