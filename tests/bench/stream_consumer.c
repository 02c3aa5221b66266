/* js-pull, js-push and js-filter: what a consumer of a stream delivers, every message checked and, where wanted,
 * acknowledged one by one.
 *
 * Each consumer has a connection of its own and is made after the subscription; the clock starts with the request for it. js-pull asks
 * for a batch, takes it, acknowledges each message, asks for the next. js-push answers flow control as client libraries
 * do. js-filter reads with one consumer after the other, each of which wants one group of the keys.
 *
 * Each delivery's reply subject carries the consumer's sequence and how often the message was delivered: the sequences
 * must follow each other and each delivery must be the first. With acknowledgements the run ends when the server says
 * that none is outstanding, and its acknowledgement floor must then be what was delivered. */
#define _GNU_SOURCE
#include "stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SID = 1, ACK_BYTES_MAX = 256 * 1024, LINE_BYTES_MAX = 512 };
static const char FILL = 'x', CONSUMER[] = "load", INBOX[] = "_INBOX.deliver.load";

static const struct options *options;
static bool is_pull;
static struct connection connection, control; /* deliveries come while the answer of the API is on its way */
static char *acks; /* acknowledgements that wait for one write */
static size_t acks_length;
static long sequence_last; /* of the stream */

struct times {
    uint64_t elapsed_ns, first_ns; /* sums over the consumers of a run */
};

static void create_consumer(const char *filter) {
    char subject[512], body[1024];
    int length = snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%s", options->stream, CONSUMER);
    if (filter != NULL) snprintf(subject + length, sizeof subject - (size_t)length, ".%s", filter);
    length = snprintf(body, sizeof body,
                      "{\"stream_name\":\"%s\",\"action\":\"create\",\"config\":{\"name\":\"%s\",\"deliver_policy\":\"%s\"",
                      options->stream, CONSUMER, options->policy);
    char *at = body + length;
    if (filter != NULL) at += sprintf(at, ",\"filter_subject\":\"%.300s\"", filter);
    if (!is_pull) at += sprintf(at, ",\"deliver_subject\":\"%s\"", INBOX);
    if (options->flow_control) at += sprintf(at, ",\"flow_control\":true,\"idle_heartbeat\":5000000000");
    if (options->no_acks)
        at += sprintf(at, ",\"ack_policy\":\"none\",\"max_deliver\":1,\"mem_storage\":true,"
                          "\"inactive_threshold\":300000000000}}");
    else
        at += sprintf(at, ",\"ack_policy\":\"explicit\",\"durable_name\":\"%s\",\"max_ack_pending\":%ld}}", CONSUMER,
                      options->max_ack_pending);
    api_request(&control, subject, body);
}

static void delete_consumer(void) {
    char subject[256];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", options->stream, CONSUMER);
    api_request(&control, subject, "");
}

static void flush_acks(void) {
    send_bytes(&connection, acks, acks_length);
    acks_length = 0;
}

static void answer_with(struct text reply, const char *payload) {
    if (acks_length + reply.length + LINE_BYTES_MAX > ACK_BYTES_MAX) flush_acks();
    acks_length += (size_t)sprintf(acks + acks_length, "PUB %.*s %zu\r\n%s\r\n", (int)reply.length, reply.bytes,
                                   strlen(payload), payload);
}

/* "$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>", or the longer form with
 * domain and account in front and a token at the end. */
static void check_reply(struct text reply, long consumer_sequence) {
    enum { TOKENS_MAX = 12, TOKENS_SHORT = 9, BEFORE_COUNTS_SHORT = 4, BEFORE_COUNTS_LONG = 6 };
    const char *tokens[TOKENS_MAX + 1], *end = reply.bytes + reply.length;
    int count = 0;
    for (const char *at = reply.bytes; at != NULL && at < end && count <= TOKENS_MAX; count++) {
        tokens[count] = at;
        at = memchr(at, '.', (size_t)(end - at));
        if (at != NULL) at++;
    }
    if (count < TOKENS_SHORT || memcmp(reply.bytes, "$JS.ACK.", 8) != 0)
        fail(EXIT_BROKEN, "a reply that is no acknowledgement: %.*s", (int)reply.length, reply.bytes);
    int counts = count == TOKENS_SHORT ? BEFORE_COUNTS_SHORT : BEFORE_COUNTS_LONG;
    long delivered = strtol(tokens[counts], NULL, 10), sequence = strtol(tokens[counts + 1], NULL, 10);
    if (delivered != 1 || strtol(tokens[counts + 2], NULL, 10) != consumer_sequence || sequence <= sequence_last)
        fail(EXIT_BROKEN, "delivery %ld: %.*s", consumer_sequence, (int)reply.length, reply.bytes);
    sequence_last = sequence;
}

