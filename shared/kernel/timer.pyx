# cython: language_level=3
"""A timer that wakes asyncio's loop to the microsecond.

The loop's own timers count whole milliseconds from when the loop went to sleep, so when they ring says how long the work
before that took. This one rings when it was set to.
"""

from libc.errno cimport errno
from libc.stdint cimport uint64_t

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void* buf, size_t n)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    int CLOCK_MONOTONIC, TFD_NONBLOCK, TFD_CLOEXEC


cdef class Timer:
    cdef int fd

    def __cinit__(self):
        self.fd = -1

    def __init__(self):
        if self.fd >= 0:
            return
        self.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, "timerfd")

    def fileno(self):
        return self.fd

    def set(self, uint64_t after_ns):
        cdef itimerspec t
        after_ns = after_ns if after_ns else 1  # 0 would take it back
        t.it_interval.tv_sec = t.it_interval.tv_nsec = 0
        t.it_value.tv_sec = <long>(after_ns // 1_000_000_000)
        t.it_value.tv_nsec = <long>(after_ns % 1_000_000_000)
        timerfd_settime(self.fd, 0, &t, NULL)

    def heard(self):
        cdef uint64_t times = 0
        return read(self.fd, &times, 8) == 8

    def close(self):
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
