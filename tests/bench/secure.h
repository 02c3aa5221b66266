/* TLS below a connection of the load generator. Whatever fails ends the process. */
#ifndef SECURE_H
#define SECURE_H

#include "load.h"

#include <sys/types.h>

struct secure;

/* Takes INFO off the socket and shakes hands; from then on the socket does not block. */
struct secure *begin_secure(int fd);
void end_secure(struct secure *secure);

/* As send and recv on a socket that blocks; MSG_DONTWAIT is the only flag. */
ssize_t send_secure(struct secure *secure, int fd, const char *bytes, size_t length);
ssize_t receive_secure(struct secure *secure, int fd, char *buffer, size_t room, int flags);

#endif
