/* js-pub and js-get: requests with a window, so many on their way at once, over one connection.
 *
 * As client libraries do, one wildcard subscription takes all answers and every request has a reply subject of its own.
 * Each answer is checked: that of a publish names the stream and the sequence that must come next, that of a direct get
 * carries the subject asked for and its value. With one request on its way the round trips are latencies; with --rate
 * requests start on a clock of their own, and the window only bounds how far behind the server may fall. With
 * --seconds nothing is sent after that time, so that a server that cannot keep the rate comes to an end as well. With
 * --ids every publish has a message id, which no other run of the generator has given: none is a duplicate. */
#define _GNU_SOURCE
#include "stream.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKEN_DIGITS = 9, SID = 1, RUN_DIGITS = 18 };
static const char FILL = 'x', INBOX[] = "_INBOX.window.";

static const struct options *options;
static bool is_get;
static char stream_field[128];
static char *frame, *batch; /* one request; those of one write */
static size_t frame_bytes, key_at, token_at, id_at;
static uint64_t random_state;
static uint64_t *sent_ns, *round_trips_ns; /* by request */
static uint32_t *keys;                     /* by request, of js-get */
static long sequence_first = -1;           /* of request 0 */

static void prepare_frame(void) {
    char line[512], headers[128];
    long size = is_get ? 0 : options->size;
    /* the time of the system's start is not in CLOCK_MONOTONIC, but no server outlives that */
    int headers_bytes = snprintf(headers, sizeof headers, "NATS/1.0\r\nNats-Msg-Id: %0*lu-%0*d\r\n\r\n", RUN_DIGITS,
                                 (unsigned long)(now_ns() % 1000000000000000000u), TOKEN_DIGITS, 0);
    if (!options->ids) headers_bytes = 0;
    int length = is_get ? snprintf(line, sizeof line, "PUB $JS.API.DIRECT.GET.%s.%s", options->stream, options->subject)
                        : snprintf(line, sizeof line, "%s %s", options->ids ? "HPUB" : "PUB", options->subject);
    if (length > 256) fail(EXIT_USAGE, "a subject too long");
    key_at = (size_t)length;
    if (options->keys > 0) length += sprintf(line + length, "%*s", KEY_BYTES, "");
    length += sprintf(line + length, " %s", INBOX);
    token_at = (size_t)length;
    length += sprintf(line + length, "%0*d ", TOKEN_DIGITS, 0);
    if (options->ids) length += sprintf(line + length, "%d ", headers_bytes);
    length += sprintf(line + length, "%ld\r\n", headers_bytes + size);
    id_at = (size_t)length + (size_t)headers_bytes - 4 - TOKEN_DIGITS;
    frame_bytes = (size_t)length + (size_t)headers_bytes + (size_t)size + 2;
    frame = allocate(frame_bytes);
    memcpy(frame, line, (size_t)length);
    memcpy(frame + length, headers, (size_t)headers_bytes);
    memset(frame + length + headers_bytes, FILL, (size_t)size);
    memcpy(frame + frame_bytes - 2, "\r\n", 2);
    batch = allocate((size_t)options->window * frame_bytes);
}

static long key_of(long request) {
    if (!options->random_keys) return request % options->keys;
    return (long)(((next_random(&random_state) >> 32) * (uint64_t)options->keys) >> 32);
}

static void send_requests(struct connection *connection, long first, long count) {
    uint64_t at_ns = now_ns();
    for (long i = 0; i < count; i++) {
        char *bytes = batch + (size_t)i * frame_bytes;
        memcpy(bytes, frame, frame_bytes);
        write_digits(bytes + token_at, TOKEN_DIGITS, first + i);
        if (options->ids) write_digits(bytes + id_at, TOKEN_DIGITS, first + i);
        sent_ns[first + i] = at_ns;
        if (options->keys == 0) continue;
        long key = key_of(first + i);
        write_key(bytes + key_at, key);
        if (is_get) keys[first + i] = (uint32_t)key;
    }
    send_bytes(connection, batch, (size_t)count * frame_bytes);
}

static void check_ack(const struct message *answer, long request) {
    if (!text_contains(answer->payload, stream_field) || text_contains(answer->payload, "\"error\"") ||
        text_contains(answer->payload, "\"duplicate\""))
        fail(EXIT_BROKEN, "publish %ld: %.*s", request, (int)answer->payload.length, answer->payload.bytes);
    long sequence = json_number(answer->payload, "seq");
    if (sequence_first < 0) sequence_first = sequence - request;
    if (sequence_first + request != sequence)
        fail(EXIT_BROKEN, "publish %ld has sequence %ld, want %ld", request, sequence, sequence_first + request);
}

static void check_value(const struct message *answer, long request) {
    char key[KEY_BYTES + 1] = "";
    struct text subject = header_of(answer, "Nats-Subject");
    write_key(key, keys[request]);
    bool is_it = subject.length == strlen(options->subject) + KEY_BYTES &&
                 memcmp(subject.bytes + subject.length - KEY_BYTES, key, KEY_BYTES) == 0;
    if (status_of(answer) != 0 || !is_it || !is_filled(answer->payload, options->size, FILL))
        fail(EXIT_BROKEN, "get %ld of %s%s: %.*s", request, options->subject, key, (int)answer->headers.length,
             answer->headers.bytes);
}

