"""A disk that fails on purpose: what the journal's thread writes and syncs goes through here once ``break_disk`` was
called for its store. For tests; one store at a time.
"""

from libc.stdint cimport int64_t

from phloem.shared.store.store cimport Store

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void* data, size_t n, int64_t offset)
    int fdatasync(int fd)

cdef extern from *:
    """
    #include <errno.h>
    static inline void set_errno(int value) { errno = value; }
    """
    void set_errno(int value) nogil

cdef int64_t room = -1
cdef int write_error = 0
cdef int sync_error = 0
cdef size_t most = 0


cdef ssize_t _pwrite(int fd, const void* data, size_t n, int64_t offset) noexcept nogil:
    global room
    if most and n > most:
        n = most
    if room >= 0:
        if room == 0:
            set_errno(write_error)
            return -1
        if n > <size_t>room:
            n = <size_t>room
        room -= <int64_t>n
    return pwrite(fd, data, n, offset)


cdef int _sync(int fd) noexcept nogil:
    if sync_error:
        set_errno(sync_error)
        return -1
    return fdatasync(fd)


def break_disk(Store store not None, *, int64_t room_bytes=-1, int on_write=0, int on_sync=0, size_t write_most=0):
    """``on_write``: errno after ``room_bytes``; ``on_sync``: errno of every sync; ``write_most``: bytes of one write."""
    global room, write_error, sync_error, most
    room, write_error, sync_error, most = room_bytes, on_write, on_sync, write_most
    store.w.pwrite_fn = _pwrite
    store.w.sync_fn = _sync


def mend_disk(Store store not None):
    """The disk works again."""
    break_disk(store)
