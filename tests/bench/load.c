/* load: a load generator for servers that speak the NATS client protocol.
 *
 *   load pub      --messages 5000000 [--publishers 4]            publish only, nobody subscribed
 *   load pubsub   --messages 3000000 [--publishers P] [--subscribers S] [--queue GROUP]
 *   load leaf     --messages 3000000 --sub-port N [--sub-host H] as pubsub, subscribers on another server
 *   load rtt      --messages 20000 [--pairs 32] [--fixed-inbox]  request-reply, one in flight per pair
 *   load subjects --messages 1000000 [--subjects N] [--wildcards W] [--seed X]
 *   load idle     [--connections C] [--subscriptions K]          holds until standard input closes
 *   load handshakes --messages 100 [--publishers P]              connects and leaves, again and again
 *   load request  --subject S --body JSON                        one request; prints the answer
 *   load js-pub   --messages 1000000 --window 1000 [--keys K [--random]] [--ids] [--rate R [--seconds S]]
 *   load js-get   --messages 1000000 --window 32 --keys K        direct gets of random keys
 *   load js-pull  --messages 1000000 [--batch 500] [--no-acks]
 *   load js-push  --messages 1000000 [--max-ack-pending N] [--no-acks] [--flow-control] [--policy P] [--filter F]
 *   load js-filter --messages 10                                 so many consumers, each for one group of keys
 *
 * --tls is for all of them: INFO, a handshake, CONNECT (secure.c).
 * --peer-user: subscribers and responders are somebody else, in another account; --heard-subject: what they hear
 * there.
 *
 * --tls is for all of them: INFO, a handshake, CONNECT (secure.c).
 *
 * --messages counts per publisher or per pair. Prints one JSON line. Exit codes: 1 the server or the count is wrong,
 * 2 usage, 3 nothing moved for --stall seconds.
 *
 * The modes are in flow.c, round_trips.c, subjects.c and idle.c, those of JetStream in stream_window.c and
 * stream_consumer.c with stream.c below them; the protocol is in connection.c, the counts are in tally.c.
 *
 * The generator must not be what is measured: it sends large batches, reads into large buffers, and touches each
 * received byte once, to compare it with what must be there. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void fail(enum exit_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    _exit((int)code);
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    if (memory == NULL) fail(EXIT_BROKEN, "out of memory");
    return memory;
}

pthread_t start_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, argument);
    if (error != 0) fail(EXIT_BROKEN, "thread: %s", strerror(error));
    return thread;
}

struct options peer_options(const struct options *options) {
    struct options peer = *options;
    if (options->peer_user != NULL) peer.user = options->peer_user;
    if (options->heard_subject != NULL) peer.subject = options->heard_subject;
    return peer;
}

/* Thousands of connections need more descriptors than a shell usually grants. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static long number(const char *name, const char *text, long least) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < least || value > 1000000000)
        fail(EXIT_USAGE, "--%s %s: want a number from %ld to 1000000000", name, text, least);
    return value;
}

static void parse(int count, char **words, struct options *o) {
    long port = 0, sub_port = 0, seed = 1;
    const struct {
        const char *name;
        const char **text; /* either this */
        long *number;      /* or this */
        long least;
    } settings[] = {
        {"host", &o->server.host, NULL, 0},
        {"sub-host", &o->subscribers.host, NULL, 0},
        {"user", &o->user, NULL, 0},
        {"password", &o->password, NULL, 0},
        {"peer-user", &o->peer_user, NULL, 0},
        {"subject", &o->subject, NULL, 0},
        {"heard-subject", &o->heard_subject, NULL, 0},
        {"queue", &o->queue, NULL, 0},
        {"port", NULL, &port, 1},
        {"sub-port", NULL, &sub_port, 1},
        {"messages", NULL, &o->messages, 1},
        {"size", NULL, &o->size, 1},
        {"publishers", NULL, &o->publishers, 1},
        {"subscribers", NULL, &o->subscriber_count, 1},
        {"pairs", NULL, &o->pairs, 1},
        {"subjects", NULL, &o->subjects, 1},
        {"wildcards", NULL, &o->wildcards, 0},
        {"connections", NULL, &o->connections, 1},
        {"subscriptions", NULL, &o->subscriptions, 0},
        {"ahead-bytes", NULL, &o->ahead_bytes, 1},
        {"seed", NULL, &seed, 0},
        {"stall", NULL, &o->stall_s, 1},
        {"stream", &o->stream, NULL, 0},
        {"body", &o->body, NULL, 0},
        {"filter", &o->filter, NULL, 0},
        {"policy", &o->policy, NULL, 0},
        {"window", NULL, &o->window, 1},
        {"rate", NULL, &o->rate, 0},
        {"seconds", NULL, &o->seconds, 0},
        {"keys", NULL, &o->keys, 0},
        {"batch", NULL, &o->batch, 1},
        {"max-ack-pending", NULL, &o->max_ack_pending, 1},
    };
    const struct {
        const char *name;
        bool *set;
    } flags[] = {
        {"fixed-inbox", &o->fixed_inbox},
        {"random", &o->random_keys},
        {"no-acks", &o->no_acks},
        {"flow-control", &o->flow_control},
        {"ids", &o->ids},
        {"tls", &o->tls},
    };
    enum { SETTINGS = sizeof settings / sizeof *settings, FLAGS = sizeof flags / sizeof *flags, CODE = 256 };
    struct option longs[SETTINGS + FLAGS + 1] = {{0}};
    for (int i = 0; i < SETTINGS; i++) longs[i] = (struct option){settings[i].name, required_argument, 0, CODE + i};
    for (int i = 0; i < FLAGS; i++)
        longs[SETTINGS + i] = (struct option){flags[i].name, no_argument, 0, CODE + SETTINGS + i};
    for (int code; (code = getopt_long(count, words, "", longs, NULL)) != -1;) {
        int i = code - CODE;
        if (i < 0) exit(EXIT_USAGE); /* getopt_long has said why */
        if (i >= SETTINGS)
            *flags[i - SETTINGS].set = true;
        else if (settings[i].text != NULL)
            *settings[i].text = optarg;
        else
            *settings[i].number = number(settings[i].name, optarg, settings[i].least);
    }
    if (optind != count - 1) fail(EXIT_USAGE, "want one mode: pub, pubsub, leaf, rtt, subjects, idle, handshakes, request or js-...");
    if (port == 0) fail(EXIT_USAGE, "--port is missing");
    o->mode = words[optind];
    o->server.port = (int)port;
    o->seed = (uint64_t)seed;
    if ((strcmp(o->mode, "leaf") == 0) != (sub_port != 0)) fail(EXIT_USAGE, "leaf, and only leaf, wants --sub-port");
    o->subscribers.port = (int)(sub_port ? sub_port : port);
    if (o->subscribers.host == NULL) o->subscribers.host = o->server.host;
}

