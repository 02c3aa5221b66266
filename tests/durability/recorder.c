/* What a process does to one folder, in the order in which it does it: a library that is loaded first (LD_PRELOAD).
 *
 * PHLOEM_TRACE_ROOT names the folder, PHLOEM_TRACE_FILE the trace that is appended to, PHLOEM_TRACE_FAULTS a file of
 * 128 bytes with the faults to make (struct faults), which a test changes while the process runs.
 *
 * Rules. A write is recorded when it has returned, so that a sync that began later covers it for certain. A sync has
 * two records, its beginning and its end: only what was written before the beginning is durable at the end. Records
 * are whole: one writev each, under a lock and with O_APPEND, so that a client in another process adds its marks to
 * the same file. What cannot be seen (a writable shared mapping) ends the process loudly; files whose name ends in
 * "lock" are passed over: LMDB's holds nothing that outlives a process.
 *
 * The format is read by trace.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FDS = 4096, /* descriptors that can be followed; a test has a few dozen */
    PATHS = 2 * PATH_MAX + 2
};

enum op {
    OPEN = 1, CLOSE, WRITE, TRUNCATE, ALLOCATE, SYNC_BEGIN, SYNC_END, SYNC_FAILED, RENAME, UNLINK, MKDIR, RMDIR
};

enum flag { CREATES = 1, EMPTIES = 2, AT_ONCE = 4, FOLDER = 8 };

struct record {
    uint32_t size; /* of what follows */
    uint8_t op, flags;
    uint16_t none;
    uint64_t handle, offset, length;
};

struct faults {
    int64_t syncs_until_error; /* 0: off; n: the n-th sync from now on fails with EIO, as do all later ones */
    int64_t room;              /* -1: unlimited; else by how many bytes files may still grow */
    int64_t short_every;       /* 0: off; n: every n-th write does half of what it is asked */
    int64_t sync_ns;           /* how much longer a sync takes */
    int64_t writes_until_error;/* 0: off; n: the n-th write from now on fails with EIO, as do all later ones */
    char name[88];             /* only files with this in their name; empty: all */
};

struct follow {
    uint64_t handle; /* 0: not ours */
    uint8_t flags;
    char name[64];
};

