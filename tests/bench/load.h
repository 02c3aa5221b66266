/* What the parts of the load generator share: the options of a run, its tally, and the modes.
 *
 * Rules: one thread per connection and blocking sockets, so that every part reads top to bottom; whatever cannot go on
 * calls `fail`, which ends the process with a message: a benchmark has no use for a half-done run. Times are
 * nanoseconds of CLOCK_MONOTONIC. */
#ifndef LOAD_H
#define LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_code { EXIT_BROKEN = 1, EXIT_USAGE = 2, EXIT_STALLED = 3 };

struct address {
    const char *host; /* IPv4, dotted */
    int port;
};

struct options {
    const char *mode;
    struct address server;      /* publishers, requesters and, unless told otherwise, everybody */
    struct address subscribers; /* the same as `server`, or the far end of a leaf link */
    const char *user, *password;
    const char *peer_user;    /* subscribers and responders, in another account; NULL: the same */
    const char *subject;
    const char *heard_subject; /* what subscribers hear instead; NULL: the same */
    const char *queue;  /* queue group of the subscribers; NULL: everybody gets everything */
    long messages;      /* per publisher or per pair */
    long size;          /* bytes of payload */
    long publishers, subscriber_count, pairs;
    long subjects, wildcards;
    long connections, subscriptions; /* idle: connections, and subscriptions on each */
    long ahead_bytes;   /* bound, per subscriber, on what was published and not yet delivered */
    uint64_t seed;
    bool fixed_inbox;   /* rtt: one reply subject for all requests, not a fresh one each */
    const char *stream, *body, *filter, *policy; /* JetStream: names, the body of a request, a consumer's settings */
    long window;        /* requests on their way at once */
    long rate;          /* js-pub: messages a second at most; 0: as fast as it goes */
    long seconds;       /* js-pub: nothing is sent after so long; 0: all messages are */
    long keys;          /* messages go to so many subjects below --subject; 0: to --subject itself */
    long batch, max_ack_pending;
    bool random_keys, no_acks, flow_control;
    bool ids;           /* js-pub: every message has an id */
    bool tls;
    long stall_s;
};

/* Counts that threads and the watchdog see while a run is on its way. */
struct tally {
    atomic_long published, delivered;
    long expected;            /* deliveries that end the run */
    atomic_uint_fast64_t end_ns; /* when `delivered` reached `expected`; 0 before */
    atomic_long progress;     /* grows with every successful read and write; the watchdog looks at it */
};

extern struct tally tally;

_Noreturn void fail(enum exit_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t now_ns(void);
void *allocate(size_t bytes);
pthread_t start_thread(void *(*body)(void *), void *argument);

/* Sorts round trips; `quantile_us` then reads them. */
void sort_ns(uint64_t *values_ns, long count);
double quantile_us(const uint64_t *sorted_ns, long count, double q);

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
uint64_t next_random(uint64_t *state);

void write_digits(char *at, int digits, long value);

/* Ends the process with EXIT_STALLED when `tally.progress` has stood still for `stall_s`. */
void start_watchdog(long stall_s);

/* Adds to `tally.delivered` and notes the time of the last expected delivery. */
void count_deliveries(long messages);

/* Notes what is about to be published, after waiting until no more than `ahead` deliveries are outstanding. The bound
 * keeps a server without bounds of its own from filling the memory. It must stay above what socket buffers and a
 * server's max_pending (64 MiB per client) hold together: a tight bound makes publisher and server wait for each other,
 * and 48 MiB in all took a third off nats-server's fan-out. */
void announce_publishes(long messages, long copies, long ahead);

/* `ahead` for the options: bytes for each subscriber, as a number of frames. */
long deliveries_ahead(const struct options *options);

/* Waits for the last expected delivery; the watchdog ends a wait that leads nowhere. */
void await_deliveries(void);

/* The JSON line of a run that publishes: from the first publish to the last expected delivery, or, where nothing is to
 * be delivered, to the last publisher's PONG. */
void print_rates(const struct options *options, uint64_t start_ns, uint64_t published_ns);

/* The options of subscribers and responders. */
struct options peer_options(const struct options *options);

/* The modes. Each prints one JSON line and returns; anything wrong ends the process. */
void run_flow(const struct options *options);        /* pub, pubsub, leaf */
void run_round_trips(const struct options *options); /* rtt */
void run_subjects(const struct options *options);    /* subjects */
void run_idle(const struct options *options);        /* idle */
void run_handshakes(const struct options *options);  /* handshakes */
void run_request(const struct options *options);     /* request */
void run_window(const struct options *options);      /* js-pub, js-get */
void run_consumer(const struct options *options);    /* js-pull, js-push, js-filter */

#endif
