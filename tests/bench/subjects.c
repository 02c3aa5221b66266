/* subjects: a large subject space. N literal subjects "s.<group>.<item>", each with a subscription of its own, and W
 * wildcard subscriptions, one to a group, in turn "s.<group>.*" and "s.<group>.>". Publishers send to subjects drawn
 * at random, each from its own seeded generator, so that two runs with one seed publish the same.
 *
 * Every subscription keeps a count of its own, and at the end each count is held against what was published. Literal
 * subject i has sid i + 1, the wildcard of group g has sid N + g + 1; a subscription lives on connection
 * (its index modulo the number of subscribers). All subjects have the same length, so frames are written in place. */
#define _GNU_SOURCE
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_AT = 2, GROUP_DIGITS = 6, ITEM_AT = GROUP_AT + GROUP_DIGITS + 1, ITEM_DIGITS = 6,
       SUBJECT_BYTES = ITEM_AT + ITEM_DIGITS };

static const char FILL = 'x';

static const struct options *options;
static pthread_barrier_t start_line;
static long groups;        /* W, or 1 where there are no wildcards */
static uint32_t *received; /* by sid; each element belongs to the one thread that has the subscription */
static long ahead;         /* deliveries outstanding, at most */
static long copies_max;    /* deliveries of one message: its literal and, if it has one, its group's wildcard */

struct subscriber {
    pthread_t thread;
    struct connection connection;
    long number;
};

struct publisher {
    pthread_t thread;
    uint64_t random_state;
    uint32_t *published; /* by subject */
    uint64_t start_ns, end_ns;
};

static long read_digits(const char *at, int digits) {
    long value = 0;
    for (int i = 0; i < digits; i++) value = value * 10 + (at[i] - '0');
    return value;
}

static void write_subject(char *at, long index) {
    write_digits(at + GROUP_AT, GROUP_DIGITS, index % groups);
    write_digits(at + ITEM_AT, ITEM_DIGITS, index / groups);
}

/* Subscriptions in batches of lines: one write for each line would make the set-up slower than the run. */
static void subscribe(struct subscriber *subscriber) {
    struct connection *connection = &subscriber->connection;
    char *lines = allocate(BATCH_BYTES), subject[SUBJECT_BYTES + 1] = "s.gggggg.iiiiii";
    size_t length = 0;
    for (long index = subscriber->number; index < options->subjects + options->wildcards;
         index += options->subscriber_count) {
        long group = index - options->subjects;
        if (group < 0) {
            write_subject(subject, index);
            length += (size_t)sprintf(lines + length, "SUB %s %ld\r\n", subject, index + 1);
        } else {
            length += (size_t)sprintf(lines + length, "SUB s.%0*ld.%c %ld\r\n", GROUP_DIGITS, group,
                                      group % 2 ? '>' : '*', index + 1);
        }
        if (length > BATCH_BYTES - 128) {
            send_bytes(connection, lines, length);
            length = 0;
        }
    }
    send_bytes(connection, lines, length);
    confirm(connection);
    free(lines);
}

static void count_message(const struct message *message) {
    const char *subject = message->subject.bytes;
    if (message->subject.length != SUBJECT_BYTES || !is_filled(message->payload, options->size, FILL))
        fail(EXIT_BROKEN, "a message that nobody sent: %.*s", (int)message->subject.length, subject);
    long group = read_digits(subject + GROUP_AT, GROUP_DIGITS);
    long literal_sid = read_digits(subject + ITEM_AT, ITEM_DIGITS) * groups + group + 1;
    bool is_its_own = message->sid == literal_sid || message->sid == options->subjects + group + 1;
    if (!is_its_own || message->sid < 1 || message->sid > options->subjects + options->wildcards)
        fail(EXIT_BROKEN, "%.*s came to subscription %ld", SUBJECT_BYTES, subject, message->sid);
    received[message->sid]++;
}

static void *receive(void *argument) {
    struct subscriber *subscriber = argument;
    struct connection *connection = &subscriber->connection;
    open_connection(connection, options->server, options);
    subscribe(subscriber);
    pthread_barrier_wait(&start_line);
    for (;;) {
        struct message message;
        enum operation operation;
        long count = 0;
        while (buffered_operation(connection, &operation, &message)) {
            if (operation == OPERATION_PONG) {
                count_deliveries(count);
                return NULL;
            }
            count_message(&message);
            count++;
        }
        count_deliveries(count);
        receive_more(connection);
    }
}