static struct follow followed[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t handles;
static int64_t writes;
static int trace_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static struct faults *faults;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (real == NULL) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void give_up(const char *what) {
    dprintf(2, "recorder: %s\n", what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("PHLOEM_TRACE_ROOT"), *file = getenv("PHLOEM_TRACE_FILE");
    const char *control = getenv("PHLOEM_TRACE_FAULTS");
    int fd;
    if (folder == NULL || file == NULL) return;
    root_length = strlen(folder);
    if (root_length >= sizeof root) give_up("PHLOEM_TRACE_ROOT is too long");
    memcpy(root, folder, root_length + 1);
    trace_fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace_fd < 0) give_up("PHLOEM_TRACE_FILE cannot be opened");
    trace_fd = fcntl(trace_fd, F_DUPFD_CLOEXEC, 900); /* out of the way of programs that close what they know */
    if (control != NULL) {
        fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDWR | O_CLOEXEC, 0);
        faults = fd < 0 ? MAP_FAILED
                        : (void *)syscall(SYS_mmap, NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
        if (faults == MAP_FAILED) give_up("PHLOEM_TRACE_FAULTS cannot be used");
        syscall(SYS_close, fd);
    }
}

/* --- records ---------------------------------------------------------------------------------------------------- */

static void put(int op, int flags, uint64_t handle, uint64_t offset, uint64_t length, const struct iovec *data, int n) {
    struct iovec all[64];
    struct record r = {0, (uint8_t)op, (uint8_t)flags, 0, handle, offset, length};
    size_t whole = sizeof r, left;
    int kept = errno, i;
    if (n > 63) give_up("a vector of more than 63 parts");
    all[0].iov_base = &r;
    all[0].iov_len = sizeof r;
    left = op == WRITE ? (size_t)length : SIZE_MAX;
    for (i = 0; i < n; i++) {
        all[i + 1] = data[i];
        if (all[i + 1].iov_len > left) all[i + 1].iov_len = left;
        if (left != SIZE_MAX) left -= all[i + 1].iov_len;
        whole += all[i + 1].iov_len;
    }
    r.size = (uint32_t)(whole - sizeof r);
    pthread_mutex_lock(&lock);
    if (syscall(SYS_writev, trace_fd, all, n + 1) != (long)whole) give_up("the trace cannot be written");
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static void put_text(int op, int flags, uint64_t handle, uint64_t length, const char *text, size_t n) {
    struct iovec one = {(void *)text, n};
    put(op, flags, handle, 0, length, &one, 1);
}

/* The path below the root, without a leading slash; NULL: not ours. */
static const char *below(int dir, const char *path, char *room) {
    char link[64];
    ssize_t n = 0;
    if (trace_fd < 0 || path == NULL) return NULL;
    if (path[0] != '/') {
        if (dir == AT_FDCWD) {
            if (syscall(SYS_getcwd, room, PATH_MAX) < 0) return NULL;
            n = (ssize_t)strlen(room);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            n = readlink(link, room, PATH_MAX);
            if (n < 0) return NULL;
        }
        room[n++] = '/';
    }
    if (n + strlen(path) >= PATH_MAX) return NULL;
    strcpy(room + n, path);
    if (strncmp(room, root, root_length) != 0 || (room[root_length] != '/' && room[root_length] != 0)) return NULL;
    path = room + root_length;
    while (*path == '/') path++;
    n = (ssize_t)strlen(path);
    return n >= 4 && strcmp(path + n - 4, "lock") == 0 ? NULL : path;
}

static struct follow *of(int fd) {
    return trace_fd >= 0 && fd >= 0 && fd < FDS && followed[fd].handle ? &followed[fd] : NULL;
}

static int opened(int fd, int dir, const char *path, int flags) {
    char room[PATHS];
    const char *name = below(dir, path, room);
    struct follow *f;
    struct stat s;
    if (fd < 0 || fd >= FDS) {
        if (fd >= FDS && name != NULL) give_up("too many descriptors");
        return fd;
    }
    f = &followed[fd];
    f->handle = 0;
    if (name == NULL || fstat(fd, &s) != 0) return fd;
    f->flags = (flags & O_CREAT ? CREATES : 0) | (flags & O_TRUNC ? EMPTIES : 0) | (S_ISDIR(s.st_mode) ? FOLDER : 0)
               | ((flags & O_SYNC) == O_SYNC || flags & O_DSYNC ? AT_ONCE : 0);
    snprintf(f->name, sizeof f->name, "%.63s", strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
    f->handle = ((uint64_t)getpid() << 32) | __atomic_add_fetch(&handles, 1, __ATOMIC_RELAXED);
    put_text(OPEN, f->flags, f->handle, 0, name, strlen(name));
    return fd;
}

/* --- faults ----------------------------------------------------------------------------------------------------- */

static int concerned(const struct follow *f) {
    return faults != NULL && (faults->name[0] == 0 || strstr(f->name, faults->name) != NULL);
}

/* How much of a write at ``offset`` may be done; -1: none, and errno says why. */
static ssize_t allowed(int fd, const struct follow *f, off_t offset, size_t n) {
    struct stat s;
    int64_t growth;
    if (!concerned(f) || n == 0) return (ssize_t)n;
    if (faults->writes_until_error > 0 && --faults->writes_until_error == 0) faults->writes_until_error = -1;
    if (faults->writes_until_error < 0) {
        errno = EIO;
        return -1;
    }
    if (faults->short_every > 0 && __atomic_add_fetch(&writes, 1, __ATOMIC_RELAXED) % faults->short_every == 0 && n > 1)
        n /= 2;
    if (faults->room >= 0 && fstat(fd, &s) == 0) {
        growth = (int64_t)offset + (int64_t)n - (int64_t)s.st_size;
        if (growth > 0) {
            if (growth > faults->room) n = growth - faults->room >= (int64_t)n ? 0 : n - (size_t)(growth - faults->room);
            faults->room -= growth > faults->room ? faults->room : growth;
        }
        if (n == 0) {
            errno = ENOSPC;
            return -1;
        }
    }
    return (ssize_t)n;
}

static int sync_of(int fd, const struct follow *f, int (*real)(int)) {
    struct timespec t;
    int result;
    put(SYNC_BEGIN, f->flags & FOLDER, f->handle, 0, 0, NULL, 0);
    if (concerned(f)) {
        if (faults->sync_ns > 0) {
            t.tv_sec = faults->sync_ns / 1000000000;
            t.tv_nsec = faults->sync_ns % 1000000000;
            nanosleep(&t, NULL);
        }
        if (faults->syncs_until_error > 0 && --faults->syncs_until_error == 0) faults->syncs_until_error = -1;
        if (faults->syncs_until_error < 0) {
            put(SYNC_FAILED, 0, f->handle, 0, 0, NULL, 0);
            errno = EIO;
            return -1;
        }
    }
    result = real(fd);
    put(result == 0 ? SYNC_END : SYNC_FAILED, 0, f->handle, 0, 0, NULL, 0);
    return result;
}

/* --- opening and closing ---------------------------------------------------------------------------------------- */

static int open_mode(int flags, va_list more) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, int) : 0;
}

#define AN_OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        int mode; \
        va_start(more, flags); \
        mode = open_mode(flags, more); \
        va_end(more); \
        return opened((int)syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode), AT_FDCWD, path, flags); \
    }
