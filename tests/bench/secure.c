/* TLS for the load generator, with the OpenSSL library that the system has: it is opened at run time, so that compiling
 * needs neither its headers nor its development files. The certificate is not looked at; that is not what is measured.
 *
 * A connection may be sent on by one thread while another one waits for it to receive. OpenSSL does not allow that, so
 * each has a lock, and waiting is done outside of it, on a socket that does not block. */
#define _GNU_SOURCE
#include "secure.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { WANT_READ = 2, WANT_WRITE = 3, CTRL_MODE = 33, CTRL_READ_AHEAD = 41, MODES = 1 | 2 | 16 };

static struct {
    void *(*TLS_client_method)(void);
    void *(*SSL_CTX_new)(const void *);
    long (*SSL_CTX_ctrl)(void *, int, long, void *);
    void *(*SSL_new)(void *);
    int (*SSL_set_fd)(void *, int);
    int (*SSL_connect)(void *);
    int (*SSL_read)(void *, void *, int);
    int (*SSL_write)(void *, const void *, int);
    int (*SSL_get_error)(const void *, int);
    void (*SSL_free)(void *);
    void (*ERR_clear_error)(void);
} lib;

static void *context;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct secure {
    void *ssl;
    pthread_mutex_t lock;
};

static void *found(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    if (symbol == NULL) fail(EXIT_BROKEN, "OpenSSL has no %s", name);
    return symbol;
}

static void load_library(void) {
    void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) library = dlopen("libssl.so", RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) fail(EXIT_USAGE, "--tls needs OpenSSL's library: %s", dlerror());
#define FIND(name) *(void **)&lib.name = found(library, #name)
    FIND(TLS_client_method);
    FIND(SSL_CTX_new);
    FIND(SSL_CTX_ctrl);
    FIND(SSL_new);
    FIND(SSL_set_fd);
    FIND(SSL_connect);
    FIND(SSL_read);
    FIND(SSL_write);
    FIND(SSL_get_error);
    FIND(SSL_free);
    FIND(ERR_clear_error);
#undef FIND
    context = lib.SSL_CTX_new(lib.TLS_client_method());
    if (context == NULL) fail(EXIT_BROKEN, "no TLS context");
    lib.SSL_CTX_ctrl(context, CTRL_MODE, MODES, NULL);
    lib.SSL_CTX_ctrl(context, CTRL_READ_AHEAD, 1, NULL);
}

static void await(int fd, short events) {
    struct pollfd polled = {fd, events, 0};
    while (poll(&polled, 1, -1) < 0)
        if (errno != EINTR) fail(EXIT_BROKEN, "poll: %s", strerror(errno));
}

/* Takes INFO, which comes in plain, byte by byte: what follows it belongs to TLS. */
static void skip_info(int fd) {
    for (char byte = 0; byte != '\n';) {
        ssize_t got = recv(fd, &byte, 1, 0);
        if (got == 0) fail(EXIT_BROKEN, "the server closed a connection before INFO");
        if (got < 0 && errno != EINTR) fail(EXIT_BROKEN, "receive: %s", strerror(errno));
    }
}

struct secure *begin_secure(int fd) {
    pthread_once(&once, load_library);
    struct secure *secure = allocate(sizeof *secure);
    pthread_mutex_init(&secure->lock, NULL);
    skip_info(fd);
    secure->ssl = lib.SSL_new(context);
    if (secure->ssl == NULL || lib.SSL_set_fd(secure->ssl, fd) != 1) fail(EXIT_BROKEN, "no TLS connection");
    if (lib.SSL_connect(secure->ssl) != 1) fail(EXIT_BROKEN, "TLS handshake failed");
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail(EXIT_BROKEN, "fcntl: %s", strerror(errno));
    return secure;
}

void end_secure(struct secure *secure) {
    lib.SSL_free(secure->ssl);
    free(secure);
}

/* As send and recv: -1 with errno EAGAIN where it would have to wait. */
static ssize_t attempt(struct secure *secure, char *into, const char *from, size_t bytes, short *wanted) {
    pthread_mutex_lock(&secure->lock);
    lib.ERR_clear_error();
    int done = into != NULL ? lib.SSL_read(secure->ssl, into, (int)bytes) : lib.SSL_write(secure->ssl, from, (int)bytes);
    int error = done > 0 ? 0 : lib.SSL_get_error(secure->ssl, done);
    pthread_mutex_unlock(&secure->lock);
    if (done > 0) return done;
    *wanted = error == WANT_WRITE ? POLLOUT : POLLIN;
    if (error == WANT_READ || error == WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    return 0;
}

ssize_t send_secure(struct secure *secure, int fd, const char *bytes, size_t length) {
    for (short wanted;;) {
        ssize_t sent = attempt(secure, NULL, bytes, length, &wanted);
        if (sent > 0) return sent;
        if (sent == 0) {
            errno = EPIPE;
            return -1;
        }
        await(fd, wanted);
    }
}

ssize_t receive_secure(struct secure *secure, int fd, char *buffer, size_t room, int flags) {
    for (short wanted;;) {
        ssize_t got = attempt(secure, buffer, NULL, room, &wanted);
        if (got >= 0 || flags & MSG_DONTWAIT) return got;
        await(fd, wanted);
    }
}