static void *publish(void *argument) {
    struct publisher *publisher = argument;
    struct connection connection;
    char header[64], subject[SUBJECT_BYTES + 1] = "s.gggggg.iiiiii";
    enum { VERB_BYTES = 4 };
    size_t header_bytes = (size_t)snprintf(header, sizeof header, "PUB %s %ld\r\n", subject, options->size);
    size_t frame_bytes = header_bytes + (size_t)options->size + 2;
    char *frame = allocate(frame_bytes);
    memcpy(frame, header, header_bytes);
    memset(frame + header_bytes, FILL, (size_t)options->size);
    memcpy(frame + frame_bytes - 2, "\r\n", 2);
    struct pattern batch = repeat_frame(frame, frame_bytes, BATCH_BYTES);
    long batch_messages = (long)(batch.bytes_total / frame_bytes);
    open_connection(&connection, options->server, options);
    pthread_barrier_wait(&start_line);
    publisher->start_ns = now_ns();
    for (long left = options->messages; left > 0;) {
        long count = left < batch_messages ? left : batch_messages;
        for (long i = 0; i < count; i++) {
            uint64_t index = ((next_random(&publisher->random_state) >> 32) * (uint64_t)options->subjects) >> 32;
            publisher->published[index]++;
            write_subject(batch.bytes + (size_t)i * frame_bytes + VERB_BYTES, (long)index);
        }
        announce_publishes(count, copies_max, ahead);
        send_bytes(&connection, batch.bytes, (size_t)count * frame_bytes);
        answer_pending(&connection);
        left -= count;
    }
    confirm(&connection);
    publisher->end_ns = now_ns();
    close_connection(&connection);
    free(frame);
    free(batch.bytes);
    return NULL;
}

/* Each subscription's count against what was published to its subjects. */
static void check_counts(const struct publisher *publishers) {
    uint32_t *want = allocate((size_t)(options->subjects + options->wildcards + 1) * sizeof *want);
    for (long p = 0; p < options->publishers; p++)
        for (long i = 0; i < options->subjects; i++) {
            want[i + 1] += publishers[p].published[i];
            if (options->wildcards > 0) want[options->subjects + i % groups + 1] += publishers[p].published[i];
        }
    for (long sid = 1; sid <= options->subjects + options->wildcards; sid++)
        if (received[sid] != want[sid])
            fail(EXIT_BROKEN, "subscription %ld received %u of %u messages", sid, received[sid], want[sid]);
    free(want);
}

static void prepare(const struct options *given) {
    options = given;
    groups = options->wildcards ? options->wildcards : 1;
    if (options->wildcards > options->subjects || groups > 1000000 || options->subjects / groups >= 1000000)
        fail(EXIT_USAGE, "want no more wildcards than subjects, and at most a million groups and items");
    received = allocate((size_t)(options->subjects + options->wildcards + 1) * sizeof *received);
    copies_max = options->wildcards ? 2 : 1;
    ahead = deliveries_ahead(options);
    tally.expected = options->messages * options->publishers * copies_max;
    pthread_barrier_init(&start_line, NULL, (unsigned)(options->subscriber_count + options->publishers));
}

void run_subjects(const struct options *given) {
    prepare(given);
    struct subscriber *subscribers = allocate((size_t)options->subscriber_count * sizeof *subscribers);
    struct publisher *publishers = allocate((size_t)options->publishers * sizeof *publishers);
    start_watchdog(options->stall_s);
    for (long i = 0; i < options->subscriber_count; i++) {
        subscribers[i].number = i;
        subscribers[i].thread = start_thread(receive, &subscribers[i]);
    }
    for (long i = 0; i < options->publishers; i++) {
        publishers[i].random_state = options->seed * 1000003u + (uint64_t)i;
        publishers[i].published = allocate((size_t)options->subjects * sizeof *publishers[i].published);
        publishers[i].thread = start_thread(publish, &publishers[i]);
    }
    uint64_t start_ns = UINT64_MAX, published_ns = 0;
    for (long i = 0; i < options->publishers; i++) {
        pthread_join(publishers[i].thread, NULL);
        if (publishers[i].start_ns < start_ns) start_ns = publishers[i].start_ns;
        if (publishers[i].end_ns > published_ns) published_ns = publishers[i].end_ns;
    }
    await_deliveries();
    for (long i = 0; i < options->subscriber_count; i++) send_bytes(&subscribers[i].connection, "PING\r\n", 6);
    for (long i = 0; i < options->subscriber_count; i++) {
        pthread_join(subscribers[i].thread, NULL);
        close_connection(&subscribers[i].connection);
    }
    check_counts(publishers);
    print_rates(options, start_ns, published_ns);
}
