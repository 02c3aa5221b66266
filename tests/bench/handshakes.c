/* handshakes: connections that come and go, as many threads as --publishers says, --messages of them each. One is
 * counted when the server has answered the PING behind CONNECT. */
#define _GNU_SOURCE
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>

static const struct options *options;
static pthread_barrier_t start_line;

static void *come_and_go(void *unused) {
    pthread_barrier_wait(&start_line);
    for (long i = 0; i < options->messages; i++) {
        struct connection connection;
        open_connection(&connection, options->server, options);
        close_connection(&connection);
    }
    return unused;
}

void run_handshakes(const struct options *given) {
    options = given;
    pthread_t *threads = allocate((size_t)options->publishers * sizeof *threads);
    pthread_barrier_init(&start_line, NULL, (unsigned)options->publishers + 1);
    start_watchdog(options->stall_s);
    for (long i = 0; i < options->publishers; i++) threads[i] = start_thread(come_and_go, NULL);
    pthread_barrier_wait(&start_line);
    uint64_t start_ns = now_ns();
    for (long i = 0; i < options->publishers; i++) pthread_join(threads[i], NULL);
    double seconds = (double)(now_ns() - start_ns) / 1e9;
    long count = options->publishers * options->messages;
    printf("{\"mode\":\"handshakes\",\"connections\":%ld,\"seconds\":%.6f,\"connections_per_s\":%.0f}\n", count, seconds,
           (double)count / seconds);
    free(threads);
}
