/* pub, pubsub and leaf: equal messages on one subject, as fast as they go, every delivery compared and counted.
 *
 * End of a run: each publisher has the PONG that follows its last message, and the subscribers together have all
 * deliveries. Then each subscriber sends PING and reads on until the PONG, so that a delivery too many is seen as well
 * as one too few. The clock stops at the last expected delivery (pub: at the last PONG). */
#define _GNU_SOURCE
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SID = 1 };
static const char PROBE = '?', PROBES_END = '!', FILL = 'x';

static const struct options *options;
static struct options peer; /* the same for subscribers */
static pthread_barrier_t start_line;
static atomic_long probed; /* subscribers that have seen a probe */
static long ahead;         /* messages published and not yet delivered, at most */

struct subscriber {
    pthread_t thread;
    struct connection connection;
    long received;
};

struct publisher {
    pthread_t thread;
    uint64_t start_ns, end_ns;
};

static bool across_leaf(void) {
    return strcmp(options->mode, "leaf") == 0;
}

static char *frame(const char *header, size_t *frame_bytes) {
    size_t header_bytes = strlen(header), size = (size_t)options->size;
    char *bytes = allocate(header_bytes + size + 2);
    memcpy(bytes, header, header_bytes);
    memset(bytes + header_bytes, FILL, size);
    memcpy(bytes + header_bytes + size, "\r\n", 2);
    *frame_bytes = header_bytes + size + 2;
    return bytes;
}

static struct pattern frames(bool is_publish, size_t bytes_min) {
    char header[512];
    size_t frame_bytes;
    const char *format = is_publish ? "PUB %s %ld\r\n" : "MSG %s 1 %ld\r\n";
    snprintf(header, sizeof header, format, is_publish ? options->subject : peer.subject, options->size);
    char *one = frame(header, &frame_bytes);
    struct pattern pattern = repeat_frame(one, frame_bytes, bytes_min);
    free(one);
    return pattern;
}

static void await_probes_end(struct subscriber *subscriber) {
    struct message message;
    for (bool first = true;; first = false) {
        next_message(&subscriber->connection, &message);
        if (message.payload.length == 1 && *message.payload.bytes == PROBES_END) return;
        if (first) atomic_fetch_add(&probed, 1);
    }
}

/* Interest crosses a leaf link in its own time. Probes go out on the subject itself until each subscriber has one, and
 * a last message that says so follows them: what comes after it is the run. */
static void probe_interest(void) {
    struct connection prober;
    open_connection(&prober, options->server, options);
    /* Sending counts as progress, so the watchdog does not see an interest that never comes: this deadline does. */
    uint64_t deadline_ns = now_ns() + (uint64_t)options->stall_s * 1000000000u;
    while (atomic_load(&probed) < options->subscriber_count) {
        if (now_ns() > deadline_ns)
            fail(EXIT_STALLED, "no interest across the leaf link after %ld s", options->stall_s);
        send_text(&prober, "PUB %s 1\r\n%c\r\n", options->subject, PROBE);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    send_text(&prober, "PUB %s 1\r\n%c\r\n", options->subject, PROBES_END);
    confirm(&prober);
    close_connection(&prober);
}

static void *receive(void *argument) {
    struct subscriber *subscriber = argument;
    struct connection *connection = &subscriber->connection;
    open_connection(connection, options->subscribers, &peer);
    send_text(connection, "SUB %s %s %d\r\n", peer.subject, options->queue ? options->queue : "", SID);
    struct pattern expected = frames(false, 16 * 1024);
    if (across_leaf())
        await_probes_end(subscriber);
    else
        confirm(connection);
    pthread_barrier_wait(&start_line);
    for (;;) {
        long count = receive_frames(connection, &expected);
        if (count == 0) {
            struct message message;
            if (next_operation(connection, &message) == OPERATION_PONG) return NULL;
            if (message.sid != SID || !text_equals(message.subject, peer.subject) ||
                !is_filled(message.payload, options->size, FILL))
                fail(EXIT_BROKEN, "a message that nobody sent: %.*s, sid %ld, %zu bytes", (int)message.subject.length,
                     message.subject.bytes, message.sid, message.payload.length);
            count = 1;
        }
        subscriber->received += count;
        count_deliveries(count);
    }
}

static void *publish(void *argument) {
    struct publisher *publisher = argument;
    struct connection connection;
    struct pattern batch = frames(true, BATCH_BYTES);
    long batch_messages = (long)(batch.bytes_total / batch.frame_bytes);
    long copies = tally.expected / (options->messages * options->publishers);
    open_connection(&connection, options->server, options);
    pthread_barrier_wait(&start_line);
    publisher->start_ns = now_ns();
    for (long left = options->messages; left > 0;) {
        long count = left < batch_messages ? left : batch_messages;
        announce_publishes(count, copies, ahead);
        send_bytes(&connection, batch.bytes, (size_t)count * batch.frame_bytes);
        answer_pending(&connection);
        left -= count;
    }
    confirm(&connection);
    publisher->end_ns = now_ns();
    close_connection(&connection);
    return NULL;
}

static void check_counts(const struct subscriber *subscribers, long count) {
    long published = options->messages * options->publishers, total = 0;
    for (long i = 0; i < count; i++) {
        total += subscribers[i].received;
        if (options->queue == NULL && subscribers[i].received != published)
            fail(EXIT_BROKEN, "subscriber %ld received %ld of %ld messages", i, subscribers[i].received, published);
    }
    if (total != tally.expected) fail(EXIT_BROKEN, "%ld deliveries, expected %ld", total, tally.expected);
}

void run_flow(const struct options *given) {
    options = given;
    peer = peer_options(given);
    long subscriber_count = strcmp(options->mode, "pub") == 0 ? 0 : options->subscriber_count;
    if (across_leaf() && options->queue)
        fail(EXIT_USAGE, "leaf probes every subscriber, so --queue cannot be used with it");
    long copies = options->queue && subscriber_count ? 1 : subscriber_count;
    tally.expected = options->messages * options->publishers * copies;
    ahead = deliveries_ahead(options);
    struct subscriber *subscribers = allocate((size_t)subscriber_count * sizeof *subscribers);
    struct publisher *publishers = allocate((size_t)options->publishers * sizeof *publishers);
    pthread_barrier_init(&start_line, NULL, (unsigned)(subscriber_count + options->publishers + 1));
    start_watchdog(options->stall_s);
    for (long i = 0; i < subscriber_count; i++) subscribers[i].thread = start_thread(receive, &subscribers[i]);
    for (long i = 0; i < options->publishers; i++) publishers[i].thread = start_thread(publish, &publishers[i]);
    if (across_leaf()) probe_interest();
    uint64_t start_ns = UINT64_MAX, published_ns = 0;
    pthread_barrier_wait(&start_line);
    for (long i = 0; i < options->publishers; i++) {
        pthread_join(publishers[i].thread, NULL);
        if (publishers[i].start_ns < start_ns) start_ns = publishers[i].start_ns;
        if (publishers[i].end_ns > published_ns) published_ns = publishers[i].end_ns;
    }
    await_deliveries();
    for (long i = 0; i < subscriber_count; i++) send_bytes(&subscribers[i].connection, "PING\r\n", 6);
    for (long i = 0; i < subscriber_count; i++) {
        pthread_join(subscribers[i].thread, NULL);
        close_connection(&subscribers[i].connection);
    }
    check_counts(subscribers, subscriber_count);
    print_rates(options, start_ns, published_ns);
}
