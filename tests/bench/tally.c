/* The counts of a run: what was published and delivered, when it ended, and whether it still moves; and the small
 * arithmetic that modes share. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct tally tally;

static void *watch(void *argument) {
    long stall_s = (long)(intptr_t)argument, last = -1, still_s = 0;
    for (;;) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        long progress = atomic_load(&tally.progress);
        still_s = progress == last ? still_s + 1 : 0;
        last = progress;
        if (still_s >= stall_s)
            fail(EXIT_STALLED, "nothing moved for %ld s: %ld published, %ld of %ld delivered", stall_s,
                 atomic_load(&tally.published), atomic_load(&tally.delivered), tally.expected);
    }
    return NULL;
}

void start_watchdog(long stall_s) {
    pthread_detach(start_thread(watch, (void *)(intptr_t)stall_s));
}

void count_deliveries(long messages) {
    long before = atomic_fetch_add(&tally.delivered, messages);
    if (before < tally.expected && before + messages >= tally.expected) atomic_store(&tally.end_ns, now_ns());
}

void announce_publishes(long messages, long copies, long ahead) {
    while (atomic_load_explicit(&tally.published, memory_order_relaxed) * copies -
               atomic_load_explicit(&tally.delivered, memory_order_relaxed) > ahead)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    atomic_fetch_add_explicit(&tally.published, messages, memory_order_relaxed);
}

long deliveries_ahead(const struct options *options) {
    enum { HEADER_BYTES_ABOUT = 32 };
    return options->subscriber_count * (options->ahead_bytes / (options->size + HEADER_BYTES_ABOUT));
}

void await_deliveries(void) {
    while (tally.expected > 0 && atomic_load(&tally.end_ns) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void print_rates(const struct options *options, uint64_t start_ns, uint64_t published_ns) {
    long published = options->messages * options->publishers;
    uint64_t end_ns = tally.expected > 0 ? atomic_load(&tally.end_ns) : published_ns;
    printf("{\"mode\":\"%s\",\"size\":%ld,\"published\":%ld,\"delivered\":%ld,\"seconds\":%.6f,"
           "\"published_per_s\":%.0f,\"delivered_per_s\":%.0f}\n",
           options->mode, options->size, published, tally.expected, (double)(end_ns - start_ns) / 1e9,
           (double)published * 1e9 / (double)(published_ns - start_ns),
           (double)tally.expected * 1e9 / (double)(end_ns - start_ns));
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

void sort_ns(uint64_t *values_ns, long count) {
    qsort(values_ns, (size_t)count, sizeof *values_ns, ascending);
}

double quantile_us(const uint64_t *sorted_ns, long count, double q) {
    return (double)sorted_ns[(long)((double)(count - 1) * q)] / 1e3;
}

uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void write_digits(char *at, int digits, long value) {
    for (int i = digits - 1; i >= 0; i--, value /= 10) at[i] = (char)('0' + value % 10);
}
