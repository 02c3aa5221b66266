/* idle: opens connections with subscriptions on each, says so in one JSON line, and holds them until standard input
 * closes. What they cost is for the caller to read from the server's process. PINGs are answered meanwhile. */
#define _GNU_SOURCE
#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void subscribe(struct connection *connection, long number, const struct options *options) {
    open_connection(connection, options->server, options);
    for (long sid = 1; sid <= options->subscriptions; sid++)
        send_text(connection, "SUB bench.idle.%ld.%ld %ld\r\n", number, sid, sid);
    confirm(connection);
}

static void hold(struct connection *connections, long count) {
    struct pollfd *polled = allocate((size_t)(count + 1) * sizeof *polled);
    for (long i = 0; i < count; i++) polled[i] = (struct pollfd){connections[i].fd, POLLIN, 0};
    polled[count] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    for (;;) {
        if (poll(polled, (nfds_t)(count + 1), -1) < 0 && errno != EINTR)
            fail(EXIT_BROKEN, "poll: %s", strerror(errno));
        char ignored[256];
        if (polled[count].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) break;
        for (long i = 0; i < count; i++)
            if (polled[i].revents != 0) answer_pending(&connections[i]);
    }
    free(polled);
}

void run_idle(const struct options *options) {
    struct connection *connections = allocate((size_t)options->connections * sizeof *connections);
    for (long i = 0; i < options->connections; i++) subscribe(&connections[i], i, options);
    printf("{\"mode\":\"idle\",\"connections\":%ld,\"subscriptions\":%ld}\n", options->connections,
           options->connections * options->subscriptions);
    fflush(stdout);
    hold(connections, options->connections);
    for (long i = 0; i < options->connections; i++) close_connection(&connections[i]);
}