int main(int count, char **words) {
    struct options options = {.server.host = "127.0.0.1", .user = "", .password = "", .subject = "bench.data",
                              .messages = 1000000, .size = 16, .publishers = 1, .subscriber_count = 1, .pairs = 1,
                              .subjects = 100000, .wildcards = 10000, .connections = 1000, .subscriptions = 10,
                              .ahead_bytes = 256 << 20, .stall_s = 20, .stream = "bench", .body = "",
                              .policy = "all", .window = 1, .batch = 500, .max_ack_pending = 1000};
    parse(count, words, &options);
    static const struct {
        const char *name;
        void (*run)(const struct options *);
    } modes[] = {{"pub", run_flow},        {"pubsub", run_flow}, {"leaf", run_flow}, {"rtt", run_round_trips},
                 {"subjects", run_subjects}, {"idle", run_idle}, {"handshakes", run_handshakes}, {"request", run_request}, {"js-pub", run_window},
                 {"js-get", run_window}, {"js-pull", run_consumer}, {"js-push", run_consumer},
                 {"js-filter", run_consumer}};
    raise_descriptor_limit();
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, options.mode) != 0) continue;
        modes[i].run(&options);
        return 0;
    }
    fail(EXIT_USAGE, "no such mode: %s", options.mode);
}
