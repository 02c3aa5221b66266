/* rtt: pairs of a requester and a responder, one request in flight per pair; what a call over the broker costs.
 *
 * A requester subscribes once to its inbox's wildcard and gives each request a reply subject of its own, as client
 * libraries do: the server meets each reply subject once. --fixed-inbox gives all requests of a pair the same reply
 * subject instead. Reply subjects carry the request's number, and each reply is checked against it. */
#define _GNU_SOURCE
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUBJECT_BYTES = 64 };

static const char REQUEST_FILL = 'x', REPLY_FILL = 'y';

static const struct options *options;
static pthread_barrier_t start_line;

struct pair {
    pthread_t requester, responder;
    long number;
    uint64_t *round_trips_ns; /* one for each request */
    uint64_t start_ns, end_ns;
};

static void inbox_of(char *subject, const struct pair *pair, long request) {
    snprintf(subject, SUBJECT_BYTES, "_INBOX.%03ld.%08ld", pair->number, options->fixed_inbox ? 0 : request);
}

/* Fills in one PUB; `buffer` holds the subject twice, the line and the payload. */
static size_t publish_frame(char *buffer, const char *subject, struct text reply, char fill) {
    int line = sprintf(buffer, "PUB %s %.*s %ld\r\n", subject, (int)reply.length, reply.bytes, options->size);
    memset(buffer + line, fill, (size_t)options->size);
    memcpy(buffer + line + options->size, "\r\n", 2);
    return (size_t)line + (size_t)options->size + 2;
}

static void *respond(void *argument) {
    struct pair *pair = argument;
    struct connection connection;
    char *frame = allocate(256 + (size_t)options->size), reply[SUBJECT_BYTES];
    const struct options peer = peer_options(options);
    open_connection(&connection, options->server, &peer);
    send_text(&connection, "SUB svc.%03ld 1\r\n", pair->number);
    confirm(&connection);
    pthread_barrier_wait(&start_line);
    for (long i = 0; i < options->messages; i++) {
        struct message request;
        next_message(&connection, &request);
        if (request.reply.length >= SUBJECT_BYTES || !is_filled(request.payload, options->size, REQUEST_FILL))
            fail(EXIT_BROKEN, "pair %ld: request %ld is not what was sent", pair->number, i);
        snprintf(reply, sizeof reply, "%.*s", (int)request.reply.length, request.reply.bytes);
        send_bytes(&connection, frame, publish_frame(frame, reply, (struct text){"", 0}, REPLY_FILL));
    }
    confirm(&connection);
    close_connection(&connection);
    free(frame);
    return NULL;
}

static void *request(void *argument) {
    struct pair *pair = argument;
    struct connection connection;
    char *frame = allocate(256 + (size_t)options->size), service[SUBJECT_BYTES], inbox[SUBJECT_BYTES];
    snprintf(service, sizeof service, "svc.%03ld", pair->number);
    open_connection(&connection, options->server, options);
    send_text(&connection, "SUB _INBOX.%03ld.* 1\r\n", pair->number);
    confirm(&connection);
    pthread_barrier_wait(&start_line);
    pair->start_ns = now_ns();
    for (long i = 0; i < options->messages; i++) {
        struct message reply;
        inbox_of(inbox, pair, i);
        size_t length = publish_frame(frame, service, (struct text){inbox, strlen(inbox)}, REQUEST_FILL);
        uint64_t sent_ns = now_ns();
        send_bytes(&connection, frame, length);
        next_message(&connection, &reply);
        pair->round_trips_ns[i] = now_ns() - sent_ns;
        if (!text_equals(reply.subject, inbox) || !is_filled(reply.payload, options->size, REPLY_FILL))
            fail(EXIT_BROKEN, "pair %ld: request %ld got the wrong reply", pair->number, i);
    }
    pair->end_ns = now_ns();
    confirm(&connection);
    close_connection(&connection);
    free(frame);
    return NULL;
}

static void report(uint64_t *round_trips_ns, long count, uint64_t elapsed_ns) {
    sort_ns(round_trips_ns, count);
    printf("{\"mode\":\"rtt\",\"size\":%ld,\"pairs\":%ld,\"requests\":%ld,\"seconds\":%.6f,\"requests_per_s\":%.0f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}\n",
           options->size, options->pairs, count, (double)elapsed_ns / 1e9, (double)count * 1e9 / (double)elapsed_ns,
           quantile_us(round_trips_ns, count, 0.5), quantile_us(round_trips_ns, count, 0.99),
           quantile_us(round_trips_ns, count, 0.999));
}

void run_round_trips(const struct options *given) {
    options = given;
    long count = options->pairs * options->messages;
    struct pair *pairs = allocate((size_t)options->pairs * sizeof *pairs);
    uint64_t *round_trips_ns = allocate((size_t)count * sizeof *round_trips_ns);
    pthread_barrier_init(&start_line, NULL, (unsigned)(2 * options->pairs));
    start_watchdog(options->stall_s);
    for (long i = 0; i < options->pairs; i++) {
        pairs[i].number = i;
        pairs[i].round_trips_ns = round_trips_ns + i * options->messages;
        pairs[i].responder = start_thread(respond, &pairs[i]);
        pairs[i].requester = start_thread(request, &pairs[i]);
    }
    uint64_t start_ns = UINT64_MAX, end_ns = 0;
    for (long i = 0; i < options->pairs; i++) {
        pthread_join(pairs[i].requester, NULL);
        pthread_join(pairs[i].responder, NULL);
        if (pairs[i].start_ns < start_ns) start_ns = pairs[i].start_ns;
        if (pairs[i].end_ns > end_ns) end_ns = pairs[i].end_ns;
    }
    report(round_trips_ns, count, end_ns - start_ns);
}