/* True for the status messages of a push consumer, which are answered where they ask for it; fails on any other. */
static bool take_status(const struct message *message) {
    enum { CONTROL = 100 };
    long status = status_of(message);
    if (status == 0) return false;
    if (status != CONTROL || is_pull)
        fail(EXIT_BROKEN, "status in place of a message: %.*s", (int)message->headers.length, message->headers.bytes);
    if (message->reply.length > 0) { /* a flow control request */
        answer_with(message->reply, "");
        return true;
    }
    struct text stalled = header_of(message, "Nats-Consumer-Stalled");
    if (stalled.length > 0) answer_with(stalled, "");
    return true;
}

static void request_batch(long count) {
    char body[128], subject[256];
    int length = snprintf(body, sizeof body, "{\"batch\":%ld,\"expires\":30000000000}", count);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", options->stream, CONSUMER);
    send_text(&connection, "PUB %s %s %d\r\n%s\r\n", subject, INBOX, length, body);
}

/* What is in the buffer, `most` messages at most; the acknowledgements of all of it go out in one write. */
static long take_deliveries(long received, long most) {
    struct message message;
    enum operation operation;
    long count = 0;
    while (count < most && buffered_operation(&connection, &operation, &message)) {
        if (operation != OPERATION_MSG || message.sid != SID) fail(EXIT_BROKEN, "an answer that nobody asked for");
        if (take_status(&message)) continue;
        count++;
        check_reply(message.reply, received + count);
        if (!is_filled(message.payload, options->size, FILL))
            fail(EXIT_BROKEN, "not what was published: %.*s", (int)message.subject.length, message.subject.bytes);
        if (!options->no_acks) answer_with(message.reply, "+ACK");
    }
    flush_acks();
    return count;
}

/* Gives the time of the first delivery. */
static uint64_t consume(long wanted) {
    long in_batch = 0;
    uint64_t first_ns = 0;
    sequence_last = 0;
    for (long received = 0; received < wanted;) {
        if (is_pull && in_batch == 0) {
            in_batch = wanted - received < options->batch ? wanted - received : options->batch;
            request_batch(in_batch);
        }
        long count = take_deliveries(received, wanted - received);
        if (received == 0 && count > 0) first_ns = now_ns();
        received += count;
        in_batch -= count;
        if (count == 0) receive_more(&connection);
    }
    return first_ns;
}

/* Until the server has taken all acknowledgements. */
static void await_acks(long wanted) {
    char subject[256];
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.%s.%s", options->stream, CONSUMER);
    for (;;) {
        struct text info = api_request(&control, subject, "");
        const char *floor = memmem(info.bytes, info.length, "\"ack_floor\"", strlen("\"ack_floor\""));
        if (floor == NULL) fail(EXIT_BROKEN, "no ack_floor in %.*s", (int)info.length, info.bytes);
        long sequence = json_number((struct text){floor, (size_t)(info.bytes + info.length - floor)}, "consumer_seq");
        if (sequence > wanted) fail(EXIT_BROKEN, "%ld acknowledged of %ld", sequence, wanted);
        if (sequence == wanted) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* One consumer from the request for it to its last message. */
static void run_one(const char *filter, long wanted, struct times *times) {
    open_connection(&connection, options->server, options);
    send_text(&connection, "SUB %s %d\r\n", INBOX, SID);
    confirm(&connection);
    uint64_t start_ns = now_ns();
    create_consumer(filter);
    uint64_t first_ns = consume(wanted);
    if (!options->no_acks) await_acks(wanted);
    times->elapsed_ns += now_ns() - start_ns;
    times->first_ns += first_ns - start_ns;
    close_connection(&connection);
    delete_consumer();
}

void run_consumer(const struct options *given) {
    options = given;
    is_pull = strcmp(options->mode, "js-pull") == 0;
    acks = allocate(ACK_BYTES_MAX);
    struct times times = {0};
    long consumers = 1, wanted = options->messages;
    start_watchdog(options->stall_s);
    open_connection(&control, options->server, options);
    if (strcmp(options->mode, "js-filter") == 0) {
        consumers = options->messages;
        wanted = options->keys / KEY_GROUPS;
        if (wanted == 0) fail(EXIT_USAGE, "js-filter wants --keys %d or more", KEY_GROUPS);
        for (long i = 0; i < consumers; i++) {
            char filter[256];
            snprintf(filter, sizeof filter, "%.200s.%0*ld.*", options->subject, GROUP_DIGITS, i % KEY_GROUPS);
            run_one(filter, wanted, &times);
        }
    } else
        run_one(options->filter, wanted, &times);
    close_connection(&control);
    printf("{\"mode\":\"%s\",\"size\":%ld,\"consumers\":%ld,\"delivered\":%ld,\"seconds\":%.6f,"
           "\"delivered_per_s\":%.0f,\"first_us\":%.1f}\n",
           options->mode, options->size, consumers, consumers * wanted, (double)times.elapsed_ns / 1e9,
           (double)(consumers * wanted) * 1e9 / (double)times.elapsed_ns,
           (double)times.first_ns / 1e3 / (double)consumers);
}