static void take_answer(const struct message *answer) {
    size_t prefix = sizeof INBOX - 1;
    long request = 0;
    if (status_of(answer) == 503) fail(EXIT_BROKEN, "nobody answers: no such stream, or no JetStream");
    if (answer->sid != SID || answer->subject.length != prefix + TOKEN_DIGITS)
        fail(EXIT_BROKEN, "an answer to nothing: %.*s", (int)answer->subject.length, answer->subject.bytes);
    for (size_t i = 0; i < TOKEN_DIGITS; i++) request = request * 10 + (answer->subject.bytes[prefix + i] - '0');
    if (request < 0 || request >= options->messages || sent_ns[request] == 0 || round_trips_ns[request] != 0)
        fail(EXIT_BROKEN, "a second answer to request %ld, or one before it", request);
    if (is_get)
        check_value(answer, request);
    else
        check_ack(answer, request);
    round_trips_ns[request] = now_ns() - sent_ns[request];
}

/* Takes all answers that are there. */
static long take_answers(struct connection *connection) {
    struct message answer;
    enum operation operation;
    long count = 0;
    for (; buffered_operation(connection, &operation, &answer); count++) {
        if (operation != OPERATION_MSG) fail(EXIT_BROKEN, "a PONG that nobody asked for");
        take_answer(&answer);
    }
    return count;
}

/* How many requests may have been sent by now: all of them without a rate. */
static long allowed(uint64_t start_ns) {
    if (options->rate == 0) return options->messages;
    long due = 1 + (long)((double)(now_ns() - start_ns) * (double)options->rate / 1e9);
    return due < options->messages ? due : options->messages;
}

/* Waits for bytes from the server or, with a rate, for the time of the next request; then reads what is there. */
static void await(struct connection *connection, uint64_t start_ns, long sent, bool has_room) {
    if (options->rate > 0 && has_room && sent < options->messages) {
        uint64_t due_ns = start_ns + (uint64_t)((double)sent * 1e9 / (double)options->rate), at_ns = now_ns();
        uint64_t wait_ns = due_ns > at_ns ? due_ns - at_ns : 0;
        struct timespec wait = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
        struct pollfd polled = {connection->fd, POLLIN, 0};
        atomic_fetch_add(&tally.progress, 1); /* a slow clock is no stall */
        if (ppoll(&polled, 1, &wait, NULL) == 0) return;
    }
    receive_more(connection);
}

static void report(uint64_t elapsed_ns, long count) {
    sort_ns(round_trips_ns, count);
    printf("{\"mode\":\"%s\",\"size\":%ld,\"requests\":%ld,\"seconds\":%.6f,\"requests_per_s\":%.0f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}\n",
           options->mode, options->size, count, (double)elapsed_ns / 1e9, (double)count * 1e9 / (double)elapsed_ns,
           quantile_us(round_trips_ns, count, 0.5), quantile_us(round_trips_ns, count, 0.99),
           quantile_us(round_trips_ns, count, 0.999));
}

static void prepare(const struct options *given) {
    options = given;
    is_get = strcmp(options->mode, "js-get") == 0;
    if (is_get && options->keys == 0) fail(EXIT_USAGE, "js-get wants --keys");
    if (is_get && options->ids) fail(EXIT_USAGE, "js-get has no message ids");
    if (options->keys > (long)KEY_GROUPS * 1000000) fail(EXIT_USAGE, "at most a thousand million keys");
    snprintf(stream_field, sizeof stream_field, "\"stream\":\"%s\"", options->stream);
    random_state = options->seed;
    sent_ns = allocate((size_t)options->messages * sizeof *sent_ns);
    round_trips_ns = allocate((size_t)options->messages * sizeof *round_trips_ns);
    if (is_get) keys = allocate((size_t)options->messages * sizeof *keys);
    prepare_frame();
}

void run_window(const struct options *given) {
    struct connection connection;
    prepare(given);
    start_watchdog(options->stall_s);
    open_connection(&connection, options->server, options);
    send_text(&connection, "SUB %s* %d\r\n", INBOX, SID);
    confirm(&connection);
    uint64_t start_ns = now_ns();
    uint64_t last_ns = options->seconds ? start_ns + (uint64_t)options->seconds * 1000000000u : UINT64_MAX;
    long sent = 0, answered = 0;
    for (bool is_over = false; answered < (is_over ? sent : options->messages); is_over = now_ns() > last_ns) {
        long room = options->window - (sent - answered), due = is_over ? 0 : allowed(start_ns) - sent;
        long count = due < room ? due : room;
        if (count > 0) send_requests(&connection, sent, count);
        if (count > 0) sent += count;
        await(&connection, start_ns, sent, !is_over && sent - answered < options->window);
        answered += take_answers(&connection);
    }
    uint64_t elapsed_ns = now_ns() - start_ns;
    confirm(&connection); /* an answer too many would come before the PONG */
    close_connection(&connection);
    report(elapsed_ns, answered);
}