#define AN_OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        va_list more; \
        int mode; \
        va_start(more, flags); \
        mode = open_mode(flags, more); \
        va_end(more); \
        return opened((int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode), dir, path, flags); \
    }
AN_OPEN(open)
AN_OPEN(open64)
AN_OPENAT(openat)
AN_OPENAT(openat64)

int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open(path, flags); }
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static int copied(int from, int to) {
    if (to >= 0 && to < FDS) {
        if (of(from) != NULL) followed[to] = followed[from];
        else followed[to].handle = 0;
    } else if (to >= FDS && of(from) != NULL) give_up("too many descriptors");
    return to;
}

int dup(int fd) { return copied(fd, (int)syscall(SYS_dup, fd)); }
int dup3(int fd, int to, int flags) { return copied(fd, (int)syscall(SYS_dup3, fd, to, flags)); }

int dup2(int fd, int to) {
    REAL(int, "dup2", int, int);
    return fd == to ? real(fd, to) : copied(fd, real(fd, to));
}

static int control(int fd, int command, void *argument) {
    int result = (int)syscall(SYS_fcntl, fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result;
}

int fcntl(int fd, int command, ...) {
    va_list more;
    void *argument;
    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    return control(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list more;
    void *argument;
    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    return control(fd, command, argument);
}

int close(int fd) {
    if (of(fd) != NULL) followed[fd].handle = 0;
    return (int)syscall(SYS_close, fd);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static ssize_t wrote(int fd, struct follow *f, off_t offset, ssize_t n, const struct iovec *data, int parts) {
    if (n > 0) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - n;
        put(WRITE, f->flags & AT_ONCE, f->handle, (uint64_t)offset, (uint64_t)n, data, parts);
    }
    return n;
}

static off_t place(int fd) {
    struct stat s;
    return syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND && fstat(fd, &s) == 0 ? s.st_size : lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t n) {
    struct follow *f = of(fd);
    struct iovec one = {(void *)data, n};
    ssize_t may;
    if (f == NULL) return syscall(SYS_write, fd, data, n);
    may = allowed(fd, f, place(fd), n);
    return may < 0 ? -1 : wrote(fd, f, -1, syscall(SYS_write, fd, data, (size_t)may), &one, 1);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    struct follow *f = of(fd);
    struct iovec one = {(void *)data, n};
    ssize_t may;
    if (f == NULL) return syscall(SYS_pwrite64, fd, data, n, offset);
    may = allowed(fd, f, offset, n);
    return may < 0 ? -1 : wrote(fd, f, offset, syscall(SYS_pwrite64, fd, data, (size_t)may, offset), &one, 1);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }

static size_t length_of(const struct iovec *data, int n) {
    size_t whole = 0;
    while (n-- > 0) whole += data[n].iov_len;
    return whole;
}

/* A vector of which only a part may be written: its first part alone, as a short write. */
static ssize_t vector(int fd, struct follow *f, const struct iovec *data, int n, off64_t offset) {
    size_t whole = length_of(data, n);
    ssize_t may = allowed(fd, f, offset < 0 ? place(fd) : offset, whole);
    struct iovec first = data[0];
    if (may < 0) return -1;
    if ((size_t)may < whole) {
        if (first.iov_len > (size_t)may) first.iov_len = (size_t)may;
        data = &first;
        n = 1;
    }
    return wrote(fd, f, offset, offset < 0 ? syscall(SYS_writev, fd, data, n)
                                           : syscall(SYS_pwritev, fd, data, n, (long)offset, 0L), data, n);
}

ssize_t writev(int fd, const struct iovec *data, int n) {
    struct follow *f = of(fd);
    return f == NULL || n < 1 ? syscall(SYS_writev, fd, data, n) : vector(fd, f, data, n, -1);
}

ssize_t pwritev64(int fd, const struct iovec *data, int n, off64_t offset) {
    struct follow *f = of(fd);
    return f == NULL || n < 1 ? syscall(SYS_pwritev, fd, data, n, (long)offset, 0L) : vector(fd, f, data, n, offset);
}

ssize_t pwritev(int fd, const struct iovec *data, int n, off_t offset) { return pwritev64(fd, data, n, offset); }

int ftruncate64(int fd, off64_t size) {
    struct follow *f = of(fd);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (f != NULL && result == 0) put(TRUNCATE, 0, f->handle, 0, (uint64_t)size, NULL, 0);
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int truncate64(const char *path, off64_t size) {
    int fd = open(path, O_WRONLY), result;
    if (fd < 0) return -1;
    result = ftruncate64(fd, size);
    close(fd);
    return result;
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    struct follow *f = of(fd);
    int result;
    if (f == NULL) return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (mode != 0) give_up("fallocate with a mode");
    if (allowed(fd, f, offset, (size_t)length) != (ssize_t)length) {
        errno = ENOSPC;
        return -1;
    }
    result = (int)syscall(SYS_fallocate, fd, 0, offset, length);
    if (result == 0) put(ALLOCATE, 0, f->handle, (uint64_t)offset, (uint64_t)length, NULL, 0);
    return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    int kept = errno, result = fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
    errno = kept;
    return result;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

/* --- syncing ---------------------------------------------------------------------------------------------------- */

static int real_fsync(int fd) { return (int)syscall(SYS_fsync, fd); }
static int real_fdatasync(int fd) { return (int)syscall(SYS_fdatasync, fd); }

int fsync(int fd) {
    struct follow *f = of(fd);
    return f == NULL ? real_fsync(fd) : sync_of(fd, f, real_fsync);
}

int fdatasync(int fd) {
    struct follow *f = of(fd);
    return f == NULL ? real_fdatasync(fd) : sync_of(fd, f, real_fdatasync);
}

static void *mapped(void *at, size_t n, int protection, int flags, int fd, off64_t offset) {
    if (of(fd) != NULL && protection & PROT_WRITE && flags & MAP_SHARED) give_up("a writable shared mapping");
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    return mapped(at, n, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t offset) {
    return mapped(at, n, protection, flags, fd, offset);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void named(int op, int dir, const char *path) {
    char room[PATHS];
    const char *name = below(dir, path, room);
    if (name != NULL) put_text(op, 0, 0, 0, name, strlen(name));
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags) {
    char room[PATHS], other[PATHS], both[2 * PATHS];
    const char *a, *b;
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags), n;
    if (result != 0) return result;
    a = below(from_dir, from, room);
    b = below(to_dir, to, other);
    if (a == NULL && b == NULL) return 0;
    if (a == NULL || b == NULL || flags) give_up("a rename into or out of the folder");
    n = snprintf(both, sizeof both, "%s%c%s", a, 0, b);
    put_text(RENAME, 0, 0, 0, both, (size_t)n);
    return 0;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *path, int flags) {
    int result = (int)syscall(SYS_unlinkat, dir, path, flags);
    if (result == 0) named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, dir, path);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
    int result = (int)syscall(SYS_mkdirat, dir, path, mode);
    if (result == 0) named(MKDIR, dir, path);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
